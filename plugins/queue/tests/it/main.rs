//! The queues as producers, workers and operators know them: each test is a story of calls. It runs
//! on the plugin as a library, on its module, and on three nodes where things go wrong.

mod model;

use std::time::Duration;

use queue::{
    AckRequest, ExtendRequest, ListRequest, Listed, NackRequest, PushRequest, QueueCalls, Queues,
    RemoveRequest, RequeueRequest, State, StatsReply, StatsRequest, TakeReply, TakeRequest, Taken,
};
use quorate_sdk::{Code, Status};
use quorate_test::Machine;

const LEASE_MS: u64 = 1000;

fn push(t: &mut impl QueueCalls, payload: &str) -> u64 {
    push_with(t, payload, 0, 0).expect("there is room")
}

fn push_with(
    t: &mut impl QueueCalls,
    payload: &str,
    delay_ms: u64,
    attempts: u32,
) -> Result<u64, Status> {
    let (queue, payload) = ("q".into(), payload.into());
    Ok(t.push(PushRequest { queue, payload, delay_ms, attempts })?.id)
}

fn take(t: &mut impl QueueCalls) -> Taken {
    take_if_any(t).expect("a job is due")
}

fn take_if_any(t: &mut impl QueueCalls) -> Option<Taken> {
    let request = TakeRequest { queue: "q".into(), lease_ms: LEASE_MS };
    t.take(request).expect("the request is right").taken
}

fn ack(t: &mut impl QueueCalls, Taken { id, attempt, .. }: &Taken) -> Result<(), Status> {
    t.ack(AckRequest { id: *id, attempt: *attempt }).map(drop)
}

fn nack(t: &mut impl QueueCalls, taken: &Taken, delay_ms: u64) -> Result<(), Status> {
    t.nack(NackRequest { id: taken.id, attempt: taken.attempt, delay_ms }).map(drop)
}

fn stats(t: &mut impl QueueCalls) -> [u64; 4] {
    let stats = t.stats(StatsRequest { queue: "q".into() }).expect("the request is right");
    let StatsReply { delayed, ready, leased, dead } = stats;
    [delayed, ready, leased, dead]
}

/// How a call was refused, if it was.
fn code<T>(result: Result<T, Status>) -> Option<Code> {
    result.err().map(|status| status.code())
}

fn pass(t: &mut Machine<Queues>, ms: u64) {
    t.advance(Duration::from_millis(ms));
    tick(t);
}

/// A query sees the time of the last command. This one does nothing but bring it up to date.
fn tick(t: &mut Machine<Queues>) {
    let request = TakeRequest { queue: "empty".into(), lease_ms: LEASE_MS };
    assert_eq!(t.take(request), Ok(TakeReply { taken: None }));
}

#[quorate_test::test(native, wasm, cluster)]
fn jobs_are_done_once_each_in_the_order_they_came(t: &mut Machine<Queues>) -> Result<(), Status> {
    let ids = ["a", "b"].map(|payload| push(t, payload));
    assert_eq!(stats(t), [0, 2, 0, 0]);

    let first = take(t);
    assert_eq!((first.id, first.attempt, &*first.payload), (ids[0], 1, b"a".as_slice()));
    assert_eq!(first.until_ms, t.time_ms() + LEASE_MS);
    let second = take(t);
    assert_eq!((second.id, &*second.payload), (ids[1], b"b".as_slice()));
    assert_eq!(take_if_any(t), None);
    assert_eq!(stats(t), [0, 0, 2, 0]);

    ack(t, &first)?;
    ack(t, &second)?;
    assert_eq!(code(ack(t, &second)), Some(Code::NotFound));
    assert_eq!(stats(t), [0; 4]);
    let third = push(t, "c");
    assert!(third > ids[1], "an id is never given again");
    Ok(())
}

#[quorate_test::test(native, wasm, cluster)]
fn a_job_comes_back_when_its_lease_ends(t: &mut Machine<Queues>) -> Result<(), Status> {
    push(t, "a");
    let late = take(t);
    pass(t, LEASE_MS - 1);
    assert_eq!(take_if_any(t), None);
    pass(t, 1);
    assert_eq!(stats(t), [0, 1, 0, 0]);

    let taken = take(t);
    assert_eq!((taken.id, taken.attempt), (late.id, 2));
    assert_eq!(code(ack(t, &late)), Some(Code::FailedPrecondition));
    assert_eq!(code(nack(t, &late, 0)), Some(Code::FailedPrecondition));
    ack(t, &taken)?;
    Ok(())
}

#[quorate_test::test(native, wasm, cluster)]
fn a_lease_can_be_extended_and_a_late_ack_counts_while_nobody_else_has_the_job(
    t: &mut Machine<Queues>,
) -> Result<(), Status> {
    push(t, "a");
    let taken = take(t);
    pass(t, LEASE_MS / 2);
    let Taken { id, attempt, .. } = taken;
    let extended = t.extend(ExtendRequest { id, attempt, lease_ms: LEASE_MS })?;
    assert_eq!(extended.until_ms, t.time_ms() + LEASE_MS);
    pass(t, LEASE_MS - 1);
    assert_eq!(take_if_any(t), None);
    pass(t, LEASE_MS);
    ack(t, &taken)?;
    assert_eq!(stats(t), [0; 4]);
    Ok(())
}

