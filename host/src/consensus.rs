//! The raft thread: gives the replica its events and carries out its effects.
//!
//! One thread owns the replica and its log. It blocks in fsync, and only there; while it does, the
//! next batch grows: in the batcher's input, since the batcher is a task of this thread, so that a
//! batch changes hands without waking another one. Feedback from apply is a watermark, never a
//! queue, so there is no cycle of full queues.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::batch::{Batch, Payload};
use quorate_core::id::{NodeId, RaftId};
use quorate_core::limits;
use quorate_core::log::LogStore;
use quorate_core::members::Members;
use quorate_core::outcome::Fatal;
use quorate_core::replica::{
    Admission, Change, ChangeRefusal, Committed, Contacts, Event, Lease, Outbox, Refusal, Replica,
    Staged, Status, Transfer,
};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::apply::{AtOnce, Work};
use crate::clock;
use crate::node::States;
use crate::queue;
use crate::stages::{Passed, UnderWay};
use crate::waiter::{self, Answer, Waiter};
use crate::watchdog::Pulse;

/// Who waits for a read index.
pub type Reader = oneshot::Sender<Result<u64, Refusal>>;

/// The replica as the host runs it, over any log.
pub type HostReplica = Replica<Box<dyn LogStore>, Waiter, Reader>;

/// What other nodes and the operator ask of consensus.
#[derive(Debug)]
pub enum Request {
    /// Take the next step in admitting a member.
    Admit(RaftId, oneshot::Sender<Admission>),
    /// Make a change that an operator asks for, by force or not.
    Change(Change, bool, oneshot::Sender<Result<(), ChangeRefusal>>),
    /// A message to that member could not be delivered.
    Unreachable(RaftId),
    /// A snapshot has come, and its state is staged.
    Snapshot(Bytes, Staged),
    /// A snapshot that was sent is getting on.
    SnapshotUnderWay(u64),
    /// It has arrived, or has not.
    SnapshotSent(u64, bool),
    /// This node's state is not to be trusted: another member should lead, and this one have
    /// another state.
    Resync,
}

/// What comes in. When `intake` closes, the thread drains and ends; the others may close earlier.
#[derive(Debug)]
pub struct Inputs {
    /// Batches to propose.
    pub intake: mpsc::Receiver<Batch<Waiter>>,
    /// Raft messages of other members.
    pub inbox: queue::Receiver<Bytes>,
    /// Those who wait for a read index.
    pub reads: mpsc::Receiver<Reader>,
    /// Everything else.
    pub requests: mpsc::Receiver<Request>,
    /// The last index that apply has finished.
    pub applied: watch::Receiver<u64>,
    /// The last index that the state has made durable.
    pub durable: watch::Receiver<u64>,
}

/// What goes out.
pub struct Outputs<S> {
    /// Committed entries for apply; this thread alone sends, so dropping it ends apply.
    pub committed: SyncSender<Work>,
    /// Apply itself, for an entry that need not go through its thread.
    pub apply: Arc<dyn AtOnce + Send + Sync>,
    /// How many commands such an entry may have.
    pub applied_here_commands_max: usize,
    /// A wish that the state be made durable; at most one waits.
    pub flush: SyncSender<()>,
    /// Snapshots to send.
    pub transfers: mpsc::Sender<Transfer>,
    /// The states that came with snapshots.
    pub states: Arc<States>,
    /// Who leads, for all who want to know.
    pub status: watch::Sender<Status>,
    /// When this thread is within a round, for who watches it.
    pub pulse: Pulse,
    /// What may be read without asking anybody.
    pub lease: watch::Sender<Lease>,
    /// Who the members are, whenever that changes.
    pub members: watch::Sender<Arc<Members>>,
    /// What is known of members that the group has not agreed on yet.
    pub contacts: Box<dyn Fn() -> Contacts + Send>,
    /// Sends a raft message, or loses it.
    pub send: S,
}

/// How long a draining thread waits for proposed commands, and then for another leader.
const DRAIN_MAX: Duration = Duration::from_millis(400);
const HAND_OVER_MAX: Duration = Duration::from_millis(300);
/// Messages and reads that are taken between two rounds of the replica.
const EVENTS_PER_ROUND_MAX: usize = 1024;

