//! The second phase: a quorum is healed, the rest stays broken for good, and what is left must
//! converge and serve.

use std::sync::Arc;

use quorate_core::id::NodeId;
use quorate_core::members::{Seat, Standing};

use super::Cluster;
use crate::audit::{self, Audited};
use crate::calls::Outcome;
use crate::disk::{self, Ailment};
use crate::fault::Unsynced;
use crate::oracle::{Checked, Violation, ensure};
use crate::program::Flip;
use crate::session::Session;
use crate::state::SimState;
use crate::time::{MS, SECOND, Time};

/// Election time-outs within which the survivors must have converged.
const ELECTIONS_MAX: Time = 30;
/// The longest election time-out, on the slowest clock.
const ELECTION_MAX: Time = 2_100 * MS;
/// How often the survivors are looked at.
const LOOK_EVERY: Time = 250 * MS;
/// The client of calls that only ask whether somebody serves.
const PROBER: u32 = u32::MAX;

/// Calls that every survivor must answer.
#[derive(Debug, Default)]
struct Probe {
    node: u32,
    call: Option<u64>,
    /// A write and a read.
    answered: u32,
}

impl Cluster {
    /// Heals a quorum and waits until it has converged; then checks all that was seen. Returns
    /// what was checked.
    pub fn finish(&mut self) -> Checked<Audited> {
        let states = self.converge()?;
        audit::audit(self, &states)
    }

    /// Heals a quorum and waits until it has converged; the states of those who survive.
    pub(super) fn converge(&mut self) -> Checked<Vec<Arc<SimState>>> {
        let terms = self.oracle.terms_led();
        ensure(!self.plan.is_gentle || terms == 1, "a follower's fault deposes no leader", || {
            format!("{terms} terms had a leader")
        })?;
        let mut survivors = self.heal()?;
        let until = self.now + ELECTIONS_MAX * ELECTION_MAX;
        let probe = |node: &u32| Probe { node: *node, ..Probe::default() };
        let mut probes: Vec<Probe> = survivors.iter().map(probe).collect();
        loop {
            self.follow_members(&mut survivors, &mut probes)?;
            let all_serve = self.probe(&mut probes)?;
            if all_serve && self.has_settled(&survivors) && self.all_is_known() {
                break;
            }
            if self.now >= until {
                let stuck = self.why_not(&survivors, &probes);
                return Err(Violation::new("survivors converge and serve", stuck));
            }
            let next = self.now + LOOK_EVERY;
            self.run_until(next)?;
        }
        Ok(survivors.iter().map(|node| Arc::clone(&self.node(*node).state)).collect())
    }

    fn heal(&mut self) -> Checked<Vec<u32>> {
        self.is_healing = true;
        let now = self.now;
        self.net.heal();
        for (from, to, packet) in std::mem::take(&mut self.held) {
            self.schedule(now, super::Event::Arrive(from, to, Box::new(packet)));
        }
        self.operations.clear();
        for number in 1..=self.plan.nodes {
            self.rejoin(number)?;
        }
        self.reconcile()?;
        let survivors = self.choose_survivors();
        self.serving.clone_from(&survivors);
        self.trace.note((now, 0), "heals", [survivors.len() as u64, 0], || {
            format!("survivors are {survivors:?}")
        });
        for number in 1..=self.plan.nodes {
            let node = self.node(number);
            (node.freezes, node.frozen_at, node.slow_apply_us) = (0, None, 0);
            (node.armed, node.crash_loop) = (None, 0);
            node.flip.set(Flip::None);
            disk::lock(&node.disk).ailment = Ailment::default();
            if node.pauses > 0 {
                node.pauses = 1;
                self.resume(number);
            }
        }
        for number in 1..=self.plan.nodes {
            if self.node(number).is_out {
                continue;
            }
            if survivors.contains(&number) {
                self.node(number).starts_at = Some(now);
                self.start_if_due(number)?;
            } else {
                self.break_for_good(number)?;
            }
        }
        Ok(survivors)
    }

    /// All, while a member is still to be admitted; else a random majority at least.
    fn choose_survivors(&mut self) -> Vec<u32> {
        let voters = self.voters();
        let is_whole = |node: &super::Node| voters.contains(&node.member()) && !node.is_doomed();
        let all: Vec<u32> = (1..=self.plan.nodes).filter(|node| !self.is_out(*node)).collect();
        // A change that is under way may still come to pass, and need anybody.
        let may_change = self.plan.episodes.iter().any(|episode| episode.fault.changes_members());
        let are_whole = self.nodes.iter().all(|node| node.is_out || is_whole(node));
        if !are_whole || may_change || voters.len() != all.len() {
            return all;
        }
        let mut shuffled = all;
        self.rng.shuffle(&mut shuffled);
        let majority = shuffled.len() / 2 + 1;
        let count = self.rng.usize(majority..=shuffled.len());
        shuffled.truncate(count);
        shuffled.sort_unstable();
        shuffled
    }

