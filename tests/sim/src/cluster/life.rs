//! How processes begin and end: starts, crashes, pauses, and stops in order.

use std::sync::Arc;

use quorate_core::batcher::{Batcher, Poll};
use quorate_core::id::{GroupId, NodeId, RaftId};
use quorate_core::log::LogStore as _;
use quorate_core::machine::Machine;
use quorate_core::members::{Acquaintances, StoreId};
use quorate_core::outcome::Fatal;
use quorate_core::replica::{Bounds, Event as ReplicaEvent, Recovered, Replica, ReplicaConfig};
use quorate_core::state::{Changes, StateStore};

use super::process::{Packet, Process, Stopping, Told, Work};
use super::{Cluster, Event, Node, TICK};
use crate::disk::{self, Disk, Known, SimLog};
use crate::fault::{Kind, Unsynced};
use crate::oracle::{Checked, Violation, ensure};
use crate::plan::{Plan, stream};
use crate::program::{Armed, SimProgram};
use crate::state::SimState;
use crate::tally;
use crate::time::{MS, SECOND, Time};

/// The group that all nodes are of.
pub(super) const GROUP: GroupId = GroupId(1);
/// Between two requests of a node that wants to be admitted.
const JOIN_PAUSE: Time = 200 * MS;
/// One such request of so many comes a second time, when it may be out of date.
const LATE_ONE_IN: u32 = 4;
/// How long an orderly stop waits for commands to be decided, and for another leader.
const DRAIN_MAX: Time = 400 * MS;
const HAND_OVER_MAX: Time = 300 * MS;

impl Cluster {
    /// Starts the process of a node from what its disk holds.
    pub(super) fn start(&mut self, number: u32) -> Checked {
        let seed = self.plan.seed;
        let founders = self.founders();
        let (bounds, batcher, lease) = (self.plan.bounds, self.plan.batcher, self.plan.lease);
        let code = self.code.clone();
        let (now, sessions) = (self.now, self.plan.sessions);
        let node = self.node(number);
        let program = SimProgram::new(&code, &node.flip);
        node.life += 1;
        node.starts_at = None;
        let life = node.life;
        let (log, recovered) = node.open(&founders, bounds)?;
        let config = ReplicaConfig {
            id: node.member(),
            founders,
            seed: stream(seed, &format!("life {number} {life}")).u64(..),
            bounds,
            lease,
        };
        let (incarnation, applied) = (node.incarnation, recovered.applied.index);
        let replica = match Replica::new(config, log, &recovered) {
            Ok(replica) => replica,
            Err(fatal) => return self.not_started(number, &fatal),
        };
        let node = self.node(number);
        let state = Arc::clone(&node.state) as Arc<dyn StateStore>;
        let machine = match Machine::bounded(GROUP, program, state, sessions) {
            Ok(machine) => machine,
            Err(fatal) => return self.not_started(number, &fatal),
        };
        let node = self.node(number);
        let member = node.member();
        node.process =
            Some(Process::new(replica, Batcher::new(batcher), machine, member, node.is_marked));
        let phase = node.rng.u64(1..TICK);
        self.trace.note((now, number), "starts", [life.into(), applied], || {
            format!("as member {member}, applied {applied}")
        });
        self.schedule(now + phase, Event::Tick(number, life));
        if incarnation > 0 && !self.node(number).is_wiped {
            self.schedule(now + JOIN_PAUSE, Event::Join(number, life));
        }
        self.say_hello(number);
        self.go_on_crashing(number);
        self.pump(number)?;
        // Reads at once: what answered an earlier life must not answer this one.
        if life > 1 && !self.is_healing && self.node(number).rng.bool() {
            self.call(number, u32::MAX, self.any_read())?;
        }
        Ok(())
    }

    fn go_on_crashing(&mut self, number: u32) {
        let now = self.now;
        let node = self.node(number);
        if node.crash_loop > 0 {
            node.crash_loop -= 1;
            let at = now + node.rng.u64(0..400 * MS);
            let life = node.life;
            self.schedule(at, Event::Crash(number, life, Unsynced::Torn));
            self.ledger.fire(Kind::CrashLoop, number);
        }
    }

