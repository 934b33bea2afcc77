//! Replicas that become others: a bit of what one of them decides flips, and it must find out.
//!
//! Every node compares its state with the others' all the time, in all seeds: none may ever find
//! itself wrong without a reason. In some seeds bits flip; there the network is sound, and each
//! must be in quarantine within a second.
//!
//! What a node tells between the flip and its quarantine is wrong, and cannot be untold: it is not
//! judged. What it tells afterwards is.

use quorate_core::id::NodeId;
use quorate_core::integrity::{Divergence, Point, Report};
use quorate_core::outcome::Outcome;
use quorate_core::replica::Event as ReplicaEvent;
use quorate_core::state::Space;

use super::process::{Origin, Packet, Token, Told};
use super::{Cluster, Event};
use crate::fault::{Fault, Kind, Unsynced};
use crate::oracle::{Checked, Violation, ensure};
use crate::program::Flip;
use crate::time::{MS, SECOND, Time};

/// From the flip of a bit to the quarantine, at most.
const QUARANTINE_MAX: Time = SECOND;
/// From the quarantine to a sound state.
const REPAIR: std::ops::Range<Time> = 200 * MS..2_000 * MS;

/// A replica that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Diverged {
    /// Since which entry.
    pub(super) entry: u64,
    /// Since when.
    pub(super) since: Time,
}

impl Cluster {
    /// The next thing that this node decides will have a wrong bit. One node at a time: of three
    /// opinions, nobody could know which is right.
    pub(super) fn arm_flip(&mut self, number: u32, fault: Fault) {
        let flip = match fault {
            Fault::FlipWrite(_, bit) => Flip::Write(bit),
            Fault::FlipOutcome(_, bit) => Flip::Outcome(bit),
            _ => Flip::None,
        };
        let is_sound = |node: &super::Node| {
            let is_whole = node.process.as_ref().is_some_and(|process| {
                process.stopping.is_none() && !process.watch.is_quarantined()
            });
            is_whole && node.diverged.is_none() && node.flip.get() == Flip::None
        };
        if self.nodes.iter().filter(|node| !node.is_out).all(is_sound) {
            self.node(number).flip.set(flip);
        }
    }

    /// After an entry: has its bit flipped?
    pub(super) fn look_at_flip(&mut self, number: u32, entry: u64) {
        let now = self.now;
        let node = self.node(number);
        let kind = match node.flip.take_fired() {
            Some(Flip::Write(_)) => Kind::FlipWrite,
            Some(Flip::Outcome(_)) => Kind::FlipOutcome,
            Some(Flip::None) | None => return,
        };
        node.diverged = Some(Diverged { entry, since: now });
        self.ledger.fire(kind, number);
        self.trace.note((now, number), "diverges", [entry, 0], || format!("at entry {entry}"));
    }

    /// A tick, of a node whose clock goes.
    pub(super) fn look_around(&mut self, number: u32) -> Checked {
        self.compare(number)?;
        self.check_leads(number)?;
        self.tick_snapshots(number);
        Ok(())
    }

    /// Tells the others of its state, and looks at its own.
    fn compare(&mut self, number: u32) -> Checked {
        let Some(process) = &mut self.node(number).process else { return Ok(()) };
        process.watch.tick();
        for other in (1..=self.plan.nodes).filter(|other| *other != number) {
            self.tell_state(number, other, false);
        }
        self.judge_state(number)?;
        let now = self.now;
        let node = self.node(number);
        let Some(process) = &node.process else { return Ok(()) };
        let is_late = |diverged: Diverged| now > diverged.since + QUARANTINE_MAX;
        let is_free = node.diverged.is_some_and(is_late) && !process.watch.is_quarantined();
        ensure(!is_free, "what diverges is in quarantine within a second", || {
            format!("node {number}: {:?}", node.diverged)
        })
    }

    fn tell_state(&mut self, from: u32, to: u32, is_answer: bool) {
        let (Some(process), Some(peer)) = (&self.node(from).process, NodeId::new(to)) else {
            return;
        };
        let report = Box::new(process.watch.report_for(peer));
        self.transmit(from, to, Packet::Report(from, report, is_answer));
    }

    /// A node hears of another's state, and answers with its own.
    pub(super) fn hear_state(
        &mut self,
        number: u32,
        (from, report, is_answer): (u32, &Report, bool),
    ) -> Checked {
        // To a node that is paused, it is lost.
        if self.node(number).pauses > 0 {
            return Ok(());
        }
        let (Some(process), Some(peer)) = (&mut self.node(number).process, NodeId::new(from))
        else {
            return Ok(());
        };
        process.watch.hear(peer, report);
        if !is_answer {
            self.tell_state(number, from, true);
        }
        self.judge_state(number)
    }

