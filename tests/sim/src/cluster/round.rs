//! The stages of a node, driven as the host drives them: batcher, consensus, apply.
//!
//! What the host does with threads and channels happens here at moments of virtual time: a sync
//! keeps consensus busy, an entry keeps apply busy, and what leads out of a round takes place when
//! the syncs before it are through. So a crash can fall between any two effects.

use std::time::Duration;

use quorate_core::batch::Payload;
use quorate_core::batcher::Poll;
use quorate_core::replica::{Admission, Committed, Contacts, Event as ReplicaEvent, Refusal};

use super::process::{Effect, Packet, Process, Recorder, Token, Told, Work};
use super::{Cluster, Event, INBOX_MAX, TICK};
use crate::disk::{self, Incident};
use crate::fault::{Kind, Unsynced};
use crate::oracle::{Checked, Violation, ensure};
use crate::time::{MS, Time};

/// Entries between consensus and apply.
const COMMITTED_MAX: usize = 8;
/// Turns of a node's stages at one moment: far more than it has to do.
const TURNS_MAX: u32 = 100_000;
/// A node says hello to the others each so many ticks.
const HELLO_TICKS: u64 = 10;
/// The wall clock when a simulation begins, Unix milliseconds.
const EPOCH_MS: i64 = 1_750_000_000_000;
/// Ticks after which a read must have been answered.
const READ_TICKS_MAX: u64 = quorate_core::limits::READ_TICKS_MAX as u64 + 2;

fn node_ticks(node: &super::Node) -> u64 {
    node.process.as_ref().map_or(1, |process| process.ticks)
}

impl Cluster {
    pub(super) fn tick(&mut self, number: u32) -> Checked {
        let skew = self.plan.skews_permille[number as usize - 1];
        let interval = TICK.saturating_add_signed(TICK as i64 / 1000 * skew);
        let node = self.node(number);
        let life = node.life;
        let is_frozen = node.freezes > 0;
        if let Some(process) = &mut node.process
            && !is_frozen
        {
            process.has_ticked = true;
            let late = process.ticks.saturating_sub(READ_TICKS_MAX);
            let overdue = process.read_since.iter().find(|(_, (since, _))| *since < late);
            // A node that stops, or whose disk hangs, answers nobody.
            let is_at_work = process.stopping.is_none() && !process.is_syncing;
            if let Some((call, _)) = overdue
                && is_at_work
            {
                let detail = format!("call {call} waits at node {number}");
                return Err(Violation::new("a read is answered or refused in time", detail));
            }
        }
        let is_due = node_ticks(&self.nodes[number as usize - 1]).is_multiple_of(HELLO_TICKS);
        if is_due && !is_frozen {
            self.say_hello(number);
        }
        self.schedule(self.now + interval, Event::Tick(number, life));
        if !is_frozen {
            self.look_around(number)?;
        }
        self.pump(number)
    }

    /// Lets all stages of a node do what they can.
    pub(super) fn pump(&mut self, number: u32) -> Checked {
        for _ in 0..TURNS_MAX {
            let node = self.node(number);
            if node.pauses > 0 || node.process.is_none() {
                return Ok(());
            }
            let mut moved = self.take_calls(number)?;
            moved |= self.take_snapshots(number);
            moved |= self.fill_batch(number)?;
            moved |= self.round(number)?;
            moved |= self.unpark(number);
            moved |= self.apply(number)?;
            moved |= self.serve_reads(number)?;
            moved |= self.step_stop(number)?;
            if !moved {
                return self.nobody_is_dropped(number);
            }
        }
        Err(Violation::new("a node comes to rest", format!("node {number} does not")))
    }

    /// A waiter that vanishes leaves its caller in the dark.
    fn nobody_is_dropped(&mut self, number: u32) -> Checked {
        let Some(process) = &self.node(number).process else { return Ok(()) };
        let dropped = process.desk.borrow_mut().dropped.pop();
        dropped.map_or(Ok(()), |call| {
            let detail = format!("node {number} dropped the waiter of call {call}");
            Err(Violation::new("nobody who waits is forgotten", detail))
        })
    }

