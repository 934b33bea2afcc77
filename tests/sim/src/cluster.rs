//! The cluster: nodes, the network between them, their clients, and the one queue of events that
//! all of it runs from.
//!
//! 1. `process`: what a node consists of while it runs
//! 2. `round`: the stages of a node, driven as the host drives them
//! 3. `apply`: what entries decide and queries see; `life`: how processes begin and end
//! 4. `clients`: calls, their way to the leader, and what is told
//! 5. `faults`: what goes wrong; `members`: who comes and goes
//! 6. `finish`: healing, and what must then come to pass
//! 7. `snapshots`: how a state gets from node to node, and into its place
//! 8. `hand`: the same by hand, for stories; `drive`: for the tests of plugins
//! 9. `conduct`: what each stage must keep to; `leases`: reads without a read index; `integrity`:
//!    replicas that become others

mod apply;
mod clients;
mod conduct;
mod describe;
mod drive;
mod faults;
mod finish;
mod hand;
mod integrity;
mod leases;
mod life;
mod members;
mod process;
mod round;
mod snapshots;
mod travel;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_core::id::{LogId, NodeId, RaftId};
use quorate_core::members::{Acquaintances, StoreId};
use quorate_core::outcome::Outcome;
use quorate_core::replica::Status;
use quorate_core::state::Changes;
use quorate_wasm::Module;

use crate::calls::{Call, Client};
use crate::disk::{Chains, Incident, SharedDisk};
use crate::fault::{Kind, Ledger, Unsynced};
use crate::net::Net;
use crate::oracle::{Checked, Oracle, Violation};
use crate::plan::{Plan, stream};
use crate::program::{Armed, Code};
use crate::state::SimState;
use crate::tally::{self, Tally};
use crate::time::{MS, Time};
use crate::trace::Trace;

pub use drive::Answer;
use drive::Drive;
use integrity::Diverged;
pub(crate) use leases::lease;
use members::Operation;
use process::{Decision, Effect, Packet, Process, Query};
use snapshots::Stream;

/// A tick of a clock that is right.
const TICK: Time = 100 * MS;
/// Messages that wait for a node; more are lost.
const INBOX_MAX: usize = 4096;
/// Events of one simulation: a loop that never ends is a fault of its own.
const EVENTS_MAX: u64 = 3_000_000;

/// What happens next.
#[derive(Debug)]
enum Event {
    Tick(u32, u32),
    /// A stage of a node is free again.
    Wake(u32, u32),
    /// What consensus wrote is durable, and all that followed from it has taken place.
    Synced(u32, u32),
    Effect(u32, u32, Box<Effect>),
    /// A query runs, on a view of the state that was taken before.
    Query(u32, u32, Box<Query>),
    Decided(u32, u32, Box<Decision>),
    /// Apply goes on with another state.
    Installed(u32, u32, LogId),
    /// The state is durable up to an index.
    Flushed(u32, u32, u64),
    /// A snapshot has come, and its state is durable.
    Staged(u32, u32, Box<Stream>),
    Arrive(u32, u32, Box<Packet>),
    Crash(u32, u32, Unsynced),
    Start(u32),
    Join(u32, u32),
    /// An operator asks again.
    Operate,
    /// The members have changed.
    Reconcile,
    /// A node ends that was removed as that member.
    Leave(u32, RaftId),
    /// A node that was wiped comes back as another member.
    Rejoin(u32),
    Begin(usize),
    End(usize),
    Call(u32),
    /// Clients press on while a node is isolated, until then.
    Rush(u32, Time),
    GiveUp(u64),
    /// A read that keeps the leader's lease alive.
    Browse,
    /// A process in that life ends, and starts with what it has.
    Restart(u32, u32),
    /// A node that is in quarantine is given a sound state.
    Repair(u32),
}

/// What a node told whoever waited for a command there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Decided(LogId, Outcome),
    Refused,
}

