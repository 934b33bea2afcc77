//! A snapshot: a state as bytes, in chunks, for a file and for another node alike.
//!
//! A snapshot is a sequence of frames: a header, chunks of records, a trailer. A file is the frames
//! one after the other, and nothing else; a stream sends one frame in each message. A frame is
//!
//! | bytes | field |
//! |---|---|
//! | 3 | `QSN` |
//! | 1 | the version of this format, 1 |
//! | 1 | the kind: 1 header, 2 chunk, 3 trailer |
//! | 8 | its number: the header is 0, the first chunk 1 |
//! | 4 | the length of the content, before compression |
//! | 4 | the length of the content as it is stored |
//! | 4 | CRC-32C of the snapshot's identity, all of the above, and the content as it is stored |
//! | … | the content: of a chunk compressed by zstd, else as it is |
//!
//! All numbers are little-endian. The content of header and trailer are the messages of
//! `proto/quorate/v1/snapshot.proto`; that of a chunk are records, each
//!
//! | bytes | field |
//! |---|---|
//! | 1 | the number of its space |
//! | 4 | the length of the key |
//! | 4 | the length of the value |
//! | … | key and value |
//!
//! in order of space and key over the whole snapshot. The *identity* is the first 8 bytes of the
//! SHA-256 of the header's content, and zeros for the header itself: a chunk of one snapshot does
//! not pass for one of another. The *digest* of the trailer is a chain: SHA-256 of the header's
//! content, then for each chunk SHA-256 of the digest so far and the chunk's content before
//! compression.
//!
//! **One state has one snapshot**, to the byte: nothing in it depends on the node or the time. So
//! the digests of two nodes can be compared, and a stream that broke off goes on at a [`Position`]
//! with another encoder of the same view.
//!
//! 1. `frame`: seals and opens a frame
//! 2. `encode`: [`Encoder`], from a view to frames
//! 3. `decode`: [`Decoder`], from frames to records; trusts nothing
//! 4. `file`: [`Reader`], frames from a file
//! 5. `restore`: [`restore`], which makes a node's data folder from one
//!
//! What this deliberately does not do: know where frames come from.

mod decode;
mod encode;
mod file;
mod frame;
mod restore;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use prost::Message as _;
use quorate_core::id::GroupId;
use quorate_core::state::{Meta, Space};
use quorate_proto::v1::{SnapshotHeader, SnapshotTrailer};
use sha2::{Digest as _, Sha256};

pub use self::decode::{Content, Decoder, Record, Records};
pub use self::encode::Encoder;
pub use self::file::{Reader, Unreadable};
pub use self::restore::restore;

use crate::identity::{GROUP, Identity};
use quorate_wasm::FUEL_VERSION;

/// Space and two lengths.
const RECORD_HEAD_BYTES: usize = 9;

/// What a snapshot says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The cluster that it was taken from.
    pub cluster: String,
    /// The group.
    pub group: GroupId,
    /// The digest of the module that made the state.
    pub module: [u8; 32],
    /// The version of the costs that it was run with.
    pub fuel: u32,
    /// What the state knows of itself.
    pub meta: Meta,
}

impl Header {
    /// Of a state with this meta, on a node of this identity.
    pub fn of(identity: &Identity, meta: Meta) -> Self {
        let (cluster, module) = (identity.cluster.clone(), identity.module);
        Self { cluster, group: GROUP, module, fuel: FUEL_VERSION, meta }
    }

    fn encode(&self) -> Vec<u8> {
        let header = SnapshotHeader {
            cluster: self.cluster.clone(),
            group: self.group.0,
            module: Bytes::copy_from_slice(&self.module),
            fuel: self.fuel,
            meta: self.meta.encode(),
        };
        header.encode_to_vec()
    }

    fn decode(content: &[u8]) -> Option<Self> {
        let header = SnapshotHeader::decode(content).ok()?;
        Some(Self {
            cluster: header.cluster,
            group: GroupId(header.group),
            module: header.module.as_ref().try_into().ok()?,
            fuel: header.fuel,
            meta: Meta::decode(&header.meta)?,
        })
    }
}

/// How far a snapshot has come: after which record, and what the chunks until there amount to. Who
/// sends and who receives compute the same, so a receiver's position is where a sender goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Chunks so far.
    pub chunks: u64,
    /// Their records.
    pub records: u64,
    /// Their content, before compression.
    pub bytes: u64,
    /// Over the header and these chunks.
    pub digest: [u8; 32],
    /// The last record's space and key; `None` before the first.
    pub last: Option<(Space, Bytes)>,
}

impl Position {
    fn after_header(content: &[u8]) -> Self {
        let digest = Sha256::digest(content).into();
        Self { chunks: 0, records: 0, bytes: 0, digest, last: None }
    }

    fn add_chunk(&mut self, content: &[u8], records: u64, last: (Space, Bytes)) {
        let chained = Sha256::new().chain_update(self.digest).chain_update(content);
        self.digest = chained.finalize().into();
        self.chunks += 1;
        self.records += records;
        self.bytes += content.len() as u64;
        self.last = Some(last);
    }

    fn trailer(&self) -> Vec<u8> {
        let trailer = SnapshotTrailer {
            chunks: self.chunks,
            records: self.records,
            bytes: self.bytes,
            digest: Bytes::copy_from_slice(&self.digest),
        };
        trailer.encode_to_vec()
    }
}

/// What frames are bound to, from the position behind their header.
fn identity(after_header: &Position) -> frame::Identity {
    *after_header.digest.first_chunk().expect("a digest is longer")
}

/// What is wrong with a snapshot, and in which of its frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The number of the frame, from 0.
    pub frame: u64,
    /// What is wrong.
    pub what: Wrong,
}

/// What can be wrong with a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It does not begin as a frame does.
    NoFrame,
    /// It is of a format that this version does not know.
    Format(u8),
    /// It ends too early, or not where it says.
    Length,
    /// It says of itself that it is larger than a frame may be.
    TooLarge,
    /// It is not what was written.
    Checksum,
    /// It stands where another belongs.
    Sequence,
    /// It has a checksum that fits, and still makes no sense.
    Content(&'static str),
    /// The trailer speaks of other chunks than those that were there.
    Total,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.frame {
            0 => f.write_str("the header "),
            frame => write!(f, "chunk {frame} "),
        }?;
        match &self.what {
            Wrong::NoFrame => f.write_str("does not begin as one of a snapshot"),
            Wrong::Format(format) => {
                write!(f, "has format {format}, this version knows {}", frame::FORMAT)
            }
            Wrong::Length => f.write_str("is cut off"),
            Wrong::TooLarge => f.write_str("says that it is larger than one can be"),
            Wrong::Checksum => f.write_str("is damaged: its checksum does not match"),
            Wrong::Sequence => f.write_str("is missing: another one stands in its place"),
            Wrong::Content(what) => write!(f, "makes no sense: {what}"),
            Wrong::Total => f.write_str("is the trailer, and tells of other chunks than these"),
        }
    }
}

impl std::error::Error for Damage {}
