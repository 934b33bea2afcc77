//! Pairs in a map, for tests that have nobody else to keep them.

use std::cell::RefCell;
use std::collections::{BTreeMap, btree_map};
use std::ops::{Bound, Range};

use super::{Pairs, Visit};
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// A key, and what was there before; `None`: nothing.
type Overwritten = (Vec<u8>, Option<Vec<u8>>);

/// Ordered pairs that can be taken back to where the command began.
#[derive(Debug, Default)]
pub(crate) struct Own {
    pairs: RefCell<Map>,
    /// What the running command has overwritten, oldest first.
    undo: RefCell<Vec<Overwritten>>,
}

impl Own {
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

    fn remove(&self, key: &[u8]) -> bool {
        let before = self.pairs.borrow_mut().remove(key);
        let found = before.is_some();
        if found {
            self.undo.borrow_mut().push((key.to_vec(), before));
        }
        found
    }
}

impl Pairs for Own {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        check_key(key);
        self.pairs.borrow().get(key).cloned()
    }

    fn put(&self, key: &[u8], value: &[u8]) {
        check_key(key);
        assert!(value.len() <= VALUE_BYTES_MAX, "a value of {} bytes is too long", value.len());
        let before = self.pairs.borrow_mut().insert(key.to_vec(), value.to_vec());
        self.undo.borrow_mut().push((key.to_vec(), before));
    }

    fn delete(&self, key: &[u8]) -> bool {
        check_key(key);
        self.remove(key)
    }

    fn delete_range(&self, keys: Range<&[u8]>) -> u64 {
        let pairs = self.pairs.borrow();
        let doomed: Vec<_> = within(&pairs, keys).map(|(key, _)| key.clone()).collect();
        drop(pairs);
        doomed.iter().map(|key| u64::from(self.remove(key))).sum()
    }

    fn scan(&self, keys: Range<&[u8]>, reverse: bool, visit: &mut Visit<'_>) {
        let pairs = self.pairs.borrow();
        let mut range = within(&pairs, keys);
        while let Some((key, value)) = if reverse { range.next_back() } else { range.next() }
            && visit(key, value).is_continue()
        {}
    }
}

fn check_key(key: &[u8]) {
    assert!(key.len() <= KEY_BYTES_MAX, "a key of {} bytes is over the limit", key.len());
}

/// The pairs of a range, whose empty end is no bound.
fn within<'a>(pairs: &'a Map, keys: Range<&[u8]>) -> btree_map::Range<'a, Vec<u8>, Vec<u8>> {
    let end = if keys.end.is_empty() { Bound::Unbounded } else { Bound::Excluded(keys.end) };
    pairs.range::<[u8], _>((Bound::Included(keys.start), end))
}
