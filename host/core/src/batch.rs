//! A command, a batch of commands, and the bytes of a batch in the log.
//!
//! An entry is, little-endian: `version` u8 (1), `flags` u8 (0), `count` u32, `time_ms` u64; for
//! each command `method` u32 and `payload_len` u32; all payloads; CRC-32C u32 of all before it.
//! Lengths must add up to the last byte, so nothing that is not a batch is taken for one.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// One call that changes state, as it travels through the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The method called, see `quorate_abi::method_id`.
    pub method: u32,
    /// The encoded request.
    pub payload: Bytes,
}

/// A command and who waits for its outcome. `W` is opaque here: a channel in the host, a number in
/// a simulation. It travels with the command, so there is no table to look it up in, or to leak.
#[derive(Debug)]
pub struct Proposal<W> {
    /// What to do.
    pub command: Command,
    /// Who is told.
    pub waiter: W,
}

/// Proposals that travel as one log entry.
#[derive(Debug)]
pub struct Batch<W> {
    /// In the order of their arrival; never empty.
    pub proposals: Vec<Proposal<W>>,
}

/// The content of a log entry: commands and the leader's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryBatch {
    /// Unix time in milliseconds on the leader that proposed it.
    pub time_ms: u64,
    /// The commands, in order.
    pub commands: Vec<Command>,
}

/// What a committed entry carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: a new leader's first entry.
    Empty,
    /// An encoded batch of commands.
    Commands(Bytes),
    /// The group's members from here on, encoded by consensus.
    Members(Bytes),
}

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 1 + 4 + 8;
const COMMAND_HEADER_BYTES: usize = 4 + 4;
const CRC_BYTES: usize = 4;

/// Encodes commands as one log entry.
pub fn encode<'a>(
    time_ms: u64,
    commands: impl ExactSizeIterator<Item = &'a Command> + Clone,
) -> Bytes {
    let count = commands.len();
    let payload_bytes: usize = commands.clone().map(|command| command.payload.len()).sum();
    let mut out = BytesMut::with_capacity(
        HEADER_BYTES + count * COMMAND_HEADER_BYTES + payload_bytes + CRC_BYTES,
    );
    out.put_u8(VERSION);
    out.put_u8(0);
    out.put_u32_le(u32::try_from(count).expect("a batch's count is limited"));
    out.put_u64_le(time_ms);
    for command in commands.clone() {
        out.put_u32_le(command.method);
        out.put_u32_le(u32::try_from(command.payload.len()).expect("a request is limited"));
    }
    for command in commands {
        out.put_slice(&command.payload);
    }
    out.put_u32_le(crc32c::crc32c(&out));
    out.freeze()
}

/// Decodes a log entry; payloads share its memory.
pub fn decode(entry: &Bytes) -> Result<EntryBatch, CodecError> {
    let body_len = entry.len().checked_sub(CRC_BYTES).ok_or(CodecError::Truncated)?;
    let mut crc = entry.slice(body_len..);
    if crc.get_u32_le() != crc32c::crc32c(&entry.slice(..body_len)) {
        return Err(CodecError::Checksum);
    }
    let mut body = entry.slice(..body_len);
    if body.len() < HEADER_BYTES {
        return Err(CodecError::Truncated);
    }
    let (version, flags) = (body.get_u8(), body.get_u8());
    if version != VERSION || flags != 0 {
        return Err(CodecError::Version { version, flags });
    }
    let count = usize::try_from(body.get_u32_le()).map_err(|_| CodecError::Truncated)?;
    let time_ms = body.get_u64_le();
    let headers_len = count.checked_mul(COMMAND_HEADER_BYTES).ok_or(CodecError::Truncated)?;
    if body.len() < headers_len {
        return Err(CodecError::Truncated);
    }
    let mut headers = body.split_to(headers_len);
    let mut commands = Vec::with_capacity(count);
    for _ in 0..count {
        let method = headers.get_u32_le();
        let len = usize::try_from(headers.get_u32_le()).map_err(|_| CodecError::Truncated)?;
        if body.len() < len {
            return Err(CodecError::Truncated);
        }
        commands.push(Command { method, payload: body.split_to(len) });
    }
    if !body.is_empty() {
        return Err(CodecError::Trailing);
    }
    Ok(EntryBatch { time_ms, commands })
}

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecError {
    /// The checksum does not match.
    Checksum,
    /// Lengths go past the end.
    Truncated,
    /// Bytes are left over.
    Trailing,
    /// A format that this version does not know.
    Version {
        /// The format's version.
        version: u8,
        /// Its flags.
        flags: u8,
    },
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checksum => f.write_str("the checksum of a log entry does not match"),
            Self::Truncated => f.write_str("a log entry is truncated"),
            Self::Trailing => f.write_str("a log entry has bytes left over"),
            Self::Version { version, flags } => write!(
                f,
                "a log entry has format {version} with flags {flags:#x}, which this version does \
                 not know"
            ),
        }
    }
}

impl std::error::Error for CodecError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(method: u32, payload: &'static [u8]) -> Command {
        Command { method, payload: Bytes::from_static(payload) }
    }

    fn round_trip(commands: Vec<Command>) {
        let entry = encode(77, commands.iter());
        assert_eq!(decode(&entry), Ok(EntryBatch { time_ms: 77, commands }));
    }

    #[test]
    fn one() {
        round_trip(vec![command(1, b"hello")]);
    }

    #[test]
    fn many() {
        round_trip((0..1000).map(|i| command(i, b"payload")).collect());
    }

    #[test]
    fn empty_payloads_and_none_at_all() {
        round_trip(vec![command(1, b""), command(2, b""), command(3, b"x")]);
        round_trip(vec![]);
    }

    #[test]
    fn a_payload_that_looks_like_a_batch_stays_a_payload() {
        let inner = encode(1, [command(1, b"a"), command(2, b"b")].iter());
        round_trip(vec![Command { method: 9, payload: inner }]);
    }

    #[test]
    fn every_truncation_is_refused() {
        let entry = encode(1, [command(1, b"abc"), command(2, b"defg")].iter());
        for len in 0..entry.len() {
            assert!(decode(&entry.slice(..len)).is_err(), "cut to {len} bytes");
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let entry = encode(1, [command(1, b"abc"), command(2, b"defg")].iter());
        for bit in 0..entry.len() * 8 {
            let mut bytes = entry.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&Bytes::from(bytes)).is_err(), "bit {bit}");
        }
    }

    /// A valid checksum over nonsense must not lead to a panic or a huge allocation.
    #[test]
    fn lengths_that_lie_are_refused() {
        let sealed = |mut body: Vec<u8>| {
            body.extend(crc32c::crc32c(&body).to_le_bytes());
            decode(&Bytes::from(body))
        };
        assert_eq!(sealed(vec![]), Err(CodecError::Truncated));
        let header = |count: u32| {
            let mut out = vec![VERSION, 0];
            out.extend(count.to_le_bytes());
            out.extend(1u64.to_le_bytes());
            out
        };
        assert_eq!(sealed(header(u32::MAX)), Err(CodecError::Truncated));
        let mut long = header(1);
        long.extend([0; 4]);
        long.extend(u32::MAX.to_le_bytes());
        assert_eq!(sealed(long), Err(CodecError::Truncated));
        let mut trailing = header(0);
        trailing.push(0);
        assert_eq!(sealed(trailing), Err(CodecError::Trailing));
        let mut newer = header(0);
        newer[0] = 2;
        assert_eq!(sealed(newer), Err(CodecError::Version { version: 2, flags: 0 }));
    }
}
