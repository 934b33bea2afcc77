//! What is stored of a job, and what state it is in.
//!
//! There is no timer, and nothing that sweeps. A job has one time, `due_ms`: behind it, the delay
//! or the lease is over. What that makes of the job follows from the time of whoever asks, which is
//! the log's and so the same on all replicas.

use quorate_sdk::{Command, Counter, IndexedMap, Map, MultiIndex, Query, Status};

use crate::{Job, State};

/// In all queues: a state that clients can grow for ever fills the disk one day.
pub(crate) const JOBS_MAX: u64 = 100_000;

/// The jobs by their ids.
pub(crate) const JOBS: IndexedMap<u64, Job> = IndexedMap::new("jobs", &[&BY_DUE]);

/// The jobs of a queue, those that can be taken apart from those that are spent, as they are due.
/// The last part only saves who counts from reading the jobs.
pub(crate) const BY_DUE: MultiIndex<Job, (String, bool, u64, bool)> =
    MultiIndex::new("jobs_by_due", |job| {
        (job.queue.clone(), job.is_spent(), job.due_ms, job.leased)
    });

/// The payloads by the jobs' ids. They are apart since they never change: a job is written anew
/// each time that it is taken, and that should not cost what its payload does.
pub(crate) const PAYLOADS: Map<u64, Vec<u8>> = Map::new("payloads");

/// The last id that was given.
pub(crate) const IDS: Counter = Counter::new("ids");

/// How many jobs there are.
pub(crate) const COUNT: Counter = Counter::new("count");

impl Job {
    /// Whether it was taken as often as it may be.
    pub(crate) fn is_spent(&self) -> bool {
        self.attempts >= self.attempts_max
    }

    pub(crate) fn state(&self, now_ms: u64) -> State {
        state(self.is_spent(), self.due_ms, self.leased, now_ms)
    }
}

/// The state of a job, from what the index knows of it.
pub(crate) fn state(is_spent: bool, due_ms: u64, leased: bool, now_ms: u64) -> State {
    match (due_ms > now_ms, leased, is_spent) {
        (true, true, _) => State::Leased,
        (true, false, _) => State::Delayed,
        (false, _, false) => State::Ready,
        (false, _, true) => State::Dead,
    }
}

/// The job of a queue that has been due for the longest, of those that can be taken.
pub(crate) fn next(cx: &Query<'_>, queue: &str) -> Option<(u64, Job)> {
    let due = (queue, false, 0, false)..=(queue, false, cx.time_ms(), true);
    JOBS.range_by(cx, &BY_DUE, due).limit(1).next()
}

pub(crate) fn get(cx: &Query<'_>, id: u64) -> Result<Job, Status> {
    JOBS.get(cx, id).ok_or_else(|| Status::not_found(format!("there is no job {id}")))
}

/// A job, for the worker of one attempt, as long as nobody else has it. That its lease has ended
/// does not matter: as the work was done, it would be a pity to do it again.
pub(crate) fn held(cx: &Query<'_>, id: u64, attempt: u32) -> Result<Job, Status> {
    let job = get(cx, id)?;
    if !job.leased || job.attempts != attempt {
        let message = format!("attempt {attempt} does not have job {id} any more");
        return Err(Status::failed_precondition(message));
    }
    Ok(job)
}

/// The one way out of a queue.
pub(crate) fn remove(cx: &mut Command<'_>, id: u64) -> Result<(), Status> {
    JOBS.remove(cx, id).ok_or_else(|| Status::not_found(format!("there is no job {id}")))?;
    PAYLOADS.remove(cx, id);
    COUNT.set(cx, COUNT.get(cx) - 1);
    Ok(())
}
