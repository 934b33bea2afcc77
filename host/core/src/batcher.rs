//! Which commands travel together: natural batching.
//!
//! A batch leaves when the next stage can take it, and grows while it cannot. A lone command never
//! waits for company, and under load batches grow by themselves, without a timer. Caps by count
//! and by bytes bound a batch; a batch at its cap takes no more, and callers feel that as
//! back-pressure. A linger can be set for stages whose cost is all per batch; it is off by
//! default.
//!
//! The driver owns the clock and the channels: it offers what arrives while
//! [`Batcher::wants_more`], and asks [`Batcher::poll`] what to do.
//!
//! What this deliberately does not have: a timer, a channel, a batch size tuned at run time.

use std::mem;
use std::time::Duration;

use crate::batch::{Batch, Proposal};
use crate::canary::{self, Canary};
use crate::limits;

/// What bounds a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatcherConfig {
    /// Commands in a batch, at least 1.
    pub commands_max: usize,
    /// Payload bytes in a batch. A single command larger than this travels alone.
    pub bytes_max: usize,
    /// How long a batch that is not full waits for company although the next stage is free.
    pub linger: Duration,
}

impl Default for BatcherConfig {
    fn default() -> Self {
        Self {
            commands_max: limits::BATCH_COMMANDS_MAX,
            bytes_max: limits::BATCH_BYTES_MAX,
            linger: Duration::ZERO,
        }
    }
}

/// Why a batch left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushReason {
    /// The next stage was free.
    StageFree,
    /// It held as many commands as it may.
    Commands,
    /// It held as many bytes as it may.
    Bytes,
    /// It had lingered for long enough.
    Linger,
    /// The input was closed.
    Close,
}

/// What the driver is to do.
#[derive(Debug)]
pub enum Poll<W> {
    /// Hand this on. The stage is then busy until it has room again.
    Flush(Batch<W>, FlushReason),
    /// Wait for a command, or for the stage to become free.
    Wait,
    /// As `Wait`, but no longer than until this time.
    WaitUntil(Duration),
    /// The input is closed and everything has left: close the output.
    Closed,
}

/// A proposal that was not taken.
#[derive(Debug)]
pub struct Refused<W> {
    /// The proposal, back with its waiter.
    pub proposal: Proposal<W>,
    /// Why.
    pub reason: RefusedReason,
}

/// Why a proposal was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedReason {
    /// The batcher was closed.
    Closed,
    /// The batch is at its cap; [`Batcher::wants_more`] said so.
    Full,
}

/// How the batcher fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatcherStats {
    /// Commands that left.
    pub proposals: u64,
    /// Batches that left.
    pub batches: u64,
    /// Batches that left, by reason.
    pub flushes: Flushes,
    /// How busy the next stage keeps the batcher, 0 to 1,000: a moving average over batches, 1,000
    /// for one that had to wait, else how full it was. Halves with every 100 ms of silence.
    pub load_permille: u32,
    /// The longest that the first command of a batch waited.
    pub queue_wait_max: Duration,
    /// The sum of those waits, one for each batch.
    pub queue_wait_total: Duration,
}

impl BatcherStats {
    /// Commands in a batch, on average, in thousandths.
    pub fn batch_size_mean_permille(&self) -> u64 {
        (self.proposals * 1000).checked_div(self.batches).unwrap_or(0)
    }
}

/// Batches by the reason they left for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushes {
    /// [`FlushReason::StageFree`].
    pub stage_free: u64,
    /// [`FlushReason::Commands`].
    pub commands: u64,
    /// [`FlushReason::Bytes`].
    pub bytes: u64,
    /// [`FlushReason::Linger`].
    pub linger: u64,
    /// [`FlushReason::Close`].
    pub close: u64,
}

impl Flushes {
    fn count(&mut self, reason: FlushReason) {
        *match reason {
            FlushReason::StageFree => &mut self.stage_free,
            FlushReason::Commands => &mut self.commands,
            FlushReason::Bytes => &mut self.bytes,
            FlushReason::Linger => &mut self.linger,
            FlushReason::Close => &mut self.close,
        } += 1;
    }
}

/// Collects proposals into batches. Times are durations since any one moment.
#[derive(Debug)]
pub struct Batcher<W> {
    config: BatcherConfig,
    pending: Vec<Proposal<W>>,
    pending_bytes: usize,
    /// A proposal that would have put the batch over its bytes: the first of the next one.
    carried: Option<(Proposal<W>, Duration)>,
    /// When the first pending proposal arrived.
    oldest: Duration,
    /// Whether the pending batch found the stage busy.
    blocked: bool,
    closed: bool,
    stats: BatcherStats,
    flushed_last: Duration,
}

