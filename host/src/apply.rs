//! Apply: runs committed entries, in order, and answers those who wait for them.
//!
//! It has a thread of its own, as a call of a plugin may take long. Where no other member depends
//! on who hands out an entry, and nothing is before it, that thread need not be woken: consensus
//! takes the step itself ([`AtOnce`]).

use std::ops::ControlFlow;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use quorate_core::machine::{Machine, Program};
use quorate_core::outcome::Fatal;
use quorate_core::replica::{Committed, Staged};
use tokio::sync::watch;

use crate::integrity::Integrity;
use crate::node::States;
use crate::stages::{Passed, Span, Stages};
use crate::waiter::{self, Answer, Waiter};

/// What consensus hands to apply.
#[derive(Debug)]
pub enum Work {
    /// An entry that is committed; and when it came how far, where this node proposed it.
    Entry(Committed<Waiter>, Option<Passed>),
    /// The state of a snapshot, to go on with.
    Install(Staged),
}

/// Applies what it is given, in the order of the log.
pub struct Apply<P: Program> {
    /// What runs the entries.
    pub machine: Machine<P>,
    /// Where its state is.
    pub states: Arc<States>,
    /// Whether outcomes may be told here.
    pub integrity: Arc<Integrity>,
    /// Where the time of commands goes.
    pub times: Arc<Stages>,
    /// The last index that is applied.
    pub applied: watch::Sender<u64>,
    /// A step has failed: nothing may follow it.
    pub has_failed: bool,
}

impl<P: Program> Apply<P> {
    /// One piece of work. Publishes the applied index before it answers, so that whoever was
    /// answered can read what it wrote.
    fn step(&mut self, work: Work) -> Result<(), Fatal> {
        let done = self.take(work);
        self.has_failed |= done.is_err();
        done
    }

    fn take(&mut self, work: Work) -> Result<(), Fatal> {
        let (Committed { id, payload, waiters }, passed) = match work {
            Work::Entry(committed, passed) => (committed, passed),
            Work::Install(staged) => return self.install(&staged),
        };
        let decided = self.machine.apply(id, payload)?;
        let changes = self.machine.take_changes();
        self.integrity.applied(id, self.machine.digest(), changes);
        self.applied.send_replace(id.index);
        if !self.integrity.may_serve() {
            // What it decides is not to be told: for the callers, the outcome is unknown.
            drop(waiters);
            return self.machine.prepare();
        }
        // Other replicas have no waiters; they dropped nothing.
        let now = Instant::now();
        let answer = |(waiter, (first, outcome)): (Waiter, _)| {
            let span = Span { submitted: waiter.submitted, applied: now };
            (waiter, Answer::Decided(first, outcome, span))
        };
        let submitted: Vec<_> = waiters.iter().map(|waiter| waiter.submitted).collect();
        waiter::tell(waiters.into_iter().zip(decided).map(answer));
        if let Some(passed) = passed {
            // Behind the answers: nobody waits for this.
            self.times.decided(passed, now, submitted.into_iter());
        }
        self.machine.prepare()
    }

    fn install(&mut self, staged: &Staged) -> Result<(), Fatal> {
        self.states.install(staged.state)?;
        let id = self.machine.state_replaced()?;
        self.integrity.replaced(id, self.machine.digest(), self.states.folder());
        tracing::info!(%id, "a snapshot is in place");
        self.applied.send_replace(id.index);
        Ok(())
    }
}

/// Takes work at once, or leaves it for the queue.
pub trait AtOnce {
    /// Takes an entry if apply is idle and all before it is applied; says what came of it.
    fn try_step(&self, work: Work) -> ControlFlow<Result<(), Fatal>, Work>;
}

impl<P: Program> AtOnce for Mutex<Apply<P>> {
    fn try_step(&self, work: Work) -> ControlFlow<Result<(), Fatal>, Work> {
        let Ok(mut apply) = self.try_lock() else { return ControlFlow::Continue(work) };
        let next = apply.machine.applied().index + 1;
        match &work {
            Work::Entry(entry, _) if entry.id.index == next => ControlFlow::Break(apply.step(work)),
            Work::Entry(..) | Work::Install(_) => ControlFlow::Continue(work),
        }
    }
}

/// Applies until `work` closes.
pub fn run<P: Program>(apply: &Mutex<Apply<P>>, work: &Receiver<Work>) -> Result<(), Fatal> {
    let lock = || apply.lock().expect("a panic of apply ends the process");
    lock().machine.prepare()?;
    while let Ok(work) = work.recv() {
        lock().step(work)?;
    }
    let apply = lock();
    // Who met the fault, on whichever thread, tells it.
    if apply.has_failed { Ok(()) } else { apply.machine.flush() }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_core::batch::Payload;
    use quorate_core::id::{LogId, NodeId};
    use quorate_core::state::Meta;
    use quorate_wasm::{Module, WasmProgram};

    use super::*;
    use crate::identity::{GROUP, Identity, Timing};

    fn entry(index: u64, payload: Payload) -> Work {
        let id = LogId { term: 1, index };
        Work::Entry(Committed { id, payload, waiters: Vec::new() }, None)
    }

    fn apply() -> Mutex<Apply<WasmProgram>> {
        let module = Module::load(quorate_modules::KV_MODULE).unwrap();
        let states = Arc::new(States::in_memory());
        let machine = Machine::new(GROUP, module.program(), Arc::clone(&states) as _).unwrap();
        let identity = Identity {
            cluster: "test".to_owned(),
            node: NodeId::new(1).unwrap(),
            founders: Vec::new(),
            module: [0; 32],
            timing: Timing::default(),
        };
        let integrity = Integrity::new(Arc::new(identity), &Meta::default(), None).unwrap();
        let (integrity, applied) = (Arc::new(integrity), watch::Sender::default());
        let times = Arc::default();
        Mutex::new(Apply { machine, states, integrity, times, applied, has_failed: false })
    }

    #[test]
    fn only_the_next_entry_is_taken_and_only_while_nobody_applies() {
        let apply = apply();
        let takes = |work| matches!(apply.try_step(work), ControlFlow::Break(Ok(())));
        assert!(takes(entry(1, Payload::Empty)));
        assert_eq!(*apply.lock().unwrap().applied.borrow(), 1);
        assert!(!takes(entry(1, Payload::Empty)), "once more");
        assert!(!takes(entry(3, Payload::Empty)), "before 2");
        let busy = apply.lock().unwrap();
        assert!(!takes(entry(2, Payload::Empty)));
        drop(busy);
        let (state, applied) = (1, LogId { term: 1, index: 2 });
        assert!(!takes(Work::Install(Staged { state, applied, conf: Bytes::new() })));
        assert!(takes(entry(2, Payload::Empty)));
        assert_eq!(*apply.lock().unwrap().applied.borrow(), 2);
    }

    #[test]
    fn a_step_that_fails_is_remembered() {
        let apply = apply();
        let damaged = entry(1, Payload::Commands(Bytes::from_static(b"damaged")));
        assert!(matches!(apply.try_step(damaged), ControlFlow::Break(Err(_))));
        assert!(apply.lock().unwrap().has_failed, "its state must not be flushed");
    }
}
