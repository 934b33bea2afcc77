//! The batcher's promises, each by name. The stage behind it is a variable; time is a number.

#![expect(clippy::disallowed_types, reason = "a load test reads the clock; the batcher does not")]

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::batch::Command;

const NOW: Duration = Duration::ZERO;

fn proposal(waiter: usize, bytes: usize) -> Proposal<usize> {
    Proposal { command: Command::new(1, Bytes::from(vec![7; bytes])), waiter }
}

fn batcher(commands_max: usize, bytes_max: usize, linger_ms: u64) -> Batcher<usize> {
    let linger = Duration::from_millis(linger_ms);
    Batcher::new(BatcherConfig { commands_max, bytes_max, linger })
}

fn natural() -> Batcher<usize> {
    Batcher::new(BatcherConfig::default())
}

fn waiters(batch: &Batch<usize>) -> Vec<usize> {
    batch.proposals.iter().map(|proposal| proposal.waiter).collect()
}

#[track_caller]
fn flushed(poll: Poll<usize>, reason: FlushReason) -> Vec<usize> {
    match poll {
        Poll::Flush(batch, why) => {
            assert_eq!(why, reason);
            waiters(&batch)
        }
        Poll::Wait | Poll::WaitUntil(_) | Poll::Closed => panic!("no flush but {poll:?}"),
    }
}

#[test]
fn a_lone_proposal_waits_for_nothing() {
    let mut batcher = natural();
    batcher.offer(proposal(1, 10), NOW).unwrap();
    assert_eq!(flushed(batcher.poll(NOW, true), FlushReason::StageFree), [1]);
    assert_eq!(batcher.stats(NOW).queue_wait_max, Duration::ZERO);
}

#[test]
fn an_empty_batcher_waits() {
    assert!(matches!(natural().poll(NOW, true), Poll::Wait));
}

#[test]
fn a_batch_grows_while_the_stage_is_busy_and_leaves_when_it_is_free() {
    let mut batcher = natural();
    for waiter in 0..5 {
        batcher.offer(proposal(waiter, 10), NOW).unwrap();
        assert!(matches!(batcher.poll(NOW, false), Poll::Wait));
    }
    assert_eq!(flushed(batcher.poll(NOW, true), FlushReason::StageFree), [0, 1, 2, 3, 4]);
    assert!(matches!(batcher.poll(NOW, true), Poll::Wait), "nothing leaves twice");
}

#[test]
fn a_batch_leaves_at_its_count_of_commands() {
    let mut batcher = batcher(3, 1000, 1000);
    for waiter in 0..3 {
        assert!(batcher.wants_more());
        batcher.offer(proposal(waiter, 1), NOW).unwrap();
    }
    assert!(!batcher.wants_more());
    assert_eq!(flushed(batcher.poll(NOW, true), FlushReason::Commands), [0, 1, 2]);
    assert!(batcher.wants_more());
}

#[test]
fn a_batch_at_its_cap_refuses_and_loses_nothing() {
    let mut batcher = batcher(1, 1000, 0);
    batcher.offer(proposal(0, 1), NOW).unwrap();
    let refused = batcher.offer(proposal(1, 1), NOW).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::Full);
    assert_eq!(refused.proposal.waiter, 1);
    assert_eq!(flushed(batcher.poll(NOW, true), FlushReason::Commands), [0]);
}

#[test]
fn a_full_batch_still_waits_for_a_busy_stage() {
    let mut batcher = batcher(2, 1000, 0);
    batcher.offer(proposal(0, 1), NOW).unwrap();
    batcher.offer(proposal(1, 1), NOW).unwrap();
    assert!(matches!(batcher.poll(NOW, false), Poll::Wait));
    assert_eq!(flushed(batcher.poll(NOW, true), FlushReason::Commands), [0, 1]);
}

#[test]
fn a_batch_leaves_at_its_bytes() {
    let mut batcher = batcher(100, 10, 1000);
    batcher.offer(proposal(0, 4), NOW).unwrap();
    assert!(matches!(batcher.poll(NOW, true), Poll::WaitUntil(_)));
    batcher.offer(proposal(1, 6), NOW).unwrap();
    assert!(!batcher.wants_more());
    assert_eq!(flushed(batcher.poll(NOW, true), FlushReason::Bytes), [0, 1]);
}

#[test]
fn a_proposal_that_would_exceed_the_bytes_begins_the_next_batch() {
    let mut batcher = batcher(100, 10, 0);
    batcher.offer(proposal(0, 6), NOW).unwrap();
    batcher.offer(proposal(1, 6), NOW).unwrap();
    assert!(!batcher.wants_more());
    assert_eq!(flushed(batcher.poll(NOW, true), FlushReason::Bytes), [0]);
    assert!(batcher.wants_more());
    assert_eq!(flushed(batcher.poll(NOW, true), FlushReason::StageFree), [1]);
}

