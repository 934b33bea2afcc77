//! Consensus on the order of batches: one member of one raft group, without a clock, a thread or a
//! socket. Events go in through [`Replica::handle`], which only takes notice; effects come out of
//! [`Replica::advance`], in an order that is this module's contract.
//!
//! The raft crate is seen from here and from [`log`](crate::log) only. What it leaves to its user,
//! and is settled here:
//!
//! * Proposals are made by a leader only. The crate would forward them and lose some silently; a
//!   command finds its leader one layer higher.
//! * Waiters are kept by (term, index): a leader that was deposed still answers what commits later,
//!   and a waiter whose entry was overwritten is told so.
//! * A read index that the crate drops silently is asked for again, each time under a new context.
//! * The election time-out, the crate's only randomness, is pinned to a hash of seed, member, term,
//!   role and vote after every event: one path for production (a random seed) and simulation.
//! * Members change by one explicit step each; a joint configuration is left by whoever leads, and
//!   a leader that is removed steps down.
//! * A lease is measured by the host's clock, and votes are withheld for as long as one may last.
//! * The log is cut when it has grown, and who needs what is cut off gets a snapshot.
//!
//! What this deliberately does not know: what a state is. It names states by number, and hears from
//! the host which entries they have.

mod adapter;
mod alone;
mod change;
mod contract;
mod cut;
mod lease;
mod marks;
mod members;
mod propose;
mod reads;
mod snapshots;
mod waiters;

use std::collections::BTreeMap;

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{EntryType, Message, MessageType};
use raft::prelude::Entry;
use raft::{RawNode, StateRole};

use crate::batch::Payload;
use crate::canary::{self, Canary};
use crate::id::{LogId, NodeId, RaftId};
use crate::limits;
use crate::log::{Base, HardState, LogStore, Persist};
use crate::members::Seat;
use crate::outcome::Fatal;

use adapter::Adapter;
use lease::Keeper;
use reads::Reads;
use snapshots::Snapshots;
use waiters::{Verdict, Waiters};

pub use alone::make_alone;
pub use change::{Change, ChangeRefusal, Contact, Contacts};
pub use contract::{
    Bounds, Committed, Event, Outbox, Recovered, Refusal, ReplicaConfig, Staged, Status, Transfer,
};
pub use lease::Lease;
pub use marks::{Mark, Marks};
pub use members::Admission;

/// One member of one group. `W` waits for outcomes, `R` waits for read indexes.
pub struct Replica<L: LogStore, W, R> {
    raw: RawNode<Adapter<L>>,
    config: ReplicaConfig,
    waiters: Waiters<W>,
    reads: Reads<R>,
    lease: Keeper,
    /// What came without a use for raft: answered by the next `advance`.
    refused: Vec<(Vec<W>, Refusal)>,
    reads_refused: Vec<(Vec<R>, Refusal)>,
    snapshots: Snapshots,
    marks: Marks,
    /// The last index handed out as committed.
    handed_out: u64,
    /// Up to here the state is durable.
    durable: u64,
    /// The host was asked to make the state durable, and has not answered.
    is_flushing: bool,
    term_seen: u64,
    leader_seen: u64,
    /// What is known of nodes, as of `handed_out`.
    seats: BTreeMap<NodeId, Seat>,
    members_version: u64,
    /// Ticks so far, and at which of them each member was last heard.
    ticks: u64,
    heard: BTreeMap<u64, u64>,
}

