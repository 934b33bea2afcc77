//! Decides whether one order of all calls explains what each of them saw: the order of the log,
//! which replies carry with them. Strict serializability then needs no search.
//!
//! Each value is written by one call at most, so that whoever reads it tells which call it was.
//! So a call is found out whose own answer was lost, and whether it was executed once at most.
//! Such a call that nobody saw the value of has had no effect that anybody saw, and is left out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A call and what became of it.
#[derive(Clone, Debug)]
pub(super) struct Op {
    /// When it began, on the clock of all clients.
    pub(super) begun: u64,
    /// When its outcome, known or not, was there.
    pub(super) ended: u64,
    pub(super) key: &'static str,
    pub(super) call: Call,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Debug)]
pub(super) enum Call {
    Get,
    /// Writes this value.
    Put(String),
    /// Writes this value if the key was last put at this revision; 0: if it is not there.
    Cas(u64, String),
}

#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Answered(Answer),
    /// It was surely not executed, and never will be.
    Refused,
    /// It may have been executed, or may be later.
    Unknown,
}

#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Its place in the log; for a Get, of the state that it saw.
    pub(super) index: u64,
    pub(super) term: u64,
    /// The store's revision after it.
    pub(super) revision: u64,
    pub(super) wrote: bool,
    /// What the key held: before, if it wrote.
    pub(super) found: Option<Found>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) value: String,
    pub(super) mod_revision: u64,
}

/// What a history that is right consists of.
#[derive(Debug)]
#[expect(dead_code, reason = "read by whoever reads the test's output")]
pub(super) struct Summary {
    pub(super) gets: usize,
    pub(super) puts: usize,
    pub(super) cas_done: usize,
    pub(super) cas_not_done: usize,
    pub(super) refused: usize,
    pub(super) unknown: usize,
    /// Of the unknown ones, those that were executed, as others saw.
    pub(super) unknown_done: usize,
    pub(super) terms: usize,
}

/// What is wrong with a history.
#[derive(Debug)]
pub(super) struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn wrong<T>(rule: &str, op: &Op, other: impl fmt::Debug) -> Result<T, Wrong> {
    Err(Wrong(format!("{rule}:\n  {op:?}\n  {other:?}")))
}

/// Checks a history, in which the calls may stand in any order.
pub(super) fn check(history: &[Op]) -> Result<Summary, Wrong> {
    let writes = Writes::of(history)?;
    for (op, answer) in answered(history) {
        writes.explain(op, answer)?;
    }
    log_order(history)?;
    real_time(history, &writes)?;
    Ok(summary(history, &writes))
}

fn answered(history: &[Op]) -> impl Iterator<Item = (&Op, &Answer)> {
    history.iter().filter_map(|op| match &op.outcome {
        Outcome::Answered(answer) => Some((op, answer)),
        Outcome::Refused | Outcome::Unknown => None,
    })
}

/// The writes that were executed, as far as anybody saw.
struct Writes<'h> {
    by_revision: BTreeMap<u64, &'h Op>,
    /// What each key held, since when.
    by_key: BTreeMap<&'h str, BTreeMap<u64, &'h str>>,
}

impl<'h> Writes<'h> {
    fn of(history: &'h [Op]) -> Result<Self, Wrong> {
        let mut writes = Self { by_revision: BTreeMap::new(), by_key: BTreeMap::new() };
        let mut by_value = BTreeMap::new();
        for op in history {
            if let Some(value) = op.value() {
                assert!(by_value.insert(value, op).is_none(), "{value} is written twice");
            }
        }
        for (op, answer) in answered(history) {
            if answer.wrote {
                writes.insert(answer.revision, op)?;
            }
        }
        for (op, answer) in answered(history) {
            let Some(found) = &answer.found else { continue };
            let Some(other) = by_value.get(found.value.as_str()) else {
                return wrong("it read what nobody wrote", op, ());
            };
            match &other.outcome {
                _ if other.key != op.key => return wrong("it read another key", op, other),
                _ if other.begun > op.ended => return wrong("it read the future", op, other),
                Outcome::Refused => return wrong("a refused call was executed", op, other),
                Outcome::Answered(Answer { wrote: true, revision, .. })
                    if *revision == found.mod_revision => {}
                Outcome::Answered(_) => return wrong("it read what was not written", op, other),
                Outcome::Unknown => writes.insert(found.mod_revision, other)?,
            }
        }
        // Seen by their values: the same one at two revisions was executed twice.
        let mut seen = BTreeSet::new();
        for op in writes.by_revision.values() {
            if !seen.insert(op.value()) {
                return wrong("it was executed twice", op, ());
            }
        }
        Ok(writes)
    }

