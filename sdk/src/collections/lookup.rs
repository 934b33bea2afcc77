//! Iterating over what an index has.

use std::fmt;

use super::{Rows, Value};
use crate::key::Key;
use crate::scan::{Page, Scan};
use crate::{Query, Status};

/// An iterator over the keys and values that an index has, in the order of the index or the
/// reverse. Like a [`Scan`], with one host call more for each value.
pub struct Lookup<'a, I, K, V> {
    cx: &'a Query<'a>,
    index: &'static str,
    keys: Scan<'a, (I, K)>,
    rows: Rows<K, V>,
}

impl<'a, I, K: Key, V: Value> Lookup<'a, I, K, V> {
    pub(super) fn new(
        cx: &'a Query<'a>,
        index: &'static str,
        keys: Scan<'a, (I, K)>,
        rows: Rows<K, V>,
    ) -> Self {
        Self { cx, index, keys, rows }
    }

    /// From the last key of the index to the first. To be called before the iteration starts.
    #[must_use]
    pub fn reverse(self) -> Self {
        Self { keys: self.keys.reverse(), ..self }
    }

    /// At most that many. To be called before the iteration starts.
    #[must_use]
    pub fn limit(self, pairs: u64) -> Self {
        Self { keys: self.keys.limit(pairs), ..self }
    }

    /// One page; see [`Scan::page`].
    pub fn page(self, limit: u32, token: &str) -> Result<Page<(K, V)>, Status> {
        let Self { cx, index, keys, rows } = self;
        let page = keys.page(limit, token)?;
        Ok(page.map(|(_, key)| {
            let value = rows.indexed(cx, index, &key);
            (key, value)
        }))
    }
}

impl<I, K: Key, V: Value> Iterator for Lookup<'_, I, K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        let (_, key) = self.keys.next()?;
        let value = self.rows.indexed(self.cx, self.index, &key);
        Some((key, value))
    }

    /// Counts without fetching values.
    fn count(self) -> usize {
        self.keys.count()
    }
}

impl<I, K, V> fmt::Debug for Lookup<'_, I, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("index", &self.index).finish_non_exhaustive()
    }
}