impl<L: LogStore, W, R> Replica<L, W, R> {
    /// Starts a member from its log and from what its state machine knows. Checks that the two
    /// belong together: a log that lost what was applied must not vote.
    pub fn new(config: ReplicaConfig, log: L, recovered: &Recovered) -> Result<Self, Fatal> {
        let members = adapter::members(&recovered.conf, &config.founders)?;
        let conf = members::conf_of(&members);
        let seats = members.seats;
        let adapter = Adapter::recover(log, conf, recovered)?;
        let bounds = config.bounds;
        let raft_config = raft::Config {
            id: config.id.get(),
            election_tick: limits::ELECTION_TICKS as usize,
            heartbeat_tick: limits::HEARTBEAT_TICKS as usize,
            applied: recovered.applied.index,
            max_size_per_msg: bounds.message_bytes_max as u64,
            max_inflight_msgs: bounds.inflight_messages_max,
            max_committed_size_per_ready: bounds.committed_bytes_per_ready_max as u64,
            max_uncommitted_size: bounds.uncommitted_bytes_max as u64,
            check_quorum: true,
            pre_vote: true,
            // The crate would merge appends without regard to the size of a message.
            batch_append: false,
            ..raft::Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&raft_config, adapter, &logger)
            .map_err(|error| Fatal::new("starting raft", error.into()))?;
        let mut replica = Self {
            raw,
            waiters: Waiters::new(),
            reads: Reads::new(config.id, config.seed, bounds.reads_waiting_max),
            lease: Keeper::new(config.lease),
            refused: Vec::new(),
            reads_refused: Vec::new(),
            snapshots: Snapshots::default(),
            marks: Marks::default(),
            handed_out: recovered.applied.index,
            // It was read from where it is durable.
            durable: recovered.applied.index,
            is_flushing: false,
            term_seen: 0,
            leader_seen: 0,
            seats,
            members_version: 1,
            ticks: 0,
            heard: BTreeMap::new(),
            config,
        };
        if replica.raw.store().has_recovered_commit() {
            replica.marks.hit(Mark::CommitRecovered);
        }
        replica.pin_election_timeout();
        // A group of one has nobody to wait for; but where there were others, the last leader's
        // lease.
        let is_first = replica.config.lease.is_none() || replica.seats.len() <= 1;
        let voters = replica.raw.raft.prs().conf().to_conf_state().voters;
        if voters == [replica.config.id.get()] && is_first {
            replica.raw.campaign().map_err(|error| Fatal::new("campaigning", error.into()))?;
            replica.pin_election_timeout();
        }
        Ok(replica)
    }

    /// What others may know of this member.
    pub fn status(&self) -> Status {
        let raft = &self.raw.raft;
        Status {
            term: raft.term,
            leader: RaftId::from_u64(raft.leader_id),
            leads: raft.state == StateRole::Leader && raft.commit_to_current_term(),
            votes: raft.prs().conf().voters().contains(self.config.id.get()),
            committed: raft.raft_log.committed,
            last: raft.raft_log.last_index(),
            base: self.raw.store().base().id.index,
            log_bytes: self.raw.store().sizes().bytes(),
        }
    }

    /// How often rare paths were taken.
    pub fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Commands whose fate is open.
    pub fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Whether this member leads and has asked another one to take over.
    pub fn is_handing_over(&self) -> bool {
        self.raw.raft.state == StateRole::Leader && self.raw.raft.lead_transferee.is_some()
    }

    /// Takes notice of an event. Its effects come with the next [`advance`](Self::advance).
    pub fn handle(&mut self, event: Event<W, R>) {
        match event {
            Event::Tick => self.tick(),
            Event::Peer { message, takes_entries } => self.step(&message, takes_entries),
            Event::Intake { batch, time_ms } => self.propose(batch, time_ms),
            Event::Read(reader) => {
                if let Err(reader) = self.reads.push(reader) {
                    self.marks.hit(Mark::ReadBusy);
                    self.reads_refused.push((vec![reader], Refusal::Busy));
                }
            }
            Event::Applied(index) => self.applied(index),
            Event::Durable(index) => {
                self.durable = self.durable.max(index);
                self.is_flushing = false;
            }
            Event::Snapshot { message, staged } => self.step_snapshot(&message, staged),
            Event::SnapshotUnderWay(number) => self.snapshot_under_way(number),
            Event::SnapshotSent { number, is_ok } => self.snapshot_sent(number, is_ok),
            Event::Unreachable(member) => self.raw.report_unreachable(member.get()),
            Event::HandOver => self.hand_over(),
            Event::Clock(now) => self.lease.see_clock(now),
        }
        self.pin_election_timeout();
    }

