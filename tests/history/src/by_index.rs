//! Decides whether one order of all calls explains what each of them saw: the order of the log,
//! which answers carry with them. Strict serializability then needs no search.
//!
//! The value that was read tells which call wrote it. So a call is found out whose own answer was
//! lost, and whether it was executed once at most. Such a call that nobody saw the value of has had
//! no effect that anybody saw, and is left out.
//!
//! What this deliberately does not do: ask whether the comparison of a Cas held whose answer was
//! lost. [`by_search`](crate::by_search) does.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use crate::{Answer, Call, Found, Op, Outcome, Wrong, answered, assert_recorded_well, wrong};

/// What a history that is right consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Gets that were answered.
    pub gets: usize,
    /// Puts that were answered.
    pub puts: usize,
    /// Answered comparisons that held.
    pub cas_done: usize,
    /// Answered comparisons that did not hold.
    pub cas_not_done: usize,
    /// Calls that were refused.
    pub refused: usize,
    /// Calls whose outcome is unknown.
    pub unknown: usize,
    /// Of the unknown ones, those that were executed, as others saw.
    pub unknown_done: usize,
    /// Terms that answers are of.
    pub terms: usize,
}

/// Checks a history, in which the calls may stand in any order.
///
/// # Panics
/// If two calls would write the same value, or one ended before it began.
pub fn check(history: &[Op]) -> Result<Summary, Wrong> {
    assert_recorded_well(history);
    let writes = Writes::of(history)?;
    for (op, answer) in answered(history) {
        writes.explain(op, answer)?;
    }
    log_order(history)?;
    real_time(history, &writes)?;
    Ok(summary(history, &writes))
}

/// The writes that were executed, as far as anybody saw.
struct Writes<'h> {
    by_revision: BTreeMap<u64, &'h Op>,
    /// What each key held, since when.
    by_key: BTreeMap<u32, BTreeMap<u64, u64>>,
}

impl<'h> Writes<'h> {
    fn of(history: &'h [Op]) -> Result<Self, Wrong> {
        let mut writes = Self { by_revision: BTreeMap::new(), by_key: BTreeMap::new() };
        let by_value: BTreeMap<u64, &Op> =
            history.iter().filter_map(|op| Some((op.value()?, op))).collect();
        for (op, answer) in answered(history) {
            if answer.wrote {
                writes.insert(answer.revision, op)?;
            }
        }
        for (op, answer) in answered(history) {
            let Some(found) = &answer.found else { continue };
            let Some(other) = by_value.get(&found.value) else {
                return wrong("it read what nobody wrote", op, ());
            };
            match &other.outcome {
                _ if other.key != op.key => return wrong("it read another key", op, other),
                _ if other.begun > op.ended => return wrong("it read the future", op, other),
                Outcome::Refused => return wrong("a refused call was executed", op, other),
                Outcome::Answered(Answer { wrote: true, revision, .. })
                    if *revision == found.mod_revision => {}
                Outcome::Answered(_) => return wrong("it read what was not written", op, other),
                Outcome::Unknown => writes.insert(found.mod_revision, other)?,
            }
        }
        // Seen by their values: the same one at two revisions was executed twice.
        let mut seen = BTreeSet::new();
        for op in writes.by_revision.values() {
            if !seen.insert(op.value()) {
                return wrong("it was executed twice", op, ());
            }
        }
        Ok(writes)
    }

