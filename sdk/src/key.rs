//! Keys whose bytes sort as their values do.
//!
//! | type | bytes |
//! |---|---|
//! | `u8` ... `u64` | big-endian |
//! | `i8` ... `i64` | big-endian with the sign bit flipped |
//! | `bool` | 0 or 1 |
//! | strings and bytes, at the end of a key | as they are |
//! | strings and bytes, before another part | `00` becomes `00 ff`; then the terminator `00 01` |
//! | tuples | their parts, one after the other |
//!
//! The terminator sorts below an escaped zero and below any other byte that could follow, so a
//! string comes before those it is a prefix of, whatever part comes next.

use std::ops::{
    Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive,
};

/// A type that a [`Map`](crate::Map) can have as its key. It is what a scan gives back.
pub trait Key: AsKey<Self> + Sized {
    /// Reads a key from all of the bytes; `None` when they are not one.
    fn read(bytes: &[u8]) -> Option<Self>;

    /// Reads a key from the front of the bytes and takes it off; `None` when there is none.
    fn read_part(bytes: &mut &[u8]) -> Option<Self>;
}

/// A type that a key `K` can be looked up by: the key itself, a reference to it, or its borrowed
/// form. For a `Map<(String, u64), _>`, `("a", 1)` will do.
pub trait AsKey<K> {
    /// Appends the key as the last part of a stored key.
    fn write(&self, out: &mut Vec<u8>);

    /// Appends the key so that another part can follow.
    fn write_part(&self, out: &mut Vec<u8>);
}

/// A range of keys, in any of Rust's notations: `a..b`, `a..=b`, `a..`, `..` and so on. (The
/// standard library's `RangeBounds` leaves the compiler guessing at `"a".."b"`.)
pub trait KeyRange<K> {
    /// Where it begins and ends.
    fn bounds(&self) -> (Bound<&dyn AsKey<K>>, Bound<&dyn AsKey<K>>);
}

macro_rules! ranges {
    ($($range:ty)*) => {$(
        impl<K, Q: AsKey<K>> KeyRange<K> for $range {
            fn bounds(&self) -> (Bound<&dyn AsKey<K>>, Bound<&dyn AsKey<K>>) {
                let start = RangeBounds::<Q>::start_bound(self);
                let end = RangeBounds::<Q>::end_bound(self);
                (start.map(|key| key as _), end.map(|key| key as _))
            }
        }
    )*};
}

ranges! {
    Range<Q> RangeInclusive<Q> RangeFrom<Q> RangeTo<Q> RangeToInclusive<Q> (Bound<Q>, Bound<Q>)
}

impl<K> KeyRange<K> for RangeFull {
    fn bounds(&self) -> (Bound<&dyn AsKey<K>>, Bound<&dyn AsKey<K>>) {
        (Bound::Unbounded, Bound::Unbounded)
    }
}

impl<K, T: AsKey<K> + ?Sized> AsKey<K> for &T {
    fn write(&self, out: &mut Vec<u8>) {
        T::write(self, out);
    }

    fn write_part(&self, out: &mut Vec<u8>) {
        T::write_part(self, out);
    }
}

/// Types of a fixed width: nothing tells a part in the middle from one at the end. `$flip` is
/// what is added to the value, wrapping, to make unsigned order of it.
macro_rules! fixed {
    ($($type:ty, $flip:expr;)*) => {$(
        impl AsKey<Self> for $type {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&(self ^ $flip).to_be_bytes());
            }

            fn write_part(&self, out: &mut Vec<u8>) {
                self.write(out);
            }
        }

        impl Key for $type {
            fn read(bytes: &[u8]) -> Option<Self> {
                Some(Self::from_be_bytes(bytes.try_into().ok()?) ^ $flip)
            }

            fn read_part(bytes: &mut &[u8]) -> Option<Self> {
                Self::read(bytes.split_off(..size_of::<Self>())?)
            }
        }
    )*};
}