#[test]
fn a_batch_never_exceeds_its_bytes_unless_one_command_does() {
    let mut batcher = batcher(100, 10, 0);
    for (waiter, bytes) in [3, 9, 1, 40, 2, 2, 10, 5].into_iter().enumerate() {
        while !batcher.wants_more() {
            let Poll::Flush(batch, _) = batcher.poll(NOW, true) else { panic!("a full batch") };
            let sizes: Vec<_> =
                batch.proposals.iter().map(|proposal| proposal.command.payload.len()).collect();
            assert!(sizes.iter().sum::<usize>() <= 10 || sizes.len() == 1, "{sizes:?}");
        }
        batcher.offer(proposal(waiter, bytes), NOW).unwrap();
    }
}

#[test]
fn a_command_larger_than_a_batch_travels_alone() {
    let mut batcher = batcher(100, 10, 0);
    batcher.offer(proposal(0, 50), NOW).unwrap();
    assert_eq!(flushed(batcher.poll(NOW, true), FlushReason::Bytes), [0]);
}

#[test]
fn empty_payloads_are_bounded_by_count() {
    let mut batcher = batcher(4, 10, 0);
    for waiter in 0..4 {
        batcher.offer(proposal(waiter, 0), NOW).unwrap();
    }
    assert_eq!(flushed(batcher.poll(NOW, true), FlushReason::Commands), [0, 1, 2, 3]);
}

#[test]
fn a_batch_that_lingers_leaves_on_time() {
    let mut batcher = batcher(100, 1000, 5);
    batcher.offer(proposal(0, 1), Duration::from_millis(10)).unwrap();
    let until = Duration::from_millis(15);
    assert!(matches!(
        batcher.poll(Duration::from_millis(10), true),
        Poll::WaitUntil(at) if at == until
    ));
    batcher.offer(proposal(1, 1), Duration::from_millis(14)).unwrap();
    assert!(matches!(batcher.poll(Duration::from_millis(14), true), Poll::WaitUntil(_)));
    assert_eq!(flushed(batcher.poll(until, true), FlushReason::Linger), [0, 1]);
}

#[test]
fn the_linger_counts_from_the_first_proposal_also_of_a_carried_one() {
    let mut batcher = batcher(100, 10, 5);
    batcher.offer(proposal(0, 8), Duration::from_millis(1)).unwrap();
    batcher.offer(proposal(1, 8), Duration::from_millis(2)).unwrap();
    assert_eq!(flushed(batcher.poll(Duration::from_millis(3), true), FlushReason::Bytes), [0]);
    let poll = batcher.poll(Duration::from_millis(3), true);
    assert!(matches!(poll, Poll::WaitUntil(at) if at == Duration::from_millis(7)));
}

#[test]
fn closing_flushes_what_is_pending_and_then_closes() {
    let mut batcher = batcher(100, 1000, 1000);
    batcher.offer(proposal(0, 1), NOW).unwrap();
    batcher.close();
    assert!(matches!(batcher.poll(NOW, false), Poll::Wait), "the last batch waits for the stage");
    assert_eq!(flushed(batcher.poll(NOW, true), FlushReason::Close), [0]);
    assert!(matches!(batcher.poll(NOW, true), Poll::Closed));
}

#[test]
fn closing_with_a_carried_proposal_loses_nothing() {
    let mut batcher = batcher(100, 10, 0);
    batcher.offer(proposal(0, 8), NOW).unwrap();
    batcher.offer(proposal(1, 8), NOW).unwrap();
    batcher.close();
    assert_eq!(flushed(batcher.poll(NOW, true), FlushReason::Bytes), [0]);
    assert_eq!(flushed(batcher.poll(NOW, true), FlushReason::Close), [1]);
    assert!(matches!(batcher.poll(NOW, true), Poll::Closed));
}

#[test]
fn closing_an_empty_batcher_closes_at_once_even_if_the_stage_is_busy() {
    let mut batcher = natural();
    batcher.close();
    assert!(matches!(batcher.poll(NOW, false), Poll::Closed));
}

#[test]
fn a_proposal_after_close_is_refused_and_handed_back() {
    let mut batcher = natural();
    batcher.close();
    assert!(!batcher.wants_more());
    let refused = batcher.offer(proposal(4, 1), NOW).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::Closed);
    assert_eq!(refused.proposal.waiter, 4);
}

#[test]
fn order_is_kept_within_and_between_batches() {
    let mut batcher = batcher(7, 1000, 0);
    let mut out = Vec::new();
    for waiter in 0..100 {
        if !batcher.wants_more() {
            out.extend(flushed(batcher.poll(NOW, true), FlushReason::Commands));
        }
        batcher.offer(proposal(waiter, 1), NOW).unwrap();
    }
    batcher.close();
    out.extend(flushed(batcher.poll(NOW, true), FlushReason::Close));
    assert_eq!(out, (0..100).collect::<Vec<_>>());
}

