//! The apply thread: runs committed entries, in order, and answers those who wait for them.

use std::sync::mpsc::Receiver;
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

/// Applies until `work` closes. Publishes the applied index before it answers, so that whoever
/// was answered can read what it wrote.
pub fn run<P: Program>(
    mut machine: Machine<P>,
    (states, integrity, times): (&States, &Integrity, &Stages),
    work: &Receiver<Work>,
    applied: &watch::Sender<u64>,
) -> Result<(), Fatal> {
    machine.prepare()?;
    while let Ok(work) = work.recv() {
        let (Committed { id, payload, waiters }, passed) = match work {
            Work::Entry(committed, passed) => (committed, passed),
            Work::Install(staged) => {
                states.install(staged.state)?;
                let id = machine.state_replaced()?;
                integrity.replaced(id, machine.digest(), states.folder());
                tracing::info!(%id, "a snapshot is in place");
                applied.send_replace(id.index);
                continue;
            }
        };
        let decided = machine.apply(id, payload)?;
        integrity.applied(id, machine.digest(), machine.take_changes());
        applied.send_replace(id.index);
        if !integrity.may_serve() {
            // What it decides is not to be told: for the callers, the outcome is unknown.
            drop(waiters);
            machine.prepare()?;
            continue;
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
            times.decided(passed, now, submitted.into_iter());
        }
        machine.prepare()?;
    }
    machine.flush()
}
