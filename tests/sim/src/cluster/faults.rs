//! What goes wrong: each episode begins and, if it lasts, ends.

use quorate_core::id::{NodeId, RaftId};
use quorate_core::log::LogStore as _;
use quorate_core::members::{Seat, Standing};
use quorate_core::state::StateStore as _;

use super::members::Hello;
use super::process::Packet;
use super::{Cluster, Event};
use crate::disk::{self, Ailment};
use crate::fault::{Episode, Fault, Kind, Target, Unsynced, Way};
use crate::oracle::Checked;
use crate::plan::HANG;
use crate::time::Time;

impl Cluster {
    /// An episode begins.
    pub(super) fn begin(&mut self, index: usize) -> Checked {
        let Episode { number, lasts, fault, .. } = self.plan.episodes[index];
        if self.is_healing {
            return Ok(());
        }
        let now = self.now;
        self.trace.note((now, 0), "fault", [index as u64, 1], || format!("{number}: {fault}"));
        let Some(fault) = self.aimed(fault) else { return Ok(()) };
        // It ends where it began, whoever leads then.
        self.plan.episodes[index].fault = fault;
        if self.inflict(fault, now + lasts)? {
            self.schedule(now + lasts, Event::End(index));
        }
        Ok(())
    }

    /// The same fault, with a node in place of a role; `None` while nobody has that role.
    fn aimed(&self, fault: Fault) -> Option<Fault> {
        let aim = |target: Target| match target {
            Target::Node(_) => Some(target),
            Target::Leader => self.leader().map(Target::Node),
            Target::Follower => {
                let leader = self.leader()?;
                let others = (1..=self.plan.nodes).filter(|node| *node != leader);
                // Another one each time, without a draw that would move others.
                let turn = self.steps as usize % (self.plan.nodes as usize - 1);
                { others }.nth(turn).map(Target::Node)
            }
        };
        Some(match fault {
            Fault::Isolate(target, way) => Fault::Isolate(aim(target)?, way),
            Fault::Sleepwalk(target) => Fault::Sleepwalk(aim(target)?),
            Fault::Hold(target) => Fault::Hold(aim(target)?),
            Fault::Crash(target, disk) => Fault::Crash(aim(target)?, disk),
            Fault::CrashAtEffect(target, cut, disk) => {
                Fault::CrashAtEffect(aim(target)?, cut, disk)
            }
            Fault::CrashLoop(target, times) => Fault::CrashLoop(aim(target)?, times),
            Fault::Pause(target) => Fault::Pause(aim(target)?),
            Fault::Stop(target) => Fault::Stop(aim(target)?),
            Fault::HandOver(target) => Fault::HandOver(aim(target)?),
            Fault::Junk(target) => Fault::Junk(aim(target)?),
            Fault::SlowSync(target, by) => Fault::SlowSync(aim(target)?, by),
            Fault::FailSync(target, kept) => Fault::FailSync(aim(target)?, kept),
            Fault::NoSpace(target) => Fault::NoSpace(aim(target)?),
            Fault::LogRot(target) => Fault::LogRot(aim(target)?),
            Fault::StateGone(target) => Fault::StateGone(aim(target)?),
            Fault::ClockJump(target, by) => Fault::ClockJump(aim(target)?, by),
            Fault::ClockFreeze(target) => Fault::ClockFreeze(aim(target)?),
            Fault::SlowApply(target, by) => Fault::SlowApply(aim(target)?, by),
            Fault::Doze(target) => Fault::Doze(aim(target)?),
            Fault::OfferAndDoze(target) => Fault::OfferAndDoze(aim(target)?),
            Fault::Estrange(target) => Fault::Estrange(aim(target)?),
            Fault::Desert(target) => Fault::Desert(aim(target)?),
            Fault::CrashInSnapshot(target, step) => Fault::CrashInSnapshot(aim(target)?, step),
            Fault::Resync(target) => Fault::Resync(aim(target)?),
            Fault::Shrink(target) => Fault::Shrink(aim(target)?),
            Fault::Replace(target) => Fault::Replace(aim(target)?),
            Fault::Transfer(target) => Fault::Transfer(aim(target)?),
            Fault::Wipe(target) => Fault::Wipe(aim(target)?),
            Fault::FlipWrite(target, bit) => Fault::FlipWrite(aim(target)?, bit),
            Fault::FlipOutcome(target, bit) => Fault::FlipOutcome(aim(target)?, bit),
            other => other,
        })
    }

