//! The batcher's task: owns the clock and the output channel.
//!
//! It makes the channel, hands out only the receiving end, flushes, and closes it itself: when its
//! input is closed, or when nobody receives any more. Nothing else can close it, so the next stage
//! never waits for a batch that will not come.

use std::time::{Duration, Instant};
use std::vec;

use quorate_core::batch::{Batch, Proposal};
use quorate_core::batcher::{Batcher, BatcherConfig, BatcherStats, Poll};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// What is handed to the batcher at a time.
#[derive(Debug)]
pub enum Submission<W> {
    /// A call's command.
    One(Proposal<W>),
    /// Commands of a stream. They join batches in their order, as many as fit.
    Many(Vec<Proposal<W>>),
}

/// The batches, and how the batcher fares.
#[derive(Debug)]
pub struct Batches<W> {
    /// Holds one batch: while the next stage is busy, the batch after it grows.
    pub intake: mpsc::Receiver<Batch<W>>,
    /// After every batch.
    pub stats: watch::Receiver<BatcherStats>,
    /// Ends after the last batch was handed over.
    pub task: JoinHandle<()>,
}

/// Starts the batcher on `input`. Must be called within a runtime.
pub fn start<W: Send + 'static>(
    config: BatcherConfig,
    input: mpsc::Receiver<Submission<W>>,
) -> Batches<W> {
    let (output, intake) = mpsc::channel(1);
    let (stats_publisher, stats) = watch::channel(BatcherStats::default());
    let (batcher, begun, rest) = (Batcher::new(config), Instant::now(), Vec::new().into_iter());
    let driver = Driver { batcher, begun, input, rest, stats_publisher };
    let task = tokio::spawn(driver.run(output));
    Batches { intake, stats, task }
}

struct Driver<W> {
    batcher: Batcher<W>,
    begun: Instant,
    input: mpsc::Receiver<Submission<W>>,
    /// What the batch had no room for, of the last submission.
    rest: vec::IntoIter<Proposal<W>>,
    stats_publisher: watch::Sender<BatcherStats>,
}

impl<W> Driver<W> {
    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    async fn run(mut self, output: mpsc::Sender<Batch<W>>) {
        loop {
            self.drain_input();
            let poll = match output.try_reserve() {
                Ok(slot) => match self.batcher.poll(self.now(), true) {
                    Poll::Flush(batch, _) => {
                        slot.send(batch);
                        self.stats_publisher.send_replace(self.batcher.stats(self.now()));
                        continue;
                    }
                    other => other,
                },
                Err(mpsc::error::TrySendError::Full(())) => self.batcher.poll(self.now(), false),
                // Nobody takes batches any more; waiters are dropped, which tells their callers.
                Err(mpsc::error::TrySendError::Closed(())) => return,
            };
            let wake_at = match poll {
                Poll::Closed => return,
                Poll::WaitUntil(at) => Some(at),
                Poll::Wait | Poll::Flush(..) => None,
            };
            if !self.wait(&output, wake_at).await {
                return;
            }
        }
    }

    /// Takes what is there, without waiting.
    fn drain_input(&mut self) {
        let now = self.now();
        loop {
            self.offer_rest(now);
            if !self.batcher.wants_more() {
                return;
            }
            match self.input.try_recv() {
                Ok(submission) => self.take(submission, now),
                Err(mpsc::error::TryRecvError::Empty) => return,
                Err(mpsc::error::TryRecvError::Disconnected) => self.batcher.close(),
            }
        }
    }

    /// Takes a submission, while the batcher wants more and nothing is left of the last one.
    fn take(&mut self, submission: Submission<W>, now: Duration) {
        match submission {
            Submission::One(proposal) => self.offer(proposal, now),
            Submission::Many(proposals) => {
                self.rest = proposals.into_iter();
                self.offer_rest(now);
            }
        }
    }

    fn offer_rest(&mut self, now: Duration) {
        while self.batcher.wants_more()
            && let Some(proposal) = self.rest.next()
        {
            self.offer(proposal, now);
        }
    }

    fn offer(&mut self, proposal: Proposal<W>, now: Duration) {
        if self.batcher.offer(proposal, now).is_err() {
            unreachable!("offered only while it wants more");
        }
    }

