//! The records of a log's file: one for each round, with a checksum.

use bytes::Bytes;
use protobuf::Message as _;
use quorate_core::id::LogId;
use quorate_core::log::{Base, Entry, HardState, LogStore as _, MemoryLog, Persist};

const HEADER_BYTES: usize = 8;
/// Kind, term, vote, commit, and where the log begins.
const NUMBERS: usize = 7;

/// What a record does to a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Entries and votes.
    Round,
    /// The same, and the log begins anew.
    Anew,
    /// Its front is cut off.
    Cut,
}

/// A record.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) hard_state: HardState,
    /// Where the log begins from here on.
    pub(super) base: Base,
    pub(super) entries: Vec<Entry>,
}

impl Record {
    /// Length and checksum, each 4 bytes; then the numbers, and the entries.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (hard, base) = (&self.hard_state, self.base);
        let numbers: [u64; NUMBERS] = [
            self.kind as u64,
            hard.term,
            hard.vote,
            hard.commit,
            base.id.index,
            base.id.term,
            base.state,
        ];
        let mut body = numbers.map(u64::to_le_bytes).concat();
        for entry in &self.entries {
            entry.write_length_delimited_to_vec(&mut body).expect("an entry always encodes");
        }
        let len = u32::try_from(body.len()).expect("a round is limited");
        let mut record = len.to_le_bytes().to_vec();
        // The length is part of what is checked.
        record.extend(crc32c::crc32c_append(len, &body).to_le_bytes());
        record.extend(body);
        record
    }

    /// The record at a place of a file, and where the next one begins.
    pub(super) fn decode(file: &Bytes, at: usize) -> Option<(Self, usize)> {
        let number = |at: usize| {
            let bytes = file.get(at..at + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let (len, crc) = (number(at)?, number(at + 4)?);
        let end = at + HEADER_BYTES + usize::try_from(len).ok()?;
        let body = file.get(at + HEADER_BYTES..end)?;
        if crc32c::crc32c_append(len, body) != crc {
            return None;
        }
        let (numbers, _) = body.split_at_checked(NUMBERS * 8)?;
        let numbers = numbers.as_chunks::<8>().0.iter().map(|part| u64::from_le_bytes(*part));
        let [kind, term, vote, commit, index, base_term, state]: [u64; NUMBERS] =
            numbers.collect::<Vec<_>>().try_into().ok()?;
        let kind =
            [Kind::Round, Kind::Anew, Kind::Cut].into_iter().find(|of| *of as u64 == kind)?;
        let hard_state = HardState { term, vote, commit, ..HardState::default() };
        let base = Base { id: LogId { term: base_term, index }, state };
        let mut entries = Vec::new();
        let rest = file.slice(at + HEADER_BYTES + NUMBERS * 8..end);
        let mut input = protobuf::CodedInputStream::from_carllerche_bytes(&rest);
        while !input.eof().ok()? {
            entries.push(input.read_message().ok()?);
        }
        Some((Self { kind, hard_state, base, entries }, end))
    }

    /// Does to a log what the record says; false when it does not fit there.
    pub(super) fn replay(&self, log: &mut MemoryLog) -> bool {
        let base = (self.kind == Kind::Anew).then_some(self.base);
        let (hard_state, entries) = (Some(&self.hard_state), self.entries.as_slice());
        let is_taken = log.persist(Persist { base, hard_state, entries, must_sync: false }).is_ok();
        is_taken && (self.kind != Kind::Cut || log.cut(self.base.id.index).is_ok())
    }
}

/// The records of a file, as far as they are sound, each with where it ends.
pub(super) fn records(file: &Bytes) -> impl Iterator<Item = (Record, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (record, next) = Record::decode(file, at)?;
        at = next;
        Some((record, next))
    })
}
