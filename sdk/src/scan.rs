//! Iterating over a part of the state, a page at a time.

mod page;

use std::fmt;
use std::vec;

use quorate_abi::{page as abi, scan};

use self::page::Origin;
pub use self::page::Page;
use crate::Status;
use crate::collections::prefix_len;
use crate::store::{Backend, Store as _};

/// Room for a scan's first page. Most scans end within it, or are broken off.
const FIRST_PAGE_BYTES: usize = 4 * 1024;

/// Room for further pages.
const PAGE_BYTES: usize = 32 * 1024;

/// Makes an item of a collection's name, a raw key and a value.
pub(crate) type Decode<T> = fn(&'static str, &[u8], &[u8]) -> T;

/// An iterator over stored pairs in the order of their keys, or the reverse. It holds on to the
/// context, so nothing can be written before it is done:
///
/// ```compile_fail,E0502
/// # use quorate_sdk::{Command, Map};
/// # const MAP: Map<u64, u64> = Map::new("map");
/// fn clear(cx: &mut Command<'_>) {
///     for (key, _) in MAP.iter(cx) {
///         MAP.remove(cx, key);
///     }
/// }
/// ```
///
/// Collect first:
///
/// ```
/// # use quorate_sdk::{Command, Map};
/// # const MAP: Map<u64, u64> = Map::new("map");
/// fn clear(cx: &mut Command<'_>) {
///     for key in MAP.keys(cx).collect::<Vec<_>>() {
///         MAP.remove(cx, key);
///     }
/// }
/// ```
pub struct Scan<'a, T> {
    store: &'a Backend,
    /// The collection that the pairs belong to; empty for raw pairs.
    name: &'static str,
    /// What is left of the range.
    lo: Vec<u8>,
    hi: Vec<u8>,
    flags: u32,
    /// How many pairs may still come.
    left: u64,
    decode: Decode<T>,
    /// The rest of the current page.
    items: vec::IntoIter<T>,
    /// The last page, kept for its room.
    page: Vec<u8>,
    /// The range holds more than what was fetched.
    more: bool,
}

impl<'a, T> Scan<'a, T> {
    pub(crate) fn new(
        store: &'a Backend,
        name: &'static str,
        lo: Vec<u8>,
        hi: Vec<u8>,
        decode: Decode<T>,
    ) -> Self {
        Self {
            store,
            name,
            more: !is_empty(&lo, &hi),
            lo,
            hi,
            flags: 0,
            left: u64::MAX,
            decode,
            items: Vec::new().into_iter(),
            page: Vec::new(),
        }
    }

    /// A scan of keys: the values are not fetched.
    pub(crate) fn keys(
        store: &'a Backend,
        name: &'static str,
        lo: Vec<u8>,
        hi: Vec<u8>,
        decode: Decode<T>,
    ) -> Self {
        Self { flags: scan::KEYS_ONLY, ..Self::new(store, name, lo, hi, decode) }
    }

    /// From the last key to the first. To be called before the iteration starts.
    #[must_use]
    pub fn reverse(mut self) -> Self {
        assert!(self.page.is_empty(), "a scan is turned around before it starts");
        self.flags ^= scan::REVERSE;
        self
    }

    /// At most that many pairs. Unlike [`take`](Iterator::take), the host learns of it, and
    /// fetches no more. To be called before the iteration starts.
    #[must_use]
    pub fn limit(mut self, pairs: u64) -> Self {
        assert!(self.page.is_empty(), "a scan is limited before it starts");
        self.left = self.left.min(pairs);
        self
    }