/// What an entry may take that is applied on this thread: a few times what waking apply takes, and
/// some more for each of its commands.
const APPLIED_HERE_MAX: Duration = Duration::from_micros(500);
const APPLIED_HERE_COMMAND_MAX: Duration = Duration::from_micros(20);
/// After one that took longer, so many go by the queue before another is tried.
const QUEUED_AFTER_LONG: u32 = 100;
/// With so few cores, two threads that wake each other gain less by their overlap than that costs.
const FEW_CORES: usize = 2;
/// The commands of an entry that is applied on this thread there: about what single calls come to.
/// More come from those who have many at hand, and then the overlap pays.
const APPLIED_HERE_COMMANDS_MAX: usize = 256;

/// How many commands an entry may have that is applied on this thread.
pub fn applied_here_commands_max() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    if cores <= FEW_CORES { APPLIED_HERE_COMMANDS_MAX } else { 1 }
}

/// What the raft thread runs: this stage, and the batcher beside it.
pub fn runtime() -> Result<Runtime, Fatal> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| Fatal::new("starting the raft thread's runtime", error.into()))
}

/// Runs the replica until the intake closes and what it proposed is decided.
pub fn run<S: FnMut(RaftId, Bytes)>(
    runtime: &Runtime,
    replica: HostReplica,
    tick: Duration,
    (inputs, outputs): (Inputs, Outputs<S>),
) -> Result<(), Fatal> {
    let out = Effects::new(outputs, is_alone(&replica));
    runtime.block_on(async {
        let mut ticks = tokio::time::interval(tick);
        // After a long fsync or a pause of the process, missed ticks must not fire in a burst: they
        // would look like a long silence of the leader.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let members_version = replica.members_version();
        Consensus { replica, inputs, out, ticks, members_version }.run().await
    })
}

struct Consensus<S> {
    replica: HostReplica,
    inputs: Inputs,
    out: Effects<S>,
    ticks: Interval,
    /// Of the members that were told last.
    members_version: u64,
}

/// Why the loop wakes up.
enum Wake {
    Round,
    IntakeClosed,
}

impl<S: FnMut(RaftId, Bytes)> Consensus<S> {
    async fn run(mut self) -> Result<(), Fatal> {
        // A group of one leads from the start.
        self.round()?;
        while let Wake::Round = self.wait().await {
            self.drain_queues();
            self.round()?;
        }
        self.drain().await
    }

    /// Takes notice of one event, waiting for it.
    async fn wait(&mut self) -> Wake {
        let inputs = &mut self.inputs;
        // While apply is behind by more than the cap, nothing new is proposed.
        let takes_intake = self.out.parked_bytes < limits::PARKED_BYTES_MAX;
        tokio::select! {
            batch = inputs.intake.recv(), if takes_intake => match batch {
                Some(batch) => {
                    let (time_ms, taken) = (clock::unix_ms(), Instant::now());
                    let before = self.replica.last_proposed();
                    self.replica.handle(Event::Intake { batch, time_ms });
                    let proposed = self.replica.last_proposed();
                    if let Some(id) = proposed.filter(|_| proposed != before) {
                        self.out.under_way.proposed(id, taken.into_std());
                    }
                }
                None => return Wake::IntakeClosed,
            },
            Some(message) = inputs.inbox.recv() => self.take_message(message),
            Some(reader) = inputs.reads.recv() => self.replica.handle(Event::Read(reader)),
            Some(request) = inputs.requests.recv() => self.take_request(request),
            _ = self.ticks.tick() => self.replica.handle(Event::Tick),
            // Apply has made room. Its progress alone is no reason to wake up.
            Ok(()) = inputs.applied.changed(), if !self.out.parked.is_empty() => {}
            Ok(()) = inputs.durable.changed() => {
                let durable = *inputs.durable.borrow_and_update();
                self.replica.handle(Event::Durable(durable));
            }
        }
        Wake::Round
    }

    /// Takes what else is there, so that one round, and one fsync, serves all of it.
    fn drain_queues(&mut self) {
        for _ in 0..EVENTS_PER_ROUND_MAX {
            let Some(message) = self.inputs.inbox.try_recv() else { break };
            self.take_message(message);
        }
        for _ in 0..EVENTS_PER_ROUND_MAX {
            let Ok(reader) = self.inputs.reads.try_recv() else { break };
            self.replica.handle(Event::Read(reader));
        }
    }

    fn take_message(&mut self, message: Bytes) {
        let takes_entries = self.out.parked_bytes < limits::PARKED_BYTES_MAX;
        self.replica.handle(Event::Peer { message, takes_entries });
    }

