//! Values by key.

use std::fmt;
use std::ops::Deref;

use super::{Rows, Value};
use crate::Command;
use crate::key::{AsKey, Key, KeyRange};

/// Values by key, in the order of the keys. What reads them is in [`Rows`].
///
/// ```
/// use quorate_sdk::{Map, Prefix, testing::Machine};
///
/// const STOCK: Map<(String, u32), u64> = Map::new("stock");
///
/// # let mut machine = Machine::<()>::new();
/// machine.command(|cx| {
///     STOCK.insert(cx, ("nuts", 8), &500);
///     STOCK.insert(cx, ("bolts", 8), &90);
///     STOCK.insert(cx, ("bolts", 10), &120);
///     assert_eq!(STOCK.get(cx, ("nuts", 8)), Some(500));
///
///     let bolts = STOCK.range(cx, Prefix(("bolts",)));
///     assert_eq!(bolts.map(|(_, count)| count).sum::<u64>(), 210);
///     let large = STOCK.range(cx, ("bolts", 9)..=("bolts", u32::MAX));
///     assert_eq!(large.count(), 1);
///
///     let last = STOCK.iter(cx).reverse().next();
///     assert_eq!(last, Some((("nuts".to_owned(), 8), 500)));
///     Ok(())
/// })
/// # .unwrap();
/// ```
pub struct Map<K, V> {
    rows: Rows<K, V>,
}

impl<K: Key, V: Value> Map<K, V> {
    /// The map of that name.
    pub const fn new(name: &'static str) -> Self {
        Self { rows: Rows::new(name) }
    }

    /// Sets the value of a key. One host call.
    pub fn insert(&self, cx: &mut Command<'_>, key: impl AsKey<K>, value: &V) {
        cx.put(&self.stored(&key), &value.encode_to_vec());
    }

    /// Removes a key; tells whether it was there. One host call.
    pub fn remove(&self, cx: &mut Command<'_>, key: impl AsKey<K>) -> bool {
        cx.delete(&self.stored(&key))
    }

    /// Removes the keys of a range; tells how many there were. One host call.
    pub fn remove_range(&self, cx: &mut Command<'_>, range: impl KeyRange<K>) -> u64 {
        self.rows.remove_range(cx, range)
    }

    /// Removes all keys; tells how many there were. One host call.
    pub fn clear(&self, cx: &mut Command<'_>) -> u64 {
        self.remove_range(cx, ..)
    }
}

impl<K, V> Deref for Map<K, V> {
    type Target = Rows<K, V>;

    fn deref(&self) -> &Rows<K, V> {
        &self.rows
    }
}

impl<K, V> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map({:?})", self.rows.name)
    }
}
