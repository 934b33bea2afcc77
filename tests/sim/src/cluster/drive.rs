//! A cluster driven from outside, by one caller who waits for each answer: what the tests of
//! plugins do. Commands are sent again in a session until their outcome is known, queries until
//! somebody answers them, and meanwhile the seed lets things go wrong.
//!
//! What this deliberately does not do: audit what was answered, which takes a model of the plugin.
//! All that is checked after every event is checked here as well.

use std::sync::Arc;

use bytes::Bytes;
use quorate_core::id::LogId;
use quorate_core::outcome::Rejection;
use quorate_core::session::{SessionCall, SessionError, SessionId};
use quorate_core::state::{StateStore as _, StateView};

use super::Cluster;
use crate::calls::{How, Outcome};
use crate::fault::{Episode, Fault};
use crate::oracle::{Checked, Violation, ensure};
use crate::plan;
use crate::request::{Reply, Request};
use crate::state;
use crate::time::{MS, SECOND, Time};

/// Nobody who goes on calling by itself.
const DRIVER: u32 = u32::MAX;
/// A caller that was refused waits so long before it tries again.
const PAUSE: std::ops::Range<Time> = 10 * MS..150 * MS;
/// All that goes wrong passes: within so long a call has an answer.
const ANSWER_WITHIN: Time = 120 * SECOND;
/// Replies that the caller asks to be kept: copies of such calls must be given the same.
const KEPT: u64 = 16;

/// What a call was answered, and the log index of that.
pub type Answer = (LogId, Result<Bytes, Rejection>);

/// The session of whoever drives a cluster.
#[derive(Debug, Default)]
pub(super) struct Drive {
    session: Option<SessionId>,
    seq: u64,
    /// Commands of the session, by the number of the call that sent each first.
    sent: Vec<(u64, SessionCall)>,
    /// The last entry that something was heard of.
    heard: u64,
}

impl Cluster {
    /// Has all clocks show this, whatever the simulation's own time: plugins see it, ticks do not.
    pub fn set_wall_clock(&mut self, time_ms: u64) {
        self.wall_clock_ms = Some(time_ms);
    }

    /// Calls a command until its outcome is known. It was executed once.
    pub fn command(&mut self, method: u32, payload: Bytes) -> Checked<Answer> {
        let id = self.session()?;
        self.drive.seq += 1;
        let seq = self.drive.seq;
        let call = SessionCall { id, seq, floor: seq.saturating_sub(KEPT).max(1) };
        let first = self.calls.len() as u64;
        self.drive.sent.push((first, call));
        self.until_answered((first, Some(call)), &Request::Other(method, payload, true))
    }

    /// Calls a query until it is answered, from a state that has all that was answered before.
    pub fn query_latest(&mut self, method: u32, payload: Bytes) -> Checked<Answer> {
        let first = self.calls.len() as u64;
        self.until_answered((first, None), &Request::Other(method, payload, false))
    }

    /// Lets something go wrong for a while.
    pub fn disturb(&mut self) -> Checked {
        let (nodes, now) = (self.plan.nodes, self.now);
        let (fault, lasts) = plan::any_fault(&mut self.rng, nodes);
        self.disturb_by(fault, lasts, now)
    }

    fn disturb_by(&mut self, fault: Fault, lasts: Time, at: Time) -> Checked {
        let index = self.plan.episodes.len();
        self.plan.episodes.push(Episode { number: index + 1, at, lasts, fault });
        self.begin(index)
    }

    /// A copy of a command that was sent before arrives somewhere.
    pub fn send_copy(&mut self) -> Checked {
        if self.drive.sent.is_empty() {
            return Ok(());
        }
        let recent = self.drive.sent.len().saturating_sub(KEPT as usize);
        let (first, call) = self.drive.sent[self.rng.usize(recent..self.drive.sent.len())];
        let request = self.calls[first as usize].request.clone();
        let node = self.rng.u32(1..=self.plan.nodes);
        self.send((node, DRIVER), request, How::Linearizable, (first, Some(call)))
    }

    /// All processes end, in order or not, and start again.
    pub fn restart_all(&mut self) -> Checked {
        for number in 1..=self.plan.nodes {
            if self.rng.bool() {
                let unsynced = plan::unsynced(&mut self.rng);
                self.crash(number, unsynced)?;
            } else {
                self.stop(number)?;
            }
        }
        // Until every one of them was down.
        self.run_for(SECOND)
    }

    /// How many terms have had a leader.
    pub fn terms(&self) -> usize {
        self.oracle.terms_led()
    }

