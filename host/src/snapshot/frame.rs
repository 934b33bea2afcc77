//! One frame: sealed with a checksum that covers its place, and opened again.

use quorate_core::limits;
use zstd::zstd_safe::compress_bound;

use super::Wrong;

pub(super) const FORMAT: u8 = 1;
const MAGIC: [u8; 3] = *b"QSN";
/// What comes before the content.
pub(super) const HEAD_BYTES: usize = 25;
const CRC_BYTES: usize = 4;

/// What of a snapshot a frame must belong to.
pub(super) type Identity = [u8; 8];

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Header = 1,
    Chunk = 2,
    Trailer = 3,
}

impl Kind {
    fn from_number(number: u8) -> Option<Self> {
        [Self::Header, Self::Chunk, Self::Trailer].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// The head of a frame, whose lengths are within their bounds. Its checksum was not looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) number: u64,
    /// Before compression.
    pub(super) content_bytes: usize,
    pub(super) stored_bytes: usize,
    crc: u32,
}

impl Head {
    pub(super) fn read(head: &[u8; HEAD_BYTES]) -> Result<Self, Wrong> {
        let (magic, rest) = split(head);
        let ([format], rest) = split(rest);
        let ([kind], rest) = split(rest);
        let (number, rest) = split(rest);
        let (content_bytes, rest) = split(rest);
        let (stored_bytes, rest) = split(rest);
        let (crc, _) = split(rest);
        if magic != MAGIC {
            return Err(Wrong::NoFrame);
        }
        if format != FORMAT {
            return Err(Wrong::Format(format));
        }
        let head = Self {
            kind: Kind::from_number(kind).ok_or(Wrong::Content("its kind is unknown"))?,
            number: u64::from_le_bytes(number),
            content_bytes: u32::from_le_bytes(content_bytes) as usize,
            stored_bytes: u32::from_le_bytes(stored_bytes) as usize,
            crc: u32::from_le_bytes(crc),
        };
        // Before anybody makes room for so much.
        let is_bounded = head.content_bytes <= limits::SNAPSHOT_CHUNK_BYTES_MAX
            && head.stored_bytes <= compress_bound(head.content_bytes);
        if is_bounded { Ok(head) } else { Err(Wrong::TooLarge) }
    }
}

/// A frame around a content; `stored` is what it was compressed to.
pub(super) fn seal(
    kind: Kind,
    number: u64,
    identity: Identity,
    content_bytes: usize,
    stored: &[u8],
) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).expect("a chunk is far smaller").to_le_bytes();
    let mut frame = Vec::with_capacity(HEAD_BYTES + stored.len());
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&[FORMAT, kind as u8]);
    frame.extend_from_slice(&number.to_le_bytes());
    frame.extend_from_slice(&length(content_bytes));
    frame.extend_from_slice(&length(stored.len()));
    let crc = checksum(identity, &frame, stored);
    frame.extend_from_slice(&crc.to_le_bytes());
    frame.extend_from_slice(stored);
    frame
}

/// What a frame of that identity carries, as it is stored.
pub(super) fn open(frame: &[u8], identity: Identity) -> Result<(Head, &[u8]), Wrong> {
    let (bytes, stored) = frame.split_first_chunk().ok_or(Wrong::Length)?;
    let head = Head::read(bytes)?;
    if stored.len() != head.stored_bytes {
        return Err(Wrong::Length);
    }
    let covered = &bytes[..HEAD_BYTES - CRC_BYTES];
    if checksum(identity, covered, stored) != head.crc {
        return Err(Wrong::Checksum);
    }
    Ok((head, stored))
}

fn checksum(identity: Identity, head: &[u8], stored: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&identity), head);
    crc32c::crc32c_append(crc, stored)
}

fn split<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    let (field, rest) = bytes.split_first_chunk().expect("the fields are as long as the head");
    (*field, rest)
}