    fn fill_batch(&mut self, number: u32) -> Checked<bool> {
        let now = self.now;
        let config = self.plan.batcher;
        let node = self.node(number);
        let life = node.life;
        let Some(process) = &mut node.process else { return Ok(false) };
        let at = Duration::from_micros(now);
        while process.batcher.wants_more()
            && let Some(proposal) = process.submit.pop_front()
        {
            process.offered.push_back(proposal.waiter.call());
            process.batcher.offer(proposal, at).expect("it wants more");
        }
        let is_free = process.intake.is_none();
        match process.batcher.poll(at, is_free) {
            Poll::Flush(batch, _) => {
                process.check_batch(&batch, config)?;
                process.intake = Some(batch);
                Ok(true)
            }
            Poll::WaitUntil(until) => {
                let until = Time::try_from(until.as_micros()).unwrap_or(Time::MAX);
                self.schedule(until.max(now + 1), Event::Wake(number, life));
                Ok(false)
            }
            Poll::Wait | Poll::Closed => Ok(false),
        }
    }

    /// One round of consensus, if there is a reason for it.
    fn round(&mut self, number: u32) -> Checked<bool> {
        let now = self.now;
        let parked_bytes_max = self.plan.parked_bytes_max;
        let time_ms = self.wall_clock_ms(number);
        self.note_clock(number, time_ms);
        let clock = self.lease_clock(number);
        let message_bytes_max = self.plan.bounds.message_bytes_max;
        let committed = self.oracle.log().len() as u64;
        let node = self.node(number);
        let member = node.member();
        let Some(process) = &mut node.process else { return Ok(false) };
        // Now and then it begins before it has heard all that there is.
        let heard_max = if node.rng.u32(0..4) == 0 { node.rng.usize(1..4) } else { INBOX_MAX };
        let takes_entries = process.parked_bytes < parked_bytes_max;
        let inputs = Inputs { time_ms, clock, parked_bytes_max, heard_max, committed };
        if process.is_syncing || !process.take_inputs(inputs) {
            return Ok(false);
        }
        let disk = &node.disk;
        disk::lock(disk).now = now;
        let mut recorder =
            Recorder { disk, effects: Vec::new(), violation: Ok(()), member, message_bytes_max };
        let advanced = process.replica.advance(&mut recorder);
        let Recorder { effects, violation, .. } = recorder;
        violation?;
        let is_ok = advanced.is_ok();
        if is_ok {
            process.check_deposed(&effects)?;
        }
        process.notice_members();
        let has_written = !disk::lock(disk).written.is_empty();
        process.check_backlog(takes_entries, has_written)?;
        let end = disk::lock(disk).now;
        process.is_syncing = end > now;
        self.look_at_disk(number)?;
        let has_failed = self.node(number).has_failed;
        ensure(!is_ok || has_failed.is_none(), "an error of the log is final", || {
            format!("node {number} goes on after {has_failed:?}")
        })?;
        self.look_at_leader(number)?;
        self.check_base(number)?;
        self.look_at_membership(number)?;
        let life = self.node(number).life;
        let armed = self.node(number).armed;
        if let Some((cut, unsynced)) = armed.filter(|(_, unsynced)| {
            // What tears needs something to tear.
            let needs_sync = matches!(unsynced, Unsynced::Torn | Unsynced::Reordered);
            advanced.is_ok() && (end > now || !needs_sync || self.plan.is_volatile)
        }) {
            self.node(number).armed = None;
            self.crash_within(number, effects, (cut, unsynced), end)?;
            return Ok(true);
        }
        for (at, effect) in effects {
            if at == now {
                self.execute(number, effect)?;
            } else {
                self.schedule(at, Event::Effect(number, life, Box::new(effect)));
            }
        }
        if let Err(fatal) = advanced {
            self.trace.note((now, number), "stops", [0, 0], || fatal.to_string());
            let ailing = self.node(number).has_failed.take();
            ensure(ailing.is_some(), "no node stops without a fault", || fatal.to_string())?;
            self.schedule(end, Event::Crash(number, life, Unsynced::Kept));
            if let Some(process) = &mut self.node(number).process {
                // An error is final: it does nothing more until it ends.
                process.is_syncing = true;
                process.desk.borrow_mut().is_closed = true;
            }
        } else if end > now {
            self.schedule(end, Event::Synced(number, life));
        }
        Ok(true)
    }

    pub(super) fn synced(&mut self, number: u32) -> Checked {
        if let Some(process) = &mut self.node(number).process {
            process.is_syncing = false;
        }
        self.pump(number)
    }