    fn tick(&mut self) {
        self.raw.tick();
        self.ticks += 1;
        self.leave_joint();
        self.lease.tick();
        self.tick_snapshots();
        let expired = self.reads.tick(&mut self.marks);
        if !expired.is_empty() {
            self.marks.hit(Mark::ReadExpired);
            self.reads_refused.push((expired, Refusal::NotLeader(self.leader())));
        }
    }

    /// A message that does not decode or is not for this member is as good as lost.
    fn step(&mut self, message: &Bytes, takes_entries: bool) {
        let Ok(mut message) = Message::parse_from_carllerche_bytes(message) else { return };
        let is_refused = !takes_entries && message.get_msg_type() == MessageType::MsgAppend;
        // Nobody of this group sends these; the crate would panic.
        let kind = message.get_msg_type();
        let is_malformed = kind == MessageType::MsgReadIndex && message.get_entries().len() != 1
            || kind == MessageType::MsgHeartbeat
                && message.commit > self.raw.raft.raft_log.last_index();
        let is_ours = message.to == self.config.id.get();
        // Proposals are never forwarded by raft, and a snapshot comes with its state.
        let is_expected = !matches!(
            message.get_msg_type(),
            MessageType::MsgPropose | MessageType::MsgSnapshot | MessageType::MsgTransferLeader
        );
        if !is_ours || !is_expected || is_malformed {
            self.marks.hit(Mark::MessageForeign);
        } else if is_refused {
            self.marks.hit(Mark::AppendNotTaken);
        } else if self.withholds_vote(&message) {
            self.marks.hit(Mark::VoteWithheld);
        } else {
            if self.raw.raft.prs().get(message.from).is_some() {
                self.heard.insert(message.from, self.ticks);
            }
            self.hear_leader(&message);
            if kind == MessageType::MsgAppend {
                self.hold_back(&mut message);
            }
            // Refused messages (of an old term, from a stranger) have no further effect.
            let _ = self.raw.step(message).ok();
        }
    }

    fn applied(&mut self, index: u64) {
        self.raw.mut_store().set_applied(index);
        // A snapshot counts as applied when it is durable; apply may still be on its way to it.
        if index > self.raw.raft.raft_log.applied {
            self.raw.advance_apply_to(index);
        }
    }

    fn leader(&self) -> Option<NodeId> {
        RaftId::from_u64(self.raw.raft.leader_id).map(RaftId::node)
    }