    fn take_request(&mut self, request: Request) {
        match request {
            // Who asked may have gone; it asks again.
            Request::Admit(member, reply) => {
                let contacts = (self.out.outputs.contacts)();
                let _gone = reply.send(self.replica.admit(member, &contacts)).is_err();
            }
            Request::Change(change, is_forced, reply) => {
                let contacts = (self.out.outputs.contacts)();
                let changed = self.replica.change(&change, is_forced, &contacts);
                let _gone = reply.send(changed).is_err();
            }
            Request::Unreachable(member) => self.replica.handle(Event::Unreachable(member)),
            Request::Snapshot(message, staged) => {
                self.replica.handle(Event::Snapshot { message, staged });
            }
            Request::SnapshotUnderWay(number) => {
                self.replica.handle(Event::SnapshotUnderWay(number));
            }
            Request::SnapshotSent(number, is_ok) => {
                self.replica.handle(Event::SnapshotSent { number, is_ok });
            }
            Request::Resync => self.replica.resync(),
        }
    }

    fn round(&mut self) -> Result<(), Fatal> {
        let applied = *self.inputs.applied.borrow_and_update();
        self.replica.handle(Event::Applied(applied));
        self.replica.handle(Event::Clock(clock::now()));
        self.out.outputs.pulse.begin();
        let advanced = self.replica.advance(&mut self.out);
        self.out.outputs.pulse.end();
        // Apply's is the first: without it, this round would not have failed either.
        if let Some(fault) = self.out.fault.take() {
            return Err(fault);
        }
        advanced?;
        self.out.unpark();
        let version = self.replica.members_version();
        if version != self.members_version {
            self.out.is_alone = is_alone(&self.replica);
            self.members_version = version;
            self.out.outputs.members.send_replace(Arc::new(self.replica.members()));
        }
        let status = self.replica.status();
        self.out.outputs.status.send_if_modified(|seen| {
            // Those who watch wait for a leader; every commit would wake them in vain.
            let Status { committed, last, base, log_bytes, .. } = status;
            let changed = Status { committed, last, base, log_bytes, ..*seen } != status;
            *seen = status;
            changed
        });
        if self.out.apply_ended {
            // Apply reports its own fault; without it there is nothing to do here.
            return Err(Fatal::msg("apply has ended"));
        }
        Ok(())
    }

    /// The intake is closed. What was proposed is decided if it can be, then another member leads.
    async fn drain(&mut self) -> Result<(), Fatal> {
        let until = Instant::now() + DRAIN_MAX;
        while self.replica.waiting() > 0 || !self.out.parked.is_empty() {
            if !self.wait_until(until).await? {
                break;
            }
        }
        let until = Instant::now() + HAND_OVER_MAX;
        self.replica.handle(Event::HandOver);
        self.round()?;
        while self.replica.is_handing_over() {
            if !self.wait_until(until).await? {
                break;
            }
        }
        Ok(())
    }

    /// One event and its round; false when it is too late.
    async fn wait_until(&mut self, until: Instant) -> Result<bool, Fatal> {
        let inputs = &mut self.inputs;
        tokio::select! {
            Some(message) = inputs.inbox.recv() => self.take_message(message),
            _ = self.ticks.tick() => self.replica.handle(Event::Tick),
            Ok(()) = inputs.applied.changed(), if !self.out.parked.is_empty() => {}
            () = tokio::time::sleep_until(until) => return Ok(false),
        }
        self.drain_queues();
        self.round()?;
        Ok(true)
    }
}

/// Carries out what the replica decides, at once and in its order.
struct Effects<S> {
    outputs: Outputs<S>,
    /// This member is the group: no other waits for its heartbeats.
    is_alone: bool,
    /// Committed entries that apply has no room for yet.
    parked: VecDeque<Work>,
    parked_bytes: usize,
    apply_ended: bool,
    /// What apply failed with, here.
    fault: Option<Fatal>,
    under_way: UnderWay,
    /// So many more small entries go by the queue.
    queued_left: u32,
}

impl<S: FnMut(RaftId, Bytes)> Outbox<Waiter, Reader> for Effects<S> {
    fn send(&mut self, to: RaftId, message: Bytes) {
        (self.outputs.send)(to, message);
    }

    fn persisted(&mut self, last: u64) {
        self.under_way.persisted(last);
    }

    fn commit(&mut self, committed: Committed<Waiter>) {
        let passed = self.under_way.committed(committed.id);
        let Some(work) = self.apply_here(committed, passed) else { return };
        self.parked_bytes += bytes_of(&work);
        self.parked.push_back(work);
        self.unpark();
        // One round may commit more than there is room for: all of the log, after a restart. Then,
        // and only then, this thread waits. Apply waits for nobody, so there is no cycle.
        while self.parked_bytes >= limits::PARKED_BYTES_HARD_MAX
            && let Some(oldest) = self.parked.pop_front()
        {
            self.parked_bytes -= bytes_of(&oldest);
            // It is not the disk that it waits for.
            self.outputs.pulse.end();
            self.apply_ended |= self.outputs.committed.send(oldest).is_err();
            self.outputs.pulse.begin();
        }
    }

