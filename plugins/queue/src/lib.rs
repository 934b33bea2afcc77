//! Queues of jobs with delays, leases and dead letters. What they promise is in
//! `proto/queue/v1/queue.proto`.
//!
//! - `check` refuses what is wrong whatever the state, before anything is read or written.
//! - `job` is what is stored, and what state a job is in.
//! - `read` answers queries.
//!
//! What this deliberately does not do: wake workers. They ask again after a while.

mod check;
mod job;
mod read;

use quorate_sdk::{Command, Query, Status};

use crate::job::{COUNT, IDS, JOBS, JOBS_MAX, PAYLOADS};

quorate_sdk::plugin!(impl Queue for Queues);

/// The state machine. Its state is in the collections of `job`, not in here.
#[derive(Debug)]
pub struct Queues;

impl Queue for Queues {
    fn push(cx: &mut Command<'_>, request: PushRequest) -> Result<PushReply, Status> {
        check::queue(&request.queue)?;
        check::payload(&request.payload)?;
        check::delay_ms(request.delay_ms)?;
        let attempts_max = check::attempts(request.attempts)?;

        let count = COUNT.get(cx);
        if count == JOBS_MAX {
            return Err(Status::resource_exhausted(format!("there are {JOBS_MAX} jobs already")));
        }
        COUNT.set(cx, count + 1);
        let id = IDS.add(cx, 1);
        let PushRequest { queue, payload, delay_ms, .. } = request;
        let due_ms = cx.time_ms() + delay_ms;
        PAYLOADS.insert(cx, id, &payload);
        JOBS.insert(cx, id, &Job { queue, due_ms, attempts: 0, attempts_max, leased: false })?;
        Ok(PushReply { id })
    }

    fn take(cx: &mut Command<'_>, request: TakeRequest) -> Result<TakeReply, Status> {
        check::queue(&request.queue)?;
        check::lease_ms(request.lease_ms)?;

        let Some((id, mut job)) = job::next(cx, &request.queue) else {
            // Nothing to do is no error, or each idle worker would look like a broken one.
            return Ok(TakeReply { taken: None });
        };
        job.attempts += 1;
        job.leased = true;
        job.due_ms = cx.time_ms() + request.lease_ms;
        JOBS.insert(cx, id, &job)?;
        let payload = PAYLOADS.get(cx, id).expect("a job has a payload");
        let taken = Taken { id, attempt: job.attempts, payload, until_ms: job.due_ms };
        Ok(TakeReply { taken: Some(taken) })
    }

    fn ack(cx: &mut Command<'_>, request: AckRequest) -> Result<AckReply, Status> {
        job::held(cx, request.id, request.attempt)?;
        job::remove(cx, request.id)?;
        Ok(AckReply {})
    }

    fn nack(cx: &mut Command<'_>, request: NackRequest) -> Result<NackReply, Status> {
        check::delay_ms(request.delay_ms)?;
        let mut job = job::held(cx, request.id, request.attempt)?;
        job.leased = false;
        // A job that is not taken again is dead at once.
        job.due_ms = cx.time_ms() + if job.is_spent() { 0 } else { request.delay_ms };
        JOBS.insert(cx, request.id, &job)?;
        Ok(NackReply {})
    }

    fn extend(cx: &mut Command<'_>, request: ExtendRequest) -> Result<ExtendReply, Status> {
        check::lease_ms(request.lease_ms)?;
        let mut job = job::held(cx, request.id, request.attempt)?;
        job.due_ms = cx.time_ms() + request.lease_ms;
        JOBS.insert(cx, request.id, &job)?;
        Ok(ExtendReply { until_ms: job.due_ms })
    }

    fn requeue(cx: &mut Command<'_>, request: RequeueRequest) -> Result<RequeueReply, Status> {
        let attempts = check::attempts(request.attempts)?;
        let mut job = job::get(cx, request.id)?;
        if job.state(cx.time_ms()) != State::Dead {
            return Err(Status::failed_precondition("the job is not dead"));
        }
        // Attempts go on being counted: else the worker of an old one could pass for a new one.
        job.attempts_max = job.attempts + attempts;
        job.leased = false;
        job.due_ms = cx.time_ms();
        JOBS.insert(cx, request.id, &job)?;
        Ok(RequeueReply {})
    }

    fn remove(cx: &mut Command<'_>, request: RemoveRequest) -> Result<RemoveReply, Status> {
        job::remove(cx, request.id)?;
        Ok(RemoveReply {})
    }

    fn stats(cx: &Query<'_>, request: StatsRequest) -> Result<StatsReply, Status> {
        check::queue(&request.queue)?;
        Ok(read::stats(cx, &request.queue))
    }

    fn list(cx: &Query<'_>, request: ListRequest) -> Result<ListReply, Status> {
        check::queue(&request.queue)?;
        let limit = check::page(request.limit)?;
        read::list(cx, &request, limit)
    }
}