    /// A start may need to write; without space, or with a sync that fails, it is tried again.
    fn not_started(&mut self, number: u32, fatal: &Fatal) -> Checked {
        self.look_at_disk(number)?;
        let has_reason = self.node(number).has_failed.take().is_some();
        ensure(has_reason, "a node starts from what it left", || {
            format!("node {number}: {fatal}")
        })?;
        let now = self.now;
        disk::lock(&self.node(number).disk).crash(now, Unsynced::Kept);
        self.start_soon(number);
        Ok(())
    }

    pub(super) fn start_if_due(&mut self, number: u32) -> Checked {
        let now = self.now;
        let node = self.node(number);
        let is_due =
            !node.is_out && node.process.is_none() && node.starts_at.is_some_and(|at| at <= now);
        if is_due && !node.is_lost { self.start(number) } else { Ok(()) }
    }

    /// Asks all others to be admitted, until it votes.
    pub(super) fn join(&mut self, number: u32) {
        let now = self.now;
        let node = self.node(number);
        let (member, life) = (node.member(), node.life);
        let votes = node.process.as_ref().is_some_and(|process| process.replica.status().votes);
        if votes {
            return;
        }
        for other in (1..=self.plan.nodes).filter(|other| *other != number) {
            self.transmit(number, other, Packet::Admit(member));
            if self.node(number).rng.u32(0..LATE_ONE_IN) == 0 {
                let late = now + self.node(number).rng.u64(SECOND..20 * SECOND);
                let packet = Box::new(Packet::Admit(member));
                self.schedule(late, Event::Arrive(number, other, packet));
            }
        }
        self.schedule(now + JOIN_PAUSE, Event::Join(number, life));
    }

    /// A process ends without a warning.
    pub(super) fn crash(&mut self, number: u32, unsynced: Unsynced) -> Checked {
        let now = self.now;
        let is_volatile = self.plan.is_volatile;
        let node = self.node(number);
        if node.process.is_none() {
            return Ok(());
        }
        node.armed = None;
        self.end_process(number)?;
        let node = self.node(number);
        let became = disk::lock(&node.disk).crash(now, unsynced);
        let lost = node
            .state
            .crash()
            .map_err(|fatal| Violation::new("the simulated state goes on", fatal.to_string()))?;
        // Who comes back under its old name does so on purpose.
        if is_volatile && !node.is_wiped {
            node.forget();
        }
        self.trace.note((now, number), "crashes", [lost as u64, 0], || {
            format!("unsynced {became:?}, {lost} commits of its state lost")
        });
        let kind = match became {
            Some(Unsynced::Lost) => Some(Kind::UnsyncedLost),
            Some(Unsynced::Torn) => Some(Kind::UnsyncedTorn),
            Some(Unsynced::Reordered) => Some(Kind::UnsyncedReordered),
            Some(Unsynced::Kept) | None => None,
        };
        if is_volatile {
            self.ledger.fire(Kind::Amnesia, number);
        } else if lost > 0 {
            self.ledger.fire(Kind::StateLost, number);
        }
        if let Some(kind) = kind {
            self.ledger.fire(kind, number);
        }
        self.start_soon(number);
        Ok(())
    }

    /// A node that is down and does not know when it comes back is started a little later.
    fn start_soon(&mut self, number: u32) {
        let now = self.now;
        let node = self.node(number);
        let pause = node.rng.u64(20 * MS..900 * MS);
        let at = *node.starts_at.get_or_insert(now + pause);
        self.schedule(at.max(now), Event::Start(number));
    }

    /// The process is gone; its callers do not know what became of their calls.
    fn end_process(&mut self, number: u32) -> Checked {
        let node = self.node(number);
        let Some(process) = node.process.take() else { return Ok(()) };
        node.life += 1;
        node.deferred.clear();
        node.armed = None;
        node.has_failed = None;
        process.desk.borrow_mut().is_closed = true;
        tally::add_process(&mut self.marks, process.replica.marks(), &process.batcher);
        for call in process.open.into_keys() {
            self.tell_client(call, &Told::Unknown)?;
        }
        Ok(())
    }

    pub(super) fn pause(&mut self, number: u32) {
        self.node(number).pauses += 1;
    }