    /// Waits for whatever may change what the batcher does; false when nobody receives any more.
    async fn wait(&mut self, output: &mpsc::Sender<Batch<W>>, wake_at: Option<Duration>) -> bool {
        // With nothing to hand on, a slot that becomes free is no reason to wake up.
        let waits_for_slot = !self.batcher.is_empty() && output.capacity() == 0;
        let timer = wake_at.map(|at| tokio::time::sleep(at.saturating_sub(self.now())));
        tokio::select! {
            submission = self.input.recv(), if self.batcher.wants_more() => match submission {
                Some(submission) => {
                    let now = self.now();
                    self.take(submission, now);
                }
                None => self.batcher.close(),
            },
            slot = output.reserve(), if waits_for_slot => return slot.is_ok(),
            () = output.closed() => return false,
            () = async { timer.expect("guarded").await }, if timer.is_some() => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_core::batch::Command;
    use quorate_core::limits;
    use tokio::sync::oneshot;

    use super::*;

    fn command<W>(waiter: W) -> Proposal<W> {
        Proposal { command: Command::new(1, Bytes::from_static(b"payload")), waiter }
    }

    fn proposal<W>(waiter: W) -> Submission<W> {
        Submission::One(command(waiter))
    }

    #[tokio::test]
    async fn a_thousand_concurrent_proposals_all_come_out_in_few_batches() {
        let (submit, input) = mpsc::channel(limits::SUBMIT_MAX);
        let mut batches = start(BatcherConfig::default(), input);
        for waiter in 0..1000 {
            let submit = submit.clone();
            tokio::spawn(async move { submit.send(proposal(waiter)).await });
        }
        drop(submit);
        let mut sizes = Vec::new();
        let mut waiters = Vec::new();
        while let Some(batch) = batches.intake.recv().await {
            sizes.push(batch.proposals.len());
            waiters.extend(batch.proposals.into_iter().map(|proposal| proposal.waiter));
        }
        waiters.sort_unstable();
        assert_eq!(waiters, (0..1000).collect::<Vec<_>>());
        assert!(sizes.len() * 8 <= 1000, "{} batches", sizes.len());
        batches.task.await.unwrap();
        assert_eq!(batches.stats.borrow().proposals, 1000);
    }

    #[tokio::test]
    async fn dropping_the_input_closes_the_output() {
        let (submit, input) = mpsc::channel::<Submission<()>>(1);
        let mut batches = start(BatcherConfig::default(), input);
        drop(submit);
        assert!(batches.intake.recv().await.is_none());
        batches.task.await.unwrap();
    }

    #[tokio::test]
    async fn dropping_the_input_flushes_before_it_closes() {
        let (submit, input) = mpsc::channel(4);
        let linger = Duration::from_hours(1);
        let mut batches = start(BatcherConfig { linger, ..BatcherConfig::default() }, input);
        submit.send(proposal(1)).await.unwrap();
        submit.send(proposal(2)).await.unwrap();
        drop(submit);
        assert_eq!(batches.intake.recv().await.unwrap().proposals.len(), 2);
        assert!(batches.intake.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_receiver_that_goes_first_ends_the_task_and_frees_the_waiters() {
        let (submit, input) = mpsc::channel(4);
        let linger = Duration::from_hours(1);
        let batches = start(BatcherConfig { linger, ..BatcherConfig::default() }, input);
        let (waiter, answer) = oneshot::channel::<()>();
        submit.send(proposal(waiter)).await.unwrap();
        drop(batches.intake);
        batches.task.await.unwrap();
        assert!(answer.await.is_err(), "a waiter that is dropped knows it");
        let (waiter, _) = oneshot::channel::<()>();
        assert!(submit.send(proposal(waiter)).await.is_err(), "refused after close");
    }

    #[tokio::test]
    async fn a_batch_grows_while_the_stage_is_busy() {
        let (submit, input) = mpsc::channel(limits::SUBMIT_MAX);
        let mut batches = start(BatcherConfig::default(), input);
        submit.send(proposal(0)).await.unwrap();
        // The first batch fills the slot; nobody takes it, so all others gather behind it.
        while batches.intake.is_empty() {
            tokio::task::yield_now().await;
        }
        for waiter in 1..100 {
            submit.send(proposal(waiter)).await.unwrap();
        }
        drop(submit);
        let mut sizes = Vec::new();
        while let Some(batch) = batches.intake.recv().await {
            sizes.push(batch.proposals.len());
        }
        assert_eq!(sizes, [1, 99]);
    }

    #[tokio::test]
    async fn what_comes_together_is_cut_into_batches_in_its_order() {
        let (submit, input) = mpsc::channel(4);
        let config = BatcherConfig { commands_max: 3, ..BatcherConfig::default() };
        let mut batches = start(config, input);
        submit.send(Submission::Many((1..=7).map(command).collect())).await.unwrap();
        submit.send(Submission::Many(Vec::new())).await.unwrap();
        submit.send(proposal(8)).await.unwrap();
        drop(submit);
        let mut came = Vec::new();
        while let Some(batch) = batches.intake.recv().await {
            assert!(batch.proposals.len() <= 3);
            came.extend(batch.proposals.into_iter().map(|proposal| proposal.waiter));
        }
        assert_eq!(came, [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[tokio::test]
    async fn a_lingering_batch_leaves_by_the_clock() {
        let (submit, input) = mpsc::channel(4);
        let linger = Duration::from_millis(20);
        let mut batches = start(BatcherConfig { linger, ..BatcherConfig::default() }, input);
        submit.send(proposal(1)).await.unwrap();
        assert_eq!(batches.intake.recv().await.unwrap().proposals.len(), 1);
    }
}