    /// True when the fault has an end of its own.
    fn inflict(&mut self, fault: Fault, until: Time) -> Checked<bool> {
        let number = node_of(fault);
        match fault {
            Fault::Loss(percent) => self.net.lose(percent.into()),
            Fault::Duplicate(percent) => self.net.duplicate(percent.into()),
            Fault::Reorder(by) => self.net.reorder(by as i64),
            Fault::Delay(by) => self.net.delay(by as i64),
            Fault::FlipBits(permille) => self.net.flip(permille.into()),
            Fault::OneWay(..) | Fault::Partition(_) | Fault::Bridge(_) => {
                self.cut(fault, true);
                let kind = match fault {
                    Fault::OneWay(..) => Kind::OneWay,
                    Fault::Bridge(_) => Kind::Bridge,
                    _ => Kind::Partition,
                };
                self.ledger.fire(kind, 0);
            }
            Fault::Isolate(_, way) => {
                self.rush_at(number, until);
                self.isolate(number, way, true);
                self.ledger.fire(Kind::Isolate, number);
            }
            Fault::Sleepwalk(_) => {
                self.rush_at(number, until);
                self.isolate(number, Way::Both, true);
                self.freeze(number);
                self.ledger.fire(Kind::Sleepwalk, number);
            }
            Fault::Hold(_) => {
                for to in (1..=self.plan.nodes).filter(|to| *to != number) {
                    self.net.hold(number, to, true);
                }
                self.ledger.fire(Kind::Hold, number);
            }
            Fault::Pause(_) => {
                self.pause(number);
                self.ledger.fire(Kind::Pause, number);
            }
            Fault::SlowSync(_, by) => {
                self.ail(number, |ailment| ailment.slow_us += by);
                if by >= HANG {
                    self.ledger.fire(Kind::HungSync, number);
                }
            }
            // A log in memory needs none.
            Fault::NoSpace(_) if self.plan.is_volatile => return Ok(false),
            Fault::NoSpace(_) => self.ail(number, |ailment| ailment.is_full = true),
            Fault::ClockJump(_, by) => {
                self.node(number).clock_offset_ms += by;
                self.ledger.fire(Kind::ClockJump, number);
                return Ok(false);
            }
            Fault::HandOver(_) => {
                self.hand_over(number)?;
                return Ok(false);
            }
            Fault::ClockFreeze(_) => {
                self.freeze(number);
                self.ledger.fire(Kind::ClockFreeze, number);
            }
            Fault::SlowApply(_, by) => self.node(number).slow_apply_us += by,
            Fault::Doze(_) | Fault::OfferAndDoze(_) | Fault::Estrange(_) | Fault::Desert(_) => {
                self.test_lease(fault, number, until)?;
            }
            Fault::DamagedChunks(percent) => self.damaged_percent = percent,
            other => {
                self.befall(other, until)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Faults that are over at once.
    fn befall(&mut self, fault: Fault, until: Time) -> Checked {
        let number = node_of(fault);
        match fault {
            Fault::FlipWrite(..) | Fault::FlipOutcome(..) => {
                self.arm_flip(number, fault);
                Ok(())
            }
            Fault::Resync(_) => self.resync(number),
            other => self.end_processes(other, until),
        }
    }

    /// Faults that end processes. They start again by themselves.
    fn end_processes(&mut self, fault: Fault, until: Time) -> Checked {
        let number = node_of(fault);
        if let Fault::CrashAll(unsynced) = fault {
            return self.crash_all(unsynced, until);
        }
        if matches!(fault, Fault::Junk(_)) {
            return self.junk(number);
        }
        if fault.changes_members() || matches!(fault, Fault::Transfer(_)) {
            return self.operate(fault, until);
        }
        // A state that is gone cannot be made again from a log that was cut.
        let is_cut = disk::lock(&self.node(number).disk).base.id.index > 0;
        let loses_log = self.plan.is_volatile
            || matches!(fault, Fault::LogRot(_) | Fault::Wipe(_))
            || is_cut && matches!(fault, Fault::StateGone(_));
        if loses_log && !self.can_lose(number) || self.node(number).process.is_none() {
            return Ok(());
        }
        match fault {
            Fault::Crash(_, unsynced) => {
                self.down_until(number, until);
                self.ledger.fire(Kind::Crash, number);
                self.crash(number, unsynced)?;
            }
            Fault::CrashAtEffect(_, cut, unsynced) => {
                self.down_until(number, until);
                let is_volatile = self.plan.is_volatile;
                let node = self.node(number);
                node.armed = Some((cut, unsynced));
                node.will_forget = is_volatile;
            }
            Fault::CrashInSnapshot(_, step) if !self.plan.is_volatile => {
                self.down_until(number, until);
                self.node(number).armed_in_snapshot = Some(step);
            }
            Fault::CrashLoop(_, times) if !self.plan.is_volatile => {
                self.node(number).crash_loop = times;
                self.crash(number, Unsynced::Lost)?;
            }
            Fault::Stop(_) => {
                let is_volatile = self.plan.is_volatile;
                self.node(number).will_forget = is_volatile;
                self.burst(number)?;
                self.stop(number)?;
            }
            Fault::FailSync(_, is_kept) if !self.plan.is_volatile => {
                self.ail(number, |ailment| ailment.fails = Some(is_kept));
            }
            Fault::LogRot(_) if !self.plan.is_volatile => {
                self.down_until(number, until);
                self.crash(number, Unsynced::Kept)?;
                self.damage_log(number);
            }
            Fault::Wipe(_) => self.wipe(number, until)?,
            Fault::StateGone(_) if !self.plan.is_volatile => {
                self.down_until(number, until);
                self.crash(number, Unsynced::Kept)?;
                let node = self.node(number);
                let is_cut = disk::peek(&node.disk).base().id.index > 0;
                // The log has all of it; or the node must not start.
                node.state.wipe();
                if is_cut {
                    let entries = disk::lock(&node.disk).chains().clone();
                    node.forgotten.push((node.member(), entries));
                    (node.has_rotted, node.is_cut_back) = (true, true);
                }
                self.ledger.fire(Kind::StateGone, number);
            }
            _ => {}
        }
        Ok(())
    }

    /// A bit flips, or the log is an older copy of itself, of which the state is ahead.
    fn damage_log(&mut self, number: u32) {
        let node = self.node(number);
        let applied = node.state.snapshot().meta().applied.index;
        // What was in it counts for what it had acknowledged.
        let entries = disk::lock(&node.disk).chains().clone();
        node.forgotten.push((node.member(), entries));
        let is_cut = node.rng.bool() && disk::lock(&node.disk).cut_before(applied);
        if is_cut {
            (node.has_rotted, node.is_cut_back) = (true, true);
            self.ledger.fire(Kind::LogCutBack, number);
        } else if disk::lock(&node.disk).rot() {
            node.has_rotted = true;
            self.ledger.fire(Kind::LogRot, number);
        }
    }

    /// What nobody of this group sends: it must change nothing.
    fn junk(&mut self, number: u32) -> Checked {
        use protobuf::Message as _;
        use raft::eraftpb::{Message, MessageType};
        self.ledger.fire(Kind::Junk, number);
        let member = self.node(number).member();
        let status = self.status(number).unwrap_or_default();
        let from = status.leader.map_or(1, RaftId::get);
        let commit = status.last + 1_000;
        let (to, term) = (member.get(), status.term);
        // As if it came from itself, whom it believes, whatever has become of its data.
        let hello = Hello { is_wiped: false, ..self.hello(number, number) };
        let mut forged = Message { from, to, term, commit, ..Message::default() };
        for kind in [MessageType::MsgHeartbeat, MessageType::MsgReadIndex, MessageType::MsgPropose]
        {
            forged.set_msg_type(kind);
            let bytes = forged.write_to_bytes().unwrap_or_default();
            self.arrive(number, number, Packet::Raft(member, bytes.into(), hello))?;
        }
        let noise: Vec<u8> = (0..self.rng.usize(0..80)).map(|_| self.rng.u8(..)).collect();
        self.arrive(number, number, Packet::Raft(member, noise.into(), hello))?;
        let stranger = NodeId::new(self.plan.nodes + 5).map(|node| RaftId::new(node, 1));
        stranger.map_or(Ok(()), |stranger| self.arrive(number, number, Packet::Admit(stranger)))
    }

    fn crash_all(&mut self, unsynced: Unsynced, until: Time) -> Checked {
        if self.plan.is_volatile {
            return Ok(());
        }
        for number in 1..=self.plan.nodes {
            self.down_until(number, until);
            self.crash(number, unsynced)?;
        }
        self.ledger.fire(Kind::CrashAll, 0);
        Ok(())
    }

    /// The first crash decides how long a node is down.
    pub(super) fn down_until(&mut self, number: u32, until: Time) {
        let node = self.node(number);
        if node.process.is_some() {
            node.starts_at = Some(until);
        }
    }

    /// Changes what is wrong with a disk.
    fn ail(&mut self, number: u32, change: impl FnOnce(&mut Ailment)) {
        change(&mut disk::lock(&self.node(number).disk).ailment);
    }

    /// Whether the group can bear that this node forgets its log: a minority may be without
    /// theirs at a time, which they are until they vote again and all others know it. Until then
    /// the others may count on the one that is gone.
    fn can_lose(&self, number: u32) -> bool {
        let voters = self.voters();
        let is_whole = |node: &super::Node| voters.contains(&node.member()) && !node.is_doomed();
        let whole = self.nodes.iter().filter(|node| is_whole(node)).count();
        let members = self.members();
        let is_voter = |seat: &&Seat| seat.standing == Standing::Voter;
        let wanted = members.seats.values().filter(is_voter).count();
        let lost = wanted.saturating_sub(whole);
        let is_calm = self.operations.is_empty() && !members.is_joint();
        // What is lost already can be lost again, unless it is about to get a vote.
        if !is_whole(&self.nodes[number as usize - 1]) {
            return is_calm;
        }
        let since = self.oracle.voters_since();
        let knows = |node: &super::Node| {
            node.process.as_ref().is_some_and(|process| process.applied >= since)
        };
        let all_know = self.nodes.iter().all(|node| since == 0 || knows(node) || !is_whole(node));
        all_know && is_calm && lost < (wanted - 1) / 2
    }

    fn cut(&mut self, fault: Fault, is_cut: bool) {
        let nodes = self.plan.nodes;
        for from in 1..=nodes {
            for to in (1..=nodes).filter(|to| *to != from) {
                let is_on_side = |side: u8, node: u32| side & (1 << (node - 1)) != 0;
                let is_apart = match fault {
                    Fault::OneWay(a, b) => (from, to) == (a, b),
                    Fault::Partition(side) => is_on_side(side, from) != is_on_side(side, to),
                    Fault::Bridge(bridge) => {
                        // Odd and even nodes are two sides, that only the bridge sees both of.
                        from != bridge && to != bridge && from % 2 != to % 2
                    }
                    _ => false,
                };
                if is_apart {
                    self.net.cut(from, to, is_cut);
                }
            }
        }
    }

    /// In half of these, clients press on: that is how stale reads show.
    fn rush_at(&mut self, number: u32, until: Time) {
        if self.rng.bool() {
            self.schedule(self.now, Event::Rush(number, until));
        }
    }

    pub(super) fn isolate(&mut self, number: u32, way: Way, is_cut: bool) {
        for other in (1..=self.plan.nodes).filter(|other| *other != number) {
            if way != Way::Out {
                self.net.cut(other, number, is_cut);
            }
            if way != Way::In {
                self.net.cut(number, other, is_cut);
            }
        }
    }

    fn freeze(&mut self, number: u32) {
        let now = self.now;
        let node = self.node(number);
        node.freezes += 1;
        node.frozen_at.get_or_insert(now);
    }

    fn thaw(&mut self, number: u32) {
        let node = self.node(number);
        node.freezes = node.freezes.saturating_sub(1);
        if node.freezes == 0 {
            node.frozen_at = None;
        }
    }

    /// An episode ends.
    pub(super) fn end(&mut self, index: usize) {
        if self.is_healing {
            return;
        }
        let Episode { number, fault, .. } = self.plan.episodes[index];
        let now = self.now;
        self.trace.note((now, 0), "fault", [index as u64, 0], || format!("{number} is over"));
        self.lift(fault);
    }

    fn lift(&mut self, fault: Fault) {
        let number = node_of(fault);
        match fault {
            Fault::Loss(percent) => self.net.lose(-i32::from(percent)),
            Fault::Duplicate(percent) => self.net.duplicate(-i32::from(percent)),
            Fault::Reorder(by) => self.net.reorder(-(by as i64)),
            Fault::Delay(by) => self.net.delay(-(by as i64)),
            Fault::FlipBits(permille) => self.net.flip(-i32::from(permille)),
            Fault::OneWay(..) | Fault::Partition(_) | Fault::Bridge(_) => self.cut(fault, false),
            Fault::Hold(_) => {
                for to in (1..=self.plan.nodes).filter(|to| *to != number) {
                    if self.net.hold(number, to, false) {
                        self.flood(number, to);
                    }
                }
            }
            Fault::Pause(_) => self.resume(number),
            Fault::SlowSync(_, by) => {
                self.ail(number, |ailment| ailment.slow_us = ailment.slow_us.saturating_sub(by));
            }
            Fault::NoSpace(_) => self.ail(number, |ailment| ailment.is_full = false),
            Fault::DamagedChunks(_) => self.damaged_percent = 0,
            Fault::Isolate(_, way) => self.isolate(number, way, false),
            Fault::Sleepwalk(_) => {
                self.isolate(number, Way::Both, false);
                self.thaw(number);
            }
            Fault::ClockFreeze(_) => self.thaw(number),
            Fault::SlowApply(_, by) => {
                let slow = &mut self.node(number).slow_apply_us;
                *slow = slow.saturating_sub(by);
            }
            Fault::Doze(_) | Fault::OfferAndDoze(_) | Fault::Estrange(_) | Fault::Desert(_) => {
                self.lift_from_lease(fault, number);
            }
            _ => {}
        }
    }

    /// What was held back arrives, all at once and in its order.
    fn flood(&mut self, from: u32, to: u32) {
        let held = std::mem::take(&mut self.held);
        for (sender, receiver, packet) in held {
            if (sender, receiver) == (from, to) {
                self.schedule(self.now, Event::Arrive(from, to, Box::new(packet)));
            } else {
                self.held.push((sender, receiver, packet));
            }
        }
    }
}

/// The node that a fault meets; 0 if it is none in particular.
fn node_of(fault: Fault) -> u32 {
    let (Fault::Isolate(target, _)
    | Fault::Sleepwalk(target)
    | Fault::Hold(target)
    | Fault::Crash(target, _)
    | Fault::CrashAtEffect(target, ..)
    | Fault::CrashLoop(target, _)
    | Fault::Pause(target)
    | Fault::Stop(target)
    | Fault::HandOver(target)
    | Fault::Junk(target)
    | Fault::SlowSync(target, _)
    | Fault::FailSync(target, _)
    | Fault::NoSpace(target)
    | Fault::LogRot(target)
    | Fault::StateGone(target)
    | Fault::ClockJump(target, _)
    | Fault::ClockFreeze(target)
    | Fault::SlowApply(target, _)
    | Fault::Doze(target)
    | Fault::OfferAndDoze(target)
    | Fault::Estrange(target)
    | Fault::Desert(target)
    | Fault::CrashInSnapshot(target, _)
    | Fault::Resync(target)
    | Fault::Shrink(target)
    | Fault::Replace(target)
    | Fault::Transfer(target)
    | Fault::Wipe(target)
    | Fault::FlipWrite(target, _)
    | Fault::FlipOutcome(target, _)) = fault
    else {
        return 0;
    };
    match target {
        Target::Node(node) => node,
        Target::Leader | Target::Follower => 0,
    }
}
