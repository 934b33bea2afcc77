//! A snapshot in a file, read frame by frame.

use std::io::{self, Read};

use super::frame::{HEAD_BYTES, Head};
use super::{Content, Damage, Decoder, Wrong};

/// Reads a snapshot. Holds one frame in memory.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    decoder: Decoder,
    /// Where the frame that was read last begins.
    offset: u64,
    frame: Vec<u8>,
}

/// Why a snapshot could not be read.
#[derive(Debug)]
pub enum Unreadable {
    /// It is not what was written, at the frame that begins at this byte.
    Damaged {
        /// Where.
        offset: u64,
        /// What is wrong there.
        damage: Damage,
    },
    /// There are bytes behind the trailer, from here on.
    GoesOn(u64),
    /// The disk's fault.
    Io(io::Error),
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged { offset, damage } => write!(f, "at byte {offset}: {damage}"),
            Self::GoesOn(offset) => {
                write!(f, "at byte {offset}: the snapshot has ended, and the file goes on")
            }
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Unreadable {}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<R: Read> Reader<R> {
    /// Reads from `input`, which stands at the snapshot's beginning.
    pub fn new(input: R) -> Self {
        Self { input, decoder: Decoder::new(), offset: 0, frame: Vec::new() }
    }

    /// What has been read so far.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Where the next frame begins; behind the trailer, the size of the snapshot.
    pub fn bytes(&self) -> u64 {
        self.offset + self.frame.len() as u64
    }

    /// What the next frame holds; `None` behind the trailer, where the file must end.
    pub fn next_content(&mut self) -> Result<Option<Content>, Unreadable> {
        self.offset = self.bytes();
        self.frame.clear();
        if self.decoder.is_whole() {
            let more = self.input.by_ref().take(1).read_to_end(&mut self.frame)?;
            return if more == 0 { Ok(None) } else { Err(Unreadable::GoesOn(self.offset)) };
        }
        self.read(HEAD_BYTES)?;
        let head = self.frame.first_chunk().expect("the head was read");
        let head = Head::read(head).map_err(|what| self.damaged(what))?;
        self.read(head.stored_bytes)?;
        let (offset, taken) = (self.offset, self.decoder.take(&self.frame));
        taken.map(Some).map_err(|damage| Unreadable::Damaged { offset, damage })
    }

    /// Appends so many bytes to the frame.
    fn read(&mut self, bytes: usize) -> Result<(), Unreadable> {
        let read = self.input.by_ref().take(bytes as u64).read_to_end(&mut self.frame)?;
        if read == bytes { Ok(()) } else { Err(self.damaged(Wrong::Length)) }
    }

    fn damaged(&self, what: Wrong) -> Unreadable {
        let frame = self.decoder.next_number();
        Unreadable::Damaged { offset: self.offset, damage: Damage { frame, what } }
    }
}
