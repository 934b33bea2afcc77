//! Runs queries on threads that may block, next to each other and one after the other.
//!
//! What waits is taken by a few runners, one for each core. A runner takes one query after the
//! other for as long as there are some, with one snapshot and one instance, so that under load a
//! query costs neither a thread's waking nor an instance. A query that is not answered soon, since
//! those before it take long, asks for a further runner.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use quorate_core::batch::Command;
use quorate_core::id::LogId;
use quorate_core::limits;
use quorate_core::outcome::{Fatal, Outcome};
use quorate_core::run::{QuerySource, Run};
use quorate_core::state::StateStore;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::timeout;

use crate::identity::GROUP;
use quorate_wasm::Module;

/// Bounds the queries that run at the same time in this process, whichever node's: a module has
/// as many instances for them.
static RUNNERS: Semaphore = Semaphore::const_new(limits::QUERIES_RUNNING_MAX);
const PATIENCE: Duration = Duration::from_millis(limits::QUERY_PATIENCE_MS);

/// What a query found, and the place in the log whose state it saw.
pub(super) type Found = (LogId, Outcome);

/// The queries of one node.
#[derive(Clone)]
pub(super) struct Pool(Arc<Shared>);

struct Shared {
    state: Arc<dyn StateStore>,
    module: Arc<Module>,
    /// Told of faults.
    faulty: Box<dyn Fn(&Fatal) + Send + Sync>,
    /// How many are started without waiting for a query to lose its patience.
    runners_min: usize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    runners: usize,
}

struct Waiting {
    query: Command,
    /// A state must have applied this much to do.
    index_min: u64,
    answer: oneshot::Sender<Found>,
}

impl Pool {
    /// Runs queries of `state` by `module`.
    pub(super) fn new(
        state: Arc<dyn StateStore>,
        module: Arc<Module>,
        faulty: impl Fn(&Fatal) + Send + Sync + 'static,
    ) -> Self {
        let runners_min = thread::available_parallelism().map_or(1, usize::from);
        let (faulty, queue) = (Box::new(faulty), Mutex::default());
        Self(Arc::new(Shared { state, module, faulty, runners_min, queue }))
    }

    /// Runs a query on a state that has applied `index_min`. `None` if a fault kept it from being
    /// answered.
    pub(super) async fn query(&self, query: Command, index_min: u64) -> Option<Found> {
        let (answer, mut found) = oneshot::channel();
        let waiting = Waiting { query, index_min, answer };
        if self.0.push(waiting) < self.0.runners_min {
            self.start_runner();
        }
        loop {
            match timeout(PATIENCE, &mut found).await {
                Ok(found) => return found.ok(),
                Err(_) => self.start_runner(),
            }
        }
    }

    /// Starts a further runner, if there is something to run and room for it.
    fn start_runner(&self) {
        let mut queue = self.0.queue();
        if queue.waiting.is_empty() {
            return;
        }
        // Who waits asks again.
        let Ok(permit) = RUNNERS.try_acquire() else { return };
        queue.runners += 1;
        drop(queue);
        let shared = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || run(&shared, permit));
    }
}

/// Takes queries until there are no more.
fn run(shared: &Arc<Shared>, _permit: SemaphorePermit<'static>) {
    loop {
        let mut queue = shared.queue();
        if queue.waiting.is_empty() {
            queue.runners -= 1;
            return;
        }
        drop(queue);
        let view = shared.state.snapshot();
        let taking = Taking {
            shared: Arc::clone(shared),
            seen: view.meta().applied,
            left: limits::QUERIES_PER_INSTANCE_MAX,
            running: None,
        };
        // The query that met it is dropped with the run, which tells its caller.
        if let Err(fatal) = shared.module.queries(Run::queries(view, GROUP, Box::new(taking))) {
            (shared.faulty)(&fatal);
        }
    }
}

impl Shared {
    /// Adds one that waits; how many runners there are for it.
    fn push(&self, waiting: Waiting) -> usize {
        let mut queue = self.queue();
        queue.waiting.push_back(waiting);
        queue.runners
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The queries of one run.
struct Taking {
    shared: Arc<Shared>,
    /// The state that they see.
    seen: LogId,
    /// How many more may be taken.
    left: usize,
    /// Who waits for the one that runs.
    running: Option<oneshot::Sender<Found>>,
}

impl QuerySource for Taking {
    fn next(&mut self) -> Option<Command> {
        self.left = self.left.checked_sub(1)?;
        let mut queue = self.shared.queue();
        // Whose caller has gone is not run.
        while queue.waiting.front().is_some_and(|first| first.answer.is_closed()) {
            queue.waiting.pop_front();
        }
        let first = queue.waiting.pop_front_if(|first| first.index_min <= self.seen.index)?;
        drop(queue);
        self.running = Some(first.answer);
        Some(first.query)
    }

    fn answer(&mut self, outcome: Outcome) {
        let answer = self.running.take().expect("a query is answered once");
        // Its caller may have gone.
        drop(answer.send((self.seen, outcome)));
    }
}

#[cfg(test)]
mod tests;
