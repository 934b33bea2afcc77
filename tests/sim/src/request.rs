//! What clients ask for, and what they are told, as bytes on the wire and as values.
//!
//! Registers (put, get, compare and set) are asked for in the key-value plugin's own messages, so
//! that the real module and the native program take the same. Scripts are for the native program:
//! several steps on a map of their own, which may end in a refusal.

use std::fmt;

use bytes::Bytes;
use kv::compare::Target;
use kv::txn_op::Op as TxnOp;
use kv::txn_op_reply::Reply as TxnOpReply;
use kv::{Compare, GetReply, GetRequest, KeyValue, PutReply, PutRequest, TxnReply, TxnRequest};
use prost::Message;
use quorate_abi::method_id;
use quorate_core::batch::Command;
use quorate_core::session::{SessionId, SessionUse};
use quorate_history::Found;

/// Sets a key.
pub const PUT: u32 = method_id("kv.v1.Kv/Put");
/// Reads a key.
pub const GET: u32 = method_id("kv.v1.Kv/Get");
/// Compares and sets.
pub const TXN: u32 = method_id("kv.v1.Kv/Txn");
/// Runs a script.
pub const SCRIPT: u32 = method_id("sim.v1.Sim/Script");

/// What a client asks for. Values are the numbers of calls, so each is written once.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Sets a register; so many bytes of padding travel along.
    Put(u32, u64, u16),
    /// Sets a register if it was last set at this revision; 0: if it never was.
    Cas(u32, u64, u64),
    /// Reads a register.
    Get(u32),
    /// Runs a script.
    Script(Script),
    /// Runs a script as a query, which may not write.
    Look(Script),
    /// Opens a session; the number of the call is its nonce.
    Open(u64),
    /// A call of another plugin's method, and whether it is a command.
    Other(u32, Bytes, bool),
}

/// What a client is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Of a register: the store's revision, whether the call wrote, and what was there.
    Register {
        /// The store's revision after the call.
        revision: u64,
        /// Whether the call wrote.
        wrote: bool,
        /// What the register held before.
        found: Option<Found>,
    },
    /// Of a script.
    Script(ScriptReply),
    /// The session that was opened.
    Session(SessionId),
    /// Of another plugin.
    Other(Bytes),
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(key, value, _) => write!(f, "put {} = {value}", Key(*key)),
            Self::Cas(key, revision, value) => {
                write!(f, "put {} = {value} if its revision is {revision}", Key(*key))
            }
            Self::Get(key) => write!(f, "get {}", Key(*key)),
            Self::Open(_) => f.write_str("open a session"),
            Self::Other(method, payload, _) => {
                write!(f, "method {method:08x} with {} bytes", payload.len())
            }
            Self::Script(script) | Self::Look(script) => {
                let steps = script.steps.iter().map(|step| format!("{:?}", step.kind()));
                let steps: Vec<_> = steps.collect();
                let what = if self.is_command() { "script" } else { "look" };
                write!(f, "{what} {}, then {:?}", steps.join(" "), script.end())
            }
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register { revision, wrote, found } => {
                if *wrote {
                    write!(f, "wrote revision {revision}, over ")?;
                } else {
                    f.write_str("found ")?;
                }
                match found {
                    Some(found) => write!(f, "{} of revision {}", found.value, found.mod_revision),
                    None => f.write_str("nothing"),
                }
            }
            Self::Script(reply) => write!(f, "{} steps done", reply.steps.len()),
            Self::Session(id) => write!(f, "session {}", id.number),
            Self::Other(bytes) => write!(f, "{} bytes", bytes.len()),
        }
    }
}

/// A register as its letter.
struct Key(u32);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&key_bytes(self.0)))
    }
}

/// Steps that happen all or not at all.
#[derive(Clone, PartialEq, Message)]
pub struct Script {
    /// The number of the call.
    #[prost(uint64, tag = "1")]
    pub call: u64,
    /// In order.
    #[prost(message, repeated, tag = "2")]
    pub steps: Vec<Step>,
    /// How it ends.
    #[prost(enumeration = "End", tag = "3")]
    pub end: i32,
}

/// One step.
#[derive(Clone, PartialEq, Message)]
pub struct Step {
    /// What it does.
    #[prost(enumeration = "StepKind", tag = "1")]
    pub kind: i32,
    /// The key, or the first of a range.
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    /// The value; for a range, its end, and empty for none.
    #[prost(bytes = "vec", tag = "3")]
    pub value: Vec<u8>,
    /// For a scan, after how many pairs it breaks off; 0 for all.
    #[prost(uint32, tag = "4")]
    pub limit: u32,
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum StepKind {
    /// Sets a key.
    Put = 0,
    /// Deletes a key, and tells whether it was there.
    Delete = 1,
    /// Deletes a range, and tells how many there were.
    DeleteRange = 2,
    /// Reads a key.
    Get = 3,
    /// Reads a range.
    Scan = 4,
    /// Reads a range from its end.
    ScanBack = 5,
    /// Tells what the program knows of its place in the log.
    Stamp = 6,
    /// Sets a key that is longer than keys may be.
    PutTooLong = 7,
}

/// How a script ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum End {
    /// With its reply.
    Reply = 0,
    /// By its own decision; nothing was written.
    Reject = 1,
    /// It broke off.
    Trap = 2,
    /// It took too long.
    Fuel = 3,
}

/// What the steps gave.
#[derive(Clone, PartialEq, Message)]
pub struct ScriptReply {
    /// For each step, what it gave.
    #[prost(message, repeated, tag = "1")]
    pub steps: Vec<StepReply>,
}