    /// The state as of the last answer.
    pub fn latest_state(&mut self) -> Checked<Arc<dyn StateView>> {
        let heard = self.drive.heard;
        let has_it = |cluster: &Self| {
            cluster.nodes.iter().any(|node| node.state.snapshot().meta().applied.index >= heard)
        };
        let found = self.run_until_holds(ANSWER_WITHIN, has_it)?;
        let newest = self.nodes.iter().map(|node| node.state.snapshot());
        let newest = newest.max_by_key(|view| view.meta().applied.index);
        newest.filter(|_| found).ok_or_else(|| {
            Violation::new("what was answered is there", format!("nobody has entry {heard}"))
        })
    }

    /// Ends it: a quorum is healed, must serve again, and must have one state. What copies of
    /// commands were told must be what the first ones were told.
    pub fn settle(&mut self) -> Checked {
        let states = self.converge()?;
        let broken = |fatal: quorate_core::outcome::Fatal| {
            Violation::new("the simulated state goes on", fatal.to_string())
        };
        let mut digests = Vec::new();
        for state in &states {
            digests.push(state::digest(&*state.snapshot()).map_err(broken)?);
        }
        digests.dedup();
        ensure(digests.len() <= 1, "replicas have one state", || format!("{digests:x?}"))?;
        self.compare_copies()
    }

    fn compare_copies(&self) -> Checked {
        for call in &self.calls {
            let first = &self.calls[call.first as usize];
            let (Outcome::Answered(at, told), Outcome::Answered(_, known)) =
                (&call.outcome, self.answer_of(call.first))
            else {
                continue;
            };
            let is_forgotten =
                |told| matches!(told, &Err(Rejection::Session(SessionError::Forgotten { .. })));
            ensure(told == known || is_forgotten(told), "a command is executed once", || {
                format!("{}: {known:?}, and at {at} {told:?}", first.request)
            })?;
        }
        Ok(())
    }

    /// What was heard first of a command, whichever of its copies that was an answer to.
    fn answer_of(&self, first: u64) -> &Outcome {
        let mut copies = self.calls[first as usize..].iter().filter(|call| call.first == first);
        let answered = copies.find(|call| matches!(call.outcome, Outcome::Answered(..)));
        answered.map_or(&Outcome::Pending, |call| &call.outcome)
    }

    fn session(&mut self) -> Checked<SessionId> {
        if let Some(id) = self.drive.session {
            return Ok(id);
        }
        let first = self.calls.len() as u64;
        // Another nonce each time: a session that nobody hears of does no harm.
        let told = self.until_told((first, None), Request::Open)?;
        let Outcome::Answered(_, Ok(Reply::Session(id))) = told else {
            return Err(Violation::new("a session is opened", format!("{told:?}")));
        };
        self.drive.session = Some(id);
        Ok(id)
    }

    fn until_answered(
        &mut self,
        sent: (u64, Option<SessionCall>),
        request: &Request,
    ) -> Checked<Answer> {
        match self.until_told(sent, |_| request.clone())? {
            Outcome::Answered(id, Ok(Reply::Other(reply))) => Ok((id, Ok(reply))),
            Outcome::Answered(id, Err(rejection)) => Ok((id, Err(rejection))),
            other => Err(Violation::new("a call is answered", format!("{request}: {other}"))),
        }
    }

    /// Sends a call again until it has an answer, each time to any node.
    fn until_told(
        &mut self,
        (first, session): (u64, Option<SessionCall>),
        request: impl Fn(u64) -> Request,
    ) -> Checked<Outcome> {
        let until = self.now + ANSWER_WITHIN;
        while self.now < until {
            let number = self.calls.len() as u64;
            let node = self.rng.u32(1..=self.plan.nodes);
            // What is of no session is another call each time.
            let first = if session.is_some() { first } else { number };
            let sent = (first, session);
            self.send((node, DRIVER), request(number), How::Linearizable, sent)?;
            while self.calls[number as usize].outcome == Outcome::Pending {
                self.step()?;
            }
            if let told @ Outcome::Answered(id, _) = &self.calls[number as usize].outcome {
                self.drive.heard = self.drive.heard.max(id.index);
                return Ok(told.clone());
            }
            let pause = self.rng.u64(PAUSE);
            self.run_for(pause)?;
        }
        let what = format!("call {first}, after {} s", ANSWER_WITHIN / SECOND);
        Err(Violation::new("a call is answered", what))
    }
}
