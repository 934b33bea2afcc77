//! One process of a node: the core's stages and the queues between them, as the host has them.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::batch::{Batch, Command, Payload, Proposal};
use quorate_core::batcher::Batcher;
use quorate_core::id::{LogId, RaftId};
use quorate_core::integrity::{Point, Report, Watch};
use quorate_core::machine::Machine;
use quorate_core::members::Members;
use quorate_core::outcome::Outcome;
use quorate_core::replica::{Committed, Lease, Outbox, Refusal, Replica, Staged, Transfer};
use quorate_core::session::SessionUse;
use quorate_core::state::StateView;

use super::members::Hello;
use super::snapshots::{Part, Snapshots};
use crate::disk::{self, SharedDisk, SimLog};
use crate::oracle::{Checked, Violation};
use crate::program::SimProgram;
use crate::time::Time;

/// Where a call came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A client of this node.
    Client,
    /// Another node, in that life of its, handed it on.
    Node(u32, u32),
}

/// Waiters that vanished without an answer, as long as their process lives.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    pub(crate) is_closed: bool,
    pub(crate) dropped: Vec<u64>,
}

/// Who waits: a call. Notices when it is dropped instead of answered.
#[derive(Debug)]
pub(crate) struct Token {
    call: u64,
    origin: Origin,
    desk: Option<Rc<RefCell<Desk>>>,
}

impl Token {
    pub(crate) fn new(call: u64, origin: Origin, desk: &Rc<RefCell<Desk>>) -> Self {
        Self { call, origin, desk: Some(Rc::clone(desk)) }
    }

    pub(crate) fn call(&self) -> u64 {
        self.call
    }

    /// It is answered.
    pub(crate) fn settle(mut self) -> (u64, Origin) {
        self.desk = None;
        (self.call, self.origin)
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if let Some(desk) = self.desk.take() {
            let mut desk = desk.borrow_mut();
            if !desk.is_closed {
                desk.dropped.push(self.call);
            }
        }
    }
}

/// What a caller is told.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    Decided(LogId, Outcome),
    /// It was not executed, and never will be.
    Refused(&'static str),
    Unknown,
}

/// What travels between nodes.
#[derive(Clone, Debug)]
pub(crate) enum Packet {
    /// To that member, with who says it.
    Raft(RaftId, Bytes, Hello),
    /// A node introduces itself.
    Hello(Hello),
    /// A command for the leader; the life of who sent it.
    Forward(u64, Command, u32),
    Answer(u64, u32, Told),
    /// A node asks to be admitted.
    Admit(RaftId),
    /// Of a snapshot on its way.
    Snapshot(Box<Part>),
    /// What that node's state has become; whether it answers another's.
    Report(u32, Box<Report>, bool),
}

/// What consensus hands to apply.
#[derive(Debug)]
pub(crate) enum Work {
    Entry(Committed<Token>),
    /// Go on with this state.
    Install(Staged),
}

impl Work {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Entry(Committed { payload, .. }) => match payload {
                Payload::Empty => 0,
                Payload::Commands(bytes) | Payload::Members(bytes) => bytes.len(),
            },
            Self::Install(_) => 0,
        }
    }
}

impl Packet {
    /// Whether the network may double it: not what is meant to be said once.
    pub(crate) fn may_come_twice(&self) -> bool {
        match self {
            Self::Raft(..)
            | Self::Hello(_)
            | Self::Admit(_)
            | Self::Snapshot(_)
            | Self::Report(..) => true,
            Self::Forward(_, command, _) => matches!(command.session, Some(SessionUse::Call(_))),
            Self::Answer(..) => false,
        }
    }
}

/// What a round of consensus leads to.
#[derive(Debug)]
pub(crate) enum Effect {
    Send(RaftId, Bytes),
    Commit(Committed<Token>),
    Refuse(Vec<Token>, Refusal),
    Read(Vec<Token>, Result<u64, Refusal>),
    Lease(Lease),
    Forget(Vec<Token>),
    Flush,
    Snapshot(Transfer),
    Install(Staged),
    Discard(Staged),
}

