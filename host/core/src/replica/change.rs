//! Changes of members that an operator asks for. The leader judges them: one at a time, and none
//! after which the group could not go on.
//!
//! What changes more than one vote goes by way of a joint configuration, in which old and new
//! voters must both agree. The crate would leave it by itself, unless its leader fails at the wrong
//! moment; here every leader that finds the group so proposes to leave it, at each tick until it is
//! done. So there is one way out, and it is gone each time.

use std::collections::BTreeMap;
use std::fmt;

use raft::StateRole;
use raft::prelude::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2};

use super::{Mark, Replica};
use crate::canary::{self, Canary};
use crate::id::{NodeId, RaftId};
use crate::limits;
use crate::log::LogStore;
use crate::members::{Members, Note, Seat, Standing, StoreId};

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node joins as a learner.
    Add {
        /// It.
        node: NodeId,
        /// Where the others reach it.
        address: String,
    },
    /// A learner gets a vote.
    Promote(NodeId),
    /// A node leaves for good.
    Remove(NodeId),
    /// A learner gets the place of a voter.
    Replace {
        /// Who leaves.
        old: NodeId,
        /// Who votes instead.
        new: NodeId,
    },
    /// A voter leads; without a node, the one that has most of the log.
    Transfer(Option<NodeId>),
}

impl Change {
    /// Whether these are the members that it leads to. Of a transfer, members say nothing.
    pub fn is_done(&self, members: &Members) -> bool {
        let votes = |node: NodeId| members.voters.iter().any(|member| member.node() == node);
        let is_gone = |node: NodeId| members.member_of(node).is_none();
        let is_out = |node: NodeId| {
            members.seats.get(&node).is_none_or(|seat| seat.standing == Standing::Gone)
        };
        let has_happened = match self {
            Self::Add { node, .. } => !is_gone(*node),
            Self::Promote(node) => votes(*node),
            // One that is on its way to be admitted again is no member either.
            Self::Remove(node) => is_gone(*node) && is_out(*node),
            Self::Replace { old, new } => is_gone(*old) && votes(*new),
            Self::Transfer(_) => true,
        };
        has_happened && !members.is_joint()
    }
}

/// Why a change is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeRefusal {
    /// This member does not lead, or does not know yet whether it does; the leader, if known.
    NotLeader(Option<NodeId>),
    /// Another change is under way.
    UnderWay,
    /// The leader is the one to leave: another member has been asked to lead first.
    HandingOver,
    /// No member is on that node.
    Unknown(NodeId),
    /// A member is on that node, or has that address, already.
    AlreadyMember(NodeId),
    /// It votes, or leads, already.
    AlreadyDone(NodeId),
    /// It has no vote.
    NotVoter(NodeId),
    /// It is so many entries behind.
    TooFarBehind(NodeId, u64),
    /// Nobody has heard of it for a while.
    NotHeard(NodeId),
    /// Nobody would be left to vote.
    LastVoter,
    /// Afterwards so many voters would have to agree, of whom only so many are heard of.
    LosesQuorum {
        /// Voters that are heard of.
        heard: usize,
        /// Voters that must agree.
        needed: usize,
    },
    /// A group has no more than so many members of that kind.
    TooMany(usize),
}

impl fmt::Display for ChangeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader(Some(node)) => write!(f, "node {node} leads; try again"),
            Self::NotLeader(None) => f.write_str("no node leads at present; try again"),
            Self::UnderWay => f.write_str("another change of members is under way; try again"),
            Self::HandingOver => {
                f.write_str("the node leads, and hands over before it leaves; try again")
            }
            Self::Unknown(node) => write!(f, "node {node} is no member"),
            Self::AlreadyMember(node) => {
                write!(f, "node {node} is a member already, with that id or that address")
            }
            Self::AlreadyDone(node) => write!(f, "node {node} has that role already"),
            Self::NotVoter(node) => write!(f, "node {node} has no vote; promote it first"),
            Self::TooFarBehind(node, behind) => write!(
                f,
                "node {node} is {behind} entries behind: with a vote it would hold the others up; \
                 wait until it has caught up"
            ),
            Self::NotHeard(node) => {
                write!(f, "node {node} has not been heard of lately; is it running?")
            }
            Self::LastVoter => f.write_str("nobody would be left to vote"),
            Self::LosesQuorum { heard, needed } => write!(
                f,
                "afterwards {needed} voters would have to agree, of whom {heard} can be heard of: \
                 the group would stand still; bring nodes back first, or force it"
            ),
            Self::TooMany(max) => write!(f, "a group has at most {max} such members"),
        }
    }
}

