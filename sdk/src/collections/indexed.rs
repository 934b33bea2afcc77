//! Values by key, and by what they hold.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::{Bound, Deref};

use super::{AnyIndex, Index, Lookup, Rows, UniqueIndex, Value, decode_value, prefix, prefix_len};
use crate::key::{AsKey, Form, Key, KeyRange, ends};
use crate::scan::Scan;
use crate::{Command, Query, Status};

/// Values by key, which indexes find by what they hold. What reads them by their keys is in
/// [`Rows`].
///
/// ```
/// use quorate_sdk::{Code, IndexedMap, MultiIndex, UniqueIndex, testing::Machine};
/// # use quorate_sdk::prost;
/// # #[derive(Clone, PartialEq, prost::Message)]
/// # struct User {
/// #     #[prost(string, tag = "1")] mail: String,
/// #     #[prost(uint32, tag = "2")] born: u32,
/// # }
/// # fn user(mail: &str, born: u32) -> User { User { mail: mail.to_owned(), born } }
///
/// const USERS: IndexedMap<u64, User> = IndexedMap::new("users", &[&BY_MAIL, &BY_YEAR]);
/// const BY_MAIL: UniqueIndex<User, String> =
///     UniqueIndex::new("users_by_mail", |u| u.mail.clone());
/// const BY_YEAR: MultiIndex<User, u32> = MultiIndex::new("users_by_year", |u| u.born);
///
/// # let mut machine = Machine::<()>::new();
/// machine.command(|cx| {
///     USERS.insert(cx, 1, &user("ada@example.org", 1815))?;
///     USERS.insert(cx, 2, &user("alan@example.org", 1912))?;
///     USERS.insert(cx, 3, &user("grace@example.org", 1906))?;
///
///     assert_eq!(USERS.key_by(cx, &BY_MAIL, "alan@example.org"), Some(2));
///     let youngest = USERS.range_by(cx, &BY_YEAR, ..).reverse().next();
///     assert_eq!(youngest, Some((2, user("alan@example.org", 1912))));
///     assert_eq!(USERS.keys_by(cx, &BY_YEAR, 1900..1910).count(), 1);
///
///     let taken = USERS.insert(cx, 4, &user("ada@example.org", 2000)).unwrap_err();
///     assert_eq!(taken.code(), Code::AlreadyExists);
///     assert!(!USERS.contains(cx, 4));
///     Ok(())
/// })
/// # .unwrap();
/// ```
///
/// An index that is added to a map later, or whose function changes, does not know the values that
/// are there already, and inserting one again changes nothing, since its keys are the same. Remove
/// each value and insert it, a page for each command where there are many; before that,
/// [`clear_index`](Self::clear_index) if the function has changed. In a test,
/// [`check`](Self::check) tells whether all is well.
pub struct IndexedMap<K, V: 'static> {
    rows: Rows<K, V>,
    indexes: &'static [&'static dyn AnyIndex<V>],
}

/// What a write changes in an index: the row that goes, and the one that comes.
struct Change<V: 'static> {
    index: &'static dyn AnyIndex<V>,
    goes: Option<Vec<u8>>,
    comes: Option<Vec<u8>>,
}

