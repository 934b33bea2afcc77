//! What was written of late, over a state that does not have it yet: an ordered map of values and
//! deletions for each space. A store that is slow to write to gathers commits in one, reads through
//! it, and takes it over as a whole.

use std::ops::{Bound, ControlFlow};

use imbl::OrdMap;

use super::{Changes, Key, Range, Space, Value, Visit};
use crate::canary::{self, Canary};
use crate::outcome::Fatal;

/// What a pair takes beside its bytes, about: its place in the map, and what its allocations cost.
const PAIR_OVERHEAD_BYTES: usize = 96;

/// Writes over a state. A clone is cheap, and does not move with what it was cloned from.
#[derive(Clone, Debug, Default)]
pub struct Layer {
    plugin: OrdMap<Key, Option<Value>>,
    sessions: OrdMap<Key, Option<Value>>,
    held_bytes: usize,
    written_bytes: usize,
}

impl Layer {
    fn pairs(&self, space: Space) -> &OrdMap<Key, Option<Value>> {
        match space {
            Space::Plugin => &self.plugin,
            Space::Sessions => &self.sessions,
        }
    }

    /// Adds what a commit writes. In place, unless the layer has clones: then each node of the maps
    /// that it meets is copied.
    pub fn write(&mut self, changes: &Changes) {
        let weight = |key: &[u8], value: Option<&Value>| {
            key.len() + value.map_or(0, |value| value.len()) + PAIR_OVERHEAD_BYTES
        };
        for space in Space::ALL {
            let pairs = match space {
                Space::Plugin => &mut self.plugin,
                Space::Sessions => &mut self.sessions,
            };
            for (key, value) in changes.space(space) {
                let bytes = weight(key, value.as_ref());
                self.written_bytes += bytes;
                self.held_bytes += bytes;
                let before = pairs.insert(key.clone(), value.clone());
                self.held_bytes -= before.map_or(0, |before| weight(key, before.as_ref()));
            }
        }
    }

    /// What it takes in memory, about.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// The same of all writes, also those that later ones have replaced.
    pub fn written_bytes(&self) -> usize {
        self.written_bytes
    }

    /// What is known of a key: its value, or that it was deleted. `None` when that is the state
    /// below to say.
    pub fn get(&self, space: Space, key: &[u8]) -> Option<Option<&Value>> {
        self.pairs(space).get(key).map(Option::as_ref)
    }

    /// All that is known of a space, in the order of its keys.
    pub fn iter(&self, space: Space) -> impl Iterator<Item = (&[u8], Option<&Value>)> {
        self.pairs(space).iter().map(|(key, value)| (&**key, value.as_ref()))
    }

