//! From a view of a state to the frames of its snapshot, one at a time.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::limits::{SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNK_BYTES_MAX};
use quorate_core::outcome::Fatal;
use quorate_core::state::{self, Space, StateView};
use zstd::bulk::Compressor;

use super::frame::{self, Identity, Kind};
use super::{Header, Position, RECORD_HEAD_BYTES, identity};

/// Of the levels that are worth it, the one that costs least: ARCHITECTURE.md has the numbers.
const LEVEL: i32 = 1;

/// Makes the frames of a snapshot. Holds one chunk in memory, and the view that it reads.
pub struct Encoder {
    view: Arc<dyn StateView>,
    identity: Identity,
    position: Position,
    next: Next,
    compressor: Compressor<'static>,
}

/// What comes next.
enum Next {
    Header(Vec<u8>),
    Chunk,
    Nothing,
}

impl Encoder {
    /// All frames of the snapshot of `view`, whose meta is the header's.
    pub fn new(header: &Header, view: Arc<dyn StateView>) -> Result<Self, Fatal> {
        let content = header.encode();
        let position = Position::after_header(&content);
        let mut encoder = Self::resume(header, view, position)?;
        encoder.next = Next::Header(content);
        Ok(encoder)
    }

    /// The frames that come after `position`: of a receiver who has what came before, of the same
    /// header and the same view. Should it be of another, the receiver will find out.
    pub fn resume(
        header: &Header,
        view: Arc<dyn StateView>,
        position: Position,
    ) -> Result<Self, Fatal> {
        assert_eq!(&header.meta, view.meta(), "the header is of another view");
        let compressor = Compressor::new(LEVEL);
        let compressor = compressor.map_err(|error| Fatal::new("preparing zstd", error.into()))?;
        let identity = identity(&Position::after_header(&header.encode()));
        Ok(Self { view, identity, position, next: Next::Chunk, compressor })
    }

    /// The next frame; `None` after the trailer.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, Fatal> {
        match std::mem::replace(&mut self.next, Next::Chunk) {
            Next::Header(content) => {
                let no_identity = Identity::default();
                let frame = frame::seal(Kind::Header, 0, no_identity, content.len(), &content);
                Ok(Some(frame.into()))
            }
            Next::Chunk => self.chunk_or_trailer().map(Some),
            Next::Nothing => {
                self.next = Next::Nothing;
                Ok(None)
            }
        }
    }

    fn chunk_or_trailer(&mut self) -> Result<Bytes, Fatal> {
        let number = self.position.chunks + 1;
        let chunk = self.gather()?;
        let Some((space, key)) = chunk.last else {
            self.next = Next::Nothing;
            let content = self.position.trailer();
            let len = content.len();
            return Ok(frame::seal(Kind::Trailer, number, self.identity, len, &content).into());
        };
        let content = chunk.content;
        let stored = self.compressor.compress(&content);
        let stored = stored.map_err(|error| Fatal::new("compressing a chunk", error.into()))?;
        let last = (space, Bytes::copy_from_slice(&content[key]));
        self.position.add_chunk(&content, chunk.records, last);
        Ok(frame::seal(Kind::Chunk, number, self.identity, content.len(), &stored).into())
    }

    /// As many of the next records as fit into one chunk, at least one if there is one.
    fn gather(&self) -> Result<Chunk, Fatal> {
        let mut chunk = Chunk::default();
        for space in Space::ALL {
            let lo = match &self.position.last {
                Some((last, _)) if space < *last => continue,
                // The next possible key.
                Some((last, key)) if space == *last => [key, [0].as_slice()].concat(),
                Some(_) | None => Vec::new(),
            };
            let range = state::Range { lo: &lo, hi: None, reverse: false };
            self.view.scan(space, range, &mut |key, value| chunk.push(space, key, value))?;
            if chunk.is_full {
                break;
            }
        }
        if chunk.content.len() > SNAPSHOT_CHUNK_BYTES_MAX {
            let bytes = chunk.content.len();
            return Err(Fatal::msg(format!("a record of {bytes} bytes is too large to send")));
        }
        Ok(chunk)
    }
}

/// The records of a chunk, as they come together.
#[derive(Default)]
struct Chunk {
    content: Vec<u8>,
    records: u64,
    /// The last record's space, and where in the content its key is.
    last: Option<(Space, Range<usize>)>,
    is_full: bool,
}

impl Chunk {
    fn push(&mut self, space: Space, key: &[u8], value: &[u8]) -> ControlFlow<()> {
        let bytes = RECORD_HEAD_BYTES + key.len() + value.len();
        if self.last.is_some() && self.content.len() + bytes > SNAPSHOT_CHUNK_BYTES {
            self.is_full = true;
            return ControlFlow::Break(());
        }
        let length = |bytes: usize| u32::try_from(bytes).expect("far smaller").to_le_bytes();
        self.content.push(space.number());
        self.content.extend_from_slice(&length(key.len()));
        self.content.extend_from_slice(&length(value.len()));
        let start = self.content.len();
        self.content.extend_from_slice(key);
        self.last = Some((space, start..start + key.len()));
        self.content.extend_from_slice(value);
        self.records += 1;
        ControlFlow::Continue(())
    }
}
