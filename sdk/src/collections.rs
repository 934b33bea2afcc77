//! Typed state. A collection is a constant that knows its name and its types; the data is in the
//! store, under keys that start with the name and a zero byte. No name holds a zero byte, so the
//! keys of two collections cannot mix, as long as their names differ.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Bound;

use prost::Message;

use crate::key::{AsKey, Key, KeyRange};
use crate::scan::{Decode, Scan};
use crate::{Command, Query};

/// What a collection can hold: every message of a `.proto`, and `bool`, `u32`, `u64`, `i32`,
/// `i64`, `String` and `Vec<u8>`, which are written as Google's wrapper messages. So a plain
/// number may later become a message whose field 1 it is.
pub trait Value: Message + Default {}

impl<T: Message + Default> Value for T {}

/// Ends a collection's name in a key.
const NAME_END: u8 = 0;

/// One value.
///
/// ```
/// use quorate_sdk::{Cell, testing::Machine};
///
/// const MOTTO: Cell<String> = Cell::new("motto");
///
/// # let mut machine = Machine::<()>::new();
/// machine.command(|cx| {
///     assert_eq!(MOTTO.get(cx), None);
///     MOTTO.set(cx, &"festina lente".to_owned());
///     assert_eq!(MOTTO.get(cx).as_deref(), Some("festina lente"));
///     Ok(())
/// })
/// # .unwrap();
/// ```
pub struct Cell<T> {
    name: &'static str,
    types: PhantomData<fn() -> T>,
}

impl<T: Value> Cell<T> {
    /// The cell of that name.
    pub const fn new(name: &'static str) -> Self {
        assert_is_name(name);
        Self { name, types: PhantomData }
    }

    /// The value, if it was ever set.
    pub fn get(&self, cx: &Query<'_>) -> Option<T> {
        cx.get(&prefix(self.name)).map(|value| decode_value(self.name, &value))
    }

    /// Sets the value.
    pub fn set(&self, cx: &mut Command<'_>, value: &T) {
        cx.put(&prefix(self.name), &value.encode_to_vec());
    }

    /// Forgets the value; tells whether there was one.
    pub fn clear(&self, cx: &mut Command<'_>) -> bool {
        cx.delete(&prefix(self.name))
    }
}

/// A number that starts at zero.
///
/// ```
/// use quorate_sdk::{Counter, testing::Machine};
///
/// const TICKETS: Counter = Counter::new("tickets");
///
/// # let mut machine = Machine::<()>::new();
/// machine.command(|cx| {
///     assert_eq!(TICKETS.add(cx, 2), 2);
///     assert_eq!(TICKETS.add(cx, 1), 3);
///     Ok(())
/// })
/// # .unwrap();
/// ```
pub struct Counter(Cell<u64>);

impl Counter {
    /// The counter of that name.
    pub const fn new(name: &'static str) -> Self {
        Self(Cell::new(name))
    }

    /// What it stands at.
    pub fn get(&self, cx: &Query<'_>) -> u64 {
        self.0.get(cx).unwrap_or(0)
    }

    /// Adds to it and gives what it then stands at. Panics on overflow.
    pub fn add(&self, cx: &mut Command<'_>, by: u64) -> u64 {
        let sum = self.get(cx).checked_add(by).expect("a counter fits 64 bits");
        self.set(cx, sum);
        sum
    }

    /// Sets it.
    pub fn set(&self, cx: &mut Command<'_>, to: u64) {
        self.0.set(cx, &to);
    }
}

/// Values by key, in the order of the keys.
///
/// Keys are taken by value or by reference, owned or borrowed: see [`AsKey`].
///
/// ```
/// use quorate_sdk::{Map, testing::Machine};
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
///     let bolts = STOCK.range(cx, ("bolts", 0)..=("bolts", u32::MAX));
///     assert_eq!(bolts.map(|(_, count)| count).sum::<u64>(), 210);
///
///     let last = STOCK.iter(cx).reverse().next();
///     assert_eq!(last, Some((("nuts".to_owned(), 8), 500)));
///     Ok(())
/// })
/// # .unwrap();
/// ```
pub struct Map<K, V> {
    name: &'static str,
    types: PhantomData<fn(K) -> V>,
}

#[expect(clippy::needless_pass_by_value, reason = "`a..b` reads better than `&(a..b)`")]
impl<K: Key, V: Value> Map<K, V> {
    /// The map of that name.
    pub const fn new(name: &'static str) -> Self {
        assert_is_name(name);
        Self { name, types: PhantomData }
    }

