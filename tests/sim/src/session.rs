//! A client's session: what it has sent, what it does not know yet, and what it sends again.

use quorate_core::outcome::Rejection;
use quorate_core::session::{SessionCall, SessionError, SessionId};

use crate::calls::Outcome;
use crate::request::Reply;

/// Calls that a client leaves open while it goes on with others.
const OPEN_MAX: usize = 3;

/// A call of a session, as it is sent each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    /// The number of the first call: what is asked for.
    pub(crate) first: u64,
    pub(crate) call: SessionCall,
}

/// What a client knows of its session. It has one after the other, as they expire.
#[derive(Debug, Default)]
pub(crate) struct Session {
    pub(crate) id: Option<SessionId>,
    seq: u64,
    /// Without an answer.
    open: Vec<Sent>,
    /// Everything, also of earlier sessions.
    past: Vec<Sent>,
}

impl Session {
    /// Whether each of its calls has an answer.
    pub(crate) fn knows_all(&self) -> bool {
        self.open.is_empty()
    }

    /// A call to be sent again; `None` to go on.
    pub(crate) fn again(&self, rng: &mut fastrand::Rng, must: bool) -> Option<Sent> {
        let goes_on = !must && self.open.len() < OPEN_MAX && rng.u32(0..3) == 0;
        if self.open.is_empty() || goes_on {
            return None;
        }
        Some(self.open[rng.usize(0..self.open.len())])
    }

    /// The next call's number. Now and then it says what need not be kept.
    pub(crate) fn number(&mut self, rng: &mut fastrand::Rng, id: SessionId) -> SessionCall {
        self.seq += 1;
        let needed = self.open.iter().map(|sent| sent.call.seq).min().unwrap_or(self.seq);
        let floor = if rng.u32(0..3) == 0 { needed } else { 1 };
        SessionCall { id, seq: self.seq, floor }
    }

    /// A call was sent for the first time.
    pub(crate) fn sends(&mut self, sent: Sent) {
        self.open.push(sent);
        self.past.push(sent);
    }

    /// One that was sent before, recently or long ago, whether or not it was answered.
    pub(crate) fn any_of_past(&self, rng: &mut fastrand::Rng) -> Option<Sent> {
        let last = self.past.len().checked_sub(1)?;
        let recent = last.saturating_sub(2);
        let at = if rng.bool() { rng.usize(recent..=last) } else { rng.usize(0..=last) };
        Some(self.past[at])
    }

    /// The same, but of those that need not be sent again.
    pub(crate) fn any_known(&self, rng: &mut fastrand::Rng) -> Option<Sent> {
        self.any_of_past(rng).filter(|sent| !self.open.contains(sent))
    }

    /// What came of one of its calls.
    pub(crate) fn learn(&mut self, first: u64, outcome: &Outcome) {
        match outcome {
            Outcome::Answered(_, Ok(Reply::Session(id))) => {
                (self.id, self.seq) = (Some(*id), 0);
            }
            Outcome::Answered(_, Err(Rejection::Session(SessionError::Expired))) => {
                // Of an earlier one, perhaps: then it is known already.
                if self.open.iter().any(|sent| sent.first == first) {
                    (self.id, self.seq) = (None, 0);
                    self.open.clear();
                }
            }
            Outcome::Answered(..) => self.open.retain(|sent| sent.first != first),
            Outcome::Pending | Outcome::Refused | Outcome::Unknown => {}
        }
    }
}