#[test]
fn stats_count_what_left_and_why() {
    let mut batcher = batcher(2, 1000, 0);
    batcher.offer(proposal(0, 1), Duration::from_millis(1)).unwrap();
    batcher.offer(proposal(1, 1), Duration::from_millis(2)).unwrap();
    batcher.poll(Duration::from_millis(4), true);
    batcher.offer(proposal(2, 1), Duration::from_millis(5)).unwrap();
    batcher.poll(Duration::from_millis(5), true);
    let stats = batcher.stats(Duration::from_millis(5));
    assert_eq!((stats.proposals, stats.batches), (3, 2));
    assert_eq!(stats.flushes, Flushes { commands: 1, stage_free: 1, ..Flushes::default() });
    assert_eq!(stats.batch_size_mean_permille(), 1500);
    assert_eq!(stats.queue_wait_max, Duration::from_millis(3));
    assert_eq!(stats.queue_wait_total, Duration::from_millis(3));
}

/// Commands arrive while the stage is busy: load rises. They come one by one to a free stage: it
/// falls again, although every batch leaves the buffer empty.
#[test]
fn load_rises_under_saturation_and_falls_after_it() {
    let mut batcher = natural();
    for round in 0..20 {
        batcher.offer(proposal(round, 1), NOW).unwrap();
        batcher.poll(NOW, false);
        batcher.poll(NOW, true);
    }
    let saturated = batcher.stats(NOW).load_permille;
    assert!(saturated > 900, "{saturated}");
    for round in 0..20 {
        batcher.offer(proposal(round, 1), NOW).unwrap();
        batcher.poll(NOW, true);
    }
    let relaxed = batcher.stats(NOW).load_permille;
    assert!(relaxed < 10, "{relaxed}");
}

#[test]
fn load_falls_in_silence_too() {
    let mut batcher = natural();
    for round in 0..20 {
        batcher.offer(proposal(round, 1), NOW).unwrap();
        batcher.poll(NOW, false);
        batcher.poll(NOW, true);
    }
    let before = batcher.stats(NOW).load_permille;
    assert_eq!(batcher.stats(Duration::from_millis(250)).load_permille, before / 4);
    assert_eq!(batcher.stats(Duration::from_hours(1)).load_permille, 0);
}

/// A stage with room for one batch, as in the host: a channel of capacity 1 that this driver owns.
/// The driver ends when its input is closed or its output has no receiver any more.
fn drive(input: &mpsc::Receiver<Proposal<usize>>, output: &mpsc::SyncSender<Batch<usize>>) {
    let mut batcher = natural();
    loop {
        if batcher.pending.is_empty() {
            match input.recv() {
                Ok(proposal) => batcher.offer(proposal, NOW).unwrap(),
                Err(mpsc::RecvError) => batcher.close(),
            }
        }
        while batcher.wants_more() {
            let Ok(proposal) = input.try_recv() else { break };
            batcher.offer(proposal, NOW).unwrap();
        }
        match batcher.poll(NOW, true) {
            Poll::Flush(batch, _) => {
                if output.send(batch).is_err() {
                    return;
                }
            }
            Poll::Closed => return,
            Poll::Wait | Poll::WaitUntil(_) => {}
        }
    }
}

#[test]
fn a_thousand_concurrent_proposals_all_come_out_in_few_batches() {
    let begun = Instant::now();
    let (submit, input) = mpsc::sync_channel(limits::SUBMIT_MAX);
    let (output, intake) = mpsc::sync_channel(0);
    let (sizes, mut seen) = thread::scope(|scope| {
        scope.spawn(move || drive(&input, &output));
        for client in 0..50 {
            let submit = submit.clone();
            scope.spawn(move || {
                for i in 0..20 {
                    submit.send(proposal(client * 20 + i, 16)).unwrap();
                }
            });
        }
        drop(submit);
        let mut seen = Vec::new();
        let mut sizes = Vec::new();
        // Ends when the driver drops its output, which it does when the last client is gone.
        for batch in intake {
            sizes.push(batch.proposals.len());
            seen.extend(waiters(&batch));
            // A stage that is slower than the clients: it works for as long as a small fsync.
            let work = Instant::now();
            while work.elapsed() < Duration::from_micros(200) {
                std::hint::spin_loop();
            }
        }
        (sizes, seen)
    });
    seen.sort_unstable();
    assert_eq!(seen, (0..1000).collect::<Vec<_>>(), "each proposal comes out once");
    assert!(sizes.len() * 8 <= 1000, "1,000 proposals in {} batches", sizes.len());
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[test]
fn dropping_the_input_closes_the_output() {
    let (submit, input) = mpsc::sync_channel(4);
    let (output, intake) = mpsc::sync_channel(4);
    submit.send(proposal(1, 1)).unwrap();
    drop(submit);
    drive(&input, &output);
    drop(output);
    assert_eq!(intake.iter().map(|batch| batch.proposals.len()).sum::<usize>(), 1);
}

#[test]
fn a_receiver_that_went_first_ends_the_driver_and_drops_its_waiters() {
    let (submit, input) = mpsc::sync_channel(4);
    let (output, intake) = mpsc::sync_channel(4);
    drop(intake);
    submit.send(proposal(1, 1)).unwrap();
    // Returns although `submit` still lives: there is nobody left to hand batches to.
    drive(&input, &output);
    drop(input);
    assert!(submit.send(proposal(2, 1)).is_err(), "a proposal after close is refused");
}