    fn insert(&mut self, revision: u64, op: &'h Op) -> Result<(), Wrong> {
        let Some(value) = op.value() else { return wrong("a Get wrote", op, ()) };
        if revision == 0 {
            return wrong("a value has revision 0", op, ());
        }
        match self.by_revision.entry(revision) {
            Entry::Occupied(other) if !std::ptr::eq(*other.get(), op) => {
                return wrong("two calls have one revision", op, other.get());
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(entry) => drop(entry.insert(op)),
        }
        self.by_key.entry(op.key).or_default().insert(revision, value);
        Ok(())
    }

    /// Whether the state at its place gives the answer that was seen.
    fn explain(&self, op: &Op, answer: &Answer) -> Result<(), Wrong> {
        let seen = if answer.wrote { answer.revision - 1 } else { answer.revision };
        let mut history = self.by_key.get(&op.key).into_iter().flat_map(|key| key.range(..=seen));
        let expected = history
            .next_back()
            .map(|(mod_revision, value)| Found { value: *value, mod_revision: *mod_revision });
        if answer.found != expected {
            return wrong("it did not see the latest value", op, expected);
        }
        let mod_revision = expected.as_ref().map_or(0, |found| found.mod_revision);
        let writes = match op.call {
            Call::Get => false,
            Call::Put(_) => true,
            Call::Cas(wanted, _) => wanted == mod_revision,
        };
        if answer.wrote != writes {
            return wrong("it decided otherwise than the state was", op, expected);
        }
        Ok(())
    }
}

/// In the order of the log, the store's revision grows with each write and never falls. Commands of
/// one entry are ordered by it; a read at an index has seen all of that entry.
fn log_order(history: &[Op]) -> Result<(), Wrong> {
    let mut in_order: Vec<_> = answered(history).collect();
    in_order.sort_by_key(|(op, answer)| {
        let is_get = matches!(op.call, Call::Get);
        (answer.index, is_get, answer.revision, !answer.wrote)
    });
    for pair in in_order.windows(2) {
        let [(before, first), (op, answer)] = pair else { unreachable!("two") };
        let grows = answer.revision > first.revision;
        if !(grows || answer.revision == first.revision && !answer.wrote) {
            return wrong("its revision contradicts its index", op, before);
        }
        if answer.term < first.term {
            return wrong("its term contradicts its index", op, before);
        }
    }
    Ok(())
}

/// A call that began after another had ended comes after it in the log.
fn real_time(history: &[Op], writes: &Writes<'_>) -> Result<(), Wrong> {
    let mut by_end: Vec<_> = answered(history).collect();
    by_end.sort_by_key(|(op, _)| op.ended);
    let mut ended = by_end.into_iter().peekable();

    let unknown = writes.by_revision.iter();
    let unknown = unknown.filter(|(_, op)| matches!(op.outcome, Outcome::Unknown));
    let mut by_begin: Vec<_> = answered(history)
        .map(|(op, answer)| (op, answer.revision, answer.wrote, Some(answer.index)))
        .chain(unknown.map(|(revision, op)| (*op, *revision, true, None)))
        .collect();
    by_begin.sort_by_key(|(op, ..)| op.begun);

    // The highest of all that had ended.
    let mut latest: Option<&Op> = None;
    let (mut revision_before, mut index_before) = (0, 0);
    for (op, revision, wrote, index) in by_begin {
        while let Some((before, answer)) = ended.next_if(|(before, _)| before.ended < op.begun) {
            if answer.revision >= revision_before && answer.index >= index_before {
                latest = Some(before);
            }
            revision_before = revision_before.max(answer.revision);
            index_before = index_before.max(answer.index);
        }
        if revision < revision_before || wrote && revision == revision_before {
            return wrong("it began later and comes earlier", op, latest);
        }
        let is_get = matches!(op.call, Call::Get);
        if index.is_some_and(|index| index < index_before || !is_get && index == index_before) {
            return wrong("it began later and has an earlier index", op, latest);
        }
    }
    Ok(())
}

fn summary(history: &[Op], writes: &Writes<'_>) -> Summary {
    let count = |what: fn(&Op) -> bool| history.iter().filter(|op| what(op)).count();
    let of = |what: fn(&Call, bool) -> bool| {
        answered(history).filter(|(op, answer)| what(&op.call, answer.wrote)).count()
    };
    let is_unknown = |op: &Op| matches!(op.outcome, Outcome::Unknown);
    Summary {
        gets: of(|call, _| matches!(call, Call::Get)),
        puts: of(|call, _| matches!(call, Call::Put(_))),
        cas_done: of(|call, wrote| matches!(call, Call::Cas(..)) && wrote),
        cas_not_done: of(|call, wrote| matches!(call, Call::Cas(..)) && !wrote),
        refused: count(|op| matches!(op.outcome, Outcome::Refused)),
        unknown: count(is_unknown),
        unknown_done: writes.by_revision.values().filter(|op| is_unknown(op)).count(),
        terms: answered(history).map(|(_, answer)| answer.term).collect::<BTreeSet<_>>().len(),
    }
}
