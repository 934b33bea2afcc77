//! What a method gets as its first argument.

use std::fmt;
use std::ops::Deref;

use quorate_abi::Frame;

use crate::scan::{self, Scan};
use crate::store::{Backend, Store as _};

/// A call that reads: the state as of one moment, and what is known about the call.
///
/// It cannot write. This compiles:
///
/// ```
/// use quorate_sdk::{Command, Counter, Query};
///
/// const VISITS: Counter = Counter::new("visits");
///
/// fn visit(cx: &mut Command<'_>) -> u64 {
///     VISITS.add(cx, 1)
/// }
/// ```
///
/// With one word changed, it does not:
///
/// ```compile_fail,E0308
/// use quorate_sdk::{Command, Counter, Query};
///
/// const VISITS: Counter = Counter::new("visits");
///
/// fn visit(cx: &mut Query<'_>) -> u64 {
///     VISITS.add(cx, 1)
/// }
/// ```
///
/// Nor is there a method on it that writes:
///
/// ```compile_fail,E0599
/// fn write(cx: &mut quorate_sdk::Query<'_>) {
///     cx.put(b"key", b"value");
/// }
/// ```
pub struct Query<'a> {
    store: &'a Backend,
    call: CallInfo,
}

/// A call that may change the state. It is a [`Query`] too, and reads what it wrote.
///
/// ```
/// # use quorate_sdk::Command;
/// fn write(cx: &mut Command<'_>) {
///     cx.put(b"key", b"value");
///     assert_eq!(cx.get(b"key"), Some(b"value".to_vec()));
/// }
/// # quorate_sdk::testing::Machine::<()>::new().command(|cx| Ok(write(cx))).unwrap();
/// ```
pub struct Command<'a>(Query<'a>);

/// What the log says about a call.
#[derive(Clone, Copy, Debug)]
struct CallInfo {
    index: u64,
    position: u32,
    time_ms: u64,
    seed: u64,
}

impl<'a> Query<'a> {
    pub(crate) fn new(store: &'a Backend, frame: &Frame<'_>) -> Self {
        let &Frame { index, position, time_ms, seed, .. } = frame;
        Self { store, call: CallInfo { index, position, time_ms, seed } }
    }

    /// The log index of the command's entry; for a query, of the state it reads.
    pub fn index(&self) -> u64 {
        self.call.index
    }

    /// The command's place within its entry. With [`index`](Self::index) it is unique.
    pub fn position(&self) -> u32 {
        self.call.position
    }

    /// Unix time in milliseconds, as the log has it: the same on all replicas, and never falling.
    pub fn time_ms(&self) -> u64 {
        self.call.time_ms
    }

    /// A number that is the same on all replicas and different for each command: a seed for
    /// random choices that need not be secret.
    pub fn seed(&self) -> u64 {
        self.call.seed
    }

    /// The value of a raw key. Raw keys share one space with the collections, whose keys start
    /// with their name and a zero byte.
    pub fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.read(key, <[u8]>::to_vec)
    }

    /// What `read` makes of the value of a raw key: without a copy for it to own.
    pub(crate) fn read<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.store.read(key, read)
    }

    /// Whether there is a raw key.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.store.contains(key)
    }

    /// The pairs with raw keys in `lo..hi`, in order. An empty `hi` is no bound.
    pub fn scan(&self, lo: &[u8], hi: &[u8]) -> Scan<'_, (Vec<u8>, Vec<u8>)> {
        let decode: scan::Decode<_> = |_, key, value| (key.to_vec(), value.to_vec());
        Scan::new(self.store, "", lo.to_vec(), hi.to_vec(), decode)
    }

    pub(crate) fn store(&self) -> &Backend {
        self.store
    }
}

impl<'a> Command<'a> {
    pub(crate) fn new(store: &'a Backend, frame: &Frame<'_>) -> Self {
        Self(Query::new(store, frame))
    }

    /// Sets the value of a raw key.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.store.put(key, value);
    }

    /// Deletes a raw key; tells whether it was there.
    pub fn delete(&mut self, key: &[u8]) -> bool {
        self.store.delete(key)
    }

    /// Deletes the raw keys in `lo..hi`; tells how many there were. An empty `hi` is no bound.
    pub fn delete_range(&mut self, lo: &[u8], hi: &[u8]) -> u64 {
        if scan::is_empty(lo, hi) { 0 } else { self.store.delete_range(lo..hi) }
    }
}

impl<'a> Deref for Command<'a> {
    type Target = Query<'a>;

    fn deref(&self) -> &Query<'a> {
        &self.0
    }
}

impl fmt::Debug for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.call.fmt(f)
    }
}

impl fmt::Debug for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
