//! Decides whether what clients saw is explained by one order of their calls.
//!
//! A history is what all clients saw of some keys: each call, when it began and ended, and what
//! became of it. Two checkers judge it, and share nothing but these types: what one of them
//! overlooks by a mistake of its own, the other finds.
//!
//! 1. [`by_index`]: the order is that of the log, as answers tell it. No search, and all keys at
//!    once; but a log that lies about itself could deceive it.
//! 2. [`by_search`]: looks for any order that explains each key, and believes nothing but values
//!    and clocks.
//!
//! In both, a call comes before another if it ended before the other began: at the same instant,
//! they are at once. Each value is written by one call at most, so that whoever reads it tells
//! which call it was.
//!
//! What this deliberately does not do: deletes, ranges and calls on several keys.

pub mod by_index;
pub mod by_search;

use std::collections::BTreeSet;
use std::fmt;

/// A call and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// When it began, on the clock of all clients.
    pub begun: u64,
    /// When its outcome, known or not, was there.
    pub ended: u64,
    /// What it was about.
    pub key: u32,
    /// What was asked.
    pub call: Call,
    /// What became of it.
    pub outcome: Outcome,
}

/// What is asked of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Reads.
    Get,
    /// Writes this value.
    Put(u64),
    /// Writes this value, the second, if the key was last put at this revision; 0: if it is not
    /// there.
    Cas(u64, u64),
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was executed, and this is what it saw.
    Answered(Answer),
    /// It was surely not executed, and never will be.
    Refused,
    /// It may have been executed, or may be later.
    Unknown,
}

/// What a call saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its place in the log; for a Get, of the state that it saw.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// The store's revision after it.
    pub revision: u64,
    /// Whether it wrote its value.
    pub wrote: bool,
    /// What the key held: before, if it wrote.
    pub found: Option<Found>,
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The value.
    pub value: u64,
    /// The store's revision at which it was put.
    pub mod_revision: u64,
}

/// What is wrong with a history: a rule, and the calls that break it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

impl Op {
    /// What it would write.
    fn value(&self) -> Option<u64> {
        match self.call {
            Call::Get => None,
            Call::Put(value) | Call::Cas(_, value) => Some(value),
        }
    }
}

fn wrong<T>(rule: &str, op: &Op, other: impl fmt::Debug) -> Result<T, Wrong> {
    Err(Wrong(format!("{rule}:\n  {op:?}\n  {other:?}")))
}

fn answered(history: &[Op]) -> impl Iterator<Item = (&Op, &Answer)> {
    history.iter().filter_map(|op| match &op.outcome {
        Outcome::Answered(answer) => Some((op, answer)),
        Outcome::Refused | Outcome::Unknown => None,
    })
}

/// Whoever wrote the history down made a mistake if this fails, not whoever answered the calls.
fn assert_recorded_well(history: &[Op]) {
    let mut values = BTreeSet::new();
    for op in history {
        assert!(op.begun <= op.ended, "it ended before it began: {op:?}");
        let is_new = op.value().is_none_or(|value| values.insert(value));
        assert!(is_new, "its value is written twice: {op:?}");
    }
}