/// An order to stop, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopping {
    /// What was accepted is decided.
    Draining(Time),
    /// Another node takes over; whether all that was accepted had been decided before.
    HandingOver(Time, bool),
}

/// A query on its way, with the view of the state that it will see.
pub(crate) struct Query {
    pub(crate) reader: Token,
    pub(crate) view: Arc<dyn StateView>,
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query of call {}", self.reader.call())
    }
}

/// What an entry decided, until its callers are told.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) id: LogId,
    /// Where each was decided: there, or earlier when it is a duplicate.
    pub(crate) answers: Vec<(Token, (LogId, Outcome))>,
}

/// A running process.
#[expect(clippy::struct_excessive_bools, reason = "each is a stage's own, and all are free")]
pub(crate) struct Process {
    /// As the replica had them last.
    pub(crate) members: Members,
    pub(crate) members_version: u64,
    pub(crate) member: RaftId,
    pub(crate) replica: Replica<SimLog, Token, Token>,
    pub(crate) batcher: Batcher<Token>,
    pub(crate) machine: Machine<SimProgram>,
    pub(crate) desk: Rc<RefCell<Desk>>,
    /// Calls of clients that are not answered, and whose they are.
    pub(crate) open: BTreeMap<u64, u32>,
    /// Calls that nobody has looked at.
    pub(crate) calls: VecDeque<u64>,
    pub(crate) submit: VecDeque<Proposal<Token>>,
    pub(crate) intake: Option<Batch<Token>>,
    pub(crate) inbox: VecDeque<Packet>,
    pub(crate) reads: VecDeque<Token>,
    pub(crate) watch: Watch,
    pub(crate) unreachable: Vec<RaftId>,
    pub(crate) has_ticked: bool,
    /// There is something to carry out, though nothing has come.
    pub(crate) wants_round: bool,
    /// While it syncs, consensus does nothing else.
    pub(crate) is_syncing: bool,
    pub(crate) parked: VecDeque<Work>,
    pub(crate) parked_bytes: usize,
    pub(crate) committed: VecDeque<Work>,
    pub(crate) applies: bool,
    pub(crate) applied: u64,
    /// Reads that wait until the state has applied their index.
    pub(crate) granted: Vec<(u64, Token)>,
    /// What may be read without asking anybody.
    pub(crate) lease: Lease,
    pub(crate) stopping: Option<Stopping>,
    /// Calls that the batcher was offered and has not given back in a batch.
    pub(crate) offered: VecDeque<u64>,
    /// The term of the last entry that was handed out.
    pub(crate) handed_out_term: u64,
    /// Since how many ticks it leads although another one does, of a later term.
    pub(crate) ticks_deposed: u64,
    /// Ticks so far.
    pub(crate) ticks: u64,
    /// Snapshots, out and in.
    pub(crate) snapshots: Snapshots,
    /// For each read that waits for its index, since which tick, and what was committed then.
    pub(crate) read_since: BTreeMap<u64, (u64, u64)>,
}

impl Process {
    /// A process that has just begun.
    pub(crate) fn new(
        replica: Replica<SimLog, Token, Token>,
        batcher: Batcher<Token>,
        machine: Machine<SimProgram>,
        member: RaftId,
        is_marked: bool,
    ) -> Self {
        let members = replica.members();
        let members_version = replica.members_version();
        let applied = Point { index: machine.applied().index, digest: machine.digest() };
        Self {
            watch: Watch::new(member.node(), applied, is_marked),
            members,
            members_version,
            applied: machine.applied().index,
            member,
            replica,
            batcher,
            machine,
            desk: Rc::default(),
            open: BTreeMap::new(),
            calls: VecDeque::new(),
            submit: VecDeque::new(),
            intake: None,
            inbox: VecDeque::new(),
            reads: VecDeque::new(),
            unreachable: Vec::new(),
            has_ticked: false,
            // As the host does: a group of one leads from the start.
            wants_round: true,
            is_syncing: false,
            parked: VecDeque::new(),
            parked_bytes: 0,
            committed: VecDeque::new(),
            applies: false,
            granted: Vec::new(),
            lease: Lease::default(),
            stopping: None,
            offered: VecDeque::new(),
            handed_out_term: 0,
            ticks_deposed: 0,
            ticks: 0,
            snapshots: Snapshots::default(),
            read_since: BTreeMap::new(),
        }
    }
}

