//! Answers to queries. They see the time of the last command: on a queue that nobody uses, a lease
//! may look alive for longer than it is.

use quorate_sdk::{Prefix, Query, Status};

use crate::job::{self, BY_DUE, JOBS};
use crate::{ListReply, ListRequest, Listed, State, StatsReply};

/// Reads the index alone, without a job.
pub(crate) fn stats(cx: &Query<'_>, queue: &str) -> StatsReply {
    let mut stats = StatsReply::default();
    let rows = JOBS.keys_by(cx, &BY_DUE, Prefix((queue,)));
    for ((_, is_spent, due_ms, leased), _) in rows {
        match job::state(is_spent, due_ms, leased, cx.time_ms()) {
            State::Delayed => stats.delayed += 1,
            State::Leased => stats.leased += 1,
            State::Dead => stats.dead += 1,
            State::Ready | State::Unspecified => stats.ready += 1,
        }
    }
    stats
}

pub(crate) fn list(cx: &Query<'_>, request: &ListRequest, limit: u32) -> Result<ListReply, Status> {
    // Time goes on between two pages, so it must not be in the range: a token belongs to one.
    let jobs = if request.only_dead {
        JOBS.range_by(cx, &BY_DUE, Prefix((&request.queue, true)))
    } else {
        JOBS.range_by(cx, &BY_DUE, Prefix((&request.queue,)))
    };
    let page = jobs.page(limit, &request.page_token)?;

    let mut jobs = Vec::with_capacity(page.items.len());
    for (id, job) in page.items {
        let state = job.state(cx.time_ms());
        if state == State::Dead || !request.only_dead {
            jobs.push(Listed { id, state: state.into(), job: Some(job) });
        }
    }
    Ok(ListReply { jobs, next_page_token: page.next_page_token })
}
