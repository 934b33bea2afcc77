//! What an index makes of a value.

use std::fmt;

use super::{assert_is_name, decode_key, prefix};
use crate::key::{Form, Key};
use crate::scan::Decode;

/// An index whose keys belong to one row each.
///
/// ```
/// use quorate_sdk::UniqueIndex;
/// # use quorate_sdk::prost;
/// # #[derive(Clone, PartialEq, prost::Message)]
/// # struct User { #[prost(string, tag = "1")] mail: String }
///
/// const BY_MAIL: UniqueIndex<User, String> =
///     UniqueIndex::new("users_by_mail", |u| u.mail.clone());
/// const BY_MAIL_IF_ANY: UniqueIndex<User, String> =
///     UniqueIndex::partial("users_by_mail", |u| Some(u.mail.clone()).filter(|m| !m.is_empty()));
/// ```
pub struct UniqueIndex<V, I> {
    name: &'static str,
    of: Of<V, I>,
}

/// An index whose keys may belong to many rows. Among those of one key, rows are in the order of
/// their own keys.
///
/// ```
/// use quorate_sdk::MultiIndex;
/// # use quorate_sdk::prost;
/// # #[derive(Clone, PartialEq, prost::Message)]
/// # struct Job { #[prost(uint64, tag = "1")] due_ms: u64, #[prost(bool, tag = "2")] done: bool }
///
/// const BY_TIME: MultiIndex<Job, u64> = MultiIndex::new("jobs_by_time", |job| job.due_ms);
/// const OPEN: MultiIndex<Job, u64> =
///     MultiIndex::partial("open_jobs_by_time", |job| (!job.done).then_some(job.due_ms));
/// ```
pub struct MultiIndex<V, I> {
    name: &'static str,
    of: Of<V, I>,
}

/// From a value to its key in the index.
enum Of<V, I> {
    All(fn(&V) -> I),
    Some(fn(&V) -> Option<I>),
}

impl<V, I> Of<V, I> {
    fn key(&self, value: &V) -> Option<I> {
        match self {
            Self::All(key) => Some(key(value)),
            Self::Some(key) => key(value),
        }
    }
}

/// An index of values `V`, whatever its keys are: what an [`IndexedMap`](crate::IndexedMap) keeps.
pub trait AnyIndex<V>: Sync {
    /// Its name, which begins its rows' keys.
    fn name(&self) -> &'static str;

    /// Whether a key belongs to one row alone.
    fn is_unique(&self) -> bool;

    /// The index's row for a value; `None`: the index leaves the value out. `primary` is the
    /// encoded key of the value.
    #[doc(hidden)]
    fn row(&self, value: &V, primary: &[u8]) -> Option<Vec<u8>>;
}

/// An index of values `V` with keys of one type.
pub trait Index<V>: AnyIndex<V> {
    /// What rows are looked up by.
    type Key: Key;

    #[doc(hidden)]
    const FORM: Form;

    /// From a row of the index to its key, and that of the value.
    #[doc(hidden)]
    fn decode<K: Key>() -> Decode<(Self::Key, K)>;
}

impl<V, I: Key> UniqueIndex<V, I> {
    /// The index of that name, which has all values by what `key` makes of them.
    pub const fn new(name: &'static str, key: fn(&V) -> I) -> Self {
        assert_is_name(name);
        Self { name, of: Of::All(key) }
    }

    /// The index of that name without those values that `key` makes nothing of.
    pub const fn partial(name: &'static str, key: fn(&V) -> Option<I>) -> Self {
        assert_is_name(name);
        Self { name, of: Of::Some(key) }
    }
}

impl<V, I: Key> MultiIndex<V, I> {
    /// The index of that name, which has all values by what `key` makes of them.
    pub const fn new(name: &'static str, key: fn(&V) -> I) -> Self {
        assert_is_name(name);
        Self { name, of: Of::All(key) }
    }

    /// The index of that name without those values that `key` makes nothing of.
    pub const fn partial(name: &'static str, key: fn(&V) -> Option<I>) -> Self {
        assert_is_name(name);
        Self { name, of: Of::Some(key) }
    }
}

impl<V, I> UniqueIndex<V, I> {
    /// The primary key that a row holds.
    pub(super) fn primary<K: Key>(&self, content: &[u8]) -> K {
        decode_primary(self.name, content)
    }
}

fn decode_primary<K: Key>(name: &str, content: &[u8]) -> K {
    K::read(content).unwrap_or_else(|| panic!("`{name}` holds another type: {content:02x?}"))
}

/// A row is the index's key, and holds the primary one.
impl<V, I: Key> AnyIndex<V> for UniqueIndex<V, I> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn is_unique(&self) -> bool {
        true
    }

    fn row(&self, value: &V, _: &[u8]) -> Option<Vec<u8>> {
        let key = self.of.key(value)?;
        let mut row = prefix(self.name);
        key.write(&mut row);
        Some(row)
    }
}

/// A row is the index's key and the primary one, and holds nothing.
impl<V, I: Key> AnyIndex<V> for MultiIndex<V, I> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn is_unique(&self) -> bool {
        false
    }

    fn row(&self, value: &V, primary: &[u8]) -> Option<Vec<u8>> {
        let key = self.of.key(value)?;
        let mut row = prefix(self.name);
        key.write_part(&mut row);
        row.extend_from_slice(primary);
        Some(row)
    }
}

impl<V, I: Key> Index<V> for UniqueIndex<V, I> {
    type Key = I;

    const FORM: Form = Form::Whole;

    fn decode<K: Key>() -> Decode<(I, K)> {
        |name, row, primary| (decode_key(name, row), decode_primary(name, primary))
    }
}

impl<V, I: Key> Index<V> for MultiIndex<V, I> {
    type Key = I;

    const FORM: Form = Form::First;

    fn decode<K: Key>() -> Decode<(I, K)> {
        |name, row, _| decode_key(name, row)
    }
}

impl<V, I> fmt::Debug for UniqueIndex<V, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UniqueIndex({:?})", self.name)
    }
}

impl<V, I> fmt::Debug for MultiIndex<V, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MultiIndex({:?})", self.name)
    }
}
