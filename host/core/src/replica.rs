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
//!
//! What this deliberately does not have yet: snapshots. A follower catches up from the log, which
//! is never cut, so a snapshot message is a broken invariant.

mod adapter;
mod members;
mod reads;
mod waiters;

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{EntryType, Message, MessageType};
use raft::prelude::{ConfChangeV2, ConfState, Entry};
use raft::{RawNode, StateRole};

use crate::batch::{self, Batch, Payload};
use crate::id::{LogId, NodeId, RaftId};
use crate::limits;
use crate::log::{HardState, LogStore, Persist};
use crate::outcome::Fatal;

use adapter::Adapter;
use reads::Reads;
use waiters::{Verdict, Waiters};

pub use members::Admission;

/// Who this member is.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// This member.
    pub id: RaftId,
    /// The voters that the group began with.
    pub founders: Vec<RaftId>,
    /// Random in production, fixed in a simulation; different at every start.
    pub seed: u64,
}

/// What the state machine knows of the log when the replica starts.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The last entry applied.
    pub applied: LogId,
    /// The members as of then; empty for the founders.
    pub conf: Bytes,
}

/// All that can happen to a replica.
#[derive(Debug)]
pub enum Event<W, R> {
    /// A tick of the clock has passed.
    Tick,
    /// A raft message from another member.
    Peer {
        /// As the other member's outbox sent it.
        message: Bytes,
        /// False while apply is behind: entries are then as good as lost, and sent again. All else
        /// is heard, since a member that hears nothing would disturb the others.
        takes_entries: bool,
    },
    /// A batch to propose.
    Intake {
        /// The commands.
        batch: Batch<W>,
        /// This node's clock, Unix milliseconds.
        time_ms: u64,
    },
    /// Somebody wants to read what is committed by now.
    Read(R),
    /// The state machine has applied all entries up to this index.
    Applied(u64),
    /// A message to that member could not be delivered.
    Unreachable(RaftId),
    /// The node is about to stop: another member should lead.
    HandOver,
}

/// Where the effects of [`Replica::advance`] go, one call for each, in order.
pub trait Outbox<W, R> {
    /// A raft message to another member. May be lost.
    fn send(&mut self, to: RaftId, message: Bytes);
    /// An entry is committed: apply it. Without holes, in the order of the log.
    fn commit(&mut self, committed: Committed<W>);
    /// Waiters whose commands were not committed and never will be.
    fn refuse(&mut self, waiters: Vec<W>, refusal: Refusal);
    /// Readers may read any state that has applied this index.
    fn read(&mut self, readers: Vec<R>, index: Result<u64, Refusal>);
}

/// A committed entry.
#[derive(Debug)]
pub struct Committed<W> {
    /// Its place.
    pub id: LogId,
    /// What it carries.
    pub payload: Payload,
    /// Who waits for the outcomes of its commands, in their order; empty on other nodes.
    pub waiters: Vec<W>,
}

/// Why a proposal or a read was not taken. None of them was or will be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This member does not lead; the leader's node, if known.
    NotLeader(Option<NodeId>),
    /// The entry lost its place to another leader's.
    Overwritten,
    /// Too much is proposed and not committed, or too many reads wait.
    Busy,
}

/// What others may know of a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The current term.
    pub term: u64,
    /// The leader of the term, if known.
    pub leader: Option<RaftId>,
    /// Whether it is this member, and has committed an entry of its term.
    pub leads: bool,
    /// Whether this member votes.
    pub votes: bool,
    /// The last index known to be committed.
    pub committed: u64,
    /// The last index in the log.
    pub last: u64,
}

/// One member of one group. `W` waits for outcomes, `R` waits for read indexes.
pub struct Replica<L: LogStore, W, R> {
    raw: RawNode<Adapter<L>>,
    config: ReplicaConfig,
    waiters: Waiters<W>,
    reads: Reads<R>,
    /// What came without a use for raft: answered by the next `advance`.
    refused: Vec<(Vec<W>, Refusal)>,
    reads_refused: Vec<(Vec<R>, Refusal)>,
    /// The last index handed out as committed.
    handed_out: u64,
    term_seen: u64,
    leader_seen: u64,
}

