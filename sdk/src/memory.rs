//! The state of a native test: what the host would keep, in a map.

use std::cell::RefCell;
use std::collections::{BTreeMap, btree_map};
use std::ops::{Bound, Range};

use quorate_abi::{page, scan};

use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use crate::store::Store;

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

/// A key, and what was there before; `None`: nothing.
type Overwritten = (Vec<u8>, Option<Vec<u8>>);

/// Ordered pairs that can be taken back to where the command began.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pairs: RefCell<Pairs>,
    /// What the running command has overwritten, oldest first.
    undo: RefCell<Vec<Overwritten>>,
}

impl Memory {
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
        self.pairs.borrow().get(key).cloned()
    }

    fn put(&self, key: &[u8], value: &[u8]) {
        assert!(key.len() <= KEY_BYTES_MAX, "a key of {} bytes is over the limit", key.len());
        assert!(value.len() <= VALUE_BYTES_MAX, "a value of {} bytes is too long", value.len());
        let before = self.pairs.borrow_mut().insert(key.to_vec(), value.to_vec());
        self.undo.borrow_mut().push((key.to_vec(), before));
    }

    fn delete(&self, key: &[u8]) -> bool {
        let before = self.pairs.borrow_mut().remove(key);
        let found = before.is_some();
        if found {
            self.undo.borrow_mut().push((key.to_vec(), before));
        }
        found
    }

    fn delete_range(&self, keys: Range<&[u8]>) -> u64 {
        let pairs = self.pairs.borrow();
        let doomed: Vec<_> = within(&pairs, keys).map(|(key, _)| key.clone()).collect();
        drop(pairs);
        doomed.iter().map(|key| u64::from(self.delete(key))).sum()
    }

    fn scan(&self, keys: Range<&[u8]>, flags: u32, limit: u32, page: &mut Vec<u8>) {
        let pairs = self.pairs.borrow();
        let range = within(&pairs, keys);
        if flags & scan::REVERSE == 0 {
            fill(page, range, flags, limit);
        } else {
            fill(page, range.rev(), flags, limit);
        }
    }
}

/// The pairs of a range, whose empty end is no bound.
fn within<'a>(pairs: &'a Pairs, keys: Range<&[u8]>) -> btree_map::Range<'a, Vec<u8>, Vec<u8>> {
    let end = if keys.end.is_empty() { Bound::Unbounded } else { Bound::Excluded(keys.end) };
    pairs.range::<[u8], _>((Bound::Included(keys.start), end))
}

/// Writes a page that is no longer than the old one, except for the sake of a first pair.
fn fill<'a>(
    page: &mut Vec<u8>,
    pairs: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>,
    flags: u32,
    limit: u32,
) {
    let room = page.len();
    let (mut count, mut more) = (0_u32, 0_u32);
    page.clear();
    page.resize(page::HEADER_BYTES, 0);
    for (key, value) in pairs {
        let value = if flags & scan::KEYS_ONLY == 0 { value.as_slice() } else { &[] };
        let full = page.len() + page::pair_bytes(key.len(), value.len()) > room && count > 0;
        if full || (limit > 0 && count == limit) {
            more = 1;
            break;
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
}