    fn refuse(&mut self, waiters: Vec<Waiter>, refusal: Refusal) {
        waiter::tell(waiters.into_iter().map(|waiter| (waiter, Answer::Refused(refusal))));
    }

    fn read(&mut self, readers: Vec<Reader>, index: Result<u64, Refusal>) {
        for reader in readers {
            // Who asked may have gone.
            let _gone = reader.send(index).is_err();
        }
    }

    fn lease(&mut self, lease: Lease) {
        self.outputs.lease.send_replace(lease);
    }

    fn forget(&mut self, waiters: Vec<Waiter>) {
        // Dropped unsent: the outcome is unknown.
        drop(waiters);
    }

    fn flush(&mut self) {
        // Full: one waits already, and will have all that this one wants.
        let _waits = self.outputs.flush.try_send(()).is_err();
    }

    fn snapshot(&mut self, transfer: Transfer) {
        // Full, or the node stops: consensus gives it up after a while, and raft tries again.
        drop(self.outputs.transfers.try_send(transfer));
    }

    fn install(&mut self, staged: Staged) {
        self.parked.push_back(Work::Install(staged));
        self.unpark();
    }

    fn discard(&mut self, staged: Staged) {
        self.outputs.states.discard(staged.state);
    }
}

impl<S> Effects<S> {
    fn new(outputs: Outputs<S>, is_alone: bool) -> Self {
        Self {
            outputs,
            is_alone,
            parked: VecDeque::new(),
            parked_bytes: 0,
            apply_ended: false,
            fault: None,
            under_way: UnderWay::default(),
            queued_left: 0,
        }
    }

    /// Has a small entry applied at once, where no other member would wait for a heartbeat
    /// meanwhile: waking apply costs more than most commands. The next entry is not written
    /// meanwhile either, so after one that took long the next ones go by the queue.
    fn apply_here(&mut self, entry: Committed<Waiter>, passed: Option<Passed>) -> Option<Work> {
        if self.fault.is_some() {
            // Nothing can be applied behind an entry that could not be; the node stops.
            return None;
        }
        let commands = entry.waiters.len();
        let is_small = (1..=self.outputs.applied_here_commands_max).contains(&commands);
        let work = Work::Entry(entry, passed);
        if !is_small || !self.is_alone || !self.parked.is_empty() {
            return Some(work);
        }
        if self.queued_left > 0 {
            self.queued_left -= 1;
            return Some(work);
        }
        // It is the plugin that takes its time, or the disk of the state, as on apply's own thread:
        // not that of the log, which others wait for.
        self.outputs.pulse.end();
        let begun = Instant::now();
        let tried = self.outputs.apply.try_step(work);
        self.outputs.pulse.begin();
        let commands = u32::try_from(commands).expect("a small entry");
        if begun.elapsed() > APPLIED_HERE_MAX + APPLIED_HERE_COMMAND_MAX * commands {
            self.queued_left = QUEUED_AFTER_LONG;
        }
        match tried {
            ControlFlow::Break(applied) => {
                self.fault = applied.err();
                None
            }
            ControlFlow::Continue(work) => Some(work),
        }
    }

    /// Hands to apply what it has room for. Never blocks: consensus goes on ticking.
    fn unpark(&mut self) {
        while let Some(committed) = self.parked.pop_front() {
            let bytes = bytes_of(&committed);
            match self.outputs.committed.try_send(committed) {
                Ok(()) => self.parked_bytes -= bytes,
                Err(TrySendError::Full(committed)) => {
                    self.parked.push_front(committed);
                    return;
                }
                Err(TrySendError::Disconnected(_)) => {
                    self.apply_ended = true;
                    return;
                }
            }
        }
    }
}

fn is_alone(replica: &HostReplica) -> bool {
    replica.members().all().len() == 1
}

fn bytes_of(work: &Work) -> usize {
    let Work::Entry(committed, _) = work else { return 0 };
    match &committed.payload {
        Payload::Empty => 0,
        Payload::Commands(bytes) | Payload::Members(bytes) => bytes.len(),
    }
}

/// The node that leads, as a status has it.
pub fn leader_of(status: &Status) -> Option<NodeId> {
    status.leader.map(RaftId::node)
}
