//! What sessions have been told: part of a machine's state, asked and written at apply.
//!
//! A command that has a session is admitted in the order of the log, before its entry runs:
//!
//! - A session that was opened and is not in the table has expired. It may have executed anything,
//!   so it executes nothing any more.
//! - A number whose reply is kept is a duplicate, and gets that reply. So does one that stands
//!   twice in the entry itself.
//! - A number below the floor is refused: its reply was kept once, perhaps.
//! - Every other number is new. All that a session has executed at its floor or above is kept.
//!
//! The last is why the floor rises with each reply that is let go, be it that the client has it, be
//! it that the session keeps too many. Sessions expire by what the log says of their use, never by
//! a clock: after an entry, the least recently used ones leave until the rest is within bounds.
//!
//! The table is in memory, but for the replies. What changes of it is written in the same commit
//! as the writes of the entry:
//!
//! | key | record, little-endian |
//! |---|---|
//! | `0` | how many sessions were opened, u64 |
//! | `1`, the session's number | its nonce, the index of its last use and its floor, u64 each |
//! | `2`, the session's number, `seq` | a `Told` |
//!
//! Numbers within keys are u64, big-endian.

mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use self::record::{Key, Told, fingerprint};
use super::{SessionCall, SessionError, SessionId, SessionUse};
use crate::batch::Command;
use crate::canary::{self, Canary};
use crate::id::LogId;
use crate::limits;
use crate::outcome::{Fatal, Outcome, Rejection};
use crate::state::{Range, Space, StateView, Writes};

/// What bounds the table. The same on all replicas, as it decides what expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Sessions.
    pub sessions_max: usize,
    /// Replies that one session keeps.
    pub replies_max: usize,
    /// Their bytes.
    pub session_bytes_max: usize,
    /// The bytes of all replies of all sessions.
    pub table_bytes_max: usize,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            sessions_max: limits::SESSIONS_MAX,
            replies_max: limits::SESSION_REPLIES_MAX,
            session_bytes_max: limits::SESSION_BYTES_MAX,
            table_bytes_max: limits::SESSIONS_BYTES_MAX,
        }
    }
}

/// All sessions of a machine.
pub(crate) struct Table {
    limits: SessionLimits,
    /// How many were ever opened: the number of the last.
    opened: u64,
    sessions: BTreeMap<u64, Session>,
    /// The index of its last use, and its number, for each session.
    by_use: BTreeSet<(u64, u64)>,
    /// Of all replies that are kept, with their keys.
    bytes: usize,
}

struct Session {
    nonce: u64,
    /// The index of the last entry that had a call of it.
    used: u64,
    /// No reply below is kept.
    floor: u64,
    /// The size of each reply that is kept, with its key, by `seq`.
    kept: BTreeMap<u64, usize>,
    bytes: usize,
}

/// What becomes of a command.
pub(crate) enum Fate {
    /// It is executed; a call of a session is kept.
    Run(Option<Numbered>),
    /// It is decided, at that place of the log.
    Decided(LogId, Outcome),
    /// It is the same as that one, earlier in the entry.
    SameAs(usize),
}

/// What the commands of an entry were told.
#[derive(Default)]
pub(crate) struct Decisions {
    /// Where and how each was decided, in their order.
    pub(crate) decided: Vec<(LogId, Outcome)>,
    /// Those that are the same as an earlier one of the entry, which has the same outcome.
    pub(crate) same: BTreeMap<usize, usize>,
}

/// A call of a session that is new.
pub(crate) struct Numbered {
    number: u64,
    seq: u64,
    fingerprint: u64,
}

/// A call that the entry has met.
enum Met {
    /// It is executed, at this place of the entry.
    New { position: usize, fingerprint: u64 },
    /// Its reply was kept.
    Kept(Told),
}

/// The sessions of one entry.
pub(crate) struct Entry<'a> {
    table: &'a mut Table,
    view: Arc<dyn StateView>,
    id: LogId,
    met: BTreeMap<(u64, u64), Met>,
    /// Sessions whose record changes.
    touched: BTreeSet<u64>,
    opened_before: u64,
    writes: Writes,
}