/// What a node knows of others, that the group may not have agreed on yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// Where the others reach it; empty when unknown.
    pub address: String,
    /// Its data folder.
    pub store: Option<StoreId>,
}

/// Contacts by member.
pub type Contacts = BTreeMap<RaftId, Contact>;

/// The single steps of a change, and what is then known of whom.
type Step = (Vec<(ConfChangeType, RaftId)>, Vec<(NodeId, Seat)>);

/// One step of a change, as the crate has it.
pub(super) fn single(kind: ConfChangeType, member: RaftId) -> ConfChangeSingle {
    let mut single = ConfChangeSingle::default();
    single.set_change_type(kind);
    single.node_id = member.get();
    single
}

impl<L: LogStore, W, R> Replica<L, W, R> {
    /// Proposes a change, or asks for it. It is done when [`members`](Self::members) say so.
    pub fn change(
        &mut self,
        change: &Change,
        is_forced: bool,
        contacts: &Contacts,
    ) -> Result<(), ChangeRefusal> {
        let result = self.try_change(change, is_forced, contacts);
        if result.is_err() {
            self.marks.hit(Mark::ChangeRefused);
        }
        result
    }

    fn try_change(
        &mut self,
        change: &Change,
        is_forced: bool,
        contacts: &Contacts,
    ) -> Result<(), ChangeRefusal> {
        if !self.status().leads {
            return Err(ChangeRefusal::NotLeader(self.leader()));
        }
        let members = self.members();
        if let Change::Transfer(to) = change {
            return self.transfer(*to, &members);
        }
        let (steps, seats) = self.plan((change, is_forced), &members, contacts)?;
        if self.raw.raft.has_pending_conf() || members.is_joint() {
            return Err(ChangeRefusal::UnderWay);
        }
        let own = self.config.id.node();
        let leaves = matches!(change, Change::Remove(node) if *node == own)
            || matches!(change, Change::Replace { old, .. } if *old == own);
        // Where nobody else votes yet, nobody can be handed to.
        if leaves && !is_forced && members.voters.len() > 1 {
            // Else nobody leads for as long as an election takes.
            self.hand_over();
            return Err(ChangeRefusal::HandingOver);
        }
        self.propose_change(&steps, seats.into_iter().collect(), contacts)
    }

    fn plan(
        &self,
        (change, is_forced): (&Change, bool),
        members: &Members,
        contacts: &Contacts,
    ) -> Result<Step, ChangeRefusal> {
        let seat = |node: NodeId, standing: Standing| -> Result<(NodeId, Seat), ChangeRefusal> {
            let seat = members.seats.get(&node).ok_or(ChangeRefusal::Unknown(node))?;
            Ok((node, Seat { standing, ..seat.clone() }))
        };
        match change {
            Change::Add { node, address } => Self::plan_add((*node, address), members, contacts),
            Change::Promote(node) => {
                let member = self.promotable(*node, members)?;
                // One that is on its way to be admitted again will vote, too.
                let is_voter = |seat: &&Seat| seat.standing == Standing::Voter;
                if members.seats.values().filter(is_voter).count() >= limits::VOTERS_MAX {
                    return Err(ChangeRefusal::TooMany(limits::VOTERS_MAX));
                }
                let mut voters = members.voters.clone();
                voters.push(member);
                self.keeps_quorum(&voters, is_forced)?;
                Ok((vec![(ConfChangeType::AddNode, member)], vec![seat(*node, Standing::Voter)?]))
            }
            Change::Remove(node) => {
                let seat = seat(*node, Standing::Gone)?;
                let Some(member) = members.member_of(*node) else {
                    // On its way to be admitted again: it will not be.
                    let is_gone = members.seats.get(node).map(|seat| seat.standing);
                    return match is_gone {
                        Some(Standing::Gone) | None => Err(ChangeRefusal::Unknown(*node)),
                        Some(_) => {
                            Ok((vec![(ConfChangeType::AddNode, self.config.id)], vec![seat]))
                        }
                    };
                };
                self.keeps_quorum_without(member, &members.voters, is_forced)?;
                Ok((vec![(ConfChangeType::RemoveNode, member)], vec![seat]))
            }
            Change::Replace { old, new } => {
                let leaves = members.member_of(*old).ok_or(ChangeRefusal::Unknown(*old))?;
                if !members.voters.contains(&leaves) {
                    return Err(ChangeRefusal::NotVoter(*old));
                }
                let joins = self.promotable(*new, members)?;
                let mut voters = members.voters.clone();
                voters.retain(|voter| *voter != leaves);
                voters.push(joins);
                self.keeps_quorum(&voters, is_forced)?;
                let steps =
                    vec![(ConfChangeType::AddNode, joins), (ConfChangeType::RemoveNode, leaves)];
                Ok((steps, vec![seat(*new, Standing::Voter)?, seat(*old, Standing::Gone)?]))
            }
            Change::Transfer(_) => unreachable!("no members change"),
        }
    }