    /// The process ends at one of the effects: those before it take place.
    fn crash_within(
        &mut self,
        number: u32,
        effects: Vec<(Time, Effect)>,
        (cut, unsynced): (u8, Unsynced),
        end: Time,
    ) -> Checked {
        let now = self.now;
        let life = self.node(number).life;
        let cut = usize::from(cut) % (effects.len() + 1);
        let at = effects.get(cut).map_or(end, |(at, _)| *at);
        // Most of those behind a sync end within it, the others between two effects.
        let is_within = at > now && self.node(number).rng.u32(0..3) > 0;
        let at = if is_within { at - 1 } else { at };
        if let Some(process) = &self.node(number).process {
            // Nobody is answered by a process that is about to end.
            process.desk.borrow_mut().is_closed = true;
        }
        self.ledger.fire(Kind::CrashAtEffect, number);
        for (effect_at, effect) in effects.into_iter().take(cut) {
            if effect_at == now {
                self.execute(number, effect)?;
            } else {
                self.schedule(effect_at, Event::Effect(number, life, Box::new(effect)));
            }
        }
        self.schedule(at, Event::Crash(number, life, unsynced));
        // Until then nothing else may happen that depends on what was cut off.
        if let Some(process) = &mut self.node(number).process {
            process.is_syncing = true;
        }
        Ok(())
    }

    pub(super) fn look_at_disk(&mut self, number: u32) -> Checked {
        let node = &self.nodes[number as usize - 1];
        let member = node.member();
        let (written, incidents, violation) = {
            let mut disk = disk::lock(&node.disk);
            let written = std::mem::take(&mut disk.written);
            (written, std::mem::take(&mut disk.incidents), disk.violation.take())
        };
        if let Some(violation) = violation {
            return Err(violation);
        }
        for entry in written {
            if self.plan.founders == 1 {
                self.oracle.written_alone(entry);
            } else {
                self.oracle.written(member, entry)?;
            }
        }
        for incident in incidents {
            let kind = match incident {
                Incident::Slow => Kind::SlowSync,
                Incident::Failed => Kind::FailSync,
                Incident::Full => Kind::NoSpace,
            };
            if incident != Incident::Slow {
                self.node(number).has_failed = Some(incident);
            }
            self.ledger.fire(kind, number);
        }
        Ok(())
    }

    fn look_at_leader(&mut self, number: u32) -> Checked {
        let node = &self.nodes[number as usize - 1];
        let Some(process) = &node.process else { return Ok(()) };
        let status = process.replica.status();
        if status.leader != Some(process.member) {
            return Ok(());
        }
        let member = process.member;
        let is_new = {
            let disk = disk::lock(&node.disk);
            self.oracle.leads(member, status.term, disk.chains())?
        };
        if is_new {
            self.trace.note((self.now, number), "leads", [status.term, 0], || {
                format!("as member {member}, term {}", status.term)
            });
        }
        Ok(())
    }

    /// What a round led to takes place.
    pub(super) fn execute(&mut self, number: u32, effect: Effect) -> Checked {
        match effect {
            Effect::Send(to, message) => {
                let node = to.node().get();
                let hello = self.hello(number, node);
                self.transmit(number, node, Packet::Raft(to, message, hello));
                Ok(())
            }
            Effect::Commit(committed) => self.committed(number, committed),
            Effect::Refuse(waiters, refusal) => {
                for waiter in waiters {
                    self.answer(number, waiter, Told::Refused(reason(refusal)))?;
                }
                Ok(())
            }
            Effect::Read(readers, Ok(index)) => {
                let Some(process) = &mut self.node(number).process else { return Ok(()) };
                for reader in &readers {
                    let since = process.read_since.remove(&reader.call());
                    let committed = since.map_or(0, |(_, committed)| committed);
                    ensure(index >= committed, "a read index is not stale", || {
                        format!("call {}: {index}, after {committed}", reader.call())
                    })?;
                }
                process.granted.extend(readers.into_iter().map(|reader| (index, reader)));
                Ok(())
            }
            Effect::Lease(lease) => {
                if let Some(process) = &mut self.node(number).process {
                    process.lease = lease;
                }
                Ok(())
            }
            Effect::Read(readers, Err(refusal)) => {
                for reader in readers {
                    self.answer(number, reader, Told::Refused(reason(refusal)))?;
                }
                Ok(())
            }
            Effect::Forget(waiters) => {
                for waiter in waiters {
                    self.answer(number, waiter, Told::Unknown)?;
                }
                Ok(())
            }
            Effect::Flush => {
                self.flush_state(number);
                Ok(())
            }
            Effect::Snapshot(transfer) => self.send_snapshot(number, transfer),
            Effect::Install(staged) => {
                let Some(process) = &mut self.node(number).process else { return Ok(()) };
                process.parked.push_back(Work::Install(staged));
                Ok(())
            }
            Effect::Discard(staged) => {
                self.node(number).state.discard(staged.state);
                Ok(())
            }
        }
    }

