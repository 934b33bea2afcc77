//! The bytes of an outcome, for what is kept and for digests: a tag, then its fields,
//! little-endian, each text and each part of bytes behind its length. What is kept was decided by a
//! command, so there are outcomes that are not decoded.

use bytes::{Buf as _, BufMut, Bytes};

use super::{Outcome, Rejection};
use crate::session::SessionError;

mod tag {
    pub(super) const REPLY: u8 = 0;
    pub(super) const STATUS: u8 = 1;
    pub(super) const TRAP: u8 = 2;
    pub(super) const OUT_OF_FUEL: u8 = 3;
    pub(super) const OUT_OF_MEMORY: u8 = 4;
    pub(super) const OVER_LIMIT: u8 = 5;
    pub(super) const SESSION_EXPIRED: u8 = 6;
    pub(super) const SESSION_NEVER_OPENED: u8 = 7;
    pub(super) const SESSION_FORGOTTEN: u8 = 8;
    pub(super) const SESSION_REUSED: u8 = 9;
}

/// Appends the bytes of what a command decided.
pub(crate) fn encode(outcome: &Outcome, out: &mut impl BufMut) {
    match outcome {
        Ok(reply) => {
            out.put_u8(tag::REPLY);
            out.put_slice(reply);
        }
        Err(Rejection::Status { code, message, details }) => {
            out.put_u8(tag::STATUS);
            out.put_u32_le(*code);
            put_part(out, message.as_bytes());
            put_part(out, details);
        }
        Err(Rejection::Trap { reason }) => {
            out.put_u8(tag::TRAP);
            put_part(out, reason.as_bytes());
        }
        Err(Rejection::OutOfFuel) => out.put_u8(tag::OUT_OF_FUEL),
        Err(Rejection::OutOfMemory) => out.put_u8(tag::OUT_OF_MEMORY),
        Err(Rejection::OverLimit { what, bytes, bytes_max }) => {
            out.put_u8(tag::OVER_LIMIT);
            put_part(out, what.as_bytes());
            out.put_u64_le(*bytes as u64);
            out.put_u64_le(*bytes_max as u64);
        }
        Err(Rejection::Session(error)) => match error {
            SessionError::Expired => out.put_u8(tag::SESSION_EXPIRED),
            SessionError::NeverOpened => out.put_u8(tag::SESSION_NEVER_OPENED),
            SessionError::Forgotten { floor } => {
                out.put_u8(tag::SESSION_FORGOTTEN);
                out.put_u64_le(*floor);
            }
            SessionError::Reused => out.put_u8(tag::SESSION_REUSED),
        },
        Err(Rejection::Deadline) => unreachable!("no command decides this"),
    }
}

/// The outcome of these bytes, which shares their memory; `None` when they are none.
pub(crate) fn decode(mut bytes: Bytes) -> Option<Outcome> {
    let outcome = match bytes.try_get_u8().ok()? {
        // All the rest.
        tag::REPLY => return Some(Ok(bytes)),
        tag::STATUS => Rejection::Status {
            code: bytes.try_get_u32_le().ok()?,
            message: text(&mut bytes)?,
            details: part(&mut bytes)?,
        },
        tag::TRAP => Rejection::Trap { reason: text(&mut bytes)? },
        tag::OUT_OF_FUEL => Rejection::OutOfFuel,
        tag::OUT_OF_MEMORY => Rejection::OutOfMemory,
        tag::OVER_LIMIT => Rejection::OverLimit {
            what: text(&mut bytes)?.into(),
            bytes: usize::try_from(bytes.try_get_u64_le().ok()?).ok()?,
            bytes_max: usize::try_from(bytes.try_get_u64_le().ok()?).ok()?,
        },
        _ => return None,
    };
    bytes.is_empty().then_some(Err(outcome))
}

fn put_part(out: &mut impl BufMut, part: &[u8]) {
    out.put_u32_le(u32::try_from(part.len()).expect("what a command decides is limited"));
    out.put_slice(part);
}

fn part(bytes: &mut Bytes) -> Option<Bytes> {
    let len = usize::try_from(bytes.try_get_u32_le().ok()?).ok()?;
    (len <= bytes.len()).then(|| bytes.split_to(len))
}

fn text(bytes: &mut Bytes) -> Option<String> {
    String::from_utf8(part(bytes)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_decided_comes_back() {
        let outcomes = [
            Ok(Bytes::new()),
            Ok(Bytes::from_static(b"reply")),
            Err(Rejection::Status {
                code: 5,
                message: "no such account".to_owned(),
                details: Bytes::from_static(b"details"),
            }),
            Err(Rejection::trap("out of bounds")),
            Err(Rejection::OutOfFuel),
            Err(Rejection::OutOfMemory),
            Err(Rejection::check("a key", 3, 2).unwrap_err()),
        ];
        for outcome in outcomes {
            let mut bytes = Vec::new();
            encode(&outcome, &mut bytes);
            let bytes = Bytes::from(bytes);
            assert_eq!(decode(bytes.clone()).as_ref(), Some(&outcome));
            if outcome.is_err() {
                for len in 0..bytes.len() {
                    assert_eq!(decode(bytes.slice(..len)), None, "{outcome:?} cut to {len}");
                }
                let longer = Bytes::from([&bytes[..], b"x"].concat());
                assert_eq!(decode(longer), None, "{outcome:?} with a byte left over");
            }
        }
    }
}