impl Table {
    /// The table as a state has it.
    pub(crate) fn load(view: &dyn StateView, limits: SessionLimits) -> Result<Self, Fatal> {
        let mut table = Self {
            limits,
            opened: 0,
            sessions: BTreeMap::new(),
            by_use: BTreeSet::new(),
            bytes: 0,
        };
        let mut sound = true;
        view.scan(Space::Sessions, Range::ALL, &mut |key, record| {
            sound = table.load_record(key, record).is_some();
            if sound { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if !sound {
            return Err(damaged());
        }
        Ok(table)
    }

    /// In the order of the keys, so each reply comes after its session.
    fn load_record(&mut self, key: &[u8], record: &[u8]) -> Option<()> {
        match Key::decode(key)? {
            Key::Opened => self.opened = record::decode_opened(record)?,
            Key::Session(number) => {
                let session = record::decode_session(record)?;
                self.by_use.insert((session.used, number));
                self.sessions.insert(number, session);
            }
            Key::Reply(number, seq) => {
                let session = self.sessions.get_mut(&number)?;
                session.kept.insert(seq, key.len() + record.len());
                session.bytes += key.len() + record.len();
                self.bytes += key.len() + record.len();
            }
        }
        Some(())
    }

    /// What bounds it.
    pub(crate) fn limits(&self) -> SessionLimits {
        self.limits
    }

    /// Begins an entry: `view` is the state before it.
    pub(crate) fn begin(&mut self, view: Arc<dyn StateView>, id: LogId) -> Entry<'_> {
        let opened_before = self.opened;
        Entry {
            table: self,
            view,
            id,
            met: BTreeMap::new(),
            touched: BTreeSet::new(),
            opened_before,
            writes: Writes::new(),
        }
    }
}

impl Entry<'_> {
    /// What becomes of the next command of the entry, the one at `position`.
    pub(crate) fn admit(&mut self, position: usize, command: &Command) -> Result<Fate, Fatal> {
        match command.session {
            None => Ok(Fate::Run(None)),
            Some(SessionUse::Open { nonce }) => {
                let id = self.open(nonce);
                Ok(Fate::Decided(self.id, Ok(Bytes::from(id.to_string()))))
            }
            Some(SessionUse::Call(call)) => {
                let admitted = self.call(position, call, fingerprint(command))?;
                let refused = |error| Fate::Decided(self.id, Err(Rejection::Session(error)));
                Ok(admitted.unwrap_or_else(refused))
            }
        }
    }

    fn open(&mut self, nonce: u64) -> SessionId {
        let table = &mut *self.table;
        table.opened += 1;
        let (number, used) = (table.opened, self.id.index);
        let session = Session { nonce, used, floor: 1, kept: BTreeMap::new(), bytes: 0 };
        table.sessions.insert(number, session);
        table.by_use.insert((used, number));
        self.touched.insert(number);
        SessionId { number, nonce }
    }

    fn call(
        &mut self,
        position: usize,
        call: SessionCall,
        fingerprint: u64,
    ) -> Result<Result<Fate, SessionError>, Fatal> {
        let (number, seq) = (call.id.number, call.seq);
        let Some(session) = self.table.sessions.get(&number) else {
            if number == 0 || number > self.table.opened {
                return Ok(Err(SessionError::NeverOpened));
            }
            if canary::is_planted(Canary::ExpiredExecuted) {
                return Ok(Ok(Fate::Run(None)));
            }
            return Ok(Err(SessionError::Expired));
        };
        if session.nonce != call.id.nonce {
            return Ok(Err(SessionError::NeverOpened));
        }
        self.touch(number);
        let floor = self.raise_floor(number, call.floor);
        // The last number of all has none above it that its session could forget it by.
        if seq < floor || seq == u64::MAX {
            if canary::is_planted(Canary::FloorIgnored) {
                return Ok(Ok(Fate::Run(None)));
            }
            return Ok(Err(SessionError::Forgotten { floor }));
        }
        self.load_kept(number, seq)?;
        let same = |known: u64| {
            let is_same = known == fingerprint;
            move |fate| if is_same { Ok(fate) } else { Err(SessionError::Reused) }
        };
        Ok(match self.met.get(&(number, seq)) {
            Some(Met::Kept(told)) => {
                same(told.fingerprint)(Fate::Decided(told.id, told.outcome.clone()))
            }
            Some(Met::New { position, fingerprint })
                if !canary::is_planted(Canary::DuplicateInEntryExecuted) =>
            {
                same(*fingerprint)(Fate::SameAs(*position))
            }
            Some(Met::New { .. }) | None => {
                self.met.insert((number, seq), Met::New { position, fingerprint });
                Ok(Fate::Run(Some(Numbered { number, seq, fingerprint })))
            }
        })
    }

    /// Has the reply of a call at hand, if it is kept. Once for each entry: many duplicates of a
    /// large reply share its memory.
    fn load_kept(&mut self, number: u64, seq: u64) -> Result<(), Fatal> {
        let session = self.table.sessions.get(&number).expect("it was found");
        if self.met.contains_key(&(number, seq)) || !session.kept.contains_key(&seq) {
            return Ok(());
        }
        let last = session.kept.last_key_value().map_or(seq, |(last, _)| *last);
        let stored = if canary::is_planted(Canary::ReplyOfAnother) { last } else { seq };
        let record = self.view.get(Space::Sessions, &Key::Reply(number, stored).encode())?;
        let mut told = record.and_then(record::decode_told).ok_or_else(damaged)?;
        if canary::is_planted(Canary::ReplyOfAnother) {
            let own = self.view.get(Space::Sessions, &Key::Reply(number, seq).encode())?;
            told.fingerprint = own.and_then(record::decode_told).map_or(0, |own| own.fingerprint);
        }
        self.met.insert((number, seq), Met::Kept(told));
        Ok(())
    }

    /// The session is used by this entry.
    fn touch(&mut self, number: u64) {
        let session = self.table.sessions.get_mut(&number).expect("it was found");
        self.table.by_use.remove(&(session.used, number));
        session.used = self.id.index;
        self.table.by_use.insert((session.used, number));
        self.touched.insert(number);
    }

    /// Lets go of what is below `floor`; returns the floor from here on.
    fn raise_floor(&mut self, number: u64, floor: u64) -> u64 {
        loop {
            let session = self.table.sessions.get_mut(&number).expect("it was found");
            match session.kept.first_key_value() {
                Some((&seq, _)) if seq < floor => self.let_go(number, seq),
                Some(_) | None => {
                    session.floor = session.floor.max(floor);
                    return session.floor;
                }
            }
        }
    }

    /// Forgets a reply, and refuses its number from here on.
    fn let_go(&mut self, number: u64, seq: u64) {
        let session = self.table.sessions.get_mut(&number).expect("it was found");
        let bytes = session.kept.remove(&seq).expect("it was kept");
        session.bytes -= bytes;
        self.table.bytes -= bytes;
        session.floor = session.floor.max(seq + 1);
        self.writes.insert(Key::Reply(number, seq).encode(), None);
    }

    /// Ends the entry, given what the commands that ran decided. Returns where and how each of its
    /// commands was decided, and what changes of the table.
    pub(crate) fn finish(mut self, fates: Vec<Fate>, ran: Vec<Outcome>) -> (Decisions, Writes) {
        let mut ran = ran.into_iter();
        let mut same = BTreeMap::new();
        let mut decided: Vec<(LogId, Outcome)> = Vec::with_capacity(fates.len());
        for (position, fate) in fates.into_iter().enumerate() {
            decided.push(match fate {
                Fate::Run(numbered) => {
                    let outcome = ran.next().expect("what runs has an outcome");
                    if let Some(numbered) = numbered {
                        self.keep(&numbered, &outcome);
                    }
                    (self.id, outcome)
                }
                Fate::Decided(id, outcome) => (id, outcome),
                Fate::SameAs(earlier) => {
                    same.insert(position, earlier);
                    decided.get(earlier).expect("it is earlier in the entry").clone()
                }
            });
        }
        assert!(ran.next().is_none(), "an outcome without a command");
        self.expire();
        (Decisions { decided, same }, self.into_writes())
    }

    fn keep(&mut self, call: &Numbered, outcome: &Outcome) {
        let Numbered { number, seq, fingerprint } = *call;
        if outcome.is_err() && canary::is_planted(Canary::RejectionForgotten) {
            return;
        }
        let limits = self.table.limits;
        let session = self.table.sessions.get_mut(&number).expect("it expires after the entry");
        // A later command of the entry may have raised it.
        if seq < session.floor {
            return;
        }
        let key = Key::Reply(number, seq).encode();
        let record = record::encode_told(fingerprint, self.id, outcome);
        let bytes = key.len() + record.len();
        session.kept.insert(seq, bytes);
        session.bytes += bytes;
        self.table.bytes += bytes;
        self.writes.insert(key, Some(record));
        loop {
            let session = self.table.sessions.get(&number).expect("it was found");
            let is_over =
                session.kept.len() > limits.replies_max || session.bytes > limits.session_bytes_max;
            match session.kept.first_key_value() {
                Some((&lowest, _)) if is_over => self.let_go(number, lowest),
                Some(_) | None => return,
            }
        }
    }

    /// The least recently used sessions leave until the rest is within its bounds.
    fn expire(&mut self) {
        let table = &mut *self.table;
        while table.sessions.len() > table.limits.sessions_max
            || table.bytes > table.limits.table_bytes_max
        {
            let first = table.by_use.first().map(|(_, number)| *number);
            let least = match table.sessions.keys().next() {
                Some(oldest) if canary::is_planted(Canary::OldestExpires) => *oldest,
                Some(_) | None => first.expect("what is over its bounds is not empty"),
            };
            let session = table.sessions.remove(&least).expect("it is in both");
            table.by_use.remove(&(session.used, least));
            table.bytes -= session.bytes;
            self.touched.remove(&least);
            self.writes.insert(Key::Session(least).encode(), None);
            for seq in session.kept.keys() {
                self.writes.insert(Key::Reply(least, *seq).encode(), None);
            }
        }
    }

    fn into_writes(mut self) -> Writes {
        if canary::is_planted(Canary::SessionsUnwritten) {
            return Writes::new();
        }
        for number in self.touched {
            let session = self.table.sessions.get(&number).expect("it was touched");
            let record = record::encode_session(session);
            self.writes.insert(Key::Session(number).encode(), Some(record));
        }
        if self.table.opened > self.opened_before {
            let record = record::encode_opened(self.table.opened);
            self.writes.insert(Key::Opened.encode(), Some(record));
        }
        assert_eq!(self.table.sessions.len(), self.table.by_use.len(), "a session without its use");
        self.writes
    }
}

fn damaged() -> Fatal {
    Fatal::damage("the table of sessions is damaged: a record does not fit the others")
}

#[cfg(test)]
mod tests;
