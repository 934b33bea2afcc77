//! Ranges of keys, in Rust's notations or by a prefix.

use std::ops::{
    Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive,
};

use super::{AsKey, write_escaped};

/// A range of keys, in any of Rust's notations: `a..b`, `a..=b`, `a..`, `..` and so on; or a
/// [`Prefix`]. (The standard library's `RangeBounds` leaves the compiler guessing at `"a".."b"`.)
pub trait KeyRange<K> {
    /// Where it begins and ends.
    fn cuts(&self) -> (Cut<'_, K>, Cut<'_, K>);
}

/// A place between keys.
#[expect(missing_debug_implementations, reason = "keys need not be printable")]
pub enum Cut<'a, K> {
    /// Before the first key, or behind the last.
    Open,
    /// Before a key.
    Before(&'a dyn AsKey<K>),
    /// Behind a key.
    Behind(&'a dyn AsKey<K>),
    /// Before all keys that begin so.
    BeforeAll(&'a dyn KeyPrefix<K>),
    /// Behind all keys that begin so.
    BehindAll(&'a dyn KeyPrefix<K>),
}

/// The range of keys that begin in some way: strings and bytes with other strings and bytes, tuples
/// with fewer parts.
///
/// ```
/// use quorate_sdk::{Prefix, Set, testing::Machine};
///
/// const WORDS: Set<String> = Set::new("words");
/// const SHELVES: Set<(String, u32, u32)> = Set::new("shelves");
///
/// # let mut machine = Machine::<()>::new();
/// machine.command(|cx| {
///     for word in ["art", "arctic", "bear"] {
///         WORDS.insert(cx, word);
///     }
///     assert_eq!(WORDS.range(cx, Prefix("ar")).count(), 2);
///
///     SHELVES.insert(cx, ("north", 1, 7));
///     SHELVES.insert(cx, ("north", 2, 1));
///     assert_eq!(SHELVES.range(cx, Prefix(("north",))).count(), 2);
///     assert_eq!(SHELVES.range(cx, Prefix(("north", 2))).count(), 1);
///     Ok(())
/// })
/// # .unwrap();
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix<P>(pub P);

/// How keys `K` can begin; see [`Prefix`].
pub trait KeyPrefix<K> {
    /// Appends the beginning of a key.
    fn write_prefix(&self, out: &mut Vec<u8>);

    /// Appends the beginning of a key that another part follows. The same, for tuples.
    fn write_part_prefix(&self, out: &mut Vec<u8>) {
        self.write_prefix(out);
    }
}

/// How a key is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As the last or only part of a stored key.
    Whole,
    /// With another part behind it.
    First,
}

/// The range as a half-open one of stored keys that all begin with `prefix`, which does not consist
/// of the byte `ff` alone.
pub(crate) fn ends<K>(
    range: &(impl KeyRange<K> + ?Sized),
    prefix: &[u8],
    form: Form,
) -> (Vec<u8>, Vec<u8>) {
    let (start, end) = range.cuts();
    let (mut lo, mut hi) = (prefix.to_vec(), prefix.to_vec());
    start.write(form, &mut lo);
    match end {
        Cut::Open => step_behind_all(&mut hi),
        end => end.write(form, &mut hi),
    }
    (lo, hi)
}

impl<K> Cut<'_, K> {
    fn write(&self, form: Form, out: &mut Vec<u8>) {
        match (self, form) {
            (Cut::Open, _) => {}
            (Cut::Before(key) | Cut::Behind(key), Form::Whole) => key.write(out),
            (Cut::Before(key) | Cut::Behind(key), Form::First) => key.write_part(out),
            (Cut::BeforeAll(start) | Cut::BehindAll(start), Form::Whole) => start.write_prefix(out),
            (Cut::BeforeAll(start) | Cut::BehindAll(start), Form::First) => {
                start.write_part_prefix(out);
            }
        }
        match (self, form) {
            // The next key in byte order.
            (Cut::Behind(_), Form::Whole) => out.push(0),
            (Cut::Behind(_), Form::First) | (Cut::BehindAll(_), _) => step_behind_all(out),
            _ => {}
        }
    }
}

/// The first bytes, in their order, that do not begin so.
fn step_behind_all(prefix: &mut Vec<u8>) {
    while prefix.pop_if(|byte| *byte == u8::MAX).is_some() {}
    *prefix.last_mut().expect("a collection's name ends with another byte") += 1;
}

macro_rules! ranges {
    ($($range:ty)*) => {$(
        impl<K, Q: AsKey<K>> KeyRange<K> for $range {
            fn cuts(&self) -> (Cut<'_, K>, Cut<'_, K>) {
                let start = match RangeBounds::<Q>::start_bound(self) {
                    Bound::Included(key) => Cut::Before(key),
                    Bound::Excluded(key) => Cut::Behind(key),
                    Bound::Unbounded => Cut::Open,
                };
                let end = match RangeBounds::<Q>::end_bound(self) {
                    Bound::Included(key) => Cut::Behind(key),
                    Bound::Excluded(key) => Cut::Before(key),
                    Bound::Unbounded => Cut::Open,
                };
                (start, end)
            }
        }
    )*};
}

ranges! {
    Range<Q> RangeInclusive<Q> RangeFrom<Q> RangeTo<Q> RangeToInclusive<Q> (Bound<Q>, Bound<Q>)
}

impl<K> KeyRange<K> for RangeFull {
    fn cuts(&self) -> (Cut<'_, K>, Cut<'_, K>) {
        (Cut::Open, Cut::Open)
    }
}

impl<K, P: KeyPrefix<K>> KeyRange<K> for Prefix<P> {
    fn cuts(&self) -> (Cut<'_, K>, Cut<'_, K>) {
        (Cut::BeforeAll(&self.0), Cut::BehindAll(&self.0))
    }
}

/// Types that are written as the bytes they hold.
macro_rules! as_bytes {
    ($([$($generic:tt)*] $type:ty, $key:ty;)*) => {$(
        impl<$($generic)*> KeyPrefix<$key> for $type {
            fn write_prefix(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_ref());
            }

            fn write_part_prefix(&self, out: &mut Vec<u8>) {
                write_escaped(self.as_ref(), out);
            }
        }
    )*};
}

as_bytes! {
    [] &[u8], Vec<u8>;
    [] &Vec<u8>, Vec<u8>;
    [] Vec<u8>, Vec<u8>;
    [const N: usize] &[u8; N], Vec<u8>;
    [] &str, String;
    [] &String, String;
    [] String, String;
}

/// A tuple's first parts: the fields, and for each the type of the key and the type it is looked
/// up by; then the types of the other parts.
macro_rules! tuple {
    ($($field:ident $key:ident $part:ident),*; $($rest:ident)*) => {
        impl<$($key, $part: AsKey<$key>,)* $($rest),*> KeyPrefix<($($key,)* $($rest,)*)>
            for ($($part,)*)
        {
            fn write_prefix(&self, out: &mut Vec<u8>) {
                let ($($field,)*) = self;
                $($field.write_part(out);)*
            }
        }
    };
}

tuple!(first A P; B);
tuple!(first A P; B C);
tuple!(first A P; B C D);
tuple!(first A P, second B Q; C);
tuple!(first A P, second B Q; C D);
tuple!(first A P, second B Q, third C R; D);