#[expect(clippy::needless_pass_by_value, reason = "`a..b` reads better than `&(a..b)`")]
impl<K: Key, V: Value> IndexedMap<K, V> {
    /// The map of that name, with its indexes, which have names like those of collections.
    pub const fn new(name: &'static str, indexes: &'static [&'static dyn AnyIndex<V>]) -> Self {
        Self { rows: Rows::new(name), indexes }
    }

    /// Sets the value of a key, and what the indexes have of it. When a unique index has another
    /// row with this value's key, it is refused with `ALREADY_EXISTS`, and nothing was written.
    ///
    /// Two host calls; and for each index that has this value under another key than the last one,
    /// one to remove the last one, one to add this one, and one to see that it is unique.
    pub fn insert(
        &self,
        cx: &mut Command<'_>,
        key: impl AsKey<K>,
        value: &V,
    ) -> Result<(), Status> {
        let stored = self.stored(&key);
        let primary = &stored[prefix_len(self.name)..];
        let before = self.value_of(cx, &stored);
        let changes = self.changes(primary, before.as_ref(), Some(value));
        for Change { index, comes, .. } in &changes {
            if index.is_unique() && comes.as_ref().is_some_and(|row| cx.contains(row)) {
                let message = format!("`{}` has another row with that key", index.name());
                return Err(Status::already_exists(message));
            }
        }
        cx.put(&stored, &value.encode_to_vec());
        apply(cx, primary, &changes);
        Ok(())
    }

    /// Removes a key and gives its value. Two host calls, and one for each index that has the
    /// value; one when there is none.
    pub fn remove(&self, cx: &mut Command<'_>, key: impl AsKey<K>) -> Option<V> {
        let stored = self.stored(&key);
        let value = self.value_of(cx, &stored)?;
        let primary = &stored[prefix_len(self.name)..];
        cx.delete(&stored);
        apply(cx, primary, &self.changes(primary, Some(&value), None));
        Some(value)
    }

    /// Removes all keys; tells how many there were. One host call, and one for each index.
    pub fn clear(&self, cx: &mut Command<'_>) -> u64 {
        for index in self.indexes {
            let (lo, hi) = all(index.name());
            cx.delete_range(&lo, &hi);
        }
        self.rows.remove_range(cx, ..)
    }

    /// Removes all that an index has, to fill it anew; tells how much it was. One host call.
    pub fn clear_index(&self, cx: &mut Command<'_>, index: &dyn AnyIndex<V>) -> u64 {
        self.assert_has(index.name());
        let (lo, hi) = all(index.name());
        cx.delete_range(&lo, &hi)
    }

    /// The key that a unique index has. One host call.
    pub fn key_by<I: Key>(
        &self,
        cx: &Query<'_>,
        index: &UniqueIndex<V, I>,
        by: impl AsKey<I>,
    ) -> Option<K> {
        self.assert_has(index.name());
        let mut row = prefix(index.name());
        by.write(&mut row);
        let primary = cx.get(&row)?;
        Some(index.primary(&primary))
    }

    /// The key and the value that a unique index has. Two host calls; one when it has none.
    pub fn get_by<I: Key>(
        &self,
        cx: &Query<'_>,
        index: &UniqueIndex<V, I>,
        by: impl AsKey<I>,
    ) -> Option<(K, V)> {
        let key = self.key_by(cx, index, by)?;
        let value = self.rows.indexed(cx, index.name(), &key);
        Some((key, value))
    }

    /// The keys and values that an index has under one of its keys. One host call for each page of
    /// the index, and one for each value.
    pub fn all_by<'a, X: Index<V>>(
        &self,
        cx: &'a Query<'_>,
        index: &X,
        by: impl AsKey<X::Key>,
    ) -> Lookup<'a, X::Key, K, V> {
        self.range_by(cx, index, (Bound::Included(&by), Bound::Included(&by)))
    }

    /// The keys and values that an index has in a range of its keys, in their order. One host call
    /// for each page of the index, and one for each value.
    pub fn range_by<'a, X: Index<V>>(
        &self,
        cx: &'a Query<'_>,
        index: &X,
        range: impl KeyRange<X::Key>,
    ) -> Lookup<'a, X::Key, K, V> {
        let keys = self.keys_by(cx, index, range);
        Lookup::new(cx, index.name(), keys, Rows::new(self.name))
    }

    /// What an index has in a range of its keys, in their order: these keys, and those of the map.
    /// One host call for each page of the index.
    pub fn keys_by<'a, X: Index<V>>(
        &self,
        cx: &'a Query<'_>,
        index: &X,
        range: impl KeyRange<X::Key>,
    ) -> Scan<'a, (X::Key, K)> {
        self.assert_has(index.name());
        let (lo, hi) = ends(&range, &prefix(index.name()), X::FORM);
        Scan::new(cx.store(), index.name(), lo, hi, X::decode())
    }

    /// Whether each index has what the values say, no more and no less; for tests. If not,
    /// `DATA_LOSS` names the index and the first of its keys that is wrong. Reads all there is.
    pub fn check(&self, cx: &Query<'_>) -> Result<(), Status> {
        let (lo, hi) = all(self.name);
        let rows: Vec<(Vec<u8>, Vec<u8>)> = cx.scan(&lo, &hi).collect();
        for index in self.indexes {
            let expected = rows.iter().filter_map(|(stored, value)| {
                let primary = &stored[prefix_len(self.name)..];
                let row = index.row(&decode_value(self.name, value), primary)?;
                Some((row, content(*index, primary).to_vec()))
            });
            let expected: BTreeSet<_> = expected.collect();
            let (lo, hi) = all(index.name());
            let found: BTreeSet<_> = cx.scan(&lo, &hi).collect();
            if let Some((row, _)) = expected.symmetric_difference(&found).next() {
                let (index, map) = (index.name(), self.name);
                let key = row[prefix_len(index)..].escape_ascii();
                let message = format!("`{index}` does not agree with `{map}` about {key}");
                return Err(Status::data_loss(message));
            }
        }
        Ok(())
    }

    fn changes(&self, primary: &[u8], before: Option<&V>, after: Option<&V>) -> Vec<Change<V>> {
        let changes = self.indexes.iter().map(|&index| Change {
            index,
            goes: before.and_then(|value| index.row(value, primary)),
            comes: after.and_then(|value| index.row(value, primary)),
        });
        changes.filter(|change| change.goes != change.comes).collect()
    }

    /// Else a lookup in an index that nobody keeps would find nothing, and nobody would know why.
    fn assert_has(&self, index: &str) {
        let has = self.indexes.iter().any(|own| own.name() == index);
        assert!(has, "`{index}` is not among the indexes of `{}`", self.name);
    }
}

fn apply<V>(cx: &mut Command<'_>, primary: &[u8], changes: &[Change<V>]) {
    for Change { index, goes, comes } in changes {
        if let Some(row) = goes {
            cx.delete(row);
        }
        if let Some(row) = comes {
            cx.put(row, content(*index, primary));
        }
    }
}

/// What a row of an index holds.
fn content<'a, V>(index: &dyn AnyIndex<V>, primary: &'a [u8]) -> &'a [u8] {
    if index.is_unique() { primary } else { &[] }
}

/// The ends of a whole collection.
fn all(name: &str) -> (Vec<u8>, Vec<u8>) {
    ends::<()>(&.., &prefix(name), Form::Whole)
}

impl<K, V> Deref for IndexedMap<K, V> {
    type Target = Rows<K, V>;

    fn deref(&self) -> &Rows<K, V> {
        &self.rows
    }
}

impl<K, V> fmt::Debug for IndexedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let indexes: Vec<_> = self.indexes.iter().map(|index| index.name()).collect();
        write!(f, "IndexedMap({:?}, {indexes:?})", self.rows.name)
    }
}
