//! One run of a program: the calls of one log entry, or queries, and the state as they see it.
//!
//! A run owns all that it needs, so that a program can move it into its sandbox and out again.
//! Writes go to an overlay; each call has its own savepoint, so a call that is refused or traps
//! leaves nothing behind, and the rest of the entry goes on.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::vec;

use bytes::Bytes;
use quorate_abi::Frame;

use crate::batch::Command;
use crate::canary::{self, Canary};
use crate::id::{GroupId, LogId};
use crate::limits;
use crate::outcome::{Fatal, Outcome, Rejection};
use crate::state::{Key, Range, Space, StateView, Value, Visit, Writes, layer};

/// One call as a program gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The entry's index; for a query, the index of the state it reads.
    pub index: u64,
    /// The machine's time.
    pub time_ms: u64,
    /// The same on every replica, different for every command.
    pub seed: u64,
    /// Place within the entry.
    pub position: u32,
    /// The method called.
    pub method: u32,
    /// The encoded request.
    pub payload: Bytes,
}

impl Call {
    /// The call as a plugin is given it.
    pub fn frame(&self) -> Frame<'_> {
        let Self { index, time_ms, seed, position, method, ref payload } = *self;
        Frame { index, time_ms, seed, position, method, payload }
    }
}

/// Why an operation on the state did not go through.
#[derive(Debug)]
pub enum Stop {
    /// The call ends with this outcome.
    Reject(Rejection),
    /// This node stops.
    Fatal(Fatal),
}

impl From<Rejection> for Stop {
    fn from(rejection: Rejection) -> Self {
        Self::Reject(rejection)
    }
}

impl From<Fatal> for Stop {
    fn from(fatal: Fatal) -> Self {
        Self::Fatal(fatal)
    }
}

/// What a run is about: the place in the log and the clock.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Whose log.
    pub group: GroupId,
    /// Where in it.
    pub id: LogId,
    /// The machine's time there.
    pub time_ms: u64,
}

/// What the overlay held of a key before a write.
enum Before {
    Nothing,
    Written(Option<Value>),
}

/// Queries that share a run, as they come: each is taken when the one before it is answered, so
/// that none waits for one behind it.
pub trait QuerySource: Send + Sync {
    /// The next query that the run's state will do for; none when the run is to end.
    fn next(&mut self) -> Option<Command>;
    /// What the query that was taken last has found.
    fn answer(&mut self, outcome: Outcome);
}

/// Where a run's calls come from, and where their outcomes go.
enum Calls {
    /// The commands of an entry, each with its place within it: some of an entry's commands are
    /// not to be run.
    Listed(vec::IntoIter<(usize, Command)>, Vec<Outcome>),
    Queries(Box<dyn QuerySource>),
}

/// The calls of one entry, the state they see, and what they decided.
pub struct Run {
    view: Arc<dyn StateView>,
    place: Place,
    calls: Calls,
    writable: bool,
    running: bool,
    overlay: Writes,
    /// What the overlay held before the running call's writes, newest last.
    undo: Vec<(Key, Before)>,
    call_write_bytes: usize,
    /// What the calls before have written and replied: many small ones add up.
    entry_write_bytes: usize,
    entry_reply_bytes: usize,
}

impl Run {
    /// Commands of one entry, each with its place within it.
    pub fn commands(
        view: Arc<dyn StateView>,
        place: Place,
        commands: Vec<(usize, Command)>,
    ) -> Self {
        let outcomes = Vec::with_capacity(commands.len());
        Self {
            view,
            place,
            calls: Calls::Listed(commands.into_iter(), outcomes),
            writable: true,
            running: false,
            overlay: Writes::new(),
            undo: Vec::new(),
            call_write_bytes: 0,
            entry_write_bytes: 0,
            entry_reply_bytes: 0,
        }
    }

    /// One query of a snapshot. What it tries to write is refused.
    pub fn query(view: Arc<dyn StateView>, group: GroupId, query: Command) -> Self {
        let meta = view.meta();
        let place = Place { group, id: meta.applied, time_ms: meta.time_ms };
        let mut run = Self::commands(view, place, vec![(0, query)]);
        run.writable = false;
        run
    }

    /// Queries of a snapshot, as long as there are some.
    pub fn queries(view: Arc<dyn StateView>, group: GroupId, source: Box<dyn QuerySource>) -> Self {
        let meta = view.meta();
        let place = Place { group, id: meta.applied, time_ms: meta.time_ms };
        let mut run = Self::commands(view, place, Vec::new());
        run.calls = Calls::Queries(source);
        run.writable = false;
        run
    }

    /// Whether calls may write.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Begins the next call; `None` when there are no more. The previous one must be finished.
    pub fn next_call(&mut self) -> Option<Call> {
        assert!(!self.running, "a call begins before the previous one is finished");
        let (position, command) = match &mut self.calls {
            Calls::Listed(commands, _) => commands.next()?,
            Calls::Queries(source) => (0, source.next()?),
        };
        self.running = true;
        let position = u32::try_from(position).expect("a batch's count is limited");
        Some(Call {
            index: self.place.id.index,
            time_ms: self.place.time_ms,
            seed: seed(self.place.group, self.place.id, position),
            position,
            method: command.method,
            payload: command.payload,
        })
    }