    /// Shows the pairs of a range as they are with this layer over what `below` shows.
    pub fn scan_over(
        &self,
        below: impl FnOnce(&mut Visit<'_>) -> Result<(), Fatal>,
        space: Space,
        range: Range<'_>,
        visit: &mut Visit<'_>,
    ) -> Result<(), Fatal> {
        let pairs = self.pairs(space).range::<_, [u8]>(bounds(range));
        // What it passes over is not counted: which writes are in a layer differs between replicas.
        if range.reverse {
            merge(below, pairs.rev(), range, visit).map(drop)
        } else {
            merge(below, pairs, range, visit).map(drop)
        }
    }
}

/// A range as maps know it. It must not be empty.
pub(crate) fn bounds(range: Range<'_>) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Included(range.lo), range.hi.map_or(Bound::Unbounded, Bound::Excluded))
}

/// Shows two ordered sources as one; where both have a key, the overlay's counts. Returns how many
/// deletions of the overlay it passed over.
pub(crate) fn merge<'a>(
    below: impl FnOnce(&mut Visit<'_>) -> Result<(), Fatal>,
    overlay: impl Iterator<Item = (&'a Key, &'a Option<Value>)>,
    range: Range<'_>,
    visit: &mut Visit<'_>,
) -> Result<u64, Fatal> {
    let mut overlay = overlay.peekable();
    let mut deleted = 0;
    let mut ended = false;
    below(&mut |key, value| {
        let is_due = |own: &[u8]| if range.reverse { own >= key } else { own <= key };
        while let Some((own, written)) = overlay.next_if(|(own, _)| is_due(own)) {
            let shadows = **own == *key;
            match written {
                None if shadows && canary::is_planted(Canary::DeletedShown) => break,
                None => deleted += 1,
                Some(written) if visit(own, written).is_break() => {
                    ended = true;
                    return ControlFlow::Break(());
                }
                Some(_) => {}
            }
            if shadows {
                return ControlFlow::Continue(());
            }
        }
        let flow = visit(key, value);
        ended = flow.is_break();
        flow
    })?;
    for (own, written) in overlay {
        match written {
            _ if ended => break,
            None => deleted += 1,
            Some(written) => ended = visit(own, written).is_break(),
        }
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::super::{MemoryState, Meta, StateStore as _};
    use super::*;

    fn changes(pairs: &[(&str, Option<&str>)]) -> Changes {
        let write = |&(key, value): &(&str, Option<&str>)| {
            (Key::from_slice(key.as_bytes()), value.map(|value| Value::from(value.as_bytes())))
        };
        Changes { plugin: pairs.iter().map(write).collect(), ..Changes::default() }
    }

    #[test]
    fn what_is_replaced_is_written_and_not_held() {
        let mut layer = Layer::default();
        layer.write(&changes(&[("a", Some("12345")), ("b", Some(""))]));
        let once = 2 * PAIR_OVERHEAD_BYTES + 7;
        assert_eq!((layer.held_bytes(), layer.written_bytes()), (once, once));
        layer.write(&changes(&[("a", None)]));
        assert_eq!(layer.held_bytes(), once - 5, "a deletion is known, too");
        assert_eq!(layer.written_bytes(), once + PAIR_OVERHEAD_BYTES + 1);
        assert_eq!(layer.get(Space::Plugin, b"a"), Some(None));
        assert_eq!(layer.get(Space::Sessions, b"a"), None);
    }

    #[test]
    fn a_clone_does_not_move() {
        let mut layer = Layer::default();
        layer.write(&changes(&[("a", Some("1"))]));
        let before = layer.clone();
        layer.write(&changes(&[("a", None), ("b", Some("2"))]));
        assert_eq!(
            before.get(Space::Plugin, b"a").flatten().map(|value| &**value),
            Some(&b"1"[..])
        );
        assert_eq!(before.iter(Space::Plugin).count(), 1);
    }

    #[test]
    fn a_scan_shows_both_and_ends_where_it_is_told() {
        let below = MemoryState::new();
        let base = [("a", Some("0")), ("c", Some("0")), ("d", Some("0")), ("f", Some("0"))];
        below.commit(&changes(&base), Meta::default()).expect("in memory");
        let below = below.snapshot();
        let mut layer = Layer::default();
        layer.write(&changes(&[("b", Some("1")), ("c", None), ("d", Some("1")), ("g", None)]));
        let shown = |lo: &str, hi: Option<&str>, reverse: bool, limit: usize| {
            let range = Range { lo: lo.as_bytes(), hi: hi.map(str::as_bytes), reverse };
            let mut shown = String::new();
            let mut visit = |key: &[u8], value: &[u8]| {
                shown += &String::from_utf8_lossy(&[key, value].concat());
                if shown.len() < 2 * limit {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            };
            let scan = |visit: &mut Visit<'_>| below.scan(Space::Plugin, range, visit);
            layer.scan_over(scan, Space::Plugin, range, &mut visit).expect("in memory");
            shown
        };
        assert_eq!(shown("", None, false, 9), "a0b1d1f0");
        assert_eq!(shown("", None, true, 9), "f0d1b1a0");
        assert_eq!(shown("", None, false, 2), "a0b1");
        assert_eq!(shown("", None, true, 1), "f0");
        assert_eq!(shown("b", Some("d"), false, 9), "b1");
        assert_eq!(shown("c", Some("e"), true, 9), "d1");
        assert_eq!(shown("g", None, false, 9), "");
    }
}