    /// Carries out what the events since the last call lead to. The order is the contract:
    ///
    /// 0. Whoever reads by the lease learns of it before anybody learns of what changed it.
    /// 1. A leader's messages leave: followers may write while this node writes.
    /// 2. Entries, term and vote become durable, in one atomic write. If a snapshot has come, whose
    ///    state is durable since before, the same write has the log begin behind it, and name its
    ///    state as the one to start with: a crash leaves the old log and state, or the new.
    /// 3. Only then do messages leave that promise durability: votes and acknowledgements.
    /// 4. Apply is handed the snapshot's state, behind all entries that it was handed before; then
    ///    committed entries. They are durable here, since raft counts this node's own copy only
    ///    after step 2. Their waiters go with them.
    /// 5. Readers learn their index.
    /// 6. The log is cut, below what the state has made durable.
    ///
    /// An error is final: the replica must not be used any further.
    pub fn advance(&mut self, out: &mut impl Outbox<W, R>) -> Result<(), Fatal> {
        for (waiters, refusal) in self.refused.drain(..) {
            out.refuse(waiters, refusal);
        }
        for (readers, refusal) in self.reads_refused.drain(..) {
            out.read(readers, Err(refusal));
        }
        self.tell_lease(out);
        self.discard_useless(out);
        self.ask_for_read_index(out);
        while self.raw.has_ready() {
            let mut ready = self.raw.ready();
            let snapshot = ready.snapshot().get_metadata().index;
            let restored = (snapshot > 0).then(|| self.take_staged(snapshot));

            self.send(ready.take_messages(), out);
            if canary::is_planted(Canary::PromisedBeforeSync) {
                self.send(ready.take_persisted_messages(), out);
            }

            if restored.is_some() || ready.hs().is_some() || !ready.entries().is_empty() {
                let base = restored.as_ref().map(|(_, base)| *base);
                let (hard_state, must_sync) = (ready.hs(), ready.must_sync());
                self.persist(Persist { base, hard_state, entries: ready.entries(), must_sync })?;
                if let Some(last) = ready.entries().last() {
                    out.persisted(last.index);
                }
            }
            if canary::is_planted(Canary::AnsweredBeforeCommit)
                && self.raw.raft.state == StateRole::Leader
            {
                self.commit(ready.entries().clone(), out)?;
            }

            self.send(ready.take_persisted_messages(), out);

            let read_states = ready.take_read_states();
            if let Some((staged, _)) = restored {
                self.installed(staged, out);
            }
            self.commit(ready.take_committed_entries(), out)?;
            let mut light = self.raw.advance_append(ready);
            if snapshot > 0 {
                // An election looks at all entries that are not applied: there are none before it.
                self.raw.advance_apply_to(snapshot);
            }
            if light.commit_index().is_some() {
                let hard_state: HardState = self.raw.raft.hard_state();
                let hard_state = Some(&hard_state);
                self.persist(Persist { hard_state, ..Persist::default() })?;
            }
            self.tell_lease(out);
            self.send(light.take_messages(), out);
            self.commit(light.take_committed_entries(), out)?;

            for state in read_states {
                self.renew_lease(&state.request_ctx);
                self.answer_readers(&state.request_ctx, state.index, out);
            }
            self.tell_lease(out);
            self.notice_leader(out);
            self.pin_election_timeout();
            self.ask_for_read_index(out);
        }
        self.cut_log(out)?;
        self.check();
        Ok(())
    }

    fn persist(&mut self, round: Persist<'_>) -> Result<(), Fatal> {
        let first = round.entries.first().map_or(u64::MAX, |first| first.index);
        if first <= self.raw.store().last_index() && round.base.is_none() {
            self.marks.hit(Mark::TailReplaced);
        }
        let must_sync = round.must_sync && !canary::is_planted(Canary::SyncSkipped);
        let mut hard_state = round.hard_state.cloned();
        if let Some(hard_state) = &mut hard_state
            && canary::is_planted(Canary::VoteForgotten)
        {
            hard_state.vote = 0;
        }
        let round = Persist { hard_state: hard_state.as_ref(), must_sync, ..round };
        if let Some(base) = round.base
            && canary::is_planted(Canary::InstallApart)
        {
            let base = Some(Base { state: self.raw.store().base().state, ..base });
            self.raw.mut_store().persist(Persist { base, ..round })?;
        }
        self.raw.mut_store().persist(round)
    }

    fn send(&mut self, messages: Vec<Message>, out: &mut impl Outbox<W, R>) {
        for message in messages {
            if message.get_msg_type() == MessageType::MsgSnapshot {
                self.send_snapshot(&message, out);
                continue;
            }
            let Some(to) = RaftId::from_u64(message.to) else { continue };
            let bytes = message.write_to_bytes().expect("a raft message always encodes");
            out.send(to, bytes.into());
        }
    }

    /// After a change of term or leader, raft has forgotten the reads that waited.
    fn notice_leader(&mut self, out: &mut impl Outbox<W, R>) {
        let seen = (self.raw.raft.term, self.raw.raft.leader_id);
        if (self.term_seen, self.leader_seen) == seen {
            return;
        }
        (self.term_seen, self.leader_seen) = seen;
        if self.reads.restart() {
            self.marks.hit(Mark::ReadRoundRestarted);
        }
        if canary::is_planted(Canary::WaitersRefusedWhenDeposed) {
            for waiters in self.waiters.take_all() {
                out.refuse(waiters, Refusal::NotLeader(None));
            }
        }
    }