    /// A page of at most that many items, to be handed to a client with a token for the next one.
    /// An empty token is for the first page. To be called in place of iterating.
    ///
    /// The next page begins behind the last key of this one, also when that key has gone since. A
    /// token of another scan, of another range or direction, or a damaged one, is refused with
    /// `INVALID_ARGUMENT`, as is a limit of zero.
    ///
    /// ```
    /// use quorate_sdk::{Set, testing::Machine};
    ///
    /// const NAMES: Set<String> = Set::new("names");
    ///
    /// # let mut machine = Machine::<()>::new();
    /// machine.command(|cx| {
    ///     for name in ["ada", "bob", "cleo"] {
    ///         NAMES.insert(cx, name);
    ///     }
    ///     let first = NAMES.iter(cx).page(2, "")?;
    ///     assert_eq!(first.items, ["ada", "bob"]);
    ///
    ///     NAMES.remove(cx, "bob");
    ///     let second = NAMES.iter(cx).page(2, &first.next_page_token)?;
    ///     assert_eq!(second.items, ["cleo"]);
    ///     assert_eq!(second.next_page_token, "");
    ///     Ok(())
    /// })
    /// # .unwrap();
    /// ```
    pub fn page(self, limit: u32, token: &str) -> Result<Page<T>, Status> {
        if limit == 0 {
            return Err(Status::invalid_argument("a page has one item at least"));
        }
        let mut scan = self.limit(limit.into());
        let (name, skip) = (scan.name, prefix_len(scan.name));
        let (lo, hi) = (scan.lo.clone(), scan.hi.clone());
        let reverse = scan.flags & scan::REVERSE != 0;
        let origin = Origin { name, lo: &lo, hi: &hi, reverse };
        if !token.is_empty() {
            *scan.rest() = origin.place(token, skip)?;
            scan.more = !is_empty(&scan.lo, &scan.hi);
        }
        let items = scan.by_ref().collect();
        let more = scan.more;
        let next_page_token = if more { origin.token(scan.rest(), skip) } else { String::new() };
        Ok(Page { items, next_page_token })
    }

    /// The end of the range from which it is scanned: where it goes on.
    fn rest(&mut self) -> &mut Vec<u8> {
        if self.flags & scan::REVERSE == 0 { &mut self.lo } else { &mut self.hi }
    }

    /// Fetches the next page. Afterwards `lo..hi` is what lies behind it, and `pairs` has been
    /// called with its pairs.
    fn fetch<R>(&mut self, pairs: impl FnOnce(&Self, abi::Pairs<'_>) -> R) -> R {
        let room = if self.page.is_empty() { FIRST_PAGE_BYTES } else { PAGE_BYTES };
        let mut bytes = std::mem::take(&mut self.page);
        bytes.resize(room, 0);
        // More than fit into one page anyway: no limit.
        let limit = u32::try_from(self.left).unwrap_or(0);
        self.store.scan(&self.lo..&self.hi, self.flags, limit, &mut bytes);

        let (fetched, more) = abi::decode(&bytes).expect("the store's pages are well-formed");
        let result = pairs(self, fetched.clone());
        let mut count = 0;
        let last = fetched.inspect(|_| count += 1).last();
        self.left -= count;
        self.more = more;
        if let Some((last, _)) = last {
            self.resume_behind(last);
        }
        self.page = bytes;
        result
    }

    fn resume_behind(&mut self, last: &[u8]) {
        let is_reverse = self.flags & scan::REVERSE != 0;
        let rest = self.rest();
        rest.clear();
        rest.extend_from_slice(last);
        if !is_reverse {
            // The key that follows `last` in byte order.
            rest.push(0);
        }
    }
}

impl<T> Iterator for Scan<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.items.as_slice().is_empty() && self.more && self.left > 0 {
            let items: Vec<T> = self.fetch(|scan, pairs| {
                pairs.map(|(key, value)| (scan.decode)(scan.name, key, value)).collect()
            });
            self.items = items.into_iter();
        }
        self.items.next()
    }

    /// Counts without decoding, and without fetching values.
    fn count(mut self) -> usize {
        self.flags |= scan::KEYS_ONLY;
        let mut count = self.items.len();
        while self.more && self.left > 0 {
            count += self.fetch(|_, pairs| pairs.count());
        }
        count
    }
}

impl<T> fmt::Debug for Scan<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("lo", &self.lo).field("hi", &self.hi).finish_non_exhaustive()
    }
}

/// Whether no key can lie in `lo..hi`, where an empty `hi` is no bound.
pub(crate) fn is_empty(lo: &[u8], hi: &[u8]) -> bool {
    !hi.is_empty() && lo >= hi
}
