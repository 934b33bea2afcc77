//! How committed changes of members take effect, and how a node that lost its log is admitted.
//!
//! Such a node no longer knows what it voted and acknowledged, so it must not go on under its old
//! identity: an entry that was committed with its help could be lost. It asks to be admitted as a
//! new member, and the leader replaces the old one, a step for each time it is asked: the old
//! incarnation leaves, the new one joins as a learner, and votes once it has caught up, if it is to
//! vote at all.
//!
//! Each step is a simple change of one member, so that old and new majorities overlap.

use bytes::Bytes;
use protobuf::Message as _;
use raft::StateRole;
use raft::eraftpb::ConfState;
use raft::prelude::{ConfChangeTransition, ConfChangeType, ConfChangeV2};

use super::change::{Contacts, single};
use super::{Mark, Replica};
use crate::batch::Payload;
use crate::id::{NodeId, RaftId};
use crate::log::LogStore;
use crate::members::{Members, Note, Seat, Standing};
use crate::outcome::Fatal;

/// How far the admission of a member has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is what it is to be.
    Admitted,
    /// A step was taken, or is under way: ask again.
    UnderWay,
    /// This member does not lead; the leader's node, if known.
    NotLeader(Option<NodeId>),
    /// A later incarnation of that node was a member, the node was removed, or never was there.
    Refused,
}

impl<L: LogStore, W, R> Replica<L, W, R> {
    /// The members as of the last entry that was handed out.
    pub fn members(&self) -> Members {
        let conf = self.raw.raft.prs().conf().to_conf_state();
        members_of(&conf, &self.seats)
    }

    /// Counts the changes of members, for whoever waits for one.
    pub fn members_version(&self) -> u64 {
        self.members_version
    }

    /// Takes the next step towards `member` being what its node is to be.
    pub fn admit(&mut self, member: RaftId, contacts: &Contacts) -> Admission {
        if self.raw.raft.state != StateRole::Leader {
            return Admission::NotLeader(self.leader());
        }
        let members = self.members();
        let Some(seat) = self.seats.get(&member.node()) else { return self.not_admitted() };
        // What an operator has removed does not come back by itself.
        let is_past = seat.incarnation > member.incarnation();
        if is_past || seat.standing == Standing::Gone {
            return self.not_admitted();
        }
        let is_learner = members.learners.contains(&member);
        if members.voters.contains(&member) || is_learner && seat.standing == Standing::Learner {
            return Admission::Admitted;
        }
        let mut seats = std::collections::BTreeMap::new();
        let old = members.all().into_iter().find(|other| other.node() == member.node());
        let step = match old.filter(|old| *old != member) {
            Some(old) => {
                if members.voters == [old] {
                    return self.not_admitted();
                }
                (ConfChangeType::RemoveNode, old)
            }
            None if !is_learner => {
                let (incarnation, store) = (member.incarnation(), None);
                let seat = Seat { incarnation, store, ..seat.clone() };
                seats.insert(member.node(), seat);
                (ConfChangeType::AddLearnerNode, member)
            }
            // A voter that is far behind would not help a majority, but could be needed for one.
            // Under load, a member that is further away is never quite at the end.
            None if self.behind(member) <= self.config.bounds.catch_up_entries_max => {
                (ConfChangeType::AddNode, member)
            }
            None => return Admission::UnderWay,
        };
        if !members.is_joint() {
            // Refused while leadership moves or another change is under way; the member asks again.
            let _ = self.propose_change(&[step], seats, contacts).ok();
        }
        Admission::UnderWay
    }

    fn not_admitted(&mut self) -> Admission {
        self.marks.hit(Mark::AdmissionRefused);
        Admission::Refused
    }