    fn insert(&mut self, revision: u64, op: &'h Op) -> Result<(), Wrong> {
        match self.by_revision.entry(revision) {
            Entry::Occupied(other) if !std::ptr::eq(*other.get(), op) => {
                return wrong("two calls have one revision", op, other.get());
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(entry) => drop(entry.insert(op)),
        }
        let value = op.value().expect("it wrote");
        self.by_key.entry(op.key).or_default().insert(revision, value);
        Ok(())
    }

    /// Whether the state at its place gives the reply that was seen.
    fn explain(&self, op: &Op, answer: &Answer) -> Result<(), Wrong> {
        let seen = if answer.wrote { answer.revision - 1 } else { answer.revision };
        let mut history = self.by_key.get(op.key).into_iter().flat_map(|key| key.range(..=seen));
        let expected = history.next_back().map(|(mod_revision, value)| Found {
            value: (*value).to_owned(),
            mod_revision: *mod_revision,
        });
        if answer.found != expected {
            return wrong("it did not see the latest value", op, expected);
        }
        let mod_revision = expected.as_ref().map_or(0, |found| found.mod_revision);
        let writes = match op.call {
            Call::Get => false,
            Call::Put(_) => true,
            Call::Cas(wanted, _) => wanted == mod_revision,
        };
        if answer.wrote != writes {
            return wrong("it decided otherwise than the state was", op, expected);
        }
        Ok(())
    }
}

impl Op {
    /// What it would write.
    fn value(&self) -> Option<&str> {
        match &self.call {
            Call::Get => None,
            Call::Put(value) | Call::Cas(_, value) => Some(value),
        }
    }
}

/// In the order of the log, the store's revision grows with each write and never falls. Commands of
/// one entry are ordered by it; a read at an index has seen all of that entry.
fn log_order(history: &[Op]) -> Result<(), Wrong> {
    let mut in_order: Vec<_> = answered(history).collect();
    in_order.sort_by_key(|(op, answer)| {
        let is_get = matches!(op.call, Call::Get);
        (answer.index, is_get, answer.revision, !answer.wrote)
    });
    for pair in in_order.windows(2) {
        let [(before, first), (op, answer)] = pair else { unreachable!("two") };
        let grows = answer.revision > first.revision;
        if !(grows || answer.revision == first.revision && !answer.wrote) {
            return wrong("its revision contradicts its index", op, before);
        }
        if answer.term < first.term {
            return wrong("its term contradicts its index", op, before);
        }
    }
    Ok(())
}

/// A call that began after another had ended comes after it in the log.
fn real_time(history: &[Op], writes: &Writes<'_>) -> Result<(), Wrong> {
    let mut by_end: Vec<_> = answered(history).collect();
    by_end.sort_by_key(|(op, _)| op.ended);
    let mut ended = by_end.into_iter().peekable();

    let unknown = writes.by_revision.iter();
    let unknown = unknown.filter(|(_, op)| matches!(op.outcome, Outcome::Unknown));
    let mut by_begin: Vec<_> = answered(history)
        .map(|(op, answer)| (op, answer.revision, answer.wrote, Some(answer.index)))
        .chain(unknown.map(|(revision, op)| (*op, *revision, true, None)))
        .collect();
    by_begin.sort_by_key(|(op, ..)| op.begun);

    // The highest of all that had ended.
    let mut latest: Option<&Op> = None;
    let (mut revision_before, mut index_before) = (0, 0);
    for (op, revision, wrote, index) in by_begin {
        while let Some((before, answer)) = ended.next_if(|(before, _)| before.ended < op.begun) {
            if answer.revision >= revision_before && answer.index >= index_before {
                latest = Some(before);
            }
            revision_before = revision_before.max(answer.revision);
            index_before = index_before.max(answer.index);
        }
        if revision < revision_before || wrote && revision == revision_before {
            return wrong("it began later and comes earlier", op, latest);
        }
        let is_get = matches!(op.call, Call::Get);
        if index.is_some_and(|index| index < index_before || !is_get && index == index_before) {
            return wrong("it began later and has an earlier index", op, latest);
        }
    }
    Ok(())
}

fn summary(history: &[Op], writes: &Writes<'_>) -> Summary {
    let count = |what: fn(&Op) -> bool| history.iter().filter(|op| what(op)).count();
    let of = |what: fn(&Call, bool) -> bool| {
        answered(history).filter(|(op, answer)| what(&op.call, answer.wrote)).count()
    };
    let is_unknown = |op: &Op| matches!(op.outcome, Outcome::Unknown);
    Summary {
        gets: of(|call, _| matches!(call, Call::Get)),
        puts: of(|call, _| matches!(call, Call::Put(_))),
        cas_done: of(|call, wrote| matches!(call, Call::Cas(..)) && wrote),
        cas_not_done: of(|call, wrote| matches!(call, Call::Cas(..)) && !wrote),
        refused: count(|op| matches!(op.outcome, Outcome::Refused)),
        unknown: count(is_unknown),
        unknown_done: writes.by_revision.values().filter(|op| is_unknown(op)).count(),
        terms: answered(history).map(|(_, answer)| answer.term).collect::<BTreeSet<_>>().len(),
    }
}
