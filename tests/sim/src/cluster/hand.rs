//! A cluster by hand: faults and calls one at a time, and what each node has, for stories.

use quorate_core::log::LogStore as _;
use quorate_core::session::SessionCall;
use quorate_core::state::StateStore as _;

use super::Cluster;
use crate::calls::{How, Outcome};
use crate::disk;
use crate::fault::Unsynced;
use crate::oracle::Checked;
use crate::request::{Reply, Request};
use crate::time::{MS, Time};

/// How often a condition is looked at.
const LOOK_EVERY: Time = MS;

impl Cluster {
    /// Runs until something holds; false when it does not within so long.
    pub fn run_until_holds(
        &mut self,
        within: Time,
        holds: impl Fn(&Self) -> bool,
    ) -> Checked<bool> {
        let until = self.now + within;
        while !holds(self) {
            if self.now >= until {
                return Ok(false);
            }
            let next = self.now + LOOK_EVERY;
            self.run_until(next)?;
        }
        Ok(true)
    }

    /// Runs for so long.
    pub fn run_for(&mut self, time: Time) -> Checked {
        let until = self.now + time;
        self.run_until(until)
    }

    /// Cuts the way from one node to another, or opens it again.
    pub fn set_cut(&mut self, from: u32, to: u32, is_cut: bool) {
        self.net.cut(from, to, is_cut);
    }

    /// Opens all ways.
    pub fn heal_network(&mut self) {
        self.net.heal();
    }

    /// Kills a node, which stays down.
    pub fn kill(&mut self, node: u32) -> Checked {
        self.node(node).is_lost = true;
        self.crash(node, Unsynced::Lost)
    }

    /// Starts a node that was killed.
    pub fn launch(&mut self, node: u32) -> Checked {
        let now = self.now;
        let state = self.node(node);
        state.is_lost = false;
        state.starts_at = Some(now);
        self.start_if_due(node)
    }

    /// Pauses a node, or lets it go on.
    pub fn set_paused(&mut self, node: u32, is_paused: bool) {
        if is_paused {
            self.pause(node);
        } else {
            self.resume(node);
        }
    }

    /// Stops a node in order; it stays down.
    pub fn stop_in_order(&mut self, node: u32) -> Checked {
        self.node(node).is_lost = true;
        self.stop(node)
    }

    /// Makes a call; returns its number.
    pub fn ask(&mut self, node: u32, request: impl FnOnce(u64) -> Request) -> Checked<u64> {
        let number = self.calls.len() as u64;
        self.call(node, u32::MAX, request(number))?;
        Ok(number)
    }

    /// The same as a call of the session that was opened last, if one was.
    pub fn ask_in_session(
        &mut self,
        node: u32,
        seq: u64,
        request: impl FnOnce(u64) -> Request,
    ) -> Checked<Option<u64>> {
        let opened = self.calls.iter().rev().find_map(|call| match call.outcome {
            Outcome::Answered(_, Ok(Reply::Session(id))) => Some(id),
            _ => None,
        });
        let Some(id) = opened else { return Ok(None) };
        let number = self.calls.len() as u64;
        let session = SessionCall { id, seq, floor: 1 };
        self.send((node, u32::MAX), request(number), How::Linearizable, (number, Some(session)))?;
        Ok(Some(number))
    }

    /// Sends a call once more, to any node.
    pub fn ask_again(&mut self, node: u32, call: u64) -> Checked {
        let call = &self.calls[call as usize];
        let (request, sent) = (call.request.clone(), (call.first, call.session));
        self.send((node, u32::MAX), request, How::Linearizable, sent)
    }

    /// Whether all calls have an outcome.
    pub fn all_answered(&self) -> bool {
        self.calls.iter().all(|call| call.outcome != Outcome::Pending)
    }

    /// What a node is and has, on one line.
    pub fn describe_node(&self, number: u32) -> String {
        let node = &self.nodes[number as usize - 1];
        let Some(process) = &node.process else { return format!("node {number} is down") };
        let status = process.replica.status();
        let role = match status.leader {
            Some(leader) if leader == process.member => "leads".to_owned(),
            Some(leader) => format!("follows {}", leader.node()),
            None => "has no leader".to_owned(),
        };
        let paused = if node.pauses > 0 { ", paused" } else { "" };
        let applied = node.state.snapshot().meta().applied.index;
        format!(
            "node {number} {role}{paused}: term {}, last {}, committed {}, applied {applied}",
            status.term, status.last, status.committed,
        )
    }

    /// The log of a node, as terms by index.
    pub fn describe_log(&self, number: u32) -> String {
        let node = &self.nodes[number as usize - 1];
        let log = disk::peek(&node.disk);
        let base = log.base().id;
        let entries = (base.index + 1..=log.last_index()).filter_map(|index| {
            let term = log.term(index).ok().flatten()?;
            Some(format!("{index}@{term}"))
        });
        let entries: Vec<_> = entries.collect();
        format!("node {number}: {}", entries.join(" "))
    }
}
