//! The contract between a Quorate host and a guest module, version 1: names, numbers and layouts.
//! Host and SDK both build on this crate, so that neither can drift from the other.
//!
//! A guest is a core WebAssembly module. It exports its memory and two entry points, and pulls its
//! work: [`import::NEXT`] finishes the previous call and fills a buffer with the frame of the next
//! one. State lives in the host and is reached through the `kv_*` imports; guest memory is scratch.
//!
//! All pointers and lengths are `u32` (wasm `i32`), all integers in memory are little-endian.
//! A function that fills a guest's buffer returns the length of what it has to say as `i64`; when
//! that is longer than the buffer, nothing was written, and the guest calls again with more room.
//! What breaks a limit or the rules below ends the call with a trap, never with an error code.
//!
//! What this deliberately does not have: allocator callbacks, cursor handles, strings in errors.
#![no_std]
#![forbid(unsafe_code)]

pub mod limits;

/// The name of the import module; the version of the ABI is part of it.
pub const IMPORT_MODULE: &str = "quorate_v1";

/// The custom section that holds the plugin's manifest, a serialized `quorate.v1.Plugin`.
pub const MANIFEST_SECTION: &str = "quorate_v1";

/// What the host offers. Signatures are in WebAssembly's terms.
pub mod import {
    /// `next(verdict, reply, reply_len, buf, cap) -> i64`: finishes the previous call with a
    /// [`Verdict`](crate::Verdict) and writes the next [`Frame`](crate::Frame) to `buf`.
    /// Returns the frame's length, or [`NO_MORE`](crate::NO_MORE).
    /// A length over `cap`: call again with [`Verdict::None`](crate::Verdict::None).
    pub const NEXT: &str = "next";
    /// `kv_get(key, key_len, buf, cap) -> i64`: the value's length, or [`ABSENT`](crate::ABSENT).
    pub const KV_GET: &str = "kv_get";
    /// `kv_put(key, key_len, value, value_len)`. Traps in a query.
    pub const KV_PUT: &str = "kv_put";
    /// `kv_delete(key, key_len) -> i64`: 1 when the key was there, else 0. Traps in a query.
    pub const KV_DELETE: &str = "kv_delete";
    /// `kv_delete_range(lo, lo_len, hi, hi_len) -> i64`: deletes keys in `lo..hi`, returns how
    /// many there were. An empty `hi` has no upper end. Traps in a query.
    pub const KV_DELETE_RANGE: &str = "kv_delete_range";
    /// `kv_scan(lo, lo_len, hi, hi_len, flags, limit, buf, cap) -> i64`: writes one page of the
    /// pairs in `lo..hi` (see [`page`](crate::page)), at most `limit` of them (0: no limit).
    /// An empty `hi` has no upper end. The flags are those of [`scan`](crate::scan).
    pub const KV_SCAN: &str = "kv_scan";
    /// `log(level, text, text_len)`: a line for the operator; 1 error ... 5 trace.
    pub const LOG: &str = "log";
    /// `abort(text, text_len, line)`: a panic's message. Does not return.
    pub const ABORT: &str = "abort";

    /// All of them, for those who check or write modules: name, how many `i32` it takes, whether
    /// it returns an `i64`.
    pub const SIGNATURES: [(&str, usize, bool); 8] = [
        (NEXT, 5, true),
        (KV_GET, 4, true),
        (KV_PUT, 4, false),
        (KV_DELETE, 2, true),
        (KV_DELETE_RANGE, 4, true),
        (KV_SCAN, 8, true),
        (LOG, 3, false),
        (ABORT, 3, false),
    ];
}

/// What a guest exports.
pub mod export {
    /// The guest's one linear memory.
    pub const MEMORY: &str = "memory";
    /// `quorate_abi_v1()`: marks the version; never called.
    pub const ABI_MARKER: &str = "quorate_abi_v1";
    /// `quorate_apply()`: pulls commands until there are no more.
    pub const APPLY: &str = "quorate_apply";
    /// `quorate_query()`: pulls queries until there are no more.
    pub const QUERY: &str = "quorate_query";
}

/// The answer of [`import::NEXT`] when the guest's work is done.
pub const NO_MORE: i64 = -1;

/// The answer of [`import::KV_GET`] when there is no such key.
pub const ABSENT: i64 = -1;