/// A node over all its processes.
#[expect(clippy::struct_excessive_bools, reason = "faults, which come in any combination")]
struct Node {
    number: u32,
    incarnation: u32,
    /// What its earlier incarnations had in their logs, as hashes.
    forgotten: Vec<(RaftId, Chains)>,
    /// Counts its processes; what belongs to an earlier one is void.
    life: u32,
    disk: SharedDisk,
    state: Arc<SimState>,
    process: Option<Process>,
    /// While down, when it is due to start.
    starts_at: Option<Time>,
    pauses: u32,
    /// What it would have done while it was paused.
    deferred: Vec<Event>,
    clock_offset_ms: i64,
    /// The last entry that any of its processes has applied.
    applied_max: u64,
    freezes: u32,
    /// What its clock showed when it froze.
    frozen_at: Option<Time>,
    slow_apply_us: Time,
    /// It crashes after so many steps with snapshots.
    armed_in_snapshot: Option<u8>,
    /// It crashes after so many effects of its next round.
    armed: Option<(u8, Unsynced)>,
    /// Crashes that are still to come, soon after each start.
    crash_loop: u8,
    /// A fault of its disk that will end its process.
    has_failed: Option<Incident>,
    /// Its log on disk is damaged, and it does not know it yet.
    has_rotted: bool,
    /// The damage is that its end is missing, which only the state tells.
    is_cut_back: bool,
    /// Its log in memory is about to end with its process.
    will_forget: bool,
    /// It stays down for good.
    is_lost: bool,
    /// It is no member, and does not run.
    is_out: bool,
    /// Its data folder, and those of others as it knows them.
    store: StoreId,
    known: Acquaintances,
    /// It runs under its old name without its data.
    is_wiped: bool,
    /// It came later, or again, and need not know everybody.
    is_new: bool,
    /// What will be wrong with the next thing that it decides.
    flip: Armed,
    /// Its state is not what it should be.
    diverged: Option<Diverged>,
    /// Its state is marked on disk: it is in quarantine.
    is_marked: bool,
    rng: fastrand::Rng,
}

/// A simulated cluster.
pub struct Cluster {
    /// What it was made from.
    pub plan: Plan,
    /// What happened.
    pub trace: Trace,
    /// What went wrong, and what was recovered from.
    pub ledger: Ledger,
    /// All calls of all clients.
    pub calls: Vec<Call>,
    pub(crate) oracle: Oracle,
    pub(crate) now: Time,
    marks: Tally,
    code: Code,
    /// What all clocks show, when they do not go by the simulation's time.
    wall_clock_ms: Option<u64>,
    queue: BTreeMap<(Time, u64), Event>,
    scheduled: u64,
    nodes: Vec<Node>,
    net: Net,
    held: Vec<(u32, u32, Packet)>,
    clients: Vec<Client>,
    rng: fastrand::Rng,
    /// Until when clients only read.
    quiet_until: Time,
    /// No new calls, no new faults.
    is_healing: bool,
    /// The clocks that batches were proposed with, by a digest of the command that comes first.
    clocks: BTreeMap<u64, BTreeSet<u64>>,
    /// Events that have happened.
    steps: u64,
    /// What callers were told by the node that decided, whether or not they heard it.
    verdicts: BTreeMap<u64, Vec<Verdict>>,
    /// What the commands of each entry decided, and where first: on the node that was the first to
    /// apply it. That the others decide the same is compared by digest.
    decided: BTreeMap<u64, Vec<(LogId, Outcome)>>,
    /// Nodes that clients call: all, and in the end those that survive.
    serving: Vec<u32>,
    /// What snapshots hold, by the entry that they are of.
    snapshots: BTreeMap<u64, u64>,
    /// Of 100 chunks of snapshots, so many arrive damaged.
    damaged_percent: u8,
    /// What an operator is about to do; one at a time.
    operations: Vec<Operation>,
    /// Of whoever drives it from outside.
    drive: Drive,
}

impl Cluster {
    /// A cluster whose nodes have just started. `module` is the plugin, for plans that run it.
    pub fn new(plan: Plan, module: Option<&Arc<Module>>, is_traced: bool) -> Checked<Self> {
        let module = module.filter(|_| plan.is_wasm).cloned();
        let code = module.map_or(Code::Native, Code::Module);
        Self::of(plan, code, &Arc::default(), is_traced)
    }

