//! The apply thread: runs committed entries, in order, and answers those who wait for them.

use std::sync::mpsc::Receiver;

use quorate_core::machine::{Machine, Program};
use quorate_core::outcome::Fatal;
use quorate_core::replica::{Committed, Staged};
use tokio::sync::watch;

use crate::integrity::Integrity;
use crate::node::States;
use crate::waiter::{self, Answer, Waiter};

/// What consensus hands to apply.
#[derive(Debug)]
pub enum Work {
    /// An entry that is committed.
    Entry(Committed<Waiter>),
    /// The state of a snapshot, to go on with.
    Install(Staged),
}

/// Applies until `work` closes. Publishes the applied index before it answers, so that whoever
/// was answered can read what it wrote.
pub fn run<P: Program>(
    mut machine: Machine<P>,
    (states, integrity): (&States, &Integrity),
    work: &Receiver<Work>,
    applied: &watch::Sender<u64>,
) -> Result<(), Fatal> {
    machine.prepare()?;
    while let Ok(work) = work.recv() {
        let Committed { id, payload, waiters } = match work {
            Work::Entry(committed) => committed,
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
        let decided = decided.into_iter().map(|(first, outcome)| Answer::Decided(first, outcome));
        waiter::tell(waiters.into_iter().zip(decided));
        machine.prepare()?;
    }
    machine.flush()
}
