//! What leaves the raft thread for apply: by its queue, parked, or at once.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};

use super::*;
use quorate_core::id::LogId;

/// Apply, as one that takes what has these indexes, and fails at others.
#[derive(Default)]
struct Taker {
    next: Mutex<u64>,
    fails: bool,
    /// For so long, it does nothing else.
    slow: Duration,
}

impl AtOnce for Taker {
    fn try_step(&self, work: Work) -> ControlFlow<Result<(), Fatal>, Work> {
        let mut next = self.next.lock().unwrap();
        if self.fails {
            return ControlFlow::Break(Err(Fatal::msg("it cannot be applied")));
        }
        if index_of(&work) != Some(*next) {
            return ControlFlow::Continue(work);
        }
        *next += 1;
        let begun = Instant::now();
        while begun.elapsed() < self.slow {
            std::hint::spin_loop();
        }
        ControlFlow::Break(Ok(()))
    }
}

type Sent = fn(RaftId, Bytes);

fn effects(is_alone: bool, apply: Arc<Taker>) -> (Effects<Sent>, Receiver<Work>) {
    let (committed, queue) = sync_channel(1);
    let outputs = Outputs {
        committed,
        apply,
        applied_here_commands_max: 2,
        flush: sync_channel(1).0,
        transfers: mpsc::channel(1).0,
        states: Arc::new(States::in_memory()),
        status: watch::Sender::default(),
        pulse: Pulse::default(),
        lease: watch::Sender::default(),
        members: watch::Sender::new(Arc::default()),
        contacts: Box::new(Contacts::new),
        send: (|_, _| ()) as Sent,
    };
    (Effects::new(outputs, is_alone), queue)
}

fn entry(index: u64, bytes: &Bytes, commands: usize) -> Committed<Waiter> {
    let (id, payload) = (LogId { term: 1, index }, Payload::Commands(bytes.clone()));
    let waiters = (0..commands).map(|_| Waiter::call().0).collect();
    Committed { id, payload, waiters }
}

fn index_of(work: &Work) -> Option<u64> {
    match work {
        Work::Entry(committed, _) => Some(committed.id.index),
        Work::Install(_) => None,
    }
}

/// While apply stands still, consensus goes on: it stops to take entries, and does not block.
#[test]
fn a_backlog_is_parked_and_noticed() {
    let (mut effects, apply) = effects(true, Arc::default());
    let bytes = Bytes::from(vec![0; limits::BATCH_BYTES_MAX]);
    let mut index = 0;
    while effects.parked_bytes < limits::PARKED_BYTES_MAX {
        index += 1;
        effects.commit(entry(index, &bytes, 0));
    }
    assert!(effects.parked.len() > 60, "it has parked, and got here");
    let taken: Vec<u64> = std::iter::from_fn(|| {
        effects.unpark();
        index_of(&apply.try_recv().ok()?)
    })
    .collect();
    assert!(taken.into_iter().eq(1..=index), "all of it, in its order");
    assert_eq!(effects.parked_bytes, 0);
}

#[test]
fn a_small_entry_of_a_member_that_is_alone_is_applied_at_once() {
    let bytes = Bytes::from_static(b"entry");
    let applied = |is_alone, commands| {
        let taker = Arc::new(Taker { next: Mutex::new(7), ..Taker::default() });
        let (mut effects, queue) = effects(is_alone, Arc::clone(&taker));
        effects.commit(entry(7, &bytes, commands));
        let queued = queue.try_recv().ok().as_ref().and_then(index_of);
        assert_eq!(queued.is_some(), *taker.next.lock().unwrap() == 7, "one way or the other");
        queued.is_none()
    };
    assert!(applied(true, 1) && applied(true, 2));
    assert!(!applied(true, 3), "apply would be worth its waking");
    assert!(!applied(false, 1), "a heartbeat would wait for it");
    assert!(!applied(true, 0), "nobody waits for it");
}

/// What apply does not take, as it is not there yet, keeps its place, and so does what follows.
#[test]
fn nothing_overtakes_what_is_queued() {
    let bytes = Bytes::from_static(b"entry");
    let taker = Arc::new(Taker { next: Mutex::new(6), ..Taker::default() });
    let (mut effects, queue) = effects(true, Arc::clone(&taker));
    effects.commit(entry(7, &bytes, 1));
    effects.commit(entry(8, &bytes, 1));
    assert_eq!(effects.parked.len(), 1, "the queue has room for one");
    // Whoever has the one from the queue has not applied it yet, and 9 is not next either way.
    *taker.next.lock().unwrap() = 9;
    effects.commit(entry(9, &bytes, 1));
    let came = std::iter::from_fn(|| {
        effects.unpark();
        index_of(&queue.try_recv().ok()?)
    });
    assert!(came.eq(7..=9));
}

#[test]
fn behind_an_entry_that_took_long_the_next_ones_are_queued() {
    let bytes = Bytes::from_static(b"entry");
    let slow = 2 * (APPLIED_HERE_MAX + APPLIED_HERE_COMMAND_MAX);
    let taker = Arc::new(Taker { slow, ..Taker::default() });
    let (mut effects, queue) = effects(true, Arc::clone(&taker));
    for index in 0..=u64::from(QUEUED_AFTER_LONG) {
        effects.commit(entry(index, &bytes, 1));
        let queued = queue.try_recv().ok().as_ref().and_then(index_of);
        assert_eq!(queued, (index > 0).then_some(index));
    }
    let next = u64::from(QUEUED_AFTER_LONG) + 1;
    *taker.next.lock().unwrap() = next;
    effects.commit(entry(next, &bytes, 1));
    assert!(queue.try_recv().is_err(), "it is tried again");
}

#[test]
fn nothing_is_applied_behind_what_could_not_be() {
    let bytes = Bytes::from_static(b"entry");
    let (mut effects, queue) = effects(true, Arc::new(Taker { fails: true, ..Taker::default() }));
    effects.commit(entry(1, &bytes, 1));
    effects.commit(entry(2, &bytes, 4));
    assert!(effects.fault.is_some() && queue.try_recv().is_err() && effects.parked.is_empty());
}
