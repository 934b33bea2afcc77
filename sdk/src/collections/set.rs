//! Keys without values.

use std::fmt;

use super::Rows;
use crate::key::{AsKey, Key, KeyRange};
use crate::scan::Scan;
use crate::{Command, Query};

/// Keys, in their order.
///
/// ```
/// use quorate_sdk::{Prefix, Set, testing::Machine};
///
/// const MEMBERS: Set<(String, String)> = Set::new("members");
///
/// # let mut machine = Machine::<()>::new();
/// machine.command(|cx| {
///     MEMBERS.insert(cx, ("chess", "ada"));
///     MEMBERS.insert(cx, ("chess", "bob"));
///     MEMBERS.insert(cx, ("rowing", "ada"));
///     assert!(MEMBERS.contains(cx, ("rowing", "ada")));
///
///     let players = MEMBERS.range(cx, Prefix(("chess",)));
///     assert_eq!(players.map(|(_, name)| name).collect::<Vec<_>>(), ["ada", "bob"]);
///     Ok(())
/// })
/// # .unwrap();
/// ```
pub struct Set<K> {
    rows: Rows<K, ()>,
}

impl<K: Key> Set<K> {
    /// The set of that name.
    pub const fn new(name: &'static str) -> Self {
        Self { rows: Rows::new(name) }
    }

    /// Whether the key is in it. One host call.
    pub fn contains(&self, cx: &Query<'_>, key: impl AsKey<K>) -> bool {
        self.rows.contains(cx, key)
    }

    /// Adds a key, if it is not there yet. One host call; to know whether it was there, ask
    /// [`contains`](Self::contains) first.
    pub fn insert(&self, cx: &mut Command<'_>, key: impl AsKey<K>) {
        cx.put(&self.rows.stored(&key), &[]);
    }

    /// Removes a key; tells whether it was there. One host call.
    pub fn remove(&self, cx: &mut Command<'_>, key: impl AsKey<K>) -> bool {
        cx.delete(&self.rows.stored(&key))
    }

    /// Removes the keys of a range; tells how many there were. One host call.
    pub fn remove_range(&self, cx: &mut Command<'_>, range: impl KeyRange<K>) -> u64 {
        self.rows.remove_range(cx, range)
    }

    /// Removes all keys; tells how many there were. One host call.
    pub fn clear(&self, cx: &mut Command<'_>) -> u64 {
        self.remove_range(cx, ..)
    }

    /// All keys. One host call for each page.
    pub fn iter<'a>(&self, cx: &'a Query<'_>) -> Scan<'a, K> {
        self.range(cx, ..)
    }

    /// The keys of a range. One host call for each page.
    pub fn range<'a>(&self, cx: &'a Query<'_>, range: impl KeyRange<K>) -> Scan<'a, K> {
        self.rows.keys_in(cx, range)
    }
}

impl<K> fmt::Debug for Set<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Set({:?})", self.rows.name)
    }
}
