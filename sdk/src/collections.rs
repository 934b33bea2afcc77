//! Typed state. A collection is a constant that knows its name and its types; the data is in the
//! store, under keys that start with the name and a zero byte. No name holds a zero byte, so the
//! keys of two collections cannot mix, as long as their names differ.
//!
//! Each method says how many host calls it makes: how often it crosses to the host. Reading a value
//! of over 512 bytes takes one more, since its first attempt only learns how long it is; a scan
//! takes one for each page, of up to 4 KiB at first and then of up to 32 KiB.

mod cell;
mod counter;
mod index;
mod indexed;
mod lookup;
mod map;
mod queue;
mod rows;
mod set;

pub use cell::Cell;
pub use counter::Counter;
pub use index::{AnyIndex, Index, MultiIndex, UniqueIndex};
pub use indexed::IndexedMap;
pub use lookup::Lookup;
pub use map::Map;
pub use queue::Queue;
pub use rows::Rows;
pub use set::Set;

use prost::Message;

use crate::key::Key;

/// What a collection can hold: every message of a `.proto`, and `bool`, `u32`, `u64`, `i32`,
/// `i64`, `String` and `Vec<u8>`, which are written as Google's wrapper messages. So a plain
/// number may later become a message whose field 1 it is.
pub trait Value: Message + Default {}

impl<T: Message + Default> Value for T {}

/// Ends a collection's name in a key.
const NAME_END: u8 = 0;

/// What the keys of the collection start with.
pub(crate) fn prefix(name: &str) -> Vec<u8> {
    // Room for a key of usual length.
    let mut prefix = Vec::with_capacity(name.len() + 40);
    prefix.extend_from_slice(name.as_bytes());
    prefix.push(NAME_END);
    prefix
}

/// The length of [`prefix`]; raw pairs have no name, and none.
pub(crate) fn prefix_len(name: &str) -> usize {
    if name.is_empty() { 0 } else { name.len() + 1 }
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
        .get(prefix_len(name)..)
        .and_then(K::read)
        .unwrap_or_else(|| panic!("`{name}` holds a key of another type: {stored:02x?}"))
}

/// As with keys.
fn decode_value<V: Value>(name: &str, stored: &[u8]) -> V {
    V::decode(stored).unwrap_or_else(|error| panic!("`{name}` holds another type: {error}"))
}