    fn commit(&mut self, entries: Vec<Entry>, out: &mut impl Outbox<W, R>) -> Result<(), Fatal> {
        for entry in entries {
            let id = LogId { term: entry.term, index: entry.index };
            if canary::is_planted(Canary::AnsweredBeforeCommit) && id.index <= self.handed_out {
                continue;
            }
            assert_eq!(id.index, self.handed_out + 1, "a committed entry is skipped or repeated");
            self.handed_out = id.index;
            let waiters = self.resolve_waiters(id, out);
            let payload = self.payload(entry)?;
            out.commit(Committed { id, payload, waiters });
        }
        Ok(())
    }

    /// The waiters of a committed entry; those whose entries lost their places are told so.
    fn resolve_waiters(&mut self, committed: LogId, out: &mut impl Outbox<W, R>) -> Vec<W> {
        let mut waiters = Vec::new();
        for (own, verdict) in self.waiters.resolve(committed) {
            if verdict == Verdict::Overwritten {
                self.marks.hit(Mark::CommandOverwritten);
                out.refuse(own, Refusal::Overwritten);
                continue;
            }
            let raft = &self.raw.raft;
            if raft.state != StateRole::Leader || raft.term != committed.term {
                self.marks.hit(Mark::DeposedAnswered);
            }
            waiters = own;
        }
        waiters
    }

    fn payload(&mut self, entry: Entry) -> Result<Payload, Fatal> {
        match entry.get_entry_type() {
            EntryType::EntryNormal if entry.data.is_empty() => Ok(Payload::Empty),
            EntryType::EntryNormal => Ok(Payload::Commands(entry.data)),
            EntryType::EntryConfChangeV2 => {
                self.raw.mut_store().set_conf_changed(entry.index);
                self.members_changed(&entry.data)
            }
            EntryType::EntryConfChange => {
                Err(Fatal::msg("a membership change of a kind that no version proposes"))
            }
        }
    }

    /// The raft crate draws this number at random, at moments of its own choosing. Setting it
    /// always, rather than when it changed, is what makes it deterministic.
    fn pin_election_timeout(&mut self) {
        if canary::is_planted(Canary::ElectionsRandom) {
            return;
        }
        let raft = &mut self.raw.raft;
        let role = match raft.state {
            StateRole::Follower => 0,
            StateRole::Candidate => 1,
            StateRole::Leader => 2,
            StateRole::PreCandidate => 3,
        };
        let parts = [self.config.seed, raft.id, raft.term, role, raft.vote];
        let mut bytes = [0; 40];
        for (chunk, part) in bytes.chunks_exact_mut(8).zip(parts) {
            chunk.copy_from_slice(&part.to_le_bytes());
        }
        let spread = crc32c::crc32c(&bytes) % limits::ELECTION_TICKS;
        raft.set_randomized_election_timeout((limits::ELECTION_TICKS + spread) as usize);
    }

    /// base <= durable, applied <= handed out <= committed <= last
    fn check(&self) {
        let log = &self.raw.raft.raft_log;
        let base = self.raw.store().base().id.index;
        assert!(base <= log.applied, "cut off what is not applied");
        assert!(
            base <= self.durable || canary::is_planted(Canary::CutAboveDurable),
            "cut off what is not durable as state"
        );
        assert!(log.applied <= self.handed_out, "applied what was never handed out");
        assert!(
            self.handed_out <= log.committed || canary::is_planted(Canary::AnsweredBeforeCommit),
            "handed out what is not committed"
        );
        assert!(log.committed <= log.last_index(), "committed what is not in the log");
        assert!(self.raw.store().last_index() >= self.handed_out, "committed what is not stored");
    }
}

#[cfg(test)]
mod tests;
