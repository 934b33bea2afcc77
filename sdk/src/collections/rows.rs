//! Pairs by key, as far as they are read.

use std::fmt;
use std::marker::PhantomData;

use super::{Value, assert_is_name, decode_key, decode_value, prefix};
use crate::key::{AsKey, Form, Key, KeyRange, ends};
use crate::scan::{Decode, Scan};
use crate::{Command, Query};

/// What a [`Map`](crate::Map) and an [`IndexedMap`](crate::IndexedMap) have in common: their
/// readers. Both are `Rows` with writers of their own, as a [`Command`] is a [`Query`].
///
/// Keys are taken by value or by reference, owned or borrowed: see [`AsKey`]. Ranges are Rust's
/// own, or a [`Prefix`](crate::Prefix): see [`KeyRange`].
pub struct Rows<K, V> {
    pub(super) name: &'static str,
    types: PhantomData<fn(K) -> V>,
}

#[expect(clippy::needless_pass_by_value, reason = "`a..b` reads better than `&(a..b)`")]
impl<K: Key, V: Value> Rows<K, V> {
    pub(super) const fn new(name: &'static str) -> Self {
        assert_is_name(name);
        Self { name, types: PhantomData }
    }

    /// The value of a key. One host call.
    pub fn get(&self, cx: &Query<'_>, key: impl AsKey<K>) -> Option<V> {
        self.value_of(cx, &self.stored(&key))
    }

    /// Whether there is such a key. One host call, however long the value is.
    pub fn contains(&self, cx: &Query<'_>, key: impl AsKey<K>) -> bool {
        cx.contains(&self.stored(&key))
    }

    /// All pairs. One host call for each page.
    pub fn iter<'a>(&self, cx: &'a Query<'_>) -> Scan<'a, (K, V)> {
        self.range(cx, ..)
    }

    /// The pairs with keys of a range. One host call for each page.
    pub fn range<'a>(&self, cx: &'a Query<'_>, range: impl KeyRange<K>) -> Scan<'a, (K, V)> {
        let (lo, hi) = self.ends(&range);
        let decode: Decode<_> =
            |name, key, value| (decode_key(name, key), decode_value(name, value));
        Scan::new(cx.store(), self.name, lo, hi, decode)
    }

    /// All keys; no values are fetched. One host call for each page.
    pub fn keys<'a>(&self, cx: &'a Query<'_>) -> Scan<'a, K> {
        self.keys_in(cx, ..)
    }

    /// The keys of a range; no values are fetched. One host call for each page.
    pub fn keys_in<'a>(&self, cx: &'a Query<'_>, range: impl KeyRange<K>) -> Scan<'a, K> {
        let (lo, hi) = self.ends(&range);
        Scan::keys(cx.store(), self.name, lo, hi, |name, key, _| decode_key(name, key))
    }

    /// The key as it is in the store.
    pub(super) fn stored(&self, key: &dyn AsKey<K>) -> Vec<u8> {
        let mut stored = prefix(self.name);
        key.write(&mut stored);
        stored
    }

    pub(super) fn value_of(&self, cx: &Query<'_>, stored: &[u8]) -> Option<V> {
        cx.read(stored, |value| decode_value(self.name, value))
    }

    /// The value of a key that an index has.
    pub(super) fn indexed(&self, cx: &Query<'_>, index: &str, key: &K) -> V {
        let name = self.name;
        self.get(cx, key).unwrap_or_else(|| panic!("`{index}` has a key that `{name}` has not"))
    }

    pub(super) fn remove_range(&self, cx: &mut Command<'_>, range: impl KeyRange<K>) -> u64 {
        let (lo, hi) = self.ends(&range);
        cx.delete_range(&lo, &hi)
    }

    fn ends(&self, range: &impl KeyRange<K>) -> (Vec<u8>, Vec<u8>) {
        ends(range, &prefix(self.name), Form::Whole)
    }
}

impl<K, V> fmt::Debug for Rows<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rows({:?})", self.name)
    }
}