fixed! {
    u8, 0; u16, 0; u32, 0; u64, 0;
    i8, i8::MIN; i16, i16::MIN; i32, i32::MIN; i64, i64::MIN;
}

impl AsKey<Self> for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn write_part(&self, out: &mut Vec<u8>) {
        self.write(out);
    }
}

impl Key for bool {
    fn read(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    fn read_part(bytes: &mut &[u8]) -> Option<Self> {
        Self::read(bytes.split_off(..1)?)
    }
}

const ZERO: u8 = 0x00;
const ESCAPED_ZERO: u8 = 0xff;
const TERMINATOR: u8 = 0x01;

impl AsKey<Vec<u8>> for [u8] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn write_part(&self, out: &mut Vec<u8>) {
        for &byte in self {
            out.push(byte);
            if byte == ZERO {
                out.push(ESCAPED_ZERO);
            }
        }
        out.extend_from_slice(&[ZERO, TERMINATOR]);
    }
}

impl Key for Vec<u8> {
    fn read(bytes: &[u8]) -> Option<Self> {
        Some(bytes.to_vec())
    }

    fn read_part(bytes: &mut &[u8]) -> Option<Self> {
        let mut key = Self::new();
        loop {
            let zero = bytes.iter().position(|&byte| byte == ZERO)?;
            key.extend_from_slice(bytes.split_off(..zero)?);
            match bytes.split_off(..2)? {
                [_, TERMINATOR] => return Some(key),
                [_, ESCAPED_ZERO] => key.push(ZERO),
                _ => return None,
            }
        }
    }
}

impl Key for String {
    fn read(bytes: &[u8]) -> Option<Self> {
        Self::from_utf8(bytes.to_vec()).ok()
    }

    fn read_part(bytes: &mut &[u8]) -> Option<Self> {
        Self::from_utf8(Vec::read_part(bytes)?).ok()
    }
}

/// Types that are written as the bytes they hold.
macro_rules! as_bytes {
    ($($type:ty, $key:ty;)*) => {$(
        impl AsKey<$key> for $type {
            fn write(&self, out: &mut Vec<u8>) {
                <[u8] as AsKey<_>>::write(self.as_ref(), out);
            }

            fn write_part(&self, out: &mut Vec<u8>) {
                <[u8] as AsKey<_>>::write_part(self.as_ref(), out);
            }
        }
    )*};
}

as_bytes! {
    Vec<u8>, Vec<u8>;
    str, String;
    String, String;
}

impl<const N: usize> AsKey<Vec<u8>> for [u8; N] {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_slice().write(out);
    }

    fn write_part(&self, out: &mut Vec<u8>) {
        self.as_slice().write_part(out);
    }
}

/// All parts but the last are followed by another one. A part is a field's name, the type of a
/// key, and the type it is looked up by.
macro_rules! tuple {
    ($($field:ident $key:ident $part:ident),*; $last:ident $last_key:ident $last_part:ident) => {
        impl<$($key, $part: AsKey<$key>,)* $last_key, $last_part: AsKey<$last_key>>
            AsKey<($($key,)* $last_key)> for ($($part,)* $last_part)
        {
            fn write(&self, out: &mut Vec<u8>) {
                let ($($field,)* $last) = self;
                $($field.write_part(out);)*
                $last.write(out);
            }

            fn write_part(&self, out: &mut Vec<u8>) {
                let ($($field,)* $last) = self;
                $($field.write_part(out);)*
                $last.write_part(out);
            }
        }

        impl<$($key: Key,)* $last_key: Key> Key for ($($key,)* $last_key) {
            fn read(mut bytes: &[u8]) -> Option<Self> {
                Some(($($key::read_part(&mut bytes)?,)* $last_key::read(bytes)?))
            }

            fn read_part(bytes: &mut &[u8]) -> Option<Self> {
                Some(($($key::read_part(bytes)?,)* $last_key::read_part(bytes)?))
            }
        }
    };
}

