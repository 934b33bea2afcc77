//! The state natively: pairs that somebody keeps, as the host would show them. It cuts them into
//! pages as the host does, and counts what the host would have been asked for.

mod own;

use std::cell::Cell;
use std::ops::{ControlFlow, Range};

use quorate_abi::{page, scan};

pub(crate) use self::own::Own;
use crate::store::{Store, VALUE_BYTES};
use crate::testing::Costs;

/// Ordered pairs, by whoever keeps them. What is over a limit is theirs to refuse, by a panic.
pub trait Pairs {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Option<Vec<u8>>;
    /// Sets the value of a key.
    fn put(&self, key: &[u8], value: &[u8]);
    /// Deletes a key; tells whether it was there.
    fn delete(&self, key: &[u8]) -> bool;
    /// Deletes a range of keys and tells how many there were. An empty end is no bound.
    fn delete_range(&self, keys: Range<&[u8]>) -> u64;
    /// Shows the pairs of a range until `visit` breaks. An empty end is no bound.
    fn scan(&self, keys: Range<&[u8]>, reverse: bool, visit: &mut Visit<'_>);
}

/// What a scan calls with each key and value.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Pairs, and what was asked of them.
#[derive(Debug, Default)]
pub(crate) struct Memory<P: ?Sized> {
    /// What the running call has cost so far, or what the last one has.
    costs: Cell<Costs>,
    /// Whoever keeps the pairs.
    pub(crate) pairs: P,
}

impl<P: Pairs> Memory<P> {
    /// The state that these pairs are.
    pub(crate) fn new(pairs: P) -> Self {
        Self { costs: Cell::default(), pairs }
    }
}

impl<P: Pairs + ?Sized> Memory<P> {
    /// A call begins: it has cost nothing yet.
    pub(crate) fn begin(&self) {
        self.costs.take();
    }

    /// What was asked for since the call began.
    pub(crate) fn costs(&self) -> Costs {
        self.costs.get()
    }

    /// Counts one crossing.
    fn count(&self, read: usize, written: usize) {
        let Costs { host_calls, read_bytes, written_bytes } = self.costs.get();
        self.costs.set(Costs {
            host_calls: host_calls + 1,
            read_bytes: read_bytes + read as u64,
            written_bytes: written_bytes + written as u64,
        });
    }
}

impl<P: Pairs + ?Sized> Store for Memory<P> {
    fn read<T>(&self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let value = self.pairs.get(key);
        let bytes = value.as_ref().map_or(0, Vec::len);
        self.count(key.len() + bytes, 0);
        if bytes > VALUE_BYTES {
            self.count(key.len() + bytes, 0);
        }
        value.map(|value| read(&value))
    }

    fn contains(&self, key: &[u8]) -> bool {
        let bytes = self.pairs.get(key).map(|value| value.len());
        // The host comes by the value, although the guest has no room for it.
        self.count(key.len() + bytes.unwrap_or(0), 0);
        bytes.is_some()
    }

    fn put(&self, key: &[u8], value: &[u8]) {
        self.count(0, key.len() + value.len());
        self.pairs.put(key, value);
    }

    fn delete(&self, key: &[u8]) -> bool {
        self.count(0, key.len());
        self.pairs.delete(key)
    }

    fn delete_range(&self, keys: Range<&[u8]>) -> u64 {
        self.count(0, keys.start.len() + keys.end.len());
        self.pairs.delete_range(keys)
    }

    fn scan(&self, keys: Range<&[u8]>, flags: u32, limit: u32, page: &mut Vec<u8>) {
        let bounds = keys.start.len() + keys.end.len();
        let mut filling = Filling::new(page, flags, limit);
        let reverse = flags & scan::REVERSE != 0;
        self.pairs.scan(keys, reverse, &mut |key, value| filling.add(key, value));
        let seen = filling.finish();
        if let Some(first) = seen.too_long {
            self.count(bounds + first, 0);
        }
        self.count(bounds + seen.bytes, 0);
    }
}

/// What was looked at for a page.
#[derive(Default)]
struct Seen {
    /// Bytes of all pairs, that included which had no place any more.
    bytes: usize,
    /// Bytes of the first pair, when it alone did not fit and took a second crossing.
    too_long: Option<usize>,
}

/// A page that is being written. It gets no longer than the old one was, except for the sake of a
/// first pair.
struct Filling<'a> {
    page: &'a mut Vec<u8>,
    flags: u32,
    limit: u32,
    room: usize,
    count: u32,
    more: bool,
    seen: Seen,
}

impl<'a> Filling<'a> {
    fn new(page: &'a mut Vec<u8>, flags: u32, limit: u32) -> Self {
        let room = page.len();
        page.clear();
        page.resize(page::HEADER_BYTES, 0);
        Self { page, flags, limit, room, count: 0, more: false, seen: Seen::default() }
    }

    fn add(&mut self, key: &[u8], value: &[u8]) -> ControlFlow<()> {
        self.seen.bytes += key.len() + value.len();
        let value = if self.flags & scan::KEYS_ONLY == 0 { value } else { &[] };
        let fits = self.page.len() + page::pair_bytes(key.len(), value.len()) <= self.room;
        if self.count > 0 && (!fits || self.count == self.limit) {
            self.more = true;
            return ControlFlow::Break(());
        }
        if !fits {
            self.seen.too_long = Some(self.seen.bytes);
        }
        for len in [key.len(), value.len()] {
            self.page.extend(u32::try_from(len).expect("limits are far below").to_le_bytes());
        }
        self.page.extend_from_slice(key);
        self.page.extend_from_slice(value);
        self.count += 1;
        ControlFlow::Continue(())
    }

    fn finish(self) -> Seen {
        self.page[0..4].copy_from_slice(&self.count.to_le_bytes());
        self.page[4..8].copy_from_slice(&u32::from(self.more).to_le_bytes());
        self.seen
    }
}