/// How the previous call ended: the first argument of [`import::NEXT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Verdict {
    /// There is no previous call, or its frame did not fit and is asked for again.
    None = 0,
    /// It succeeded; `reply` holds its answer, and its writes are kept.
    Reply = 1,
    /// It was refused; `reply` holds an encoded [status], its writes are undone.
    Refused = 2,
}

impl Verdict {
    /// The verdict of that number, if there is one.
    pub const fn from_u32(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::None),
            1 => Some(Self::Reply),
            2 => Some(Self::Refused),
            _ => None,
        }
    }
}

/// The number that stands for a method in frames and in the log: FNV-1a, 32 bits, of its full path
/// without the leading slash (`kv.v1.Kv/Put`). It survives reordering and added methods; a module
/// with two methods of one number is refused by the SDK's build step and by the host's gate.
pub const fn method_id(path: &str) -> u32 {
    let bytes = path.as_bytes();
    let mut hash = 0x811c_9dc5_u32;
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    hash
}

const FRAME_HEADER_BYTES: usize = 40;

/// One call as the guest sees it: a fixed header of [`Frame::HEADER_BYTES`], then the payload.
///
/// | offset | field | what it is |
/// |---|---|---|
/// | 0 | `index` u64 | the log index of the entry (of the snapshot, for a query) |
/// | 8 | `time_ms` u64 | Unix time in milliseconds, as the log has it; never falls |
/// | 16 | `seed` u64 | a number derived from the log position, for pseudo-randomness |
/// | 24 | `position` u32 | place of the command within its entry |
/// | 28 | `method` u32 | [`method_id`] of the method called |
/// | 32 | `payload_len` u32 | bytes that follow |
/// | 36 | `reserved` u32 | zero |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The log index of the entry; for a query, of the snapshot it reads.
    pub index: u64,
    /// Unix time in milliseconds, as the log has it.
    pub time_ms: u64,
    /// Derived from the log position; the same on every replica.
    pub seed: u64,
    /// Place of the command within its entry, from 0.
    pub position: u32,
    /// [`method_id`] of the method called.
    pub method: u32,
    /// The encoded request.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Bytes before the payload.
    pub const HEADER_BYTES: usize = FRAME_HEADER_BYTES;

    /// The header's bytes.
    pub fn header(&self) -> [u8; FRAME_HEADER_BYTES] {
        let mut out = [0; FRAME_HEADER_BYTES];
        let payload_len = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        out[0..8].copy_from_slice(&self.index.to_le_bytes());
        out[8..16].copy_from_slice(&self.time_ms.to_le_bytes());
        out[16..24].copy_from_slice(&self.seed.to_le_bytes());
        out[24..28].copy_from_slice(&self.position.to_le_bytes());
        out[28..32].copy_from_slice(&self.method.to_le_bytes());
        out[32..36].copy_from_slice(&payload_len.to_le_bytes());
        out
    }

    /// Reads a frame back; `None` when the lengths disagree.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (header, payload) = bytes.split_at_checked(Self::HEADER_BYTES)?;
        let u64_at = |at: usize| Some(u64::from_le_bytes(header.get(at..at + 8)?.try_into().ok()?));
        let u32_at = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
        let frame = Self {
            index: u64_at(0)?,
            time_ms: u64_at(8)?,
            seed: u64_at(16)?,
            position: u32_at(24)?,
            method: u32_at(28)?,
            payload,
        };
        (usize::try_from(u32_at(32)?).ok()? == payload.len()).then_some(frame)
    }
}

/// An encoded status: `code` u32, `message_len` u32, the message (UTF-8), then the details (bytes
/// to the end). The code is gRPC's, 1 to 16.
pub mod status {
    /// Bytes before the message.
    pub const HEADER_BYTES: usize = 8;

    /// The header of a status.
    pub fn header(code: u32, message: &str) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let message_len = u32::try_from(message.len()).unwrap_or(u32::MAX);
        out[0..4].copy_from_slice(&code.to_le_bytes());
        out[4..8].copy_from_slice(&message_len.to_le_bytes());
        out
    }

    /// Splits an encoded status into code, message and details; `None` when it is malformed or
    /// its code is not an error of gRPC.
    pub fn decode(bytes: &[u8]) -> Option<(u32, &str, &[u8])> {
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
        let code = u32::from_le_bytes(header.get(0..4)?.try_into().ok()?);
        let message_len = u32::from_le_bytes(header.get(4..8)?.try_into().ok()?);
        let (message, details) = rest.split_at_checked(usize::try_from(message_len).ok()?)?;
        let message = core::str::from_utf8(message).ok()?;
        (1..=16).contains(&code).then_some((code, message, details))
    }
}