    fn is_out(&self, number: u32) -> bool {
        self.nodes[number as usize - 1].is_out
    }

    /// Changes of members that were under way come to pass while the cluster settles.
    fn follow_members(&mut self, survivors: &mut Vec<u32>, probes: &mut Vec<Probe>) -> Checked {
        let may_change = self.plan.episodes.iter().any(|episode| episode.fault.changes_members());
        if !may_change {
            return Ok(());
        }
        self.reconcile()?;
        let members = self.members();
        let is_member = |number: &u32| {
            NodeId::new(*number).is_some_and(|node| members.member_of(node).is_some())
        };
        survivors.retain(|node| !self.is_out(*node));
        for number in (1..=self.plan.nodes).filter(is_member) {
            if !survivors.contains(&number) && !self.is_out(number) {
                survivors.push(number);
            }
        }
        survivors.sort_unstable();
        probes.retain(|probe| survivors.contains(&probe.node));
        for node in &*survivors {
            if !probes.iter().any(|probe| probe.node == *node) {
                probes.push(Probe { node: *node, ..Probe::default() });
            }
        }
        Ok(())
    }

    /// It is down, or runs and reaches nobody.
    fn break_for_good(&mut self, number: u32) -> Checked {
        if self.rng.bool() {
            for other in (1..=self.plan.nodes).filter(|other| *other != number) {
                self.net.cut(number, other, true);
                self.net.cut(other, number, true);
            }
            return Ok(());
        }
        self.node(number).is_lost = true;
        self.crash(number, Unsynced::Lost)
    }

    /// Asks every survivor for a write and a read, until it has given both.
    fn probe(&mut self, probes: &mut [Probe]) -> Checked<bool> {
        for probe in probes.iter_mut() {
            if let Some(call) = probe.call {
                match &self.calls[call as usize].outcome {
                    Outcome::Pending => continue,
                    Outcome::Answered(..) => probe.answered += 1,
                    Outcome::Refused | Outcome::Unknown => {}
                }
                probe.call = None;
            }
            if probe.answered < 2 {
                let number = self.calls.len() as u64;
                probe.call = Some(number);
                let request = match probe.answered {
                    0 => self.any_write(number),
                    _ => self.any_read(),
                };
                self.call(probe.node, PROBER, request)?;
            }
        }
        Ok(probes.iter().all(|probe| probe.answered == 2))
    }

    /// All survivors have applied all that is committed, vote, and owe nobody an answer; and the
    /// group has a voter for each of its nodes.
    fn has_settled(&self, survivors: &[u32]) -> bool {
        let members = self.members();
        let is_voter = |seat: &&Seat| seat.standing == Standing::Voter;
        !members.is_joint()
            && members.voters.len() == members.seats.values().filter(is_voter).count()
            && survivors.iter().all(|number| self.unsettled(*number).is_none())
    }

    /// Whoever has a session gets to know what became of each of its calls.
    fn all_is_known(&self) -> bool {
        let mut sessions = self.clients.iter().filter_map(|client| client.session.as_ref());
        sessions.all(Session::knows_all)
    }

    fn unsettled(&self, number: u32) -> Option<String> {
        let last = self.oracle.log().len() as u64;
        let Some(process) = &self.nodes[number as usize - 1].process else {
            return Some("is down".to_owned());
        };
        if self.nodes[number as usize - 1].diverged.is_some() {
            return Some("is not repaired".to_owned());
        }
        let status = process.replica.status();
        if process.applied < last || status.committed < last {
            return Some(format!("applied {} of {last}: {status:?}", process.applied));
        }
        let members = self.members();
        let seat = members.seats.get(&process.member.node());
        let shall_vote = seat.is_some_and(|seat| seat.standing == Standing::Voter);
        if shall_vote && (!status.votes || !members.voters.contains(&process.member)) {
            return Some(format!("is no voter of {:?}", self.voters()));
        }
        let (waiting, open) = (process.replica.waiting(), process.open.len());
        (waiting + open > 0).then(|| format!("owes {waiting} and {open} answers"))
    }

    fn why_not(&self, survivors: &[u32], probes: &[Probe]) -> String {
        let mut why = vec![format!("{} s after healing", ELECTIONS_MAX * ELECTION_MAX / SECOND)];
        for (number, probe) in survivors.iter().zip(probes) {
            let unsettled = self.unsettled(*number).unwrap_or_else(|| "has settled".to_owned());
            why.push(format!("node {number} {unsettled}, answered {}", probe.answered));
        }
        if !self.all_is_known() {
            why.push("a call of a session has no answer".to_owned());
        }
        why.join("; ")
    }
}
