//! One call, from its caller to its outcome.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::CallError;
use crate::sessions::Numbered;

/// A command of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method(pub(crate) u32);

impl Method {
    /// The method of that path, such as `/kv.v1.Kv/Put`. Whether there is one is for the node to
    /// say.
    pub const fn of(path: &str) -> Self {
        let path = match path.as_bytes() {
            [b'/', ..] => path.split_at(1).1,
            _ => path,
        };
        Self(quorate_abi::method_id(path))
    }
}

/// A reply, and where in the log it was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The encoded reply.
    pub reply: Bytes,
    /// The log's index of the entry that decided it. A later command has no lower one.
    pub index: u64,
    /// The entry's term.
    pub term: u64,
}

/// What a caller is told.
pub(crate) type Outcome = Result<Decided, CallError>;

/// A call under way.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) payload: Bytes,
    pub(crate) reply: Reply,
    pub(crate) deadline: Instant,
    /// Its number, once it has one.
    pub(crate) session: Option<Numbered>,
    /// Whether it was sent before, and nobody knows what became of that.
    pub(crate) may_have_run: bool,
}

impl Call {
    pub(crate) fn new(method: Method, payload: Bytes, reply: Reply, deadline: Instant) -> Self {
        Self { method, payload, reply, deadline, session: None, may_have_run: false }
    }

    pub(crate) fn end(self, outcome: Outcome) {
        match self.reply {
            // A caller that went away does not need its answer.
            Reply::One(caller) => drop(caller.send(outcome)),
            Reply::Part(part) => part.end(outcome),
        }
    }

    /// Ends it without an outcome: with this error, unless it may have been executed after all.
    pub(crate) fn give_up(self, error: CallError) {
        let error = if self.may_have_run { CallError::Unknown } else { error };
        self.end(Err(error));
    }
}

/// What was called together.
#[derive(Debug)]
pub(crate) enum Calls {
    One(Call),
    Many(Vec<Call>),
}

/// Who is told of a call's outcome.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The caller of this one. Dropped untold, it is unknown.
    One(oneshot::Sender<Outcome>),
    /// The caller of many.
    Part(Part),
}

/// One of the calls that were made together. Dropped untold, it is unknown.
#[derive(Debug)]
pub(crate) struct Part {
    place: usize,
    /// Until it is told.
    all: Option<Arc<All>>,
}

/// The outcomes of calls that were made together: whoever is the last tells the caller.
#[derive(Debug)]
pub(crate) struct All(Mutex<Gathered>);

#[derive(Debug)]
struct Gathered {
    outcomes: Vec<Outcome>,
    missing: usize,
    caller: Option<oneshot::Sender<Vec<Outcome>>>,
}

impl All {
    /// Of so many calls, at least one.
    pub(crate) fn new(count: usize) -> (Arc<Self>, oneshot::Receiver<Vec<Outcome>>) {
        let (caller, gathered) = oneshot::channel();
        let outcomes = vec![Err(CallError::Unknown); count];
        let all = Gathered { outcomes, missing: count, caller: Some(caller) };
        (Arc::new(Self(Mutex::new(all))), gathered)
    }

    /// The call at that place.
    pub(crate) fn part(self: &Arc<Self>, place: usize) -> Part {
        Part { place, all: Some(Arc::clone(self)) }
    }

    fn tell(&self, place: usize, outcome: Outcome) {
        let mut gathered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = gathered.outcomes.get_mut(place) {
            *own = outcome;
        }
        gathered.missing -= 1;
        if gathered.missing == 0
            && let Some(caller) = gathered.caller.take()
        {
            // It may have gone away.
            drop(caller.send(std::mem::take(&mut gathered.outcomes)));
        }
    }
}

impl Part {
    fn end(mut self, outcome: Outcome) {
        if let Some(all) = self.all.take() {
            all.tell(self.place, outcome);
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(all) = self.all.take() {
            all.tell(self.place, Err(CallError::Unknown));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_the_same_with_and_without_its_slash() {
        assert_eq!(Method::of("/kv.v1.Kv/Put"), Method::of("kv.v1.Kv/Put"));
        assert_eq!(Method::of("kv.v1.Kv/Put").0, quorate_abi::method_id("kv.v1.Kv/Put"));
    }

    #[test]
    fn calls_that_were_made_together_are_told_together() {
        let (all, mut told) = All::new(3);
        let decided = Decided { reply: Bytes::from_static(b"reply"), index: 1, term: 1 };
        all.part(2).end(Ok(decided.clone()));
        drop(all.part(0));
        assert!(told.try_recv().is_err(), "one is under way");
        all.part(1).end(Err(CallError::Ended));
        let expected = [Err(CallError::Unknown), Err(CallError::Ended), Ok(decided)];
        assert_eq!(told.try_recv().unwrap(), expected);
    }
}
