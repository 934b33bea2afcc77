//! A [`LogStore`] as the raft crate wants to see it.

use bytes::Bytes;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::Recovered;
use crate::id::RaftId;
use crate::log::{Base, LogStore, Persist, Sizes};
use crate::members::Members;
use crate::outcome::Fatal;

/// The log, and the members as of the applied index.
pub(super) struct Adapter<L> {
    log: L,
    conf: ConfState,
    recovered_commit: bool,
    /// What a snapshot of the state would have applied, at the least.
    applied: u64,
    /// The last entry that changed the members: a snapshot must have it, or it might be one that
    /// does not know whom it is for.
    conf_changed: u64,
}

impl<L: LogStore> Adapter<L> {
    /// Checks that log and state belong together, and repairs what a crash may leave behind: a
    /// commit index that is older than what was applied.
    pub(super) fn recover(
        mut log: L,
        conf: ConfState,
        recovered: &Recovered,
    ) -> Result<Self, Fatal> {
        let applied = recovered.applied;
        let last = log.last_index();
        if applied.index > last {
            return Err(Fatal::msg(format!(
                "the state has applied entry {applied}, but the log ends at {last}: the log was \
                 lost. This node no longer knows what it voted and acknowledged, and must not \
                 run again under its number: restore its folder, or leave it to the others"
            )));
        }
        let base = log.base().id;
        if applied.index < base.index {
            return Err(Fatal::msg(format!(
                "the state has applied entry {applied}, but the log begins behind {base}: the \
                 state was lost, and what made it is no longer in the log. Leave this folder, and \
                 let this node join anew"
            )));
        }
        let term = log.term(applied.index)?;
        if term != Some(applied.term) {
            return Err(Fatal::msg(format!(
                "the state has applied entry {applied}, but the log has another at its place: log \
                 and state are not of the same node"
            )));
        }
        let mut hard_state = log.hard_state();
        if hard_state.commit > last {
            return Err(Fatal::msg(format!(
                "entries up to {} were committed, but the log ends at {last}: the log was damaged",
                hard_state.commit
            )));
        }
        let recovered_commit = hard_state.commit < applied.index;
        if recovered_commit {
            hard_state.commit = applied.index;
            let hard_state = Some(&hard_state);
            log.persist(Persist { hard_state, must_sync: true, ..Persist::default() })?;
        }
        // Where the members changed is not known any more: at the latest, here.
        let (applied, conf_changed) = (applied.index, applied.index);
        Ok(Self { log, conf, recovered_commit, applied, conf_changed })
    }

    /// The state has applied this much.
    pub(super) fn set_applied(&mut self, index: u64) {
        self.applied = self.applied.max(index);
    }

    /// An entry that changes the members was handed out.
    pub(super) fn set_conf_changed(&mut self, index: u64) {
        self.conf_changed = index;
    }

    pub(super) fn cut(&mut self, index: u64) -> Result<(), Fatal> {
        self.log.cut(index)
    }

    pub(super) fn base(&self) -> Base {
        self.log.base()
    }

    pub(super) fn sizes(&self) -> &Sizes {
        self.log.sizes()
    }

    pub(super) fn persist(&mut self, round: Persist<'_>) -> Result<(), Fatal> {
        self.log.persist(round)
    }

    /// Whether the state was ahead of the log's commit index.
    pub(super) fn has_recovered_commit(&self) -> bool {
        self.recovered_commit
    }

    pub(super) fn last_index(&self) -> u64 {
        self.log.last_index()
    }
}

/// The members as a state knows them; the founders where it has applied no change of them.
pub(super) fn members(conf: &Bytes, founders: &[RaftId]) -> Result<Members, Fatal> {
    if conf.is_empty() {
        return Ok(Members::founded(founders));
    }
    Members::decode(conf)
        .map_err(|error| Fatal::new("reading the members of a state", error.into()))
}

fn storage_error(fatal: Fatal) -> raft::Error {
    raft::Error::Store(StorageError::Other(Box::new(fatal)))
}

impl<L: LogStore> Storage for Adapter<L> {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let hard_state: HardState = self.log.hard_state();
        Ok(RaftState { hard_state, conf_state: self.conf.clone() })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.log.base().id.index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        self.log.entries(low, high, bytes_max).map_err(storage_error)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index < self.log.base().id.index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        let term = self.log.term(index).map_err(storage_error)?;
        term.ok_or(raft::Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.log.base().id.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.log.last_index())
    }

    /// Only what the snapshot will have at the least: it is taken when it is sent, and the member
    /// that gets it is told by its state what it has.
    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let index = self.applied;
        let is_there = index >= request_index && index >= self.conf_changed && index > 0;
        // Behind the base, this member is about to install a snapshot itself.
        if !is_there || index < self.log.base().id.index {
            return Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot::default();
        snapshot.mut_metadata().index = index;
        snapshot.mut_metadata().term = self.term(index)?;
        Ok(snapshot)
    }
}
