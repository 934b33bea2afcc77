//! What goes into a replica and what comes out of it.

use std::time::Duration;

use bytes::Bytes;

use crate::batch::{Batch, Payload};
use crate::id::{LogId, NodeId, RaftId};
use crate::limits;

use super::lease::Lease;

/// Who this member is.
#[derive(Clone, Debug)]
pub struct ReplicaConfig {
    /// This member.
    pub id: RaftId,
    /// The voters that the group began with.
    pub founders: Vec<RaftId>,
    /// Random in production, fixed in a simulation; different at every start.
    pub seed: u64,
    /// What bounds its queues and messages.
    pub bounds: Bounds,
    /// How long a leader's lease lasts, [`limits::LEASE_TICKS`] of its ticks; `None` where none of
    /// the members keeps one. Equal on all of them.
    pub lease: Option<Duration>,
}

/// What bounds a replica's queues and messages. The default is [`limits`]; smaller ones let a test
/// reach paths that take gigabytes else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// See [`limits::RAFT_MESSAGE_BYTES_MAX`].
    pub message_bytes_max: usize,
    /// See [`limits::RAFT_INFLIGHT_MESSAGES_MAX`].
    pub inflight_messages_max: usize,
    /// See [`limits::COMMITTED_BYTES_PER_READY_MAX`].
    pub committed_bytes_per_ready_max: usize,
    /// See [`limits::UNCOMMITTED_BYTES_MAX`].
    pub uncommitted_bytes_max: usize,
    /// See [`limits::READS_WAITING_MAX`].
    pub reads_waiting_max: usize,
    /// See [`limits::CATCH_UP_ENTRIES_MAX`].
    pub catch_up_entries_max: u64,
    /// See [`limits::LOG_ENTRIES_MAX`].
    pub log_entries_max: u64,
    /// See [`limits::LOG_BYTES_MAX`].
    pub log_bytes_max: u64,
    /// See [`limits::SNAPSHOT_TICKS_MAX`].
    pub snapshot_ticks_max: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            message_bytes_max: limits::RAFT_MESSAGE_BYTES_MAX,
            inflight_messages_max: limits::RAFT_INFLIGHT_MESSAGES_MAX,
            committed_bytes_per_ready_max: limits::COMMITTED_BYTES_PER_READY_MAX,
            uncommitted_bytes_max: limits::UNCOMMITTED_BYTES_MAX,
            reads_waiting_max: limits::READS_WAITING_MAX,
            catch_up_entries_max: limits::CATCH_UP_ENTRIES_MAX,
            log_entries_max: limits::LOG_ENTRIES_MAX,
            log_bytes_max: limits::LOG_BYTES_MAX,
            snapshot_ticks_max: limits::SNAPSHOT_TICKS_MAX,
        }
    }
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
    /// The state is durable up to this index: the answer to [`Outbox::flush`].
    Durable(u64),
    /// A snapshot from another member: its state is here, whole and durable.
    Snapshot {
        /// As the sender's outbox had it.
        message: Bytes,
        /// The state that came with it.
        staged: Staged,
    },
    /// A snapshot that this member sends is getting on.
    SnapshotUnderWay(u64),
    /// A snapshot that this member has sent has arrived, or has not.
    SnapshotSent {
        /// As the [`Transfer`] had it.
        number: u64,
        /// Whether the other member has it, and has been told.
        is_ok: bool,
    },
    /// A message to that member could not be delivered.
    Unreachable(RaftId),
    /// The node is about to stop: another member should lead.
    HandOver,
    /// What a clock shows that never stands still, from whatever beginning; only leases ask for it.
    /// It comes before the [`advance`](super::Replica::advance) that it is for.
    Clock(Duration),
}

/// Where the effects of [`Replica::advance`](super::Replica::advance) go, one call for each, in
/// order.
pub trait Outbox<W, R> {
    /// A raft message to another member. May be lost.
    fn send(&mut self, to: RaftId, message: Bytes);
    /// The log holds its entries up to `last` durably. Nothing is to be done; it is for who takes
    /// the time.
    fn persisted(&mut self, _last: u64) {}
    /// An entry is committed: apply it. Without holes, in the order of the log.
    fn commit(&mut self, committed: Committed<W>);
    /// Waiters whose commands were not committed and never will be.
    fn refuse(&mut self, waiters: Vec<W>, refusal: Refusal);
    /// Readers may read any state that has applied this index.
    fn read(&mut self, readers: Vec<R>, index: Result<u64, Refusal>);
    /// The lease is this one from now on; where there are no leases, only that of who votes alone.
    fn lease(&mut self, _lease: Lease) {}
    /// Waiters who will not learn from this member what became of their commands: the entries are
    /// in a snapshot, without their outcomes.
    fn forget(&mut self, waiters: Vec<W>);
    /// Make the state durable, while apply goes on, and answer with [`Event::Durable`]. Asked again
    /// only after the answer.
    fn flush(&mut self);
    /// Send another member a snapshot of the state as it is now, which is not behind what
    /// [`Event::Applied`] last said. Answer with [`Event::SnapshotSent`].
    fn snapshot(&mut self, transfer: Transfer);
    /// Apply goes on with a state that was staged, behind all that was handed to it before. The old
    /// state may then go: after a restart, the log names the new one.
    fn install(&mut self, staged: Staged);
    /// A state that was staged is of no use.
    fn discard(&mut self, staged: Staged);
}

/// A snapshot for another member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// A number of its own, while this replica lives.
    pub number: u64,
    /// Whom it is for.
    pub to: RaftId,
    /// What the other member is given with the state: [`Event::Snapshot`].
    pub message: Bytes,
    /// The term in which this member leads: in a later one, the message is void.
    pub term: u64,
}

/// A state that came as a snapshot, and waits to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// The number of its store.
    pub state: u64,
    /// The last entry that it has applied.
    pub applied: LogId,
    /// The members as of then; empty for the founders.
    pub conf: Bytes,
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
    /// The index before the first in the log.
    pub base: u64,
    /// The bytes of the entries in the log.
    pub log_bytes: u64,
}
