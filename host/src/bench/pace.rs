//! When calls begin, and which of them count. No clock: time is a duration since the beginning.
//!
//! A closed loop calls again as soon as it has an answer, and so finds the peak. An open loop calls
//! at given times, whatever became of the calls before. A call's latency counts from when it was
//! meant to begin: when a server stalls, all calls that had to wait for it show that, not only the
//! few that were under way.

use std::num::NonZeroU32;
use std::time::Duration;

/// How long a load goes on, and at what rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Calls that end (in an open loop, begin) before do not count.
    pub warm_up: Duration,
    /// How long calls count.
    pub lasts: Duration,
    /// An open loop's rate; none for a closed loop.
    pub rate_per_second: Option<NonZeroU32>,
}

/// The longest warm-up.
const WARM_UP_MAX: Duration = Duration::from_secs(1);

impl Pace {
    /// Measures for so long, after a quarter of that or a second.
    pub fn new(lasts: Duration, rate_per_second: Option<NonZeroU32>) -> Self {
        Self { warm_up: (lasts / 4).min(WARM_UP_MAX), lasts, rate_per_second }
    }

    /// When the load ends.
    pub fn end(&self) -> Duration {
        self.warm_up + self.lasts
    }

    /// Whether a moment counts.
    pub fn counts(&self, at: Duration) -> bool {
        (self.warm_up..self.end()).contains(&at)
    }
}

/// The times at which an open loop's calls are to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    rate_per_second: NonZeroU32,
    calls: u64,
}

impl Schedule {
    /// So many calls a second, evenly, until `end`.
    pub fn new(rate_per_second: NonZeroU32, end: Duration) -> Self {
        let schedule = Self { rate_per_second, calls: u64::MAX };
        Self { calls: schedule.due(end), ..schedule }
    }

    /// How many calls there are.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// When a call is to begin; the first is number 0, at once.
    pub fn begins(&self, call: u64) -> Duration {
        let nanos = u128::from(call) * 1_000_000_000 / u128::from(self.rate_per_second.get());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// How many calls are to have begun before that time.
    pub fn due(&self, before: Duration) -> u64 {
        let rate = u128::from(self.rate_per_second.get());
        let calls = (before.as_nanos() * rate).div_ceil(1_000_000_000);
        u64::try_from(calls).unwrap_or(u64::MAX).min(self.calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: u32, end: Duration) -> Schedule {
        Schedule::new(NonZeroU32::new(rate).unwrap(), end)
    }

    #[test]
    fn calls_are_spread_evenly_and_none_is_lost_to_rounding() {
        let thirds = schedule(3, Duration::from_secs(10));
        assert_eq!(thirds.calls(), 30);
        assert_eq!(thirds.begins(0), Duration::ZERO);
        assert_eq!(thirds.begins(3), Duration::from_secs(1));
        assert_eq!(thirds.begins(30_000_000), Duration::from_secs(10_000_000));
        for call in 0..30 {
            let begins = thirds.begins(call);
            // It is due right behind its time, and the one before it already was.
            assert_eq!(thirds.due(begins + Duration::from_nanos(1)), call + 1);
            assert!((call..=call + 1).contains(&thirds.due(begins)), "{call}");
        }
    }

    #[test]
    fn no_more_calls_are_due_than_there_are() {
        let schedule = schedule(1000, Duration::from_millis(1500));
        assert_eq!(schedule.calls(), 1500);
        assert_eq!(schedule.due(Duration::ZERO), 0);
        assert_eq!(schedule.due(Duration::from_secs(1)), 1000);
        assert_eq!(schedule.due(Duration::from_secs(100)), 1500);
    }

    #[test]
    fn what_counts_lies_behind_the_warm_up_and_before_the_end() {
        let (warm_up, lasts) = (Duration::from_secs(1), Duration::from_secs(2));
        let pace = Pace { warm_up, lasts, rate_per_second: None };
        let counts = |millis| pace.counts(Duration::from_millis(millis));
        assert!(!counts(999) && counts(1000) && counts(2999) && !counts(3000));
    }
}
