//! What calls found of each other: which calls without an answer were executed, when at the latest,
//! and which value each revision is the name of.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use crate::{Answer, Call, Found, Op, Outcome, Wrong, answered, wrong};

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum State {
    /// Nothing yet.
    Absent,
    /// This value.
    Value(u64),
    /// Something that no call that is left needs to find.
    Spent,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("nothing"),
            Self::Value(value) => write!(f, "{value}"),
            Self::Spent => f.write_str("what no other call has found"),
        }
    }
}

/// What a call must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Needs {
    /// It does not depend on what it finds, or nobody knows what it found.
    Anything,
    /// This.
    Exactly(State),
}

/// A call that was executed, and so has a place in the order.
#[derive(Clone, Debug)]
pub(super) struct Step<'h> {
    pub(super) op: &'h Op,
    /// It has its effect at this instant at the earliest.
    pub(super) begun: u64,
    /// It has its effect at this instant at the latest.
    pub(super) ended: u64,
    pub(super) needs: Needs,
    /// What the key holds after it, unless that is what it found.
    pub(super) writes: Option<u64>,
}

/// What answers say of values.
pub(super) struct Seen<'h> {
    writers: BTreeMap<u64, &'h Op>,
    /// When the first call ended that found a value.
    found: BTreeMap<u64, u64>,
    /// The value that was written at a revision.
    values: BTreeMap<u64, u64>,
    /// The same, from the value to the revision.
    revisions: BTreeMap<u64, u64>,
}

impl<'h> Seen<'h> {
    pub(super) fn of(history: &'h [Op]) -> Result<Self, Wrong> {
        let mut seen = Self {
            writers: history.iter().filter_map(|op| Some((op.value()?, op))).collect(),
            found: BTreeMap::new(),
            values: BTreeMap::new(),
            revisions: BTreeMap::new(),
        };
        for (op, answer) in answered(history) {
            if answer.wrote {
                let Some(value) = op.value() else { return wrong("a Get wrote", op, ()) };
                seen.name(op, value, answer.revision)?;
            }
            if let Some(found) = &answer.found {
                seen.find(op, found)?;
            }
        }
        Ok(seen)
    }

    /// A call found a value: then that was written.
    fn find(&mut self, op: &Op, found: &Found) -> Result<(), Wrong> {
        let Some(writer) = self.writers.get(&found.value) else {
            return wrong("it read what nobody wrote", op, ());
        };
        if writer.key != op.key {
            return wrong("it read another key", op, writer);
        }
        match &writer.outcome {
            Outcome::Refused => return wrong("a refused call was executed", op, writer),
            Outcome::Answered(Answer { wrote: false, .. }) => {
                return wrong("it read what was not written", op, writer);
            }
            Outcome::Answered(_) | Outcome::Unknown => {}
        }
        let first = self.found.entry(found.value).or_insert(op.ended);
        *first = op.ended.min(*first);
        self.name(op, found.value, found.mod_revision)
    }

    /// A value is written once: it has one revision, and no other has the same.
    fn name(&mut self, op: &Op, value: u64, revision: u64) -> Result<(), Wrong> {
        if revision == 0 {
            return wrong("a value has revision 0", op, value);
        }
        match self.values.entry(revision) {
            Entry::Occupied(other) if *other.get() != value => {
                return wrong("one revision has two values", op, other.get());
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(entry) => drop(entry.insert(value)),
        }
        match self.revisions.entry(value) {
            Entry::Occupied(other) if *other.get() != revision => {
                wrong("one value has two revisions", op, other.get())
            }
            Entry::Occupied(_) => Ok(()),
            Entry::Vacant(entry) => {
                entry.insert(revision);
                Ok(())
            }
        }
    }

    /// What the search has to place of a call, if anything.
    pub(super) fn step(&self, op: &'h Op) -> Result<Option<Step<'h>>, Wrong> {
        match &op.outcome {
            Outcome::Answered(answer) => self.answered(op, answer).map(Some),
            Outcome::Unknown => self.unknown(op),
            // That nobody has found its value was seen to.
            Outcome::Refused => Ok(None),
        }
    }

    fn answered(&self, op: &'h Op, answer: &Answer) -> Result<Step<'h>, Wrong> {
        let state = answer.found.as_ref().map_or(State::Absent, |found| State::Value(found.value));
        let writes = match op.call {
            Call::Get => false,
            Call::Put(_) => true,
            // What it found has a revision by its own answer. If nobody has seen the one that it
            // wanted, then that is another.
            Call::Cas(wanted, _) => self.wanted(wanted) == Needs::Exactly(state),
        };
        if answer.wrote != writes {
            return wrong("it decided otherwise than what it found", op, state);
        }
        Ok(Step {
            op,
            begun: op.begun,
            ended: op.ended,
            needs: Needs::Exactly(state),
            writes: op.value().filter(|_| writes),
        })
    }

    /// A write of unknown outcome whose value nobody found is left out. If there is an order with
    /// it, there is one without: what comes next in it did not find its value, so that it is a
    /// write that does not look at what it finds, and fits as well where this one is missing. And
    /// an order without it says that it was not executed, which may be.
    ///
    /// If somebody found its value, it was executed by the time that the first of them had ended.
    /// When its own client gave up says nothing.
    fn unknown(&self, op: &'h Op) -> Result<Option<Step<'h>>, Wrong> {
        let Some(value) = op.value() else { return Ok(None) };
        let Some(ended) = self.found.get(&value).copied() else { return Ok(None) };
        if ended < op.begun {
            return wrong("it was read before it began", op, ended);
        }
        let needs = match op.call {
            Call::Get | Call::Put(_) => Needs::Anything,
            Call::Cas(wanted, _) => self.wanted(wanted),
        };
        Ok(Some(Step { op, begun: op.begun, ended, needs, writes: Some(value) }))
    }

    /// What a Cas must find to write, if anybody knows it.
    fn wanted(&self, revision: u64) -> Needs {
        if revision == 0 {
            return Needs::Exactly(State::Absent);
        }
        let value = self.values.get(&revision);
        value.map_or(Needs::Anything, |value| Needs::Exactly(State::Value(*value)))
    }
}