impl Process {
    /// The members, as the replica has them after a round.
    pub(crate) fn notice_members(&mut self) {
        if self.members_version != self.replica.members_version() {
            self.members_version = self.replica.members_version();
            self.members = self.replica.members();
        }
    }
}

/// Takes down what a round leads to, each at its time, and checks what leaves against the disk.
pub(crate) struct Recorder<'a> {
    pub(crate) disk: &'a SharedDisk,
    pub(crate) effects: Vec<(Time, Effect)>,
    pub(crate) violation: Checked,
    pub(crate) member: RaftId,
    pub(crate) message_bytes_max: usize,
}

impl Recorder<'_> {
    fn record(&mut self, effect: Effect) {
        let now = disk::lock(self.disk).now;
        self.effects.push((now, effect));
    }

    /// What a message promises must be durable when it leaves.
    fn check(&self, bytes: &Bytes) -> Checked {
        use protobuf::Message as _;
        use raft::eraftpb::{Message, MessageType};
        let broken = |_| Violation::new("messages decode", format!("{bytes:?}"));
        let message = Message::parse_from_carllerche_bytes(bytes).map_err(broken)?;
        let entries = message.get_entries();
        let bytes: usize = entries.iter().map(|entry| entry.data.len()).sum();
        let is_bounded = entries.len() < 2 || bytes <= self.message_bytes_max;
        crate::oracle::ensure(is_bounded, "messages are bounded", || {
            format!("{} entries of {bytes} bytes", entries.len())
        })?;
        let disk = disk::lock(self.disk);
        let durable = disk.durable(disk.now);
        let accepts = !message.reject;
        let is_safe = match message.get_msg_type() {
            // Once a later term is durable, what was said in an earlier one binds nobody: no vote
            // can be given in it, and a majority that does not acknowledge it has replaced its
            // leader.
            MessageType::MsgAppendResponse if accepts => {
                durable.term > message.term
                    || durable.term == message.term && disk.durable_last(disk.now) >= message.index
            }
            MessageType::MsgAppendResponse | MessageType::MsgHeartbeatResponse => {
                durable.term >= message.term
            }
            MessageType::MsgRequestVote => {
                durable.term > message.term
                    || durable.term == message.term && durable.vote == self.member.get()
            }
            MessageType::MsgRequestVoteResponse if accepts => {
                durable.term > message.term
                    || durable.term == message.term && durable.vote == message.to
            }
            _ => true,
        };
        crate::oracle::ensure(is_safe, "what is promised is durable", || {
            let kind = message.get_msg_type();
            format!(
                "member {} sends {kind:?} for term {}, index {}, with {durable:?}",
                self.member, message.term, message.index
            )
        })
    }
}

impl Outbox<Token, Token> for Recorder<'_> {
    fn send(&mut self, to: RaftId, message: Bytes) {
        if self.violation.is_ok() {
            self.violation = self.check(&message);
        }
        self.record(Effect::Send(to, message));
    }

    fn commit(&mut self, committed: Committed<Token>) {
        self.record(Effect::Commit(committed));
    }

    fn refuse(&mut self, waiters: Vec<Token>, refusal: Refusal) {
        self.record(Effect::Refuse(waiters, refusal));
    }

    fn read(&mut self, readers: Vec<Token>, index: Result<u64, Refusal>) {
        self.record(Effect::Read(readers, index));
    }

    fn lease(&mut self, lease: Lease) {
        self.record(Effect::Lease(lease));
    }

    fn forget(&mut self, waiters: Vec<Token>) {
        self.record(Effect::Forget(waiters));
    }

    fn flush(&mut self) {
        self.record(Effect::Flush);
    }

    fn snapshot(&mut self, transfer: Transfer) {
        self.record(Effect::Snapshot(transfer));
    }

    fn install(&mut self, staged: Staged) {
        self.record(Effect::Install(staged));
    }

    fn discard(&mut self, staged: Staged) {
        self.record(Effect::Discard(staged));
    }
}
