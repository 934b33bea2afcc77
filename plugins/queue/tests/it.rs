//! The queues as producers, workers and operators know them.

use queue::{
    AckRequest, ExtendRequest, ListRequest, Listed, NackRequest, PushRequest, QueueCalls, Queues,
    RemoveRequest, RequeueRequest, State, StatsReply, StatsRequest, TakeRequest, Taken,
};
use quorate_sdk::testing::Machine;
use quorate_sdk::{Code, Status};

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

fn take(t: &mut impl QueueCalls) -> Option<Taken> {
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

fn pass(t: &mut Machine<Queues>, ms: u64) {
    t.set_time_ms(t.time_ms() + ms);
}

#[test]
fn jobs_are_done_once_each_in_the_order_they_came() {
    let mut t = Machine::<Queues>::new();
    let ids = ["a", "b"].map(|payload| push(&mut t, payload));
    assert_eq!(stats(&mut t), [0, 2, 0, 0]);

    let first = take(&mut t).unwrap();
    assert_eq!((first.id, first.attempt, &*first.payload), (ids[0], 1, b"a".as_slice()));
    assert_eq!(first.until_ms, t.time_ms() + LEASE_MS);
    let second = take(&mut t).unwrap();
    assert_eq!((second.id, &*second.payload), (ids[1], b"b".as_slice()));
    assert_eq!(take(&mut t), None);
    assert_eq!(stats(&mut t), [0, 0, 2, 0]);

    ack(&mut t, &first).unwrap();
    ack(&mut t, &second).unwrap();
    assert_eq!(ack(&mut t, &second).unwrap_err().code(), Code::NotFound);
    assert_eq!(stats(&mut t), [0; 4]);
    let third = push(&mut t, "c");
    assert!(third > ids[1], "an id is never given again");
}

#[test]
fn a_job_comes_back_when_its_lease_ends() {
    let mut t = Machine::<Queues>::new();
    push(&mut t, "a");
    let late = take(&mut t).unwrap();
    pass(&mut t, LEASE_MS - 1);
    assert_eq!(take(&mut t), None);
    pass(&mut t, 1);
    assert_eq!(stats(&mut t), [0, 1, 0, 0]);

    let taken = take(&mut t).unwrap();
    assert_eq!((taken.id, taken.attempt), (late.id, 2));
    assert_eq!(ack(&mut t, &late).unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(nack(&mut t, &late, 0).unwrap_err().code(), Code::FailedPrecondition);
    ack(&mut t, &taken).unwrap();
}

#[test]
fn a_lease_can_be_extended_and_a_late_ack_counts_while_nobody_else_has_the_job() {
    let mut t = Machine::<Queues>::new();
    push(&mut t, "a");
    let taken = take(&mut t).unwrap();
    pass(&mut t, LEASE_MS / 2);
    let Taken { id, attempt, .. } = taken;
    let extended = t.extend(ExtendRequest { id, attempt, lease_ms: LEASE_MS }).unwrap();
    assert_eq!(extended.until_ms, t.time_ms() + LEASE_MS);
    pass(&mut t, LEASE_MS - 1);
    assert_eq!(take(&mut t), None);
    pass(&mut t, LEASE_MS);
    ack(&mut t, &taken).unwrap();
    assert_eq!(stats(&mut t), [0; 4]);
}

#[test]
fn a_delayed_job_waits_and_lets_others_pass() {
    let mut t = Machine::<Queues>::new();
    let delayed = push_with(&mut t, "later", 100, 0).unwrap();
    let now = push(&mut t, "now");
    assert_eq!(stats(&mut t), [1, 1, 0, 0]);
    let taken = take(&mut t).unwrap();
    assert_eq!(taken.id, now);
    assert_eq!(take(&mut t), None);

    nack(&mut t, &taken, 200).unwrap();
    assert_eq!(stats(&mut t), [2, 0, 0, 0]);
    assert_eq!(nack(&mut t, &taken, 0).unwrap_err().code(), Code::FailedPrecondition, "given back");
    pass(&mut t, 200);
    assert_eq!([take(&mut t), take(&mut t)].map(|taken| taken.unwrap().id), [delayed, now]);
}

#[test]
fn what_fails_too_often_is_put_aside_until_somebody_decides() {
    let mut t = Machine::<Queues>::new();
    let id = push_with(&mut t, "a", 0, 2).unwrap();
    let other = push_with(&mut t, "b", 0, 1).unwrap();
    let first = take(&mut t).unwrap();
    take(&mut t).unwrap();
    nack(&mut t, &first, 0).unwrap();
    let second = take(&mut t).unwrap();
    assert_eq!((second.id, second.attempt), (id, 2));
    assert_eq!(
        t.requeue(RequeueRequest { id, attempts: 0 }).unwrap_err().code(),
        Code::FailedPrecondition,
        "somebody has it"
    );
    nack(&mut t, &second, 5000).unwrap();
    assert_eq!(stats(&mut t), [0, 0, 1, 1], "dead at once, whatever the delay");
    pass(&mut t, LEASE_MS);
    assert_eq!(stats(&mut t), [0, 0, 0, 2], "so is one that nobody says anything about");
    assert_eq!(take(&mut t), None);

    t.requeue(RequeueRequest { id, attempts: 1 }).unwrap();
    t.remove(RemoveRequest { id: other }).unwrap();
    assert_eq!(t.remove(RemoveRequest { id: other }).unwrap_err().code(), Code::NotFound);
    assert_eq!(stats(&mut t), [0, 1, 0, 0]);
    assert_eq!(ack(&mut t, &second).unwrap_err().code(), Code::FailedPrecondition);
    let third = take(&mut t).unwrap();
    assert_eq!((third.id, third.attempt), (id, 3), "old attempts cannot pass for this one");
    ack(&mut t, &third).unwrap();
}

#[test]
fn a_list_comes_in_pages_while_time_goes_on() {
    let mut t = Machine::<Queues>::new();
    let dead = push_with(&mut t, "dead", 0, 1).unwrap();
    take(&mut t).unwrap();
    let last = push_with(&mut t, "last", 0, 1).unwrap();
    pass(&mut t, LEASE_MS);
    take(&mut t).unwrap();
    let delayed = push_with(&mut t, "delayed", 5000, 0).unwrap();
    let ready = push(&mut t, "ready");

    let mut all: Vec<Listed> = Vec::new();
    let mut request = ListRequest { queue: "q".into(), limit: 2, ..ListRequest::default() };
    loop {
        let page = t.list(request.clone()).unwrap();
        assert!(page.jobs.len() <= 2);
        all.extend(page.jobs);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
        pass(&mut t, 1);
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
    let page = t.list(request).unwrap();
    assert_eq!(page.jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [dead]);
}

#[test]
fn queues_do_not_see_each_other() {
    let mut t = Machine::<Queues>::new();
    push(&mut t, "a");
    // Longer names that begin alike, and one that sorts between.
    for queue in ["q2", "q\0", "p"] {
        let request = TakeRequest { queue: queue.into(), lease_ms: LEASE_MS };
        assert_eq!(t.take(request).unwrap().taken, None, "{queue:?}");
        let stats = t.stats(StatsRequest { queue: queue.into() }).unwrap();
        assert_eq!(stats, StatsReply::default());
    }
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let mut t = Machine::<Queues>::new();
    let good = PushRequest { queue: "q".into(), ..PushRequest::default() };
    let pushes = [
        PushRequest { queue: String::new(), ..good.clone() },
        PushRequest { queue: "q".repeat(101), ..good.clone() },
        PushRequest { payload: vec![0; 65_537], ..good.clone() },
        PushRequest { delay_ms: u64::MAX, ..good.clone() },
        PushRequest { attempts: 101, ..good.clone() },
    ];
    for request in pushes {
        let refused = t.push(request).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    for lease_ms in [0, u64::MAX] {
        let request = TakeRequest { queue: "q".into(), lease_ms };
        assert_eq!(t.take(request).unwrap_err().code(), Code::InvalidArgument);
    }
    let request = ListRequest { queue: "q".into(), limit: 1_001, ..ListRequest::default() };
    assert_eq!(t.list(request).unwrap_err().code(), Code::InvalidArgument);
    let largest = PushRequest { queue: "q".repeat(100), payload: vec![0; 65_536], ..good };
    t.push(largest).unwrap();
}

#[test]
fn there_is_room_for_so_many_jobs_and_no_more() {
    let mut t = Machine::<Queues>::new();
    for _ in 0..100_000 {
        push(&mut t, "");
    }
    assert_eq!(push_with(&mut t, "", 0, 0).unwrap_err().code(), Code::ResourceExhausted);
    let taken = take(&mut t).unwrap();
    ack(&mut t, &taken).unwrap();
    push(&mut t, "");
    assert_eq!(stats(&mut t), [0, 100_000, 0, 0]);
}