    /// The same of any code, whose state begins with what `genesis` brings.
    pub fn of(plan: Plan, code: Code, genesis: &Arc<Changes>, is_traced: bool) -> Checked<Self> {
        let seed = plan.seed;
        let oracle = Oracle::default();
        let new = |number| Node::new(number, &plan, &oracle.chains, genesis);
        let nodes = (1..=plan.nodes).map(new).collect();
        let mut cluster = Self {
            trace: Trace::new(is_traced),
            ledger: Ledger::default(),
            calls: Vec::new(),
            oracle,
            now: 0,
            marks: tally::none(),
            code,
            wall_clock_ms: None,
            queue: BTreeMap::new(),
            scheduled: 0,
            nodes,
            net: Net::new(plan.nodes, stream(seed, "network")),
            held: Vec::new(),
            clients: (0..plan.clients).map(|number| Client::new(&plan, number)).collect(),
            rng: stream(seed, "cluster"),
            quiet_until: 0,
            is_healing: false,
            clocks: BTreeMap::new(),
            steps: 0,
            verdicts: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            damaged_percent: 0,
            operations: Vec::new(),
            drive: Drive::default(),
            decided: BTreeMap::new(),
            serving: (1..=plan.nodes).collect(),
            plan,
        };
        for number in 1..=cluster.plan.nodes {
            if number <= cluster.plan.founders {
                cluster.start(number)?;
            }
            if cluster.plan.skews_permille[number as usize - 1] != 0 {
                cluster.ledger.fire(Kind::ClockSkew, number);
            }
        }
        for index in 0..cluster.plan.episodes.len() {
            cluster.schedule(cluster.plan.episodes[index].at, Event::Begin(index));
        }
        for client in 0..cluster.plan.clients {
            cluster.schedule(TICK * Time::from(client + 1), Event::Call(client));
        }
        if cluster.plan.lease.is_some() && cluster.plan.clients > 0 {
            cluster.schedule(TICK, Event::Browse);
        }
        Ok(cluster)
    }

    fn schedule(&mut self, at: Time, event: Event) {
        self.scheduled += 1;
        self.queue.insert((at.max(self.now), self.scheduled), event);
    }

    fn node(&mut self, number: u32) -> &mut Node {
        &mut self.nodes[number as usize - 1]
    }

