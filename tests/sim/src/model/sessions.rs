//! What sessions should do, written down a second time: every command of the log is told what to
//! become of, one by one. It shares no code with the core but the names of things.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_core::batch::Command;
use quorate_core::id::LogId;
use quorate_core::outcome::{Outcome, Rejection};
use quorate_core::session::table::SessionLimits;
use quorate_core::session::{SessionCall, SessionError, SessionId, SessionUse};

/// What should become of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// It is executed.
    New,
    /// It opens this session.
    Opens(SessionId),
    /// It was executed there, with this outcome.
    Told(LogId, Outcome),
    /// Its session does not have it executed.
    Refused(SessionError),
}

#[derive(Clone, Debug)]
struct Told {
    what: (u32, Bytes),
    id: LogId,
    outcome: Outcome,
}

impl Told {
    /// What a reply takes in the table, with its key.
    fn size(&self) -> usize {
        const KEY: usize = 1 + 8 + 8;
        const HEAD: usize = 8 + 8 + 8 + 1;
        let text = |text: &str| 4 + text.len();
        KEY + HEAD
            + match &self.outcome {
                Ok(reply) => reply.len(),
                Err(Rejection::Status { message, details, .. }) => {
                    4 + text(message) + 4 + details.len()
                }
                Err(Rejection::Trap { reason }) => text(reason),
                Err(Rejection::OverLimit { what, .. }) => text(what) + 8 + 8,
                Err(_) => 0,
            }
    }
}

#[derive(Clone, Debug)]
struct Session {
    nonce: u64,
    used: u64,
    floor: u64,
    told: BTreeMap<u64, Told>,
    /// What this entry has it told, which is kept when the entry ends.
    fresh: Vec<(u64, Told)>,
}

impl Session {
    fn size(&self) -> usize {
        self.told.values().map(Told::size).sum()
    }

    fn find(&self, seq: u64) -> Option<&Told> {
        let fresh = self.fresh.iter().find(|(other, _)| *other == seq).map(|(_, told)| told);
        fresh.or_else(|| self.told.get(&seq))
    }

    fn drop_below(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        self.told.retain(|seq, _| *seq >= floor);
    }
}

/// All sessions of a machine, as they should be.
#[derive(Clone, Debug)]
pub struct Sessions {
    limits: SessionLimits,
    opened: u64,
    table: BTreeMap<u64, Session>,
}

impl Sessions {
    /// None yet.
    pub fn new(limits: SessionLimits) -> Self {
        Self { limits, opened: 0, table: BTreeMap::new() }
    }

    /// What should become of the next command, in entry `index`.
    pub fn meet(&mut self, command: &Command, index: u64) -> Fate {
        match command.session {
            None => Fate::New,
            Some(SessionUse::Open { nonce }) => {
                self.opened += 1;
                let (told, fresh) = (BTreeMap::new(), Vec::new());
                let session = Session { nonce, used: index, floor: 1, told, fresh };
                self.table.insert(self.opened, session);
                Fate::Opens(SessionId { number: self.opened, nonce })
            }
            Some(SessionUse::Call(call)) => self.meet_call(call, command, index),
        }
    }

    fn meet_call(&mut self, call: SessionCall, command: &Command, index: u64) -> Fate {
        let SessionCall { id, seq, floor } = call;
        let was_opened = (1..=self.opened).contains(&id.number);
        let Some(session) = self.table.get_mut(&id.number) else {
            let error = if was_opened { SessionError::Expired } else { SessionError::NeverOpened };
            return Fate::Refused(error);
        };
        if session.nonce != id.nonce {
            return Fate::Refused(SessionError::NeverOpened);
        }
        session.used = index;
        session.drop_below(floor);
        if seq < session.floor {
            return Fate::Refused(SessionError::Forgotten { floor: session.floor });
        }
        match session.find(seq) {
            None => Fate::New,
            Some(told) if told.what == (command.method, command.payload.clone()) => {
                Fate::Told(told.id, told.outcome.clone())
            }
            Some(_) => Fate::Refused(SessionError::Reused),
        }
    }

    /// What a new command decided.
    pub fn decided(&mut self, command: &Command, id: LogId, outcome: &Outcome) {
        let Some(SessionUse::Call(call)) = command.session else { return };
        let Some(session) = self.table.get_mut(&call.id.number) else { return };
        let what = (command.method, command.payload.clone());
        session.fresh.push((call.seq, Told { what, id, outcome: outcome.clone() }));
    }

    /// An entry ends: what it told is kept, and what is too much goes.
    pub fn end(&mut self) {
        let limits = self.limits;
        for session in self.table.values_mut() {
            for (seq, told) in std::mem::take(&mut session.fresh) {
                if seq >= session.floor {
                    session.told.insert(seq, told);
                }
                while session.told.len() > limits.replies_max
                    || session.size() > limits.session_bytes_max
                {
                    let (lowest, _) = session.told.pop_first().expect("it is not empty");
                    session.floor = lowest + 1;
                }
            }
        }
        while self.table.len() > limits.sessions_max
            || self.table.values().map(Session::size).sum::<usize>() > limits.table_bytes_max
        {
            let least = self.table.iter().min_by_key(|(number, session)| (session.used, **number));
            let least = *least.expect("it is not empty").0;
            self.table.remove(&least);
        }
    }
}