    fn plan_add(
        (node, address): (NodeId, &str),
        members: &Members,
        contacts: &Contacts,
    ) -> Result<Step, ChangeRefusal> {
        if members.member_of(node).is_some() {
            return Err(ChangeRefusal::AlreadyMember(node));
        }
        let has_address = |other: &&RaftId| {
            members.seats.get(&other.node()).is_some_and(|seat| seat.address == address)
        };
        if let Some(other) = members.all().iter().find(has_address) {
            return Err(ChangeRefusal::AlreadyMember(other.node()));
        }
        if members.learners.len() + members.learners_next.len() >= limits::LEARNERS_MAX {
            return Err(ChangeRefusal::TooMany(limits::LEARNERS_MAX));
        }
        if members.seats.len() >= limits::SEATS_MAX && !members.seats.contains_key(&node) {
            return Err(ChangeRefusal::TooMany(limits::SEATS_MAX));
        }
        // It was a member before, or has tried to be one: it comes back as another one.
        let tried = contacts.keys().filter(|member| member.node() == node);
        let tried = tried.map(|member| member.incarnation() + 1).max().unwrap_or(0);
        let incarnation = members.seats.get(&node).map_or(0, |seat| seat.incarnation + 1);
        let incarnation = incarnation.max(tried);
        let (standing, address) = (Standing::Learner, address.to_owned());
        let seat = Seat { standing, incarnation, address, store: None };
        let member = RaftId::new(node, incarnation);
        Ok((vec![(ConfChangeType::AddLearnerNode, member)], vec![(node, seat)]))
    }

    /// The learner on a node, if it has caught up.
    fn promotable(&self, node: NodeId, members: &Members) -> Result<RaftId, ChangeRefusal> {
        let member = members.member_of(node).ok_or(ChangeRefusal::Unknown(node))?;
        if members.voters.contains(&member) {
            return Err(ChangeRefusal::AlreadyDone(node));
        }
        if canary::is_planted(Canary::PromotedBehind) {
            return Ok(member);
        }
        match self.behind(member) {
            behind if behind > self.config.bounds.catch_up_entries_max => {
                Err(ChangeRefusal::TooFarBehind(node, behind))
            }
            _ => Ok(member),
        }
    }

    /// How many of the committed entries a member does not have, as far as it has said.
    pub(super) fn behind(&self, member: RaftId) -> u64 {
        let raft = &self.raw.raft;
        let matched = raft.prs().get(member.get()).map_or(0, |progress| progress.matched);
        raft.raft_log.committed.saturating_sub(matched)
    }

    fn keeps_quorum_without(
        &self,
        member: RaftId,
        voters: &[RaftId],
        is_forced: bool,
    ) -> Result<(), ChangeRefusal> {
        if !voters.contains(&member) {
            return Ok(());
        }
        let rest: Vec<_> = voters.iter().copied().filter(|voter| *voter != member).collect();
        if rest.is_empty() {
            return Err(ChangeRefusal::LastVoter);
        }
        self.keeps_quorum(&rest, is_forced)
    }