tuple!(first A P; last B Q);
tuple!(first A P, second B Q; last C R);

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    fn written<K>(key: &impl AsKey<K>) -> Vec<u8> {
        let mut out = Vec::new();
        key.write(&mut out);
        out
    }

    /// Reads back each key, and compares each with each: bytes sort as values do.
    fn check<K: Key + Ord + Debug>(keys: &[K]) {
        for a in keys {
            let bytes = written(a);
            assert_eq!(K::read(&bytes).as_ref(), Some(a));
            for b in keys {
                assert_eq!(bytes.cmp(&written(b)), a.cmp(b), "{a:?} and {b:?}");
            }
        }
    }

    /// All strings of up to three of the bytes that matter.
    fn byte_strings() -> Vec<Vec<u8>> {
        let mut all = vec![Vec::new()];
        for length in 0..3 {
            let longest: Vec<_> = all.iter().filter(|s| s.len() == length).cloned().collect();
            for byte in [0x00, 0x01, 0x02, 0xfe, 0xff] {
                all.extend(longest.iter().map(|s| [s.as_slice(), &[byte]].concat()));
            }
        }
        all
    }

    #[test]
    fn numbers_sort_as_numbers() {
        check(&[u64::MIN, 1, 255, 256, u64::MAX - 1, u64::MAX]);
        check(&[i64::MIN, i64::MIN + 1, -256, -1, 0, 1, 255, 256, i64::MAX]);
        check(&(u8::MIN..=u8::MAX).collect::<Vec<_>>());
        check(&(i8::MIN..=i8::MAX).collect::<Vec<_>>());
        check(&[i16::MIN, -1, 0, i16::MAX]);
        check(&[i32::MIN, -1, 0, i32::MAX]);
        check(&[u16::MIN, 1, u16::MAX]);
        check(&[u32::MIN, 1, u32::MAX]);
        check(&[false, true]);
    }

    #[test]
    fn strings_sort_as_strings() {
        check(&byte_strings());
        check(&["", "a", "a\0", "a\0b", "ab", "b", "ä"].map(str::to_owned));
    }

    #[test]
    fn tuples_sort_by_their_first_part_first() {
        let strings = byte_strings();
        let with_number: Vec<_> =
            strings.iter().flat_map(|s| [0_u8, 1, 0xff].map(|n| (s.clone(), n))).collect();
        check(&with_number);
        let number_first: Vec<_> =
            strings.iter().flat_map(|s| [i16::MIN, -1, 0].map(|n| (n, s.clone()))).collect();
        check(&number_first);

        let short: Vec<_> = strings.iter().filter(|s| s.len() < 2).collect();
        let pairs: Vec<(Vec<u8>, Vec<u8>)> =
            short.iter().flat_map(|&a| short.iter().map(|&b| (a.clone(), b.clone()))).collect();
        check(&pairs);
        let nested: Vec<_> =
            pairs.iter().flat_map(|p| [false, true].map(|b| (p.clone(), b, p.0.clone()))).collect();
        check(&nested);
    }

    #[test]
    fn a_borrowed_key_is_the_same_key() {
        assert_eq!(written::<(String, u64)>(&("a", 1)), written(&("a".to_owned(), 1_u64)));
        assert_eq!(written(&b"abc"), written(&b"abc".to_vec()));
        assert_eq!(written(&&"a"), written(&"a".to_owned()));
    }

    #[test]
    fn what_is_not_a_key_is_none() {
        assert_eq!(u32::read(&[0; 3]), None);
        assert_eq!(u32::read(&[0; 5]), None);
        assert_eq!(bool::read(&[2]), None);
        assert_eq!(String::read(&[0xff]), None);
        assert_eq!(<(Vec<u8>, u8)>::read(b"unterminated"), None);
        assert_eq!(<(Vec<u8>, u8)>::read(&[0x00, 0x02, 0x00]), None, "neither escape nor end");
    }
}