    fn judge_state(&mut self, number: u32) -> Checked {
        let nodes = self.plan.nodes as usize;
        let Some(process) = &mut self.node(number).process else { return Ok(()) };
        let leader = process.replica.status().leader.map(quorate_core::id::RaftId::node);
        if let Some(divergence) = process.watch.judge(leader, nodes) {
            self.quarantined(number, &divergence)?;
        }
        let Some(process) = &mut self.node(number).process else { return Ok(()) };
        if process.watch.is_quarantined() && leader == Some(process.member.node()) {
            process.replica.handle(ReplicaEvent::HandOver);
            process.wants_round = true;
        }
        Ok(())
    }

    fn quarantined(&mut self, number: u32, divergence: &Divergence) -> Checked {
        let (now, steps) = (self.now, self.steps);
        let node = self.node(number);
        let life = node.life;
        let Some(Diverged { entry, since }) = node.diverged else {
            let detail = format!("node {number}: {divergence:?}");
            return Err(Violation::new("no sound state is in quarantine", detail));
        };
        let process = node.process.as_ref().expect("it has judged");
        let is_within = divergence.agreed < entry && entry <= divergence.entry;
        let is_exact = divergence.agreed + 1 == divergence.entry;
        let known = process.watch.changes(divergence.entry).map(|(id, changes)| {
            let count: usize = Space::ALL.iter().map(|space| changes.space(*space).len()).sum();
            (id.index, count)
        });
        let is_known = known.is_some_and(|(index, count)| index == entry && count > 0);
        ensure(is_within && (!is_exact || is_known), "evidence is of the right entry", || {
            format!("node {number}: {divergence:?}, since {entry}, {known:?}")
        })?;
        let told = &divergence.others;
        let differs = told.iter().all(|(_, digest)| *digest != divergence.own);
        ensure(differs && !told.is_empty(), "evidence has both sides", || {
            format!("node {number}: {divergence:?}")
        })?;
        node.is_marked = true;
        self.ledger.fire(Kind::Quarantine, number);
        self.trace.note((now, number), "is in quarantine", [entry, now - since], || {
            format!("from entry {entry} on, after {} ms", (now - since) / MS)
        });
        let repaired = now + self.node(number).rng.u64(REPAIR);
        // Every other time it restarts first, which must not be enough.
        if steps % 2 == 0 {
            self.schedule(now + REPAIR.start / 2, Event::Restart(number, life));
        }
        self.schedule(repaired, Event::Repair(number));
        Ok(())
    }

    /// It restarts as it is, which must be no cure.
    pub(super) fn restart(&mut self, number: u32, life: u32) -> Checked {
        if self.node(number).life == life { self.crash(number, Unsynced::Kept) } else { Ok(()) }
    }

    /// It asks for a sound state, or has another lead first: a process that restarts has to ask
    /// again.
    pub(super) fn repair(&mut self, number: u32) -> Checked {
        if self.node(number).diverged.is_none() {
            return Ok(());
        }
        self.schedule(self.now + REPAIR.start, Event::Repair(number));
        let Some(process) = &mut self.node(number).process else { return Ok(()) };
        process.replica.resync();
        process.wants_round = true;
        self.pump(number)
    }

    /// It has the state of a snapshot.
    pub(super) fn has_another_state(&mut self, number: u32) {
        let now = self.now;
        let node = self.node(number);
        (node.diverged, node.is_marked) = (None, false);
        let Some(process) = &mut node.process else { return };
        let (index, digest) = (process.machine.applied().index, process.machine.digest());
        let was_wrong = process.watch.is_quarantined();
        process.watch.replaced(Point { index, digest });
        if was_wrong {
            self.trace.note((now, number), "is sound again", [index, digest], String::new);
        }
    }

    /// What a node may tell of its state: an outcome, or nothing of it.
    pub(super) fn serve(
        &mut self,
        number: u32,
        waiter: Token,
        (id, outcome): (quorate_core::id::LogId, Outcome),
    ) -> Checked {
        let node = self.node(number);
        let Some(process) = &node.process else { return Ok(()) };
        let (may_serve, is_quarantined) =
            (process.watch.may_serve(), process.watch.is_quarantined());
        ensure(!may_serve || !is_quarantined, "who is in quarantine serves nobody", || {
            format!("node {number} answers call {}", waiter.call())
        })?;
        if may_serve && node.diverged.is_none() {
            return self.answer(number, waiter, Told::Decided(id, outcome));
        }
        let (call, origin) = waiter.settle();
        self.told(number, call, origin, Told::Unknown)
    }

    /// Whether commands and queries are taken; tells the caller if not.
    pub(super) fn is_closed_to(&mut self, number: u32, call: u64, origin: Origin) -> Checked<bool> {
        let Some(process) = &self.node(number).process else { return Ok(false) };
        if process.watch.may_serve() {
            return Ok(false);
        }
        self.told(number, call, origin, Told::Refused("in quarantine"))?;
        Ok(true)
    }
}
