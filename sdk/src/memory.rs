//! The state of a native test: what the host would keep, in a map. It counts what the host would
//! have been asked for.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, btree_map};
use std::ops::{Bound, Range};

use quorate_abi::{page, scan};

use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::store::{Store, VALUE_BYTES};
use crate::testing::Costs;

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

/// A key, and what was there before; `None`: nothing.
type Overwritten = (Vec<u8>, Option<Vec<u8>>);

/// Ordered pairs that can be taken back to where the command began.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pairs: RefCell<Pairs>,
    /// What the running command has overwritten, oldest first.
    undo: RefCell<Vec<Overwritten>>,
    /// What the running call has cost so far, or what the last one has.
    costs: Cell<Costs>,
}

impl Memory {
    /// A call begins: it has cost nothing yet.
    pub(crate) fn begin(&self) {
        self.costs.take();
    }

    /// What was asked for since the call began.
    pub(crate) fn costs(&self) -> Costs {
        self.costs.get()
    }

    /// Counts one crossing.
    fn count(&self, read: usize, written: usize) {
        let Costs { host_calls, read_bytes, written_bytes } = self.costs.get();
        self.costs.set(Costs {
            host_calls: host_calls + 1,
            read_bytes: read_bytes + read as u64,
            written_bytes: written_bytes + written as u64,
        });
    }

    fn remove(&self, key: &[u8]) -> bool {
        let before = self.pairs.borrow_mut().remove(key);
        let found = before.is_some();
        if found {
            self.undo.borrow_mut().push((key.to_vec(), before));
        }
        found
    }

    /// Keeps what was written.
    pub(crate) fn commit(&mut self) {
        self.undo.get_mut().clear();
    }

    /// Undoes what was written since the last commit.
    pub(crate) fn roll_back(&mut self) {
        let pairs = self.pairs.get_mut();
        while let Some((key, before)) = self.undo.get_mut().pop() {
            match before {
                Some(value) => pairs.insert(key, value),
                None => pairs.remove(&key),
            };
        }
    }
}

impl Store for Memory {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        check_key(key);
        let value = self.pairs.borrow().get(key).cloned();
        let bytes = value.as_ref().map_or(0, Vec::len);
        self.count(key.len() + bytes, 0);
        if bytes > VALUE_BYTES {
            self.count(key.len() + bytes, 0);
        }
        value
    }

    fn contains(&self, key: &[u8]) -> bool {
        check_key(key);
        let bytes = self.pairs.borrow().get(key).map(Vec::len);
        // The host comes by the value, although the guest has no room for it.
        self.count(key.len() + bytes.unwrap_or(0), 0);
        bytes.is_some()
    }

    fn put(&self, key: &[u8], value: &[u8]) {
        check_key(key);
        assert!(value.len() <= VALUE_BYTES_MAX, "a value of {} bytes is too long", value.len());
        self.count(0, key.len() + value.len());
        let before = self.pairs.borrow_mut().insert(key.to_vec(), value.to_vec());
        self.undo.borrow_mut().push((key.to_vec(), before));
    }

    fn delete(&self, key: &[u8]) -> bool {
        check_key(key);
        self.count(0, key.len());
        self.remove(key)
    }

    fn delete_range(&self, keys: Range<&[u8]>) -> u64 {
        self.count(0, keys.start.len() + keys.end.len());
        let pairs = self.pairs.borrow();
        let doomed: Vec<_> = within(&pairs, keys).map(|(key, _)| key.clone()).collect();
        drop(pairs);
        doomed.iter().map(|key| u64::from(self.remove(key))).sum()
    }

    fn scan(&self, keys: Range<&[u8]>, flags: u32, limit: u32, page: &mut Vec<u8>) {
        let bounds = keys.start.len() + keys.end.len();
        let pairs = self.pairs.borrow();
        let range = within(&pairs, keys);
        let seen = if flags & scan::REVERSE == 0 {
            fill(page, range, flags, limit)
        } else {
            fill(page, range.rev(), flags, limit)
        };
        if let Some(first) = seen.too_long {
            self.count(bounds + first, 0);
        }
        self.count(bounds + seen.bytes, 0);
    }
}

fn check_key(key: &[u8]) {
    assert!(key.len() <= KEY_BYTES_MAX, "a key of {} bytes is over the limit", key.len());
}

/// The pairs of a range, whose empty end is no bound.
fn within<'a>(pairs: &'a Pairs, keys: Range<&[u8]>) -> btree_map::Range<'a, Vec<u8>, Vec<u8>> {
    let end = if keys.end.is_empty() { Bound::Unbounded } else { Bound::Excluded(keys.end) };
    pairs.range::<[u8], _>((Bound::Included(keys.start), end))
}

/// What was looked at for a page.
#[derive(Default)]
struct Seen {
    /// Bytes of all pairs, that included which had no place any more.
    bytes: usize,
    /// Bytes of the first pair, when it alone did not fit and took a second crossing.
    too_long: Option<usize>,
}

/// Writes a page that is no longer than the old one, except for the sake of a first pair.
fn fill<'a>(
    page: &mut Vec<u8>,
    pairs: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>,
    flags: u32,
    limit: u32,
) -> Seen {
    let room = page.len();
    let (mut count, mut more) = (0_u32, 0_u32);
    let mut seen = Seen::default();
    page.clear();
    page.resize(page::HEADER_BYTES, 0);
    for (key, value) in pairs {
        seen.bytes += key.len() + value.len();
        let value = if flags & scan::KEYS_ONLY == 0 { value.as_slice() } else { &[] };
        let fits = page.len() + page::pair_bytes(key.len(), value.len()) <= room;
        if count > 0 && (!fits || count == limit) {
            more = 1;
            break;
        }
        if !fits {
            seen.too_long = Some(seen.bytes);
        }
        for len in [key.len(), value.len()] {
            page.extend(u32::try_from(len).expect("limits are far below").to_le_bytes());
        }
        page.extend_from_slice(key);
        page.extend_from_slice(value);
        count += 1;
    }
    page[0..4].copy_from_slice(&count.to_le_bytes());
    page[4..8].copy_from_slice(&more.to_le_bytes());
    seen
}