    pub(super) fn resume(&mut self, number: u32) {
        let node = self.node(number);
        node.pauses = node.pauses.saturating_sub(1);
        if node.pauses > 0 {
            return;
        }
        for event in std::mem::take(&mut node.deferred) {
            self.schedule(self.now, event);
        }
        // Behind what was put off, in its order.
        let life = self.node(number).life;
        self.schedule(self.now, Event::Wake(number, life));
    }

    /// A leader asks another node to take over.
    pub(super) fn hand_over(&mut self, number: u32) -> Checked {
        if let Some(process) = &mut self.node(number).process {
            process.replica.handle(ReplicaEvent::HandOver);
            process.wants_round = true;
            self.ledger.fire(Kind::HandOver, number);
        }
        self.pump(number)
    }

    /// A node is asked to stop: its batcher closes, and the rest follows.
    pub(super) fn stop(&mut self, number: u32) -> Checked {
        let until = self.now + DRAIN_MAX;
        let node = self.node(number);
        let life = node.life;
        let Some(process) = &mut node.process else { return Ok(()) };
        if process.stopping.is_none() {
            process.stopping = Some(Stopping::Draining(until));
            self.schedule(until, Event::Wake(number, life));
        }
        self.pump(number)
    }

    /// How far an orderly stop has come.
    pub(super) fn step_stop(&mut self, number: u32) -> Checked<bool> {
        let now = self.now;
        let Some(process) = &mut self.node(number).process else { return Ok(false) };
        match process.stopping {
            None => Ok(false),
            Some(Stopping::Draining(until)) => {
                if process.submit.is_empty() {
                    process.batcher.close();
                }
                let at = std::time::Duration::from_micros(now);
                let is_flushed = process.submit.is_empty()
                    && process.intake.is_none()
                    && matches!(process.batcher.poll(at, false), Poll::Closed);
                let is_decided = process.replica.waiting() == 0 && process.parked.is_empty();
                if (!is_flushed || !is_decided) && now < until {
                    return Ok(false);
                }
                let until = now + HAND_OVER_MAX;
                let is_drained = is_flushed && is_decided;
                process.stopping = Some(Stopping::HandingOver(until, is_drained));
                process.replica.handle(ReplicaEvent::HandOver);
                process.wants_round = true;
                let life = self.node(number).life;
                self.schedule(until, Event::Wake(number, life));
                Ok(true)
            }
            Some(Stopping::HandingOver(until, is_drained)) => {
                let is_over = !process.replica.is_handing_over() && !process.wants_round;
                let is_free = !process.is_syncing && !process.applies;
                if is_free && (is_over || now >= until) {
                    let owes = process.offered.len() + process.replica.waiting();
                    ensure(!is_drained || owes == 0, "a stop decides what was accepted", || {
                        format!("node {number} owes {owes} decisions")
                    })?;
                    self.finish_stop(number)?;
                    return Ok(true);
                }
                Ok(false)
            }
        }
    }

    /// Apply finishes what is committed and makes it durable, and the process ends.
    fn finish_stop(&mut self, number: u32) -> Checked {
        let now = self.now;
        while let Some(process) = &mut self.node(number).process
            && let Some(work) = process.committed.pop_front().or_else(|| process.parked.pop_front())
        {
            let committed = match work {
                Work::Entry(committed) => committed,
                Work::Install(staged) => {
                    self.put_in_place(number, &staged)?;
                    continue;
                }
            };
            let decision = self.decide(number, committed)?;
            for (waiter, decided) in decision.answers {
                self.serve(number, waiter, decided)?;
            }
        }
        self.trace.note((now, number), "stopped", [0, 0], String::new);
        self.ledger.fire(Kind::Stop, number);
        if let Some(process) = &self.node(number).process {
            let flushed = process.machine.flush();
            ensure(flushed.is_ok(), "an orderly stop flushes", || format!("{flushed:?}"))?;
        }
        self.end_process(number)?;
        let is_volatile = self.plan.is_volatile;
        let node = self.node(number);
        let lost = node.state.crash();
        ensure(matches!(lost, Ok(0)), "an orderly stop flushes", || format!("{lost:?}"))?;
        // A sync under way goes through; its thread is waited for.
        disk::lock(&node.disk).crash(Time::MAX, Unsynced::Kept);
        if is_volatile {
            node.forget();
            self.ledger.fire(Kind::Amnesia, number);
        }
        self.start_soon(number);
        Ok(())
    }
}

