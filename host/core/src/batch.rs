//! A command, a batch of commands, and the bytes of a batch in the log.
//!
//! An entry is, little-endian: `version` u8 (2), `flags` u8, `count` u32, `time_ms` u64; for each
//! command `method` u32 and `payload_len` u32; with flag 1, for each command what it has to do with
//! sessions; all payloads; CRC-32C u32 of all before it. Lengths must add up to the last byte, so
//! nothing that is not a batch is taken for one.
//!
//! A command without a session is a u8 of 0 among those; one that opens a session is a 1 and the
//! `nonce` u64; a call of a session is a 2 and the session's `number` and `nonce`, the call's `seq`
//! and `floor`, u64 each.

use std::fmt;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::limits;
use crate::session::{SessionCall, SessionId, SessionUse};

/// One call that changes state, as it travels through the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The method called, see `quorate_abi::method_id`.
    pub method: u32,
    /// The encoded request.
    pub payload: Bytes,
    /// What makes it harmless when it is sent again; most commands have none.
    pub session: Option<SessionUse>,
}

impl Command {
    /// A call without a session.
    pub const fn new(method: u32, payload: Bytes) -> Self {
        Self { method, payload, session: None }
    }

    /// What opens a session.
    pub const fn open_session(nonce: u64) -> Self {
        Self { method: 0, payload: Bytes::new(), session: Some(SessionUse::Open { nonce }) }
    }
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

const VERSION: u8 = 2;
/// Commands have sessions.
const WITH_SESSIONS: u8 = 1;
const HEADER_BYTES: usize = 1 + 1 + 4 + 8;
const COMMAND_HEADER_BYTES: usize = 4 + 4;
/// The most that a command's session takes.
const SESSION_USE_BYTES_MAX: usize = 1 + 4 * 8;
const CRC_BYTES: usize = 4;

const _: () = assert!(
    HEADER_BYTES + COMMAND_HEADER_BYTES + SESSION_USE_BYTES_MAX + CRC_BYTES
        <= limits::COMMAND_OVERHEAD_BYTES_MAX
);

/// Encodes commands as one log entry.
pub fn encode<'a>(
    time_ms: u64,
    commands: impl ExactSizeIterator<Item = &'a Command> + Clone,
) -> Bytes {
    let count = commands.len();
    let payload_bytes: usize = commands.clone().map(|command| command.payload.len()).sum();
    let has_sessions = commands.clone().any(|command| command.session.is_some());
    let session_bytes = if has_sessions { count * SESSION_USE_BYTES_MAX } else { 0 };
    let mut out = BytesMut::with_capacity(
        HEADER_BYTES + count * COMMAND_HEADER_BYTES + session_bytes + payload_bytes + CRC_BYTES,
    );
    out.put_u8(VERSION);
    out.put_u8(if has_sessions { WITH_SESSIONS } else { 0 });
    out.put_u32_le(u32::try_from(count).expect("a batch's count is limited"));
    out.put_u64_le(time_ms);
    for command in commands.clone() {
        out.put_u32_le(command.method);
        out.put_u32_le(u32::try_from(command.payload.len()).expect("a request is limited"));
    }
    if has_sessions {
        for command in commands.clone() {
            put_session(&mut out, command.session);
        }
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
    if version != VERSION || flags & !WITH_SESSIONS != 0 {
        return Err(CodecError::Version { version, flags });
    }
    let count = usize::try_from(body.get_u32_le()).map_err(|_| CodecError::Truncated)?;
    let time_ms = body.get_u64_le();
    let headers_len = count.checked_mul(COMMAND_HEADER_BYTES).ok_or(CodecError::Truncated)?;
    if body.len() < headers_len {
        return Err(CodecError::Truncated);
    }
    let mut headers = body.split_to(headers_len);
    let sessions: Vec<_> = if flags == WITH_SESSIONS {
        (0..count).map(|_| session(&mut body)).collect::<Result<_, _>>()?
    } else {
        Vec::new()
    };
    let mut sessions = sessions.into_iter();
    let mut commands = Vec::with_capacity(count);
    for _ in 0..count {
        let method = headers.get_u32_le();
        let len = usize::try_from(headers.get_u32_le()).map_err(|_| CodecError::Truncated)?;
        if body.len() < len {
            return Err(CodecError::Truncated);
        }
        let session = sessions.next().flatten();
        commands.push(Command { method, payload: body.split_to(len), session });
    }
    if !body.is_empty() {
        return Err(CodecError::Trailing);
    }
    Ok(EntryBatch { time_ms, commands })
}

fn put_session(out: &mut BytesMut, session: Option<SessionUse>) {
    match session {
        None => out.put_u8(0),
        Some(SessionUse::Open { nonce }) => {
            out.put_u8(1);
            out.put_u64_le(nonce);
        }
        Some(SessionUse::Call(SessionCall { id, seq, floor })) => {
            out.put_u8(2);
            for number in [id.number, id.nonce, seq, floor] {
                out.put_u64_le(number);
            }
        }
    }
}

fn session(body: &mut Bytes) -> Result<Option<SessionUse>, CodecError> {
    let kind = body.try_get_u8().map_err(|_| CodecError::Truncated)?;
    let mut number = || body.try_get_u64_le().map_err(|_| CodecError::Truncated);
    match kind {
        0 => Ok(None),
        1 => Ok(Some(SessionUse::Open { nonce: number()? })),
        2 => {
            let id = SessionId { number: number()?, nonce: number()? };
            let (seq, floor) = (number()?, number()?);
            Ok(Some(SessionUse::Call(SessionCall { id, seq, floor })))
        }
        kind => Err(CodecError::Session { kind }),
    }
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
    /// A kind of session that this version does not know.
    Session {
        /// Its number.
        kind: u8,
    },
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
            Self::Session { kind } => {
                write!(
                    f,
                    "a log entry has a session of kind {kind}, which this version does not know"
                )
            }
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
        Command::new(method, Bytes::from_static(payload))
    }

    fn with_session(session: SessionUse) -> Command {
        Command { session: Some(session), ..command(3, b"payload") }
    }

    fn call() -> SessionUse {
        let id = SessionId { number: 1, nonce: u64::MAX };
        SessionUse::Call(SessionCall { id, seq: 3, floor: 2 })
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
    fn sessions() {
        round_trip(vec![Command::open_session(7)]);
        round_trip(vec![command(1, b"none"), with_session(call()), with_session(call())]);
        let plain = encode(1, [command(3, b"payload")].iter());
        let session = encode(1, [with_session(call())].iter());
        assert_eq!(session.len() - plain.len(), SESSION_USE_BYTES_MAX, "and nothing without one");
    }

    #[test]
    fn a_payload_that_looks_like_a_batch_stays_a_payload() {
        let inner = encode(1, [command(1, b"a"), command(2, b"b")].iter());
        round_trip(vec![Command::new(9, inner)]);
    }

    #[test]
    fn every_truncation_is_refused() {
        let entry = encode(1, [command(1, b"abc"), with_session(call())].iter());
        for len in 0..entry.len() {
            assert!(decode(&entry.slice(..len)).is_err(), "cut to {len} bytes");
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let entry = encode(1, [command(1, b"abc"), with_session(call())].iter());
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
        newer[0] = 3;
        assert_eq!(sealed(newer), Err(CodecError::Version { version: 3, flags: 0 }));
        let mut unknown = header(0);
        unknown[1] = 2;
        assert_eq!(sealed(unknown), Err(CodecError::Version { version: 2, flags: 2 }));
        let mut session = header(1);
        session[1] = WITH_SESSIONS;
        session.extend([[0; 8].as_slice(), &[9]].concat());
        assert_eq!(sealed(session), Err(CodecError::Session { kind: 9 }));
    }
}
