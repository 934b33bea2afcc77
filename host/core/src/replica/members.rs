//! Admitting a node that lost its log.
//!
//! Such a node no longer knows what it voted and acknowledged, so it must not go on under its old
//! identity: an entry that was committed with its help could be lost. It asks to be admitted as a
//! new member, and the leader replaces the old one, a step for each time it is asked: the old
//! incarnation leaves, the new one joins as a learner, and votes once it has caught up.
//!
//! Each step is a simple change of one member, so that old and new majorities overlap.

use raft::StateRole;
use raft::prelude::{ConfChangeSingle, ConfChangeType, ConfChangeV2};

use super::{Mark, Replica};
use crate::id::{NodeId, RaftId};
use crate::log::LogStore;

/// How far behind a member may be to be called caught up: a fraction of a second.
const CATCH_UP_ENTRIES_MAX: u64 = 64;

/// How far the admission of a member has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It votes.
    Admitted,
    /// A step was taken, or is under way: ask again.
    UnderWay,
    /// This member does not lead; the leader's node, if known.
    NotLeader(Option<NodeId>),
    /// A later incarnation of that node is a member, or the node is none of the founders'.
    Refused,
}

impl<L: LogStore, W, R> Replica<L, W, R> {
    /// Takes the next step towards `member` being a voter.
    pub fn admit(&mut self, member: RaftId) -> Admission {
        let raft = &self.raw.raft;
        if raft.state != StateRole::Leader {
            return Admission::NotLeader(self.leader());
        }
        let conf = raft.prs().conf().to_conf_state();
        if conf.voters.contains(&member.get()) {
            return Admission::Admitted;
        }
        if !self.config.founders.iter().any(|founder| founder.node() == member.node()) {
            self.marks.hit(Mark::AdmissionRefused);
            return Admission::Refused;
        }
        let incarnations: Vec<RaftId> = conf
            .voters
            .iter()
            .chain(&conf.learners)
            .filter_map(|id| RaftId::from_u64(*id))
            .filter(|id| id.node() == member.node() && *id != member)
            .collect();
        if incarnations.iter().any(|other| other.incarnation() > member.incarnation()) {
            self.marks.hit(Mark::AdmissionRefused);
            return Admission::Refused;
        }
        let (kind, id) = if let Some(old) = incarnations.first() {
            (ConfChangeType::RemoveNode, *old)
        } else if !conf.learners.contains(&member.get()) {
            (ConfChangeType::AddLearnerNode, member)
        } else if self.has_caught_up(member) {
            (ConfChangeType::AddNode, member)
        } else {
            return Admission::UnderWay;
        };
        self.change(kind, id);
        Admission::UnderWay
    }

    /// A voter that is far behind would not help a majority, but could be needed for one.
    fn has_caught_up(&self, member: RaftId) -> bool {
        let raft = &self.raw.raft;
        let progress = raft.prs().get(member.get());
        progress.is_some_and(|progress| {
            // Under load, a member that is further away is never quite at the end.
            progress.matched + CATCH_UP_ENTRIES_MAX >= raft.raft_log.committed
        })
    }

    fn change(&mut self, kind: ConfChangeType, id: RaftId) {
        if self.raw.raft.has_pending_conf() {
            return;
        }
        let mut single = ConfChangeSingle::default();
        single.set_change_type(kind);
        single.node_id = id.get();
        let mut change = ConfChangeV2::default();
        change.set_changes(vec![single].into());
        // Dropped while leadership moves; the member asks again.
        let _ = self.raw.propose_conf_change(Vec::new(), change).ok();
        self.pin_election_timeout();
    }

    /// Asks the voter that has most of the log to take over.
    pub(super) fn hand_over(&mut self) {
        if self.raw.raft.state != StateRole::Leader {
            return;
        }
        let tracker = self.raw.raft.prs();
        let own = self.config.id.get();
        let heir = tracker
            .conf()
            .to_conf_state()
            .voters
            .into_iter()
            .filter(|voter| *voter != own)
            .max_by_key(|voter| tracker.get(*voter).map_or(0, |progress| progress.matched));
        if let Some(heir) = heir {
            self.marks.hit(Mark::HandedOver);
            self.raw.transfer_leader(heir);
        }
    }
}