impl<L: LogStore, W, R> Replica<L, W, R> {
    /// Starts a member from its log and from what its state machine knows. Checks that the two
    /// belong together: a log that lost what was applied must not vote.
    pub fn new(config: ReplicaConfig, log: L, recovered: &Recovered) -> Result<Self, Fatal> {
        let adapter = Adapter::recover(log, &config, recovered)?;
        let raft_config = raft::Config {
            id: config.id.get(),
            election_tick: limits::ELECTION_TICKS as usize,
            heartbeat_tick: limits::HEARTBEAT_TICKS as usize,
            applied: recovered.applied.index,
            max_size_per_msg: limits::RAFT_MESSAGE_BYTES_MAX as u64,
            max_inflight_msgs: limits::RAFT_INFLIGHT_MESSAGES_MAX,
            max_committed_size_per_ready: limits::COMMITTED_BYTES_PER_READY_MAX as u64,
            max_uncommitted_size: limits::UNCOMMITTED_BYTES_MAX as u64,
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
            reads: Reads::new(config.id, config.seed),
            refused: Vec::new(),
            reads_refused: Vec::new(),
            handed_out: recovered.applied.index,
            term_seen: 0,
            leader_seen: 0,
            config,
        };
        replica.pin_election_timeout();
        // A group of one has nobody to wait for.
        if replica.raw.raft.prs().conf().to_conf_state().voters == [replica.config.id.get()] {
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
        }
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
                    self.reads_refused.push((vec![reader], Refusal::Busy));
                }
            }
            Event::Applied(index) => self.applied(index),
            Event::Unreachable(member) => self.raw.report_unreachable(member.get()),
            Event::HandOver => self.hand_over(),
        }
        self.pin_election_timeout();
    }

    fn tick(&mut self) {
        self.raw.tick();
        let expired = self.reads.tick();
        if !expired.is_empty() {
            self.reads_refused.push((expired, Refusal::NotLeader(self.leader())));
        }
    }

    /// A message that does not decode or is not for this member is as good as lost.
    fn step(&mut self, message: &Bytes, takes_entries: bool) {
        let Ok(message) = Message::parse_from_carllerche_bytes(message) else { return };
        let is_refused = !takes_entries && message.get_msg_type() == MessageType::MsgAppend;
        // Nobody of this group sends these; the crate would panic.
        let kind = message.get_msg_type();
        let is_malformed = kind == MessageType::MsgReadIndex && message.get_entries().len() != 1
            || kind == MessageType::MsgHeartbeat
                && message.commit > self.raw.raft.raft_log.last_index();
        let is_ours = message.to == self.config.id.get();
        // Proposals are never forwarded by raft; snapshots do not exist yet.
        let is_expected = !matches!(
            message.get_msg_type(),
            MessageType::MsgPropose | MessageType::MsgSnapshot | MessageType::MsgTransferLeader
        );
        if is_ours && is_expected && !is_malformed && !is_refused {
            // Refused messages (of an old term, from a stranger) have no further effect.
            let _ = self.raw.step(message).ok();
        }
    }

    fn propose(&mut self, batch: Batch<W>, time_ms: u64) {
        let commands: Vec<_> = batch.proposals.iter().map(|proposal| &proposal.command).collect();
        let data = batch::encode(time_ms, commands.into_iter());
        let waiters: Vec<W> = batch.proposals.into_iter().map(|proposal| proposal.waiter).collect();
        if self.raw.raft.state != StateRole::Leader {
            self.refused.push((waiters, Refusal::NotLeader(self.leader())));
            return;
        }
        let entry = Entry { data, ..Entry::default() };
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.config.id.get();
        message.set_entries(vec![entry].into());
        // Not `RawNode::propose`, which would copy the bytes.
        if self.raw.raft.step(message).is_err() {
            let refusal = if self.raw.raft.lead_transferee.is_some() {
                Refusal::NotLeader(None)
            } else {
                Refusal::Busy
            };
            self.refused.push((waiters, refusal));
            return;
        }
        let id = LogId { term: self.raw.raft.term, index: self.raw.raft.raft_log.last_index() };
        self.waiters.push(id, waiters);
    }

    fn applied(&mut self, index: u64) {
        if index > self.raw.raft.raft_log.applied {
            self.raw.advance_apply_to(index);
        }
    }

    /// Asks the voter that has most of the log to take over.
    fn hand_over(&mut self) {
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
            self.raw.transfer_leader(heir);
        }
    }

    fn leader(&self) -> Option<NodeId> {
        RaftId::from_u64(self.raw.raft.leader_id).map(RaftId::node)
    }

    /// Carries out what the events since the last call lead to. The order is the contract:
    ///
    /// 1. A leader's messages leave: followers may write while this node writes.
    /// 2. Entries, term and vote become durable, in one atomic write.
    /// 3. Only then do messages leave that promise durability: votes and acknowledgements.
    /// 4. Committed entries go to apply. They are durable here, since raft counts this node's own
    ///    copy only after step 2. Their waiters go with them.
    /// 5. Readers learn their index.
    ///
    /// An error is final: the replica must not be used any further.
    pub fn advance(&mut self, out: &mut impl Outbox<W, R>) -> Result<(), Fatal> {
        for (waiters, refusal) in self.refused.drain(..) {
            out.refuse(waiters, refusal);
        }
        for (readers, refusal) in self.reads_refused.drain(..) {
            out.read(readers, Err(refusal));
        }
        self.ask_for_read_index();
        while self.raw.has_ready() {
            let mut ready = self.raw.ready();
            assert!(ready.snapshot().is_empty(), "a snapshot, although no log is ever cut");

            send(out, ready.take_messages());

            if ready.hs().is_some() || !ready.entries().is_empty() {
                self.raw.mut_store().persist(Persist {
                    hard_state: ready.hs(),
                    entries: ready.entries(),
                    must_sync: ready.must_sync(),
                })?;
            }

            send(out, ready.take_persisted_messages());

            let read_states = ready.take_read_states();
            self.commit(ready.take_committed_entries(), out)?;
            let mut light = self.raw.advance_append(ready);
            if light.commit_index().is_some() {
                let hard_state: HardState = self.raw.raft.hard_state();
                self.raw.mut_store().persist(Persist {
                    hard_state: Some(&hard_state),
                    entries: &[],
                    must_sync: false,
                })?;
            }
            send(out, light.take_messages());
            self.commit(light.take_committed_entries(), out)?;

            for state in read_states {
                let readers = self.reads.resolve(&state.request_ctx);
                if !readers.is_empty() {
                    out.read(readers, Ok(state.index));
                }
            }
            self.notice_leader();
            self.pin_election_timeout();
            self.ask_for_read_index();
        }
        self.check();
        Ok(())
    }

    /// One round for all reads that wait; the next one when it is answered.
    fn ask_for_read_index(&mut self) {
        let raft = &self.raw.raft;
        // Raft would drop the question silently.
        let can_answer = match raft.state {
            StateRole::Leader => raft.commit_to_current_term(),
            StateRole::Follower => raft.leader_id != 0,
            StateRole::Candidate | StateRole::PreCandidate => false,
        };
        if can_answer && let Some(context) = self.reads.next_round() {
            self.raw.read_index(context);
        }
    }

    /// After a change of term or leader, raft has forgotten the reads that waited.
    fn notice_leader(&mut self) {
        let seen = (self.raw.raft.term, self.raw.raft.leader_id);
        if (self.term_seen, self.leader_seen) != seen {
            (self.term_seen, self.leader_seen) = seen;
            self.reads.restart();
        }
    }

    fn commit(&mut self, entries: Vec<Entry>, out: &mut impl Outbox<W, R>) -> Result<(), Fatal> {
        for entry in entries {
            let id = LogId { term: entry.term, index: entry.index };
            assert_eq!(id.index, self.handed_out + 1, "a committed entry is skipped or repeated");
            self.handed_out = id.index;
            let mut waiters = Vec::new();
            for (own, verdict) in self.waiters.resolve(id) {
                match verdict {
                    Verdict::Committed => waiters = own,
                    Verdict::Overwritten => out.refuse(own, Refusal::Overwritten),
                }
            }
            let payload = self.payload(entry)?;
            out.commit(Committed { id, payload, waiters });
        }
        Ok(())
    }

    fn payload(&mut self, entry: Entry) -> Result<Payload, Fatal> {
        match entry.get_entry_type() {
            EntryType::EntryNormal if entry.data.is_empty() => Ok(Payload::Empty),
            EntryType::EntryNormal => Ok(Payload::Commands(entry.data)),
            EntryType::EntryConfChangeV2 => {
                let change = ConfChangeV2::parse_from_carllerche_bytes(&entry.data)
                    .map_err(|error| Fatal::new("decoding a membership change", error.into()))?;
                // Refused by all members alike, since all have the same members here.
                let Ok(conf) = self.raw.apply_conf_change(&change) else {
                    return Ok(Payload::Empty);
                };
                Ok(Payload::Members(encode_conf(&conf)))
            }
            EntryType::EntryConfChange => {
                Err(Fatal::msg("a membership change of a kind that no version proposes"))
            }
        }
    }

    /// The raft crate draws this number at random, at moments of its own choosing. Setting it
    /// always, rather than when it changed, is what makes it deterministic.
    fn pin_election_timeout(&mut self) {
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

    /// applied <= handed out <= committed <= last
    fn check(&self) {
        let log = &self.raw.raft.raft_log;
        assert!(log.applied <= self.handed_out, "applied what was never handed out");
        assert!(self.handed_out <= log.committed, "handed out what is not committed");
        assert!(log.committed <= log.last_index(), "committed what is not in the log");
        assert!(self.raw.store().last_index() >= self.handed_out, "committed what is not stored");
    }
}

fn send<W, R>(out: &mut impl Outbox<W, R>, messages: Vec<Message>) {
    for message in messages {
        let Some(to) = RaftId::from_u64(message.to) else { continue };
        let bytes = message.write_to_bytes().expect("a raft message always encodes");
        out.send(to, bytes.into());
    }
}

fn encode_conf(conf: &ConfState) -> Bytes {
    conf.write_to_bytes().expect("a conf state always encodes").into()
}

#[cfg(test)]
mod tests;
