//! A [`LogStore`] as the raft crate wants to see it.

use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::{Recovered, ReplicaConfig};
use crate::log::{LogStore, Persist};
use crate::members::Members;
use crate::outcome::Fatal;

/// The log, and the members as of the applied index.
pub(super) struct Adapter<L> {
    log: L,
    conf: ConfState,
    recovered_commit: bool,
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
            log.persist(Persist { hard_state: Some(&hard_state), entries: &[], must_sync: true })?;
        }
        Ok(Self { log, conf, recovered_commit })
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
pub(super) fn members(recovered: &Recovered, config: &ReplicaConfig) -> Result<Members, Fatal> {
    if recovered.conf.is_empty() {
        return Ok(Members::founded(&config.founders));
    }
    Members::decode(&recovered.conf)
        .map_err(|error| Fatal::new("starting from a state", error.into()))
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
        let bytes_max = max_size.into().unwrap_or(u64::MAX);
        self.log.entries(low, high, bytes_max).map_err(storage_error)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let term = self.log.term(index).map_err(storage_error)?;
        term.ok_or(raft::Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.log.last_index())
    }

    fn snapshot(&self, _request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        // Never asked for: every follower can be served from index 1 on.
        Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}
