//! Keys whose bytes sort as their values do.
//!
//! | type | bytes |
//! |---|---|
//! | `u8` ... `u128` | big-endian |
//! | `i8` ... `i128` | big-endian with the sign bit flipped |
//! | `bool` | 0 or 1 |
//! | `Option` | 0, or 1 and the key |
//! | strings and bytes, at the end of a key | as they are |
//! | strings and bytes, before another part | `00` becomes `00 ff`; then the terminator `00 01` |
//! | tuples | their parts, one after the other |
//!
//! The terminator sorts below an escaped zero and below any other byte that could follow, so a
//! string comes before those it is a prefix of, whatever part comes next.

mod range;
#[cfg(test)]
mod tests;

pub use range::{Cut, KeyPrefix, KeyRange, Prefix};
pub(crate) use range::{Form, ends};

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
    u8, 0; u16, 0; u32, 0; u64, 0; u128, 0;
    i8, i8::MIN; i16, i16::MIN; i32, i32::MIN; i64, i64::MIN; i128, i128::MIN;
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

impl<K, Q: AsKey<K>> AsKey<Option<K>> for Option<Q> {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(key) = self {
            key.write(out);
        }
    }

    fn write_part(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.is_some()));
        if let Some(key) = self {
            key.write_part(out);
        }
    }
}

impl<K: Key> Key for Option<K> {
    fn read(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0] => Some(None),
            [1, key @ ..] => K::read(key).map(Some),
            _ => None,
        }
    }

    fn read_part(bytes: &mut &[u8]) -> Option<Self> {
        match bytes.split_off_first()? {
            0 => Some(None),
            1 => K::read_part(bytes).map(Some),
            _ => None,
        }
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
        write_escaped(self, out);
        out.extend_from_slice(&[ZERO, TERMINATOR]);
    }
}

fn write_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        out.push(byte);
        if byte == ZERO {
            out.push(ESCAPED_ZERO);
        }
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
tuple!(first A P, second B Q, third C R; last D S);