impl<W> Batcher<W> {
    /// An empty batcher.
    pub fn new(config: BatcherConfig) -> Self {
        assert!(config.commands_max > 0, "a batch holds at least one command");
        Self {
            config,
            pending: Vec::new(),
            pending_bytes: 0,
            carried: None,
            oldest: Duration::ZERO,
            blocked: false,
            closed: false,
            stats: BatcherStats::default(),
            flushed_last: Duration::ZERO,
        }
    }

    /// Whether there is room for another proposal. While not, the driver leaves the input alone.
    pub fn wants_more(&self) -> bool {
        !self.closed && self.cap_reached().is_none()
    }

    /// Whether no proposal is pending.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes a proposal.
    pub fn offer(&mut self, proposal: Proposal<W>, now: Duration) -> Result<(), Refused<W>> {
        if self.closed {
            return Err(Refused { proposal, reason: RefusedReason::Closed });
        }
        if self.cap_reached().is_some() {
            return Err(Refused { proposal, reason: RefusedReason::Full });
        }
        let bytes = proposal.command.payload.len();
        if !self.pending.is_empty() && self.pending_bytes + bytes > self.config.bytes_max {
            self.carried = Some((proposal, now));
        } else {
            self.take(proposal, now);
        }
        Ok(())
    }

    fn take(&mut self, proposal: Proposal<W>, now: Duration) {
        if self.pending.is_empty() {
            self.oldest = now;
        }
        self.pending_bytes += proposal.command.payload.len();
        self.pending.push(proposal);
    }

    fn cap_reached(&self) -> Option<FlushReason> {
        if self.pending.len() >= self.config.commands_max {
            Some(FlushReason::Commands)
        } else if self.carried.is_some() || self.pending_bytes >= self.config.bytes_max {
            Some(FlushReason::Bytes)
        } else {
            None
        }
    }

    /// The input is closed: what is pending leaves, and nothing more is taken.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// What to do now, given whether the next stage can take a batch.
    pub fn poll(&mut self, now: Duration, stage_is_free: bool) -> Poll<W> {
        if self.pending.is_empty() {
            return if self.closed { Poll::Closed } else { Poll::Wait };
        }
        if !stage_is_free {
            self.blocked = true;
            return Poll::Wait;
        }
        let lingers_until = self.oldest.saturating_add(self.config.linger);
        let reason = match self.cap_reached() {
            Some(cap) => cap,
            None if self.closed => FlushReason::Close,
            None if self.config.linger.is_zero() => FlushReason::StageFree,
            None if now >= lingers_until => FlushReason::Linger,
            None => return Poll::WaitUntil(lingers_until),
        };
        Poll::Flush(self.flush(now, reason), reason)
    }

    fn flush(&mut self, now: Duration, reason: FlushReason) -> Batch<W> {
        // Measured before the batch is drained: afterwards the buffer is always empty, and a load
        // taken from it would be zero for ever.
        self.measure(now, reason);
        let proposals = mem::take(&mut self.pending);
        self.pending_bytes = 0;
        self.blocked = false;
        if let Some((proposal, arrived)) = self.carried.take()
            && !canary::is_planted(Canary::CarriedLost)
        {
            self.take(proposal, arrived);
            // It waited because the batch before it was full, which is load as well.
            self.blocked = true;
        }
        Batch { proposals }
    }

    fn measure(&mut self, now: Duration, reason: FlushReason) {
        let sample = if self.blocked { 1000 } else { self.fill_permille() };
        let load = self.load_permille(now);
        // A moving average with α 0.3.
        self.stats.load_permille = (load * 7 + sample * 3) / 10;
        let wait = now.saturating_sub(self.oldest);
        self.stats.queue_wait_max = self.stats.queue_wait_max.max(wait);
        self.stats.queue_wait_total += wait;
        self.stats.proposals += self.pending.len() as u64;
        self.stats.batches += 1;
        self.stats.flushes.count(reason);
        self.flushed_last = now;
    }

    /// How near the pending batch is to one of its caps.
    fn fill_permille(&self) -> u32 {
        let permille = |part: usize, whole: usize| {
            u32::try_from((part * 1000).checked_div(whole).unwrap_or(1000).min(1000))
                .expect("at most 1,000")
        };
        permille(self.pending.len(), self.config.commands_max)
            .max(permille(self.pending_bytes, self.config.bytes_max))
    }

    fn load_permille(&self, now: Duration) -> u32 {
        let silence = now.saturating_sub(self.flushed_last).as_millis() / 100;
        let halvings = u32::try_from(silence).unwrap_or(u32::MAX).min(31);
        self.stats.load_permille >> halvings
    }

    /// How the batcher fares, as of `now`.
    pub fn stats(&self, now: Duration) -> BatcherStats {
        BatcherStats { load_permille: self.load_permille(now), ..self.stats }
    }
}

#[cfg(test)]
mod tests;