    /// The value of a key.
    pub fn get(&self, cx: &Query<'_>, key: impl AsKey<K>) -> Option<V> {
        cx.get(&self.stored(&key)).map(|value| decode_value(self.name, &value))
    }

    /// Whether there is such a key.
    pub fn contains(&self, cx: &Query<'_>, key: impl AsKey<K>) -> bool {
        cx.get(&self.stored(&key)).is_some()
    }

    /// Sets the value of a key.
    pub fn insert(&self, cx: &mut Command<'_>, key: impl AsKey<K>, value: &V) {
        cx.put(&self.stored(&key), &value.encode_to_vec());
    }

    /// Removes a key; tells whether it was there.
    pub fn remove(&self, cx: &mut Command<'_>, key: impl AsKey<K>) -> bool {
        cx.delete(&self.stored(&key))
    }

    /// Removes the keys of a range; tells how many there were.
    pub fn remove_range(&self, cx: &mut Command<'_>, range: impl KeyRange<K>) -> u64 {
        let (lo, hi) = self.stored_range(&range);
        cx.delete_range(&lo, &hi)
    }

    /// Removes all keys; tells how many there were.
    pub fn clear(&self, cx: &mut Command<'_>) -> u64 {
        self.remove_range(cx, ..)
    }

    /// All pairs.
    pub fn iter<'a>(&self, cx: &'a Query<'_>) -> Scan<'a, (K, V)> {
        self.range(cx, ..)
    }

    /// The pairs with keys of a range.
    pub fn range<'a>(&self, cx: &'a Query<'_>, range: impl KeyRange<K>) -> Scan<'a, (K, V)> {
        let (lo, hi) = self.stored_range(&range);
        let decode: Decode<_> =
            |name, key, value| (decode_key(name, key), decode_value(name, value));
        Scan::new(cx.store(), self.name, lo, hi, decode)
    }

    /// All keys; no values are fetched.
    pub fn keys<'a>(&self, cx: &'a Query<'_>) -> Scan<'a, K> {
        self.keys_in(cx, ..)
    }

    /// The keys of a range; no values are fetched.
    pub fn keys_in<'a>(&self, cx: &'a Query<'_>, range: impl KeyRange<K>) -> Scan<'a, K> {
        self.range(cx, range).keys_only(|name, key, _| decode_key(name, key))
    }

    fn stored(&self, key: &dyn AsKey<K>) -> Vec<u8> {
        let mut stored = prefix(self.name);
        key.write(&mut stored);
        stored
    }

    /// The range as a half-open one of stored keys.
    fn stored_range(&self, range: &impl KeyRange<K>) -> (Vec<u8>, Vec<u8>) {
        let (start, end) = range.bounds();
        let lo = match start {
            Bound::Included(key) => self.stored(key),
            Bound::Excluded(key) => successor(self.stored(key)),
            Bound::Unbounded => prefix(self.name),
        };
        let hi = match end {
            Bound::Included(key) => successor(self.stored(key)),
            Bound::Excluded(key) => self.stored(key),
            Bound::Unbounded => prefix_end(self.name),
        };
        (lo, hi)
    }
}

/// What the keys of the collection start with.
fn prefix(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[NAME_END]].concat()
}

/// What is above all keys of the collection, and below those of any other.
fn prefix_end(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[NAME_END + 1]].concat()
}

/// The next key in byte order.
fn successor(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

const fn assert_is_name(name: &str) {
    assert!(!name.is_empty(), "a collection has a name");
    let mut i = 0;
    while i < name.len() {
        assert!(name.as_bytes()[i] != NAME_END, "a collection's name holds no zero byte");
        i += 1;
    }
}

/// A stored key that does not decode was written by something else: there is no sound way on.
fn decode_key<K: Key>(name: &str, stored: &[u8]) -> K {
    stored
        .get(name.len() + 1..)
        .and_then(K::read)
        .unwrap_or_else(|| panic!("`{name}` holds a key of another type: {stored:02x?}"))
}

/// As with keys.
fn decode_value<V: Value>(name: &str, stored: &[u8]) -> V {
    V::decode(stored).unwrap_or_else(|error| panic!("`{name}` holds another type: {error}"))
}

impl<T> fmt::Debug for Cell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cell({:?})", self.name)
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counter({:?})", self.0.name)
    }
}

impl<K, V> fmt::Debug for Map<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Map({:?})", self.name)
    }
}