/// Flags of [`import::KV_SCAN`].
pub mod scan {
    /// From the last key to the first.
    pub const REVERSE: u32 = 1;
    /// Values come back empty.
    pub const KEYS_ONLY: u32 = 2;
    /// All flags that exist; any other bit traps.
    pub const ALL: u32 = REVERSE | KEYS_ONLY;
}

/// A page of pairs: `count` u32, `more` u32 (1 when the range holds further pairs behind the last
/// one, be it for the limit or for room), then for each pair `key_len` u32, `value_len` u32, key,
/// value. A page holds as many pairs as fit into the buffer; when not even one does, the length
/// returned is what the first needs, and nothing was written.
pub mod page {
    /// Bytes before the first pair.
    pub const HEADER_BYTES: usize = 8;
    /// Bytes before each pair's key.
    pub const PAIR_HEADER_BYTES: usize = 8;

    /// Bytes that one pair takes.
    pub const fn pair_bytes(key_len: usize, value_len: usize) -> usize {
        PAIR_HEADER_BYTES + key_len + value_len
    }

    /// Splits a page into its pairs and whether there is more; `None` when it is malformed.
    pub fn decode(page: &[u8]) -> Option<(Pairs<'_>, bool)> {
        let (header, rest) = page.split_at_checked(HEADER_BYTES)?;
        let count = u32::from_le_bytes(header.get(0..4)?.try_into().ok()?);
        let more = u32::from_le_bytes(header.get(4..8)?.try_into().ok()?);
        Some((Pairs { count, rest }, more == 1))
    }

    /// The pairs of a page, in the order of the scan.
    #[derive(Clone, Debug)]
    pub struct Pairs<'a> {
        count: u32,
        rest: &'a [u8],
    }

    impl<'a> Iterator for Pairs<'a> {
        type Item = (&'a [u8], &'a [u8]);

        fn next(&mut self) -> Option<Self::Item> {
            self.count = self.count.checked_sub(1)?;
            let (header, rest) = self.rest.split_at_checked(PAIR_HEADER_BYTES)?;
            let key_len = u32::from_le_bytes(header.get(0..4)?.try_into().ok()?);
            let value_len = u32::from_le_bytes(header.get(4..8)?.try_into().ok()?);
            let (key, rest) = rest.split_at_checked(usize::try_from(key_len).ok()?)?;
            let (value, rest) = rest.split_at_checked(usize::try_from(value_len).ok()?)?;
            self.rest = rest;
            Some((key, value))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;
    use std::vec::Vec;

    #[test]
    fn a_frame_survives_the_crossing() {
        let frame =
            Frame { index: 7, time_ms: 8, seed: 9, position: 1, method: 2, payload: b"payload" };
        let mut bytes = Vec::from(frame.header());
        bytes.extend_from_slice(frame.payload);
        assert_eq!(Frame::decode(&bytes), Some(frame));
        assert_eq!(Frame::decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Frame::decode(&bytes[..10]), None);
    }

    #[test]
    fn a_status_that_is_malformed_is_none() {
        let mut bytes = Vec::from(status::header(5, "no"));
        bytes.extend_from_slice(b"no");
        bytes.extend_from_slice(b"detail");
        assert_eq!(status::decode(&bytes), Some((5, "no", b"detail".as_slice())));
        assert_eq!(status::decode(&bytes[..9]), None);
        bytes[0] = 0;
        assert_eq!(status::decode(&bytes), None, "OK is not a refusal");
        bytes[0] = 17;
        assert_eq!(status::decode(&bytes), None);
    }

    #[test]
    fn method_ids_are_stable() {
        assert_eq!(method_id(""), 0x811c_9dc5);
        assert_eq!(method_id("a"), 0xe40c_292c);
        assert_ne!(method_id("kv.v1.Kv/Put"), method_id("kv.v1.Kv/Get"));
    }
}