#[quorate_test::test(native, wasm, cluster)]
fn a_delayed_job_waits_and_lets_others_pass(t: &mut Machine<Queues>) -> Result<(), Status> {
    let delayed = push_with(t, "later", 100, 0)?;
    let now = push(t, "now");
    assert_eq!(stats(t), [1, 1, 0, 0]);
    let taken = take(t);
    assert_eq!(taken.id, now);
    assert_eq!(take_if_any(t), None);

    nack(t, &taken, 200)?;
    assert_eq!(stats(t), [2, 0, 0, 0]);
    assert_eq!(code(nack(t, &taken, 0)), Some(Code::FailedPrecondition), "given back");
    pass(t, 200);
    assert_eq!([take(t), take(t)].map(|taken| taken.id), [delayed, now]);
    Ok(())
}

#[quorate_test::test(native, wasm, cluster)]
fn what_fails_too_often_is_put_aside_until_somebody_decides(
    t: &mut Machine<Queues>,
) -> Result<(), Status> {
    let id = push_with(t, "a", 0, 2)?;
    let other = push_with(t, "b", 0, 1)?;
    let first = take(t);
    take(t);
    nack(t, &first, 0)?;
    let second = take(t);
    assert_eq!((second.id, second.attempt), (id, 2));
    assert_eq!(
        code(t.requeue(RequeueRequest { id, attempts: 0 })),
        Some(Code::FailedPrecondition),
        "somebody has it"
    );
    nack(t, &second, 5000)?;
    assert_eq!(stats(t), [0, 0, 1, 1], "dead at once, whatever the delay");
    pass(t, LEASE_MS);
    assert_eq!(stats(t), [0, 0, 0, 2], "so is one that nobody says anything about");
    assert_eq!(take_if_any(t), None);

    t.requeue(RequeueRequest { id, attempts: 1 })?;
    t.remove(RemoveRequest { id: other })?;
    assert_eq!(code(t.remove(RemoveRequest { id: other })), Some(Code::NotFound));
    assert_eq!(stats(t), [0, 1, 0, 0]);
    assert_eq!(code(ack(t, &second)), Some(Code::FailedPrecondition));
    let third = take(t);
    assert_eq!((third.id, third.attempt), (id, 3), "old attempts cannot pass for this one");
    ack(t, &third)?;
    Ok(())
}

#[quorate_test::test(native, wasm, cluster)]
fn a_list_comes_in_pages_while_time_goes_on(t: &mut Machine<Queues>) -> Result<(), Status> {
    let dead = push_with(t, "dead", 0, 1)?;
    take(t);
    let last = push_with(t, "last", 0, 1)?;
    pass(t, LEASE_MS);
    take(t);
    let delayed = push_with(t, "delayed", 5000, 0)?;
    let ready = push(t, "ready");

    let mut all: Vec<Listed> = Vec::new();
    let mut request = ListRequest { queue: "q".into(), limit: 2, ..ListRequest::default() };
    loop {
        let page = t.list(request.clone())?;
        assert!(page.jobs.len() <= 2);
        all.extend(page.jobs);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
        pass(t, 1);
    }
    let all: Vec<_> = all.iter().map(|job| (job.id, job.state())).collect();
    let expected = [
        (ready, State::Ready),
        (delayed, State::Delayed),
        (dead, State::Dead),
        (last, State::Leased),
    ];
    assert_eq!(all, expected);

    let request = ListRequest { queue: "q".into(), only_dead: true, ..ListRequest::default() };
    let page = t.list(request)?;
    assert_eq!(page.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [dead]);
    Ok(())
}

#[quorate_test::test(native, wasm, cluster)]
fn queues_do_not_see_each_other(t: &mut Machine<Queues>) -> Result<(), Status> {
    push(t, "a");
    // Longer names that begin alike, and one that sorts between.
    for queue in ["q2", "q\0", "p"] {
        let request = TakeRequest { queue: queue.into(), lease_ms: LEASE_MS };
        assert_eq!(t.take(request)?.taken, None, "{queue:?}");
        let stats = t.stats(StatsRequest { queue: queue.into() })?;
        assert_eq!(stats, StatsReply::default());
    }
    Ok(())
}

#[quorate_test::test(native, wasm, cluster)]
fn what_is_out_of_bounds_is_refused(t: &mut Machine<Queues>) -> Result<(), Status> {
    let good = PushRequest { queue: "q".into(), ..PushRequest::default() };
    let pushes = [
        PushRequest { queue: String::new(), ..good.clone() },
        PushRequest { queue: "q".repeat(101), ..good.clone() },
        PushRequest { payload: vec![0; 65_537], ..good.clone() },
        PushRequest { delay_ms: u64::MAX, ..good.clone() },
        PushRequest { attempts: 101, ..good.clone() },
    ];
    for request in pushes {
        assert_eq!(code(t.push(request)), Some(Code::InvalidArgument));
    }
    for lease_ms in [0, u64::MAX] {
        let request = TakeRequest { queue: "q".into(), lease_ms };
        assert_eq!(code(t.take(request)), Some(Code::InvalidArgument));
    }
    let request = ListRequest { queue: "q".into(), limit: 1_001, ..ListRequest::default() };
    assert_eq!(code(t.list(request)), Some(Code::InvalidArgument));
    let largest = PushRequest { queue: "q".repeat(100), payload: vec![0; 65_536], ..good };
    t.push(largest)?;
    Ok(())
}

#[quorate_test::test(native)]
fn there_is_room_for_so_many_jobs_and_no_more(t: &mut Machine<Queues>) -> Result<(), Status> {
    for _ in 0..100_000 {
        push(t, "");
    }
    assert_eq!(code(push_with(t, "", 0, 0)), Some(Code::ResourceExhausted));
    let taken = take(t);
    ack(t, &taken)?;
    push(t, "");
    assert_eq!(stats(t), [0, 100_000, 0, 0]);
    Ok(())
}
