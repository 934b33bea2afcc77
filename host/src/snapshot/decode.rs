//! From frames back to records. Nothing that a frame says is believed before it was checked.

use bytes::Bytes;
use quorate_core::limits::{KEY_BYTES_MAX, SNAPSHOT_CHUNK_BYTES_MAX};
use quorate_core::outcome::Fatal;
use quorate_core::state::{Space, StateBuilder};

use super::frame::{self, Identity, Kind};
use super::{Damage, Header, Position, RECORD_HEAD_BYTES, Wrong, identity};

/// Takes the frames of a snapshot in their order, and says what is in them.
#[derive(Debug, Default)]
pub struct Decoder {
    identity: Identity,
    /// `None` before the header.
    position: Option<Position>,
    is_whole: bool,
}

/// What a frame holds.
#[derive(Debug)]
pub enum Content {
    /// The first: what the records are of.
    Header(Header),
    /// The next records.
    Records(Records),
    /// The last: that was all, and all of it was sound.
    End,
}

impl Decoder {
    /// A decoder before the header.
    pub fn new() -> Self {
        Self::default()
    }

    /// How far it has come; `None` before the header.
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// Whether the trailer was there, and nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The number of the frame that comes next.
    pub fn next_number(&self) -> u64 {
        let after_chunk = |position: &Position| position.chunks + 1;
        self.position.as_ref().map_or(0, after_chunk) + u64::from(self.is_whole)
    }

    /// Takes the next frame. One that is refused changes nothing: the next in its place may be
    /// sound.
    pub fn take(&mut self, frame: &[u8]) -> Result<Content, Damage> {
        self.check(frame).map_err(|what| Damage { frame: self.next_number(), what })
    }

    fn check(&mut self, frame: &[u8]) -> Result<Content, Wrong> {
        let (head, stored) = frame::open(frame, self.identity)?;
        if head.number != self.next_number() || self.is_whole {
            return Err(Wrong::Sequence);
        }
        if head.kind != Kind::Chunk && head.content_bytes != head.stored_bytes {
            return Err(Wrong::Content("it is not compressed, and has two lengths"));
        }
        match (&mut self.position, head.kind) {
            (None, Kind::Header) => {
                let header = Header::decode(stored).ok_or(Wrong::Content("the header"))?;
                let position = Position::after_header(stored);
                self.identity = identity(&position);
                self.position = Some(position);
                Ok(Content::Header(header))
            }
            (Some(position), Kind::Chunk) => {
                let content = decompress(stored, head.content_bytes)?;
                let records = Records::read(&content, position.last.as_ref())?;
                let last = records.last.clone();
                position.add_chunk(&content, records.records.len() as u64, last);
                Ok(Content::Records(records))
            }
            (Some(position), Kind::Trailer) => {
                if stored != position.trailer() {
                    return Err(Wrong::Total);
                }
                self.is_whole = true;
                Ok(Content::End)
            }
            (None, Kind::Chunk | Kind::Trailer) | (Some(_), Kind::Header) => Err(Wrong::Sequence),
        }
    }
}

/// To `bytes` exactly; the head has bounded them.
fn decompress(stored: &[u8], bytes: usize) -> Result<Bytes, Wrong> {
    debug_assert!(bytes <= SNAPSHOT_CHUNK_BYTES_MAX);
    let content = zstd::bulk::decompress(stored, bytes);
    let content = content.map_err(|_| Wrong::Content("it does not decompress"))?;
    if content.len() != bytes {
        return Err(Wrong::Content("it decompresses to another length"));
    }
    Ok(content.into())
}

/// The records of one chunk, in the order of space and key.
#[derive(Debug)]
pub struct Records {
    records: Vec<Record>,
    last: (Space, Bytes),
}

/// A pair, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its space.
    pub space: Space,
    /// Its key there.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
}

impl IntoIterator for Records {
    type Item = Record;
    type IntoIter = std::vec::IntoIter<Record>;

    fn into_iter(self) -> Self::IntoIter {
        self.records.into_iter()
    }
}

impl Records {
    /// Adds them to a state that is being built.
    pub fn put_into(&self, builder: &mut impl StateBuilder) -> Result<(), Fatal> {
        let mut records = self.records.iter();
        records.try_for_each(|record| builder.put(record.space, &record.key, &record.value))
    }

    fn read(content: &Bytes, before: Option<&(Space, Bytes)>) -> Result<Self, Wrong> {
        let mut records = Vec::new();
        let mut last = before.cloned();
        let mut rest = content.clone();
        while !rest.is_empty() {
            let record = read_record(&mut rest)?;
            let place = (record.space, record.key.clone());
            if last.is_some_and(|last| last >= place) {
                return Err(Wrong::Content("its records are out of order"));
            }
            last = Some(place);
            records.push(record);
        }
        match last {
            Some(last) if !records.is_empty() => Ok(Self { records, last }),
            Some(_) | None => Err(Wrong::Content("it has no records")),
        }
    }
}

fn read_record(rest: &mut Bytes) -> Result<Record, Wrong> {
    const CUT: Wrong = Wrong::Content("a record is cut off");
    if rest.len() < RECORD_HEAD_BYTES {
        return Err(CUT);
    }
    let head = rest.split_to(RECORD_HEAD_BYTES);
    let length = |at: usize| {
        let bytes = head[at..at + 4].try_into().expect("four bytes are four bytes");
        u32::from_le_bytes(bytes) as usize
    };
    let space = Space::from_number(head[0]).ok_or(Wrong::Content("a record is of no space"))?;
    let (key_bytes, value_bytes) = (length(1), length(5));
    if key_bytes > KEY_BYTES_MAX {
        return Err(Wrong::Content("a key is over its limit"));
    }
    if rest.len() < key_bytes || rest.len() - key_bytes < value_bytes {
        return Err(CUT);
    }
    let key = rest.split_to(key_bytes);
    let value = rest.split_to(value_bytes);
    Ok(Record { space, key, value })
}
