//! Apply: runs committed entries, in order, and answers those who wait for them.
//!
//! It has a thread of its own, as a call of a plugin may take long. Where nobody else depends on
//! who hands out an entry, and nothing is before it, that thread need not be woken: consensus takes
//! the step itself ([`AtOnce`]).

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
}

impl<P: Program> Apply<P> {
    /// One piece of work. Publishes the applied index before it answers, so that whoever was
    /// answered can read what it wrote.
    fn step(&mut self, work: Work) -> Result<(), Fatal> {
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
    lock().machine.flush()
}