    fn keeps_quorum(&self, voters: &[RaftId], is_forced: bool) -> Result<(), ChangeRefusal> {
        let heard = voters.iter().filter(|voter| self.is_heard(**voter)).count();
        let needed = voters.len() / 2 + 1;
        if heard >= needed || is_forced {
            return Ok(());
        }
        Err(ChangeRefusal::LosesQuorum { heard, needed })
    }

    /// Whether a member has said something within an election time-out.
    pub(super) fn is_heard(&self, member: RaftId) -> bool {
        let recently = |at: &u64| self.ticks - at <= limits::ELECTION_TICKS.into();
        member == self.config.id || self.heard.get(&member.get()).is_some_and(recently)
    }

    fn transfer(&mut self, to: Option<NodeId>, members: &Members) -> Result<(), ChangeRefusal> {
        let Some(node) = to else {
            self.hand_over();
            return Ok(());
        };
        let member = members.member_of(node).ok_or(ChangeRefusal::Unknown(node))?;
        if !members.voters.contains(&member) {
            return Err(ChangeRefusal::NotVoter(node));
        }
        if member == self.config.id {
            return Err(ChangeRefusal::AlreadyDone(node));
        }
        if !self.is_heard(member) {
            return Err(ChangeRefusal::NotHeard(node));
        }
        self.offer(member);
        Ok(())
    }

    /// Proposes steps as one change, with what is known of nodes.
    pub(super) fn propose_change(
        &mut self,
        steps: &[(ConfChangeType, RaftId)],
        mut seats: BTreeMap<NodeId, Seat>,
        contacts: &Contacts,
    ) -> Result<(), ChangeRefusal> {
        if self.raw.raft.has_pending_conf() {
            return Err(ChangeRefusal::UnderWay);
        }
        self.complete(&mut seats, contacts);
        let singles: Vec<_> = steps.iter().map(|(kind, member)| single(*kind, *member)).collect();
        let mut change = ConfChangeV2::default();
        if singles.len() > 1 {
            change.set_transition(ConfChangeTransition::Explicit);
        }
        change.set_changes(singles.into());
        change.context = Note { seats, alone: None }.encode();
        let proposed = self.raw.propose_conf_change(Vec::new(), change.clone());
        self.pin_election_timeout();
        if proposed.is_err() {
            // Leadership moves, or too much is not committed yet.
            return Err(ChangeRefusal::UnderWay);
        }
        if canary::is_planted(Canary::MembersEarly) {
            drop(self.raw.apply_conf_change(&change));
        }
        Ok(())
    }

    /// What the group has not agreed on yet, of those who are members.
    fn complete(&self, seats: &mut BTreeMap<NodeId, Seat>, contacts: &Contacts) {
        for (member, contact) in contacts {
            let node = member.node();
            let known = seats.get(&node).or_else(|| self.seats.get(&node));
            let Some(seat) = known.filter(|seat| seat.incarnation == member.incarnation()) else {
                continue;
            };
            let mut seat = seat.clone();
            // One that is longer could not be decoded.
            if seat.address.is_empty() && contact.address.len() <= limits::ADDRESS_BYTES_MAX {
                seat.address.clone_from(&contact.address);
            }
            seat.store = seat.store.or(contact.store);
            if known != Some(&seat) {
                seats.insert(node, seat);
            }
        }
    }

    /// A change that is half done is finished by whoever leads, and goes on doing so.
    pub(super) fn leave_joint(&mut self) {
        let is_joint = !self.raw.raft.prs().conf().to_conf_state().voters_outgoing.is_empty();
        let leads = self.raw.raft.state == StateRole::Leader;
        if !is_joint || !leads || canary::is_planted(Canary::JointKept) {
            return;
        }
        // Who is not to stay would stop leading before others hear that this step is committed.
        // Where it is one of two, nobody could be elected after that. So another takes it.
        if !self.members().voters.contains(&self.config.id) {
            if self.raw.raft.lead_transferee.is_none() {
                self.hand_over();
            }
            return;
        }
        if !self.raw.raft.has_pending_conf()
            && self.raw.propose_conf_change(Vec::new(), ConfChangeV2::default()).is_ok()
        {
            self.marks.hit(Mark::JointLeft);
        }
    }
}
