//! Making one member the only one, while nothing runs: for when the others are lost.
//!
//! Its log gets one more entry, which says so, and all of the log counts as committed. So the state
//! catches up with what the log has, as after any restart, and whoever joins later comes by the
//! same entries to the same members.

use protobuf::Message as _;
use raft::eraftpb::{Entry, EntryType};
use raft::prelude::ConfChangeV2;

use crate::id::RaftId;
use crate::log::{LogStore, Persist};
use crate::members::Note;
use crate::outcome::Fatal;

/// Makes `member` the only one. Returns the index of the log's last entry, which says so. In a new
/// term: whatever the others may still decide among themselves, it is of an earlier one.
pub fn make_alone(log: &mut impl LogStore, member: RaftId) -> Result<u64, Fatal> {
    let note = Note { alone: Some(member), ..Note::default() };
    let change = ConfChangeV2 { context: note.encode(), ..ConfChangeV2::default() };
    let data = change
        .write_to_bytes()
        .map_err(|error| Fatal::new("encoding a membership change", error.into()))?;
    let mut hard_state = log.hard_state();
    let index = log.last_index() + 1;
    hard_state.term += 1;
    hard_state.vote = member.get();
    hard_state.commit = index;
    let mut entry = Entry { index, term: hard_state.term, data: data.into(), ..Entry::default() };
    entry.set_entry_type(EntryType::EntryConfChangeV2);
    let entries = [entry];
    log.persist(Persist {
        hard_state: Some(&hard_state),
        entries: &entries,
        base: None,
        must_sync: true,
    })?;
    Ok(index)
}