/// What a step gave.
#[derive(Clone, PartialEq, Message)]
pub struct StepReply {
    /// How many, or whether; for a scan that is not broken off, how many deleted keys it passed.
    #[prost(uint64, tag = "1")]
    pub count: u64,
    /// What was read: key, value, key, value, and so on.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub read: Vec<Vec<u8>>,
    /// For a stamp: the machine's time, index, position.
    #[prost(uint64, repeated, tag = "3")]
    pub place: Vec<u64>,
    /// For a stamp: the command's seed.
    #[prost(uint64, tag = "4")]
    pub seed: u64,
}

/// A register's key as bytes.
pub fn key_bytes(key: u32) -> Vec<u8> {
    vec![b'a' + u8::try_from(key % 26).expect("under 26")]
}

fn value_bytes(value: u64, padding: u16) -> Vec<u8> {
    let mut bytes = value.to_le_bytes().to_vec();
    bytes.resize(8 + usize::from(padding), 0);
    bytes
}

/// The number that a value begins with.
pub fn value_number(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().copied().map(u64::from_le_bytes)
}

/// The register that a key names.
pub fn key_number(bytes: &[u8]) -> Option<u32> {
    let [byte] = bytes else { return None };
    byte.checked_sub(b'a').map(u32::from)
}

impl Request {
    /// Whether it goes through the log.
    pub fn is_command(&self) -> bool {
        !matches!(self, Self::Get(_) | Self::Look(_) | Self::Other(_, _, false))
    }

    /// As it travels.
    pub fn encode(&self) -> Command {
        let (method, payload) = match self {
            Self::Open(nonce) => return Command::open_session(*nonce),
            Self::Other(method, payload, _) => return Command::new(*method, payload.clone()),
            Self::Put(key, value, padding) => (PUT, put(*key, *value, *padding).encode_to_vec()),
            Self::Cas(key, wanted, value) => (TXN, cas(*key, *wanted, *value).encode_to_vec()),
            Self::Get(key) => (GET, GetRequest { key: key_bytes(*key) }.encode_to_vec()),
            Self::Script(script) | Self::Look(script) => (SCRIPT, script.encode_to_vec()),
        };
        Command::new(method, payload.into())
    }

    /// A command as the log has it; `None` if it is none of a client's.
    pub fn decode(command: &Command) -> Option<Self> {
        let payload = &command.payload[..];
        if let Some(SessionUse::Open { nonce }) = command.session {
            return Some(Self::Open(nonce));
        }
        match command.method {
            PUT => {
                let PutRequest { key, value, .. } = PutRequest::decode(payload).ok()?;
                let padding = u16::try_from(value.len().checked_sub(8)?).ok()?;
                Some(Self::Put(key_number(&key)?, value_number(&value)?, padding))
            }
            TXN => {
                let TxnRequest { compare, success, .. } = TxnRequest::decode(payload).ok()?;
                let Target::ModRevision(wanted) = compare.first()?.target.clone()? else {
                    return None;
                };
                let TxnOp::Put(put) = success.first()?.op.clone()? else { return None };
                Some(Self::Cas(key_number(&put.key)?, wanted, value_number(&put.value)?))
            }
            SCRIPT => Script::decode(payload).ok().map(Self::Script),
            _ => None,
        }
    }

    /// The number of the call that a command belongs to; when it was sent again, of the first.
    pub fn call(&self) -> Option<u64> {
        match self {
            Self::Put(_, call, _) | Self::Cas(_, _, call) | Self::Open(call) => Some(*call),
            Self::Get(_) | Self::Look(_) | Self::Other(..) => None,
            Self::Script(script) => Some(script.call),
        }
    }

    /// Its reply, from bytes.
    pub fn decode_reply(&self, bytes: &[u8]) -> Option<Reply> {
        match self {
            Self::Put(..) => {
                let PutReply { revision, prev_kv } = PutReply::decode(bytes).ok()?;
                Some(register(revision, true, prev_kv))
            }
            Self::Get(_) => {
                let GetReply { revision, kv } = GetReply::decode(bytes).ok()?;
                Some(register(revision, false, kv))
            }
            Self::Cas(..) => {
                let mut reply = TxnReply::decode(bytes).ok()?;
                let found = match reply.responses.pop()?.reply? {
                    TxnOpReply::Put(put) if reply.succeeded => put.prev_kv,
                    TxnOpReply::Get(get) if !reply.succeeded => get.kv,
                    _ => return None,
                };
                Some(register(reply.revision, reply.succeeded, found))
            }
            Self::Script(_) | Self::Look(_) => ScriptReply::decode(bytes).ok().map(Reply::Script),
            Self::Other(..) => Some(Reply::Other(Bytes::copy_from_slice(bytes))),
            Self::Open(_) => std::str::from_utf8(bytes).ok()?.parse().ok().map(Reply::Session),
        }
    }
}

fn put(key: u32, value: u64, padding: u16) -> PutRequest {
    PutRequest { key: key_bytes(key), value: value_bytes(value, padding), prev_kv: true }
}

fn cas(key: u32, wanted: u64, value: u64) -> TxnRequest {
    let op = |op| vec![kv::TxnOp { op: Some(op) }];
    TxnRequest {
        compare: vec![Compare {
            key: key_bytes(key),
            target: Some(Target::ModRevision(wanted)),
            ..Compare::default()
        }],
        success: op(TxnOp::Put(put(key, value, 0))),
        failure: op(TxnOp::Get(GetRequest { key: key_bytes(key) })),
    }
}

fn register(revision: u64, wrote: bool, found: Option<KeyValue>) -> Reply {
    let found = found.and_then(|kv| {
        Some(Found { value: value_number(&kv.value)?, mod_revision: kv.mod_revision })
    });
    Reply::Register { revision, wrote, found }
}