    fn committed(&mut self, number: u32, committed: Committed<Token>) -> Checked {
        let id = committed.id;
        let member = self.node(number).member();
        let numbers = [id.index, id.term];
        self.trace.note((self.now, number), "commits", numbers, || match &committed.payload {
            Payload::Empty => format!("{id}, empty"),
            Payload::Commands(bytes) => format!("{id}, {} bytes", bytes.len()),
            Payload::Members(_) => format!("{id}, members"),
        });
        if self.oracle.committed(member, id, &committed.payload)? {
            self.majority_has(id)?;
            self.check_clock(&committed)?;
            if matches!(committed.payload, Payload::Members(_)) {
                self.schedule(self.now, Event::Reconcile);
            }
        }
        let Some(process) = &mut self.node(number).process else { return Ok(()) };
        let work = Work::Entry(committed);
        process.parked_bytes += work.bytes();
        process.parked.push_back(work);
        Ok(())
    }

    fn unpark(&mut self, number: u32) -> bool {
        let Some(process) = &mut self.node(number).process else { return false };
        let mut moved = false;
        while process.committed.len() < COMMITTED_MAX
            && let Some(work) = process.parked.pop_front()
        {
            process.parked_bytes -= work.bytes();
            process.committed.push_back(work);
            moved = true;
        }
        moved
    }

    pub(super) fn wall_clock_ms(&mut self, number: u32) -> u64 {
        if let Some(time_ms) = self.wall_clock_ms {
            return time_ms;
        }
        let skew = self.plan.skews_permille[number as usize - 1];
        let now = self.now;
        let node = self.node(number);
        let shown = node.frozen_at.unwrap_or(now);
        let since = (shown / MS) as i64;
        let clock = EPOCH_MS + since + since * skew / 1000 + node.clock_offset_ms;
        u64::try_from(clock).unwrap_or(0)
    }
}

fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::NotLeader(_) => "not the leader",
        Refusal::Overwritten => "overwritten",
        Refusal::Busy => "busy",
    }
}

/// What a round begins with, besides what waits in queues.
#[derive(Clone, Copy)]
struct Inputs {
    time_ms: u64,
    /// What the clock of leases shows.
    clock: Duration,
    parked_bytes_max: usize,
    /// Messages that it hears.
    heard_max: usize,
    /// What is committed, as nobody but the oracle knows.
    committed: u64,
}

impl Process {
    /// Gives the replica what has come; false when nothing has.
    fn take_inputs(&mut self, inputs: Inputs) -> bool {
        let Inputs { time_ms, clock, parked_bytes_max, mut heard_max, committed } = inputs;
        let mut any = std::mem::take(&mut self.wants_round);
        if std::mem::take(&mut self.has_ticked) {
            any = true;
            self.ticks += 1;
            self.replica.handle(ReplicaEvent::Tick);
        }
        for member in std::mem::take(&mut self.unreachable) {
            self.replica.handle(ReplicaEvent::Unreachable(member));
            any = true;
        }
        let takes_entries = self.parked_bytes < parked_bytes_max;
        if takes_entries && let Some(batch) = self.intake.take() {
            self.replica.handle(ReplicaEvent::Intake { batch, time_ms });
            any = true;
        }
        while heard_max > 0
            && let Some(packet) = self.inbox.pop_front()
        {
            heard_max -= 1;
            match packet {
                // Some are for an earlier incarnation of this node, which it must ignore.
                Packet::Raft(_, message, _) => {
                    self.replica.handle(ReplicaEvent::Peer { message, takes_entries });
                    any = true;
                }
                Packet::Admit(member) => {
                    let admission: Admission = self.replica.admit(member, &Contacts::new());
                    any |= admission == Admission::UnderWay;
                }
                // Those have been taken by `take_calls` and `take_snapshots`, or when they came.
                Packet::Forward(..)
                | Packet::Answer(..)
                | Packet::Snapshot(_)
                | Packet::Hello(_)
                | Packet::Report(..) => {}
            }
        }
        for reader in std::mem::take(&mut self.reads) {
            self.read_since.insert(reader.call(), (self.ticks, committed));
            self.replica.handle(ReplicaEvent::Read(reader));
            any = true;
        }
        any |= self.take_snapshot_news();
        self.replica.handle(ReplicaEvent::Applied(self.applied));
        self.replica.handle(ReplicaEvent::Clock(clock));
        any
    }
}