    /// Whether a call was begun and not finished.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Ends the running call: its writes stay when it succeeded, else they are undone.
    pub fn finish(&mut self, outcome: Outcome) {
        assert!(self.running, "a call ends that did not begin");
        let outcome = outcome.and_then(|reply| {
            Rejection::check("a reply", reply.len(), limits::REPLY_BYTES_MAX)?;
            let replies = self.entry_reply_bytes + reply.len();
            Rejection::check("what a batch replies", replies, limits::ENTRY_REPLY_BYTES_MAX)?;
            Ok(reply)
        });
        match &outcome {
            // Queries are no batch: what one replies takes nothing from the next.
            Ok(_) if !self.writable => {}
            Ok(reply) => {
                self.entry_reply_bytes += reply.len();
                self.entry_write_bytes += self.call_write_bytes;
            }
            Err(_) if canary::is_planted(Canary::RollBackSkipped) => {}
            Err(_) => self.roll_back(),
        }
        self.undo.clear();
        self.call_write_bytes = 0;
        self.running = false;
        match &mut self.calls {
            Calls::Listed(_, outcomes) => outcomes.push(outcome),
            Calls::Queries(source) => source.answer(outcome),
        }
    }

    fn roll_back(&mut self) {
        if canary::is_planted(Canary::RollBackInOrder) {
            self.undo.reverse();
        }
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Before::Written(value) => self.overlay.insert(key, value),
                Before::Nothing => self.overlay.remove(&key),
            };
        }
    }

    /// The value of a key as the running call sees it.
    pub fn get(&self, key: &[u8]) -> Result<Option<Value>, Fatal> {
        match self.overlay.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.view.get(Space::Plugin, key),
        }
    }

    /// Sets a key.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Rejection> {
        Rejection::check("a value", value.len(), limits::VALUE_BYTES_MAX)?;
        self.write(Key::from_slice(key), Some(Value::from(value)))
    }

    /// Removes a key; true when it was there.
    pub fn delete(&mut self, key: &[u8]) -> Result<bool, Stop> {
        let existed = self.get(key)?.is_some();
        self.write(Key::from_slice(key), None)?;
        Ok(existed)
    }

    /// Removes the keys of a range; returns how many there were.
    pub fn delete_range(&mut self, lo: &[u8], hi: Option<&[u8]>) -> Result<u64, Stop> {
        self.check_writable()?;
        let mut keys = Vec::new();
        let mut bytes = 0;
        self.scan(Range { lo, hi, reverse: false }, &mut |key, _| {
            bytes += key.len();
            keys.push(Key::from_slice(key));
            // What is over the limit is refused below; there is no need to collect all of it.
            if bytes > limits::COMMAND_WRITE_BYTES_MAX {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        let count = keys.len() as u64;
        for key in keys {
            self.write(key, None)?;
        }
        Ok(count)
    }

    fn check_writable(&self) -> Result<(), Rejection> {
        if self.writable {
            return Ok(());
        }
        Err(Rejection::trap("a query tried to change the state"))
    }

    fn write(&mut self, key: Key, value: Option<Value>) -> Result<(), Rejection> {
        self.check_writable()?;
        Rejection::check("a key", key.len(), limits::KEY_BYTES_MAX)?;
        self.call_write_bytes += key.len() + value.as_ref().map_or(0, |value| value.len());
        Rejection::check(
            "what a command writes",
            self.call_write_bytes,
            limits::COMMAND_WRITE_BYTES_MAX,
        )?;
        Rejection::check(
            "what a batch writes",
            self.entry_write_bytes + self.call_write_bytes,
            limits::ENTRY_WRITE_BYTES_MAX,
        )?;
        let before = self.overlay.insert(key.clone(), value);
        let before = before.map_or(Before::Nothing, Before::Written);
        self.undo.push((key, before));
        Ok(())
    }

    /// Shows the pairs of a range as the running call sees them: the state's, under the overlay.
    /// Returns how many keys it passed over since the entry's calls have deleted them: work that
    /// a caller must account for.
    pub fn scan(&self, range: Range<'_>, visit: &mut Visit<'_>) -> Result<u64, Fatal> {
        if range.is_empty() {
            return Ok(0);
        }
        let overlay = self.overlay.range::<[u8], _>(layer::bounds(range));
        let view = |visit: &mut Visit<'_>| self.view.scan(Space::Plugin, range, visit);
        if range.reverse {
            layer::merge(view, overlay.rev(), range, visit)
        } else {
            layer::merge(view, overlay, range, visit)
        }
    }

    /// What the calls have written so far.
    pub fn writes(&self) -> &Writes {
        &self.overlay
    }

    /// Ends the run: what its calls decided, unless they were told already, and what they wrote.
    pub fn into_parts(self) -> (Vec<Outcome>, Writes) {
        assert!(!self.running, "a run ends within a call");
        let outcomes = match self.calls {
            Calls::Listed(_, outcomes) => outcomes,
            Calls::Queries(_) => Vec::new(),
        };
        (outcomes, self.overlay)
    }
}

/// A number for each command, from its place alone: `SplitMix64`'s output function (Steele, Lea,
/// Flood 2014) over the place's parts.
fn seed(group: GroupId, id: LogId, position: u32) -> u64 {
    let position = if canary::is_planted(Canary::SeedRepeated) { 0 } else { position };
    let mix = |seed: u64, part: u64| {
        let mut z = (seed ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    [group.0, id.term, id.index, u64::from(position)].into_iter().fold(0, mix)
}
