//! A [`LogStore`] as the raft crate wants to see it.

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::{Recovered, ReplicaConfig};
use crate::log::{LogStore, Persist};
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
        config: &ReplicaConfig,
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
        let conf = decode_conf(&recovered.conf, config)?;
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

fn decode_conf(conf: &Bytes, config: &ReplicaConfig) -> Result<ConfState, Fatal> {
    if conf.is_empty() {
        let mut founders = ConfState::default();
        founders.set_voters(config.founders.iter().map(|founder| founder.get()).collect());
        return Ok(founders);
    }
    ConfState::parse_from_bytes(conf)
        .map_err(|error| Fatal::new("decoding the group's members", error.into()))
}

/// Members in one order on all nodes: raft keeps them in a hash table, whose order is that of their
/// coming and, after a restart, another. What is in the replicated state must be equal.
pub(super) fn encode_conf(mut conf: ConfState) -> Bytes {
    conf.voters.sort_unstable();
    conf.learners.sort_unstable();
    conf.voters_outgoing.sort_unstable();
    conf.learners_next.sort_unstable();
    conf.write_to_bytes().expect("a conf state always encodes").into()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by the simulator: a member that had restarted wrote the same members in another order.
    #[test]
    fn members_are_encoded_in_one_order() {
        let conf = |voters: &[u64], learners: &[u64]| {
            let mut conf = ConfState::default();
            conf.set_voters(voters.to_vec());
            conf.set_learners(learners.to_vec());
            encode_conf(conf)
        };
        assert_eq!(conf(&[3, 1, 2], &[9, 7]), conf(&[1, 2, 3], &[7, 9]));
        assert_ne!(conf(&[1, 2], &[3]), conf(&[1, 2, 3], &[]));
    }
}
