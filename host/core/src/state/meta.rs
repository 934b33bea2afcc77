//! What a state knows of itself, and its bytes: in a state's store, in a snapshot's header.
//!
//! The bytes are a `version` u8 (1), then fields in the order of their tags, little-endian: `tag`
//! u8, `length` u32, and so many bytes. A field that has its default is left out, so a new field
//! changes nothing for a state that does not use it. A field that this version does not know is
//! refused: to drop it would be to decide otherwise than the version that wrote it.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use crate::id::LogId;

/// What a state knows of itself, changed together with the pairs, at once or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The last entry applied.
    pub applied: LogId,
    /// The machine's time: the largest that an applied entry carried.
    pub time_ms: u64,
    /// The group's members as of `applied`, encoded by consensus; empty for the founders.
    pub conf: Bytes,
    /// A digest of all that was decided up to `applied`, chained from entry to entry.
    pub digest: u64,
}

const VERSION: u8 = 1;

/// Tags, never to be used for anything else.
mod tag {
    pub(super) const TERM: u8 = 1;
    pub(super) const INDEX: u8 = 2;
    pub(super) const TIME_MS: u8 = 3;
    pub(super) const CONF: u8 = 4;
    pub(super) const DIGEST: u8 = 16;
}

impl Meta {
    /// Its bytes; the same meta has always the same.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        put_number(&mut out, tag::TERM, self.applied.term);
        put_number(&mut out, tag::INDEX, self.applied.index);
        put_number(&mut out, tag::TIME_MS, self.time_ms);
        put_bytes(&mut out, tag::CONF, &self.conf);
        put_number(&mut out, tag::DIGEST, self.digest);
        out.freeze()
    }

    /// The meta of these bytes; `None` when they are not one that this version knows.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&VERSION, mut rest) = bytes.split_first()? else { return None };
        let mut meta = Self::default();
        let mut last = 0;
        while !rest.is_empty() {
            let tag = rest.try_get_u8().ok()?;
            let len = usize::try_from(rest.try_get_u32_le().ok()?).ok()?;
            let (value, after) = rest.split_at_checked(len)?;
            // Each at most once and in order, so that a meta has one encoding.
            if tag <= last {
                return None;
            }
            (last, rest) = (tag, after);
            match tag {
                tag::TERM => meta.applied.term = number(value)?,
                tag::INDEX => meta.applied.index = number(value)?,
                tag::TIME_MS => meta.time_ms = number(value)?,
                tag::CONF => meta.conf = Bytes::copy_from_slice(value),
                tag::DIGEST => meta.digest = number(value)?,
                _ => return None,
            }
        }
        Some(meta)
    }
}

fn put_number(out: &mut BytesMut, tag: u8, number: u64) {
    if number != 0 {
        put_bytes(out, tag, &number.to_le_bytes());
    }
}

fn put_bytes(out: &mut BytesMut, tag: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.put_u8(tag);
        out.put_u32_le(u32::try_from(bytes.len()).expect("a field is far smaller than 4 GiB"));
        out.put_slice(bytes);
    }
}

fn number(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Meta {
        Meta {
            applied: LogId { term: 7, index: u64::MAX },
            time_ms: 1 << 40,
            conf: Bytes::from_static(b"conf"),
            digest: 9,
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        for meta in [Meta::default(), full(), Meta { time_ms: 3, ..Meta::default() }] {
            assert_eq!(Meta::decode(&meta.encode()), Some(meta));
        }
    }

    #[test]
    fn what_is_cut_or_unknown_is_refused() {
        let bytes = full().encode();
        let whole: Vec<_> =
            (0..bytes.len()).filter_map(|len| Meta::decode(&bytes[..len])).collect();
        // A cut between two fields is a meta without the later ones: the record's checksum is what
        // finds that out.
        assert_eq!(whole.len(), 5);
        assert!(!whole.contains(&full()));
        assert_eq!(Meta::decode(&[2]), None, "another version");
        assert_eq!(Meta::decode(&[VERSION, 255, 1, 0, 0, 0, 9]), None, "an unknown field");
        let twice = [&bytes[..], &bytes[1..]].concat();
        assert_eq!(Meta::decode(&twice), None, "a field for the second time");
        let short = [VERSION, tag::TERM, 1, 0, 0, 0, 9];
        assert_eq!(Meta::decode(&short), None, "a number of one byte");
    }
}
