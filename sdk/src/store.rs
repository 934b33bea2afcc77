//! The state as the SDK sees it: ordered pairs of bytes, kept by someone else. In a module that is
//! the host, reached through imports; natively it is a map in memory.

use std::ops::Range;

/// Room for a value at first, on the stack. One that is longer takes a second crossing.
pub(crate) const VALUE_BYTES: usize = 512;

/// One of the two implementations. Shared references throughout: what may write is decided by the
/// types that are built on top, [`Query`](crate::Query) and [`Command`](crate::Command).
pub(crate) trait Store {
    /// What `read` makes of the value of a key, which it sees where it lies.
    fn read<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Option<T>;
    /// Whether there is such a key.
    fn contains(&self, key: &[u8]) -> bool;
    /// Sets the value of a key.
    fn put(&self, key: &[u8], value: &[u8]);
    /// Deletes a key; tells whether it was there.
    fn delete(&self, key: &[u8]) -> bool;
    /// Deletes a range of keys and tells how many there were. An empty end is no bound.
    fn delete_range(&self, keys: Range<&[u8]>) -> u64;
    /// Replaces `page` by one [page](quorate_abi::page) of the pairs in a range, of no more bytes
    /// than `page` has now, but of one pair at least if there is one. An empty end is no bound;
    /// `flags` are the [ABI's](quorate_abi::scan); a `limit` of zero is none.
    fn scan(&self, keys: Range<&[u8]>, flags: u32, limit: u32, page: &mut Vec<u8>);
}

#[cfg(target_arch = "wasm32")]
pub(crate) type Backend = crate::guest::Imports;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) type Backend = crate::memory::Memory<dyn crate::memory::Pairs>;
