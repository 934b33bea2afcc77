//! The numbers of calls in sessions, and which of them are needed no more.
//!
//! A session keeps so many replies, and so has as many calls under way at most. Who wants more has
//! several sessions.

use std::collections::{BTreeMap, VecDeque};

/// A call's number in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Numbered {
    pub(crate) id: SessionId,
    pub(crate) seq: u64,
}

/// A session, as its name has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionId {
    pub(crate) number: u64,
    pub(crate) nonce: u64,
}

impl SessionId {
    /// As a node writes it: 32 hexadecimal digits.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (number, nonce) = name.split_at_checked(16).filter(|_| name.len() == 32)?;
        let parse = |digits| u64::from_str_radix(digits, 16).ok();
        Some(Self { number: parse(number)?, nonce: parse(nonce)? })
    }
}

/// The sessions of one client.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    sessions: BTreeMap<SessionId, Session>,
    /// The one that numbers calls until it has no number left.
    turn: Option<SessionId>,
}

#[derive(Debug)]
struct Session {
    /// The lowest number whose reply is needed, or the next one.
    floor: u64,
    /// Whether a reply is needed, for each number from `floor` on; the first is.
    needed: VecDeque<bool>,
    /// How many replies it keeps.
    replies_max: usize,
}

impl Sessions {
    /// A new one, that keeps so many replies.
    pub(crate) fn add(&mut self, id: SessionId, replies_max: usize) {
        let session = Session { floor: 1, needed: VecDeque::new(), replies_max };
        self.sessions.insert(id, session);
    }

    /// It has expired.
    pub(crate) fn remove(&mut self, id: SessionId) {
        self.sessions.remove(&id);
    }

    /// How many calls may be under way.
    pub(crate) fn calls_max(&self) -> usize {
        self.sessions.values().map(|session| session.replies_max).sum()
    }

    /// Whether there is a number left.
    pub(crate) fn has_number(&self) -> bool {
        self.of_turn().is_some() || self.sessions.values().any(Session::has_number)
    }

    fn of_turn(&self) -> Option<SessionId> {
        let is_open = |id: &SessionId| self.sessions.get(id).is_some_and(Session::has_number);
        self.turn.filter(is_open)
    }

    /// A number for a call, if there is one left.
    pub(crate) fn number(&mut self) -> Option<Numbered> {
        self.turn = self.of_turn().or_else(|| {
            let open = self.sessions.iter().find(|(_, session)| session.has_number());
            open.map(|(id, _)| *id)
        });
        let id = self.turn?;
        let session = self.sessions.get_mut(&id)?;
        session.needed.push_back(true);
        Some(Numbered { id, seq: session.floor + session.needed.len() as u64 - 1 })
    }

    /// The lowest number of the call's session whose reply is needed. Of a session that is gone,
    /// its own: the call will be refused.
    pub(crate) fn floor(&self, call: Numbered) -> u64 {
        self.sessions.get(&call.id).map_or(call.seq, |session| session.floor.min(call.seq))
    }

    /// The call's reply is not needed any more.
    pub(crate) fn done(&mut self, call: Numbered) {
        let Some(session) = self.sessions.get_mut(&call.id) else { return };
        let place = call.seq.checked_sub(session.floor).and_then(|at| usize::try_from(at).ok());
        if let Some(needed) = place.and_then(|place| session.needed.get_mut(place)) {
            *needed = false;
        }
        while session.needed.front() == Some(&false) {
            session.needed.pop_front();
            session.floor += 1;
        }
    }
}

impl Session {
    fn has_number(&self) -> bool {
        self.needed.len() < self.replies_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SessionId = SessionId { number: 1, nonce: 7 };
    const TWO: SessionId = SessionId { number: 2, nonce: 8 };

    #[test]
    fn a_name_is_two_numbers() {
        let name = format!("{:016x}{:016x}", 3, u64::MAX);
        assert_eq!(SessionId::parse(&name), Some(SessionId { number: 3, nonce: u64::MAX }));
        for wrong in ["", "7", &name[1..], &format!("{name}0"), &"x".repeat(32)] {
            assert_eq!(SessionId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_session_has_as_many_calls_under_way_as_it_keeps_replies() {
        let mut sessions = Sessions::default();
        assert_eq!(sessions.number(), None);
        sessions.add(ONE, 2);
        let first = sessions.number().unwrap();
        let second = sessions.number().unwrap();
        assert_eq!((first.seq, second.seq), (1, 2));
        assert_eq!(sessions.number(), None);
        sessions.done(second);
        assert_eq!(sessions.number(), None, "the first reply may be needed, and is the oldest");
        assert_eq!(sessions.floor(second), 1);
        sessions.done(first);
        let third = sessions.number().unwrap();
        assert_eq!((third.seq, sessions.floor(third)), (3, 3));
        sessions.add(TWO, 2);
        assert_eq!(sessions.calls_max(), 4);
        assert_eq!(sessions.number(), Some(Numbered { id: ONE, seq: 4 }));
        assert_eq!(sessions.number(), Some(Numbered { id: TWO, seq: 1 }));
    }

    #[test]
    fn a_session_that_is_gone_numbers_nothing() {
        let mut sessions = Sessions::default();
        sessions.add(ONE, 2);
        let call = sessions.number().unwrap();
        sessions.remove(ONE);
        assert_eq!(sessions.number(), None);
        sessions.done(call);
        assert_eq!(sessions.floor(call), 1);
    }
}