    /// A change of members is committed. All members come here at the same place of their logs, so
    /// they all refuse the same changes.
    pub(super) fn members_changed(&mut self, change: &Bytes) -> Result<Payload, Fatal> {
        let damaged = |error| Fatal::new("decoding a membership change", error);
        let change = ConfChangeV2::parse_from_carllerche_bytes(change)
            .map_err(|error| damaged(error.into()))?;
        let note = Note::decode(&change.context).map_err(|error| damaged(error.into()))?;
        match note.alone {
            Some(alone) => self.leave_the_others(alone)?,
            None if self.raw.apply_conf_change(&change).is_err() => return Ok(Payload::Empty),
            None => {}
        }
        self.seats.extend(note.seats);
        self.members_version += 1;
        let members = self.members();
        assert!(!members.voters.is_empty(), "a group without voters");
        self.marks.hit(Mark::MembersChanged);
        if members.is_joint() {
            self.marks.hit(Mark::JointEntered);
        }
        self.step_down_if_removed(&members);
        Ok(Payload::Members(members.encode()))
    }

    /// The crate would lead on, and decide by votes of others alone.
    fn step_down_if_removed(&mut self, members: &Members) {
        let own = self.config.id;
        let votes = members.voters.contains(&own) || members.outgoing.contains(&own);
        let raft = &mut self.raw.raft;
        if !votes && raft.state == StateRole::Leader {
            self.marks.hit(Mark::RemovedLeaderStepsDown);
            raft.become_follower(raft.term, raft::INVALID_ID);
        }
    }

    /// All others are lost, and the operator has said so: see [`Note::alone`].
    fn leave_the_others(&mut self, alone: RaftId) -> Result<(), Fatal> {
        let failed = |error: raft::Error| Fatal::new("leaving lost members behind", error.into());
        if self.members().is_joint() {
            self.raw.apply_conf_change(&ConfChangeV2::default()).map_err(failed)?;
        }
        let others = self.members().all().into_iter().filter(|member| *member != alone);
        let mut singles = vec![single(ConfChangeType::AddNode, alone)];
        singles.extend(others.map(|member| single(ConfChangeType::RemoveNode, member)));
        let mut change = ConfChangeV2::default();
        change.set_transition(ConfChangeTransition::Explicit);
        change.set_changes(singles.into());
        self.raw.apply_conf_change(&change).map_err(failed)?;
        self.raw.apply_conf_change(&ConfChangeV2::default()).map_err(failed)?;
        for (node, seat) in &mut self.seats {
            let is_left = *node == alone.node();
            seat.standing = if is_left { Standing::Voter } else { Standing::Gone };
        }
        Ok(())
    }

    /// Asks the voter that has most of the log to take over, of those that are heard: one that is
    /// down has as much of it where nobody writes, and would be asked for ever.
    pub(super) fn hand_over(&mut self) {
        if self.raw.raft.state != StateRole::Leader {
            return;
        }
        let members = self.members();
        let others = members.voters.into_iter().filter(|voter| *voter != self.config.id);
        let heir = others
            .filter(|voter| self.is_heard(*voter))
            .max_by_key(|voter| (std::cmp::Reverse(self.behind(*voter)), *voter));
        if let Some(heir) = heir {
            self.offer(heir);
        }
    }
}

fn members_of(conf: &ConfState, seats: &std::collections::BTreeMap<NodeId, Seat>) -> Members {
    let list = |ids: &[u64]| {
        let mut list: Vec<_> = ids.iter().filter_map(|id| RaftId::from_u64(*id)).collect();
        list.sort_unstable();
        list
    };
    Members {
        voters: list(&conf.voters),
        learners: list(&conf.learners),
        outgoing: list(&conf.voters_outgoing),
        learners_next: list(&conf.learners_next),
        seats: seats.clone(),
    }
}

/// The same as the crate has it.
pub(super) fn conf_of(members: &Members) -> ConfState {
    let list = |members: &[RaftId]| members.iter().map(|member| member.get()).collect();
    let mut conf = ConfState::default();
    conf.set_voters(list(&members.voters));
    conf.set_learners(list(&members.learners));
    conf.set_voters_outgoing(list(&members.outgoing));
    conf.set_learners_next(list(&members.learners_next));
    conf
}