impl Node {
    pub(super) fn new(number: u32, plan: &Plan, known: &Known, genesis: &Arc<Changes>) -> Self {
        let rng = |purpose: &str| stream(plan.seed, &format!("{purpose} {number}"));
        Self {
            number,
            incarnation: 0,
            forgotten: Vec::new(),
            life: 0,
            disk: Disk::new(plan.is_volatile, known, rng("disk")),
            state: SimState::new(rng("state"), genesis),
            process: None,
            starts_at: None,
            pauses: 0,
            deferred: Vec::new(),
            clock_offset_ms: i64::from(number) * 7,
            applied_max: 0,
            freezes: 0,
            frozen_at: None,
            slow_apply_us: 0,
            armed_in_snapshot: None,
            armed: None,
            crash_loop: 0,
            has_failed: None,
            has_rotted: false,
            is_cut_back: false,
            will_forget: false,
            is_lost: false,
            is_out: number > plan.founders,
            store: StoreId(u128::from(number) << 8),
            known: Acquaintances::default(),
            is_wiped: false,
            is_new: number > plan.founders,
            flip: Armed::default(),
            diverged: None,
            is_marked: false,
            rng: rng("node"),
        }
    }

    pub(super) fn member(&self) -> RaftId {
        let number = NodeId::new(self.number).expect("nodes are numbered from 1");
        RaftId::new(number, self.incarnation)
    }

    /// The log was in memory and is gone with its process.
    fn forget(&mut self) {
        let entries = disk::lock(&self.disk).wipe();
        self.forgotten.push((self.member(), entries));
        self.state.wipe();
        self.incarnation += 1;
        (self.has_rotted, self.is_cut_back) = (false, false);
        self.will_forget = false;
    }

    /// Whether it has lost its log, or is about to.
    pub(super) fn is_doomed(&self) -> bool {
        self.has_rotted || self.will_forget || self.is_wiped
    }

    /// Its log and what its state knows of it, after looking for what a fault has done to them.
    fn open(&mut self, founders: &[RaftId], bounds: Bounds) -> Checked<(SimLog, Recovered)> {
        let opened = SimLog::open(&self.disk);
        let is_readable = !self.has_rotted || self.is_cut_back;
        ensure(opened.is_ok() == is_readable, "damage to a log is found", || {
            format!("node {}: {:?}", self.number, opened.as_ref().map(|_| "no damage"))
        })?;
        let broken = |fatal: Fatal| Violation::new("a state opens", fatal.to_string());
        if let Ok(log) = opened {
            let is_there = self.state.open(log.base().state).map_err(broken)?;
            let meta = self.state.snapshot().meta().clone();
            let recovered = Recovered { applied: meta.applied, conf: meta.conf };
            if !self.is_cut_back {
                let member = self.member();
                ensure(is_there, "the state that a log names is there", || {
                    format!("member {member}, {:?}", log.base())
                })?;
                return Ok((log, recovered));
            }
            if is_there {
                self.must_not_start(log, &recovered, founders, bounds)?;
            }
        }
        // What it had promised is not known any more: it is wiped, and joins as another member.
        Ok((self.start_over()?, Recovered::default()))
    }

    /// A state that is ahead of its log tells that the log was lost.
    fn must_not_start(
        &self,
        log: SimLog,
        recovered: &Recovered,
        founders: &[RaftId],
        bounds: Bounds,
    ) -> Checked {
        let founders = founders.to_vec();
        let config = ReplicaConfig { id: self.member(), founders, seed: 0, bounds, lease: None };
        let started = Replica::<SimLog, (), ()>::new(config, log, recovered);
        ensure(started.is_err(), "a node that lost its log does not start", || {
            format!("node {}, applied {}", self.number, recovered.applied)
        })
    }

    fn start_over(&mut self) -> Checked<SimLog> {
        self.forget();
        // In a folder of its own, where it knows nobody.
        self.is_wiped = false;
        (self.known, self.is_new) = (Acquaintances::default(), true);
        self.renew_store();
        SimLog::open(&self.disk)
            .map_err(|fatal| Violation::new("an empty disk opens", fatal.to_string()))
    }
}
