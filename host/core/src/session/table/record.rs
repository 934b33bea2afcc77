//! The table's keys and records as bytes.

use std::collections::BTreeMap;

use bytes::{Buf as _, BufMut as _, Bytes};

use super::Session;
use crate::batch::Command;
use crate::id::LogId;
use crate::outcome::{Outcome, codec};
use crate::state::{self, Value};

/// Where a record is. The order of the bytes is the order of the variants.
#[derive(Clone, Copy)]
pub(super) enum Key {
    Opened,
    Session(u64),
    Reply(u64, u64),
}

impl Key {
    pub(super) fn encode(self) -> state::Key {
        let bytes = |kind: u8, numbers: &[u64]| {
            let numbers = numbers.iter().flat_map(|number| number.to_be_bytes());
            std::iter::once(kind).chain(numbers).collect()
        };
        match self {
            Self::Opened => bytes(0, &[]),
            Self::Session(number) => bytes(1, &[number]),
            Self::Reply(number, seq) => bytes(2, &[number, seq]),
        }
    }

    pub(super) fn decode(mut key: &[u8]) -> Option<Self> {
        let found = match key.try_get_u8().ok()? {
            0 => Self::Opened,
            1 => Self::Session(key.try_get_u64().ok()?),
            2 => Self::Reply(key.try_get_u64().ok()?, key.try_get_u64().ok()?),
            _ => return None,
        };
        key.is_empty().then_some(found)
    }
}

/// What the first command under a number was told, and where.
pub(super) struct Told {
    /// Of the command, so that another one under its number is found out.
    pub(super) fingerprint: u64,
    pub(super) id: LogId,
    pub(super) outcome: Outcome,
}

/// Tells commands apart that a client has confused; nothing that an adversary could not forge. It
/// would get its own earlier reply.
pub(super) fn fingerprint(command: &Command) -> u64 {
    let crc =
        crc32c::crc32c_append(crc32c::crc32c(&command.method.to_le_bytes()), &command.payload);
    let len = u32::try_from(command.payload.len()).expect("a request is limited");
    (u64::from(crc) << 32) | u64::from(len)
}

pub(super) fn encode_told(fingerprint: u64, id: LogId, outcome: &Outcome) -> Value {
    let mut out = Vec::new();
    for number in [fingerprint, id.term, id.index] {
        out.put_u64_le(number);
    }
    codec::encode(outcome, &mut out);
    out.into()
}

pub(super) fn decode_told(record: Value) -> Option<Told> {
    let mut record = Bytes::from_owner(record);
    let fingerprint = record.try_get_u64_le().ok()?;
    let (term, index) = (record.try_get_u64_le().ok()?, record.try_get_u64_le().ok()?);
    Some(Told { fingerprint, id: LogId { term, index }, outcome: codec::decode(record)? })
}

pub(super) fn encode_session(session: &Session) -> Value {
    let numbers = [session.nonce, session.used, session.floor];
    numbers.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// Without its replies, which have records of their own.
pub(super) fn decode_session(mut record: &[u8]) -> Option<Session> {
    let mut number = || record.try_get_u64_le().ok();
    let (nonce, used, floor) = (number()?, number()?, number()?);
    let session = Session { nonce, used, floor, kept: BTreeMap::new(), bytes: 0 };
    record.is_empty().then_some(session)
}

pub(super) fn encode_opened(opened: u64) -> Value {
    Value::from(opened.to_le_bytes())
}

pub(super) fn decode_opened(record: &[u8]) -> Option<u64> {
    record.try_into().ok().map(u64::from_le_bytes)
}