    /// Runs all events up to a moment.
    pub fn run_until(&mut self, until: Time) -> Checked {
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= until) {
            self.step()?;
            if self.steps > EVENTS_MAX {
                return Err(Violation::new("a run ends", format!("{EVENTS_MAX} events")));
            }
        }
        self.now = until;
        Ok(())
    }

    /// Lets the next event happen.
    fn step(&mut self) -> Checked {
        let Some(((at, _), event)) = self.queue.pop_first() else { return Ok(()) };
        self.now = at;
        self.steps += 1;
        self.happen(event)
    }

    fn happen(&mut self, event: Event) -> Checked {
        let place = match &event {
            Event::Tick(node, life)
            | Event::Wake(node, life)
            | Event::Synced(node, life)
            | Event::Effect(node, life, _)
            | Event::Query(node, life, _)
            | Event::Decided(node, life, _)
            | Event::Installed(node, life, _)
            | Event::Flushed(node, life, _)
            | Event::Staged(node, life, _)
            | Event::Join(node, life) => Some((*node, *life)),
            _ => None,
        };
        if let Some((number, life)) = place {
            let node = self.node(number);
            if node.life != life || node.process.is_none() {
                // It belongs to a process that has ended.
                return Ok(());
            }
            if node.pauses > 0 {
                node.deferred.push(event);
                return Ok(());
            }
        }
        match event {
            Event::Tick(node, _) => self.tick(node),
            Event::Wake(node, _) => self.pump(node),
            Event::Synced(node, _) => self.synced(node),
            Event::Effect(node, _, effect) => {
                self.execute(node, *effect)?;
                self.pump(node)
            }
            Event::Query(node, _, query) => self.query(node, *query),
            Event::Decided(node, _, decision) => self.decided(node, *decision),
            Event::Installed(node, _, id) => self.installed(node, id),
            Event::Flushed(node, _, index) => self.flushed(node, index),
            Event::Staged(node, _, stream) => self.staged(node, &stream),
            Event::Arrive(from, to, packet) => self.arrive(from, to, *packet),
            Event::Crash(node, life, unsynced) => {
                if self.node(node).life == life {
                    self.crash(node, unsynced)
                } else {
                    Ok(())
                }
            }
            Event::Start(node) => self.start_if_due(node),
            Event::Join(node, _) => {
                self.join(node);
                Ok(())
            }
            Event::Operate => self.go_on_operating(),
            Event::Reconcile => self.reconcile(),
            Event::Leave(node, member) => self.leave_if_past(node, member),
            Event::Rejoin(node) => self.rejoin(node),
            Event::Begin(index) => self.begin(index),
            Event::End(index) => {
                self.end(index);
                Ok(())
            }
            Event::Call(client) => self.client_calls(client),
            Event::Rush(node, until) => self.rush(node, until),
            Event::GiveUp(call) => self.give_up(call),
            Event::Browse => self.browse(),
            Event::Restart(node, life) => self.restart(node, life),
            Event::Repair(node) => self.repair(node),
        }
    }

    fn arrive(&mut self, from: u32, to: u32, packet: Packet) -> Checked {
        let now = self.now;
        if let Packet::Report(from, report, is_answer) = &packet {
            return self.hear_state(to, (*from, report, *is_answer));
        }
        if let Packet::Raft(_, _, hello) | Packet::Hello(hello) = &packet {
            let hello = *hello;
            if self.node(to).process.is_none() || !self.listens(to, hello)? {
                return Ok(());
            }
            if matches!(packet, Packet::Hello(_)) {
                return Ok(());
            }
        }
        let text = || match &packet {
            Packet::Raft(_, message, _) => format!("from {from}: {}", describe::message(message)),
            Packet::Hello(hello) => format!("from {from}: hello of member {}", hello.member),
            Packet::Forward(call, ..) => format!("from {from}: call {call}, to be proposed"),
            Packet::Answer(call, ..) => format!("from {from}: the answer to call {call}"),
            Packet::Admit(member) => format!("from {from}: member {member} asks to be admitted"),
            Packet::Snapshot(part) => format!("from {from}: {part}"),
            Packet::Report(..) => String::new(),
        };
        let digest = match &packet {
            Packet::Raft(_, message, _) => crc32c::crc32c(message).into(),
            Packet::Hello(hello) => hello.member.get(),
            Packet::Forward(call, ..) | Packet::Answer(call, ..) => *call,
            Packet::Admit(member) => member.get(),
            Packet::Snapshot(part) => part.stream.number,
            Packet::Report(..) => 0,
        };
        self.trace.note((now, to), "hears", [from.into(), digest], text);
        let Some(process) = &mut self.node(to).process else { return Ok(()) };
        if process.inbox.len() < INBOX_MAX {
            process.inbox.push_back(packet);
        }
        self.pump(to)
    }

    /// What a node says of itself; nothing while it is down.
    pub fn status(&self, node: u32) -> Option<Status> {
        let process = self.nodes.get(node as usize - 1)?.process.as_ref()?;
        Some(process.replica.status())
    }

    /// The node that leads, if one does and runs; of several that believe it, the latest.
    pub fn leader(&self) -> Option<u32> {
        let leaders = (1..=self.plan.nodes).filter_map(|node| {
            let status = self.status(node)?;
            status.leads.then_some((status.term, node))
        });
        leaders.max().map(|(_, node)| node)
    }

    fn founders(&self) -> Vec<RaftId> {
        (1..=self.plan.founders).filter_map(NodeId::new).map(|node| RaftId::new(node, 0)).collect()
    }

    fn voters(&self) -> Vec<RaftId> {
        self.members().voters
    }

    /// How often each rare path of the core was taken.
    pub fn marks(&self) -> Tally {
        let mut marks = self.marks.clone();
        for process in self.nodes.iter().filter_map(|node| node.process.as_ref()) {
            tally::add_process(&mut marks, process.replica.marks(), &process.batcher);
        }
        tally::add_calls(&mut marks, &self.calls);
        marks
    }
}
