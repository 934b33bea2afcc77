//! Many callers at once, and how long their calls took.
//!
//! What this deliberately does not know: what a call is, or whom it is made to.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::pace::{Pace, Schedule};
use crate::stages::nanos;
use crate::threads::Worker;

/// Who makes calls, one at a time.
pub trait Caller: Send + 'static {
    /// Makes one, and waits for its answer; else why there is none.
    fn call(&mut self) -> impl Future<Output = Result<(), String>> + Send;
}

/// What calls are told apart to this. Finer would be below what clocks and wake-ups allow.
const LATENCY_MIN: Duration = Duration::from_micros(1);
/// Longer than any call: servers give up before.
const LATENCY_MAX: Duration = Duration::from_mins(1);
/// To three digits.
const LATENCY_DIGITS: u8 = 3;
/// How long the last answers may take to come.
const END_WAIT_MAX: Duration = Duration::from_secs(30);

/// What came of a load.
#[derive(Clone, Debug)]
pub struct Measured {
    latencies_ns: Histogram<u64>,
    lasts: Duration,
    /// Calls of an open loop that did not even begin in time. They are in the histogram with how
    /// long they had waited by then.
    pub late: u64,
    /// Calls that came back with an error; they are not in the histogram.
    pub errors: u64,
    /// The first of the errors.
    pub error: Option<String>,
}

impl Measured {
    fn new(lasts: Duration) -> Self {
        Self { latencies_ns: histogram_ns(), lasts, late: 0, errors: 0, error: None }
    }

    /// How many calls were answered.
    pub fn calls(&self) -> u64 {
        self.latencies_ns.len() - self.late
    }

    /// How many calls were answered in each second.
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 calls")]
    pub fn calls_per_second(&self) -> f64 {
        self.calls() as f64 / self.lasts.as_secs_f64()
    }

    /// The latency that so many of 1,000 calls did not exceed.
    #[expect(clippy::cast_precision_loss, reason = "a minute at most")]
    pub fn latency_us(&self, permille: u32) -> f64 {
        let nanos = self.latencies_ns.value_at_quantile(f64::from(permille) / 1000.0);
        nanos as f64 / 1000.0
    }

    /// The mean latency.
    pub fn mean_us(&self) -> f64 {
        self.latencies_ns.mean() / 1000.0
    }

    /// The same, or that the figures say nothing: most calls came back with errors.
    pub fn usable(self) -> anyhow::Result<Self> {
        let error = self.error.as_deref().unwrap_or("no call came to its end");
        let (calls, errors) = (self.calls(), self.errors);
        anyhow::ensure!(calls > errors, "{errors} of {} calls failed: {error}", calls + errors);
        Ok(self)
    }

    /// What came of several groups that called at the same time.
    pub fn sum(groups: &[Self]) -> Self {
        let mut all = Self::new(groups.iter().map(|group| group.lasts).max().unwrap_or_default());
        for group in groups {
            all.latencies_ns.add(&group.latencies_ns).expect("all have the same bounds");
            all.late += group.late;
            all.errors += group.errors;
            all.error = all.error.or_else(|| group.error.clone());
        }
        all
    }

    fn record(&mut self, latency: Duration, result: Result<(), String>) {
        match result {
            Ok(()) => self.latencies_ns.saturating_record(nanos(latency)),
            Err(error) => {
                self.errors += 1;
                self.error.get_or_insert(error);
            }
        }
    }
}

/// A histogram for latencies, in nanoseconds.
pub(super) fn histogram_ns() -> Histogram<u64> {
    let (min, max) = (nanos(LATENCY_MIN), nanos(LATENCY_MAX));
    let histogram = Histogram::new_with_bounds(min, max, LATENCY_DIGITS);
    histogram.expect("the bounds and digits are allowed ones")
}

/// Has all callers of all groups call at the same time, and says what came of each group. A rate
/// is that of each group.
pub async fn measure<C: Caller>(groups: Vec<Vec<C>>, pace: Pace) -> anyhow::Result<Vec<Measured>> {
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    let mut pacers = Vec::new();
    let mut counts = Vec::new();
    for callers in groups {
        let count =
            Arc::new(Count { begin, pace, measured: Mutex::new(Measured::new(pace.lasts)) });
        counts.push(Arc::clone(&count));
        match pace.rate_per_second {
            None => {
                for caller in callers {
                    tasks.spawn(closed_loop(caller, Arc::clone(&count)));
                }
            }
            Some(rate) => {
                let tickets = Arc::new(Tickets::new(rate, pace.end(), callers.len()));
                pacers.push(start_pacer(&tickets, begin)?);
                for caller in callers {
                    tasks.spawn(open_loop(caller, Arc::clone(&count), Arc::clone(&tickets)));
                }
            }
        }
    }
    // Whoever drops this future thereby ends all callers.
    timeout(pace.end() + END_WAIT_MAX, tasks.join_all()).await.context("calls do not end")?;
    drop(pacers);
    Ok(counts.iter().map(|count| count.lock().clone()).collect())
}

/// Has all callers of all groups make so many calls, and says what came of each group.
pub async fn measure_calls<C: Caller>(
    groups: Vec<Vec<C>>,
    calls: usize,
) -> anyhow::Result<Vec<Measured>> {
    let begin = Instant::now();
    let mut tasks: JoinSet<()> = JoinSet::new();
    let mut counts = Vec::new();
    for callers in groups {
        let count = Arc::new(Mutex::new(Measured::new(Duration::ZERO)));
        counts.push(Arc::clone(&count));
        for mut caller in callers {
            let count = Arc::clone(&count);
            tasks.spawn(async move {
                for _ in 0..calls {
                    let called = Instant::now();
                    let result = caller.call().await;
                    let mut measured = lock(&count);
                    measured.record(called.elapsed(), result);
                    measured.lasts = begin.elapsed();
                }
            });
        }
    }
    tasks.join_all().await;
    Ok(counts.iter().map(|count| lock(count).clone()).collect())
}

fn lock(measured: &Mutex<Measured>) -> MutexGuard<'_, Measured> {
    // A histogram is whole between any two of its calls.
    measured.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is counted of a group.
struct Count {
    begin: Instant,
    pace: Pace,
    measured: Mutex<Measured>,
}

impl Count {
    fn lock(&self) -> MutexGuard<'_, Measured> {
        lock(&self.measured)
    }
}

async fn closed_loop<C: Caller>(mut caller: C, count: Arc<Count>) {
    let Count { begin, pace, .. } = *count;
    let mut previous = begin.elapsed();
    while previous < pace.end() {
        let result = caller.call().await;
        let answered = begin.elapsed();
        if pace.counts(answered) {
            count.lock().record(answered.saturating_sub(previous), result);
        }
        previous = answered;
    }
}

/// Who calls next in an open loop, and for when the call was meant.
struct Tickets {
    schedule: Schedule,
    callers: usize,
    next: AtomicU64,
    /// One permit for each call that is due, and at the end one more for each caller.
    due: Semaphore,
}

impl Tickets {
    fn new(rate: NonZeroU32, end: Duration, callers: usize) -> Self {
        let (schedule, due) = (Schedule::new(rate, end), Semaphore::new(0));
        Self { schedule, callers, next: AtomicU64::new(0), due }
    }

    /// When the next call was to begin, once it is; `None` when there is no further one.
    async fn take(&self) -> Option<Duration> {
        self.due.acquire().await.expect("nobody closes it").forget();
        let call = self.next.fetch_add(1, Ordering::Relaxed);
        (call < self.schedule.calls()).then(|| self.schedule.begins(call))
    }
}

/// A thread, since timers of tasks are a millisecond too late. Ends with the tickets.
fn start_pacer(tickets: &Arc<Tickets>, begin: Instant) -> std::io::Result<Worker<()>> {
    let (schedule, callers) = (tickets.schedule, tickets.callers);
    let tickets = Arc::downgrade(tickets);
    let issue = move || {
        let mut issued = 0;
        while let Some(tickets) = tickets.upgrade() {
            if issued == schedule.calls() {
                tickets.due.add_permits(callers);
                return;
            }
            let due = schedule.due(begin.elapsed());
            tickets.due.add_permits(usize::try_from(due - issued).expect("64 bits"));
            issued = due;
            drop(tickets);
            thread::sleep(schedule.begins(issued).saturating_sub(begin.elapsed()));
        }
    };
    Worker::start("pacer".to_owned(), issue)
}

async fn open_loop<C: Caller>(mut caller: C, count: Arc<Count>, tickets: Arc<Tickets>) {
    let Count { begin, pace, .. } = *count;
    while let Some(meant) = tickets.take().await {
        let is_late = begin.elapsed() >= pace.end();
        let result = if is_late { Ok(()) } else { caller.call().await };
        if pace.counts(meant) {
            let mut measured = count.lock();
            measured.late += u64::from(is_late);
            measured.record(begin.elapsed().saturating_sub(meant), result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers at once, but for one call that takes long.
    struct Stalls {
        calls: u32,
        at: u32,
        takes: Duration,
    }

    impl Caller for Stalls {
        async fn call(&mut self) -> Result<(), String> {
            self.calls += 1;
            if self.calls == self.at {
                tokio::time::sleep(self.takes).await;
            } else {
                tokio::task::yield_now().await;
            }
            Ok(())
        }
    }

    /// Never answers well.
    struct Fails;

    impl Caller for Fails {
        async fn call(&mut self) -> Result<(), String> {
            tokio::task::yield_now().await;
            Err("no".to_owned())
        }
    }

    fn pace(rate: Option<u32>) -> Pace {
        Pace {
            warm_up: Duration::ZERO,
            lasts: Duration::from_millis(400),
            rate_per_second: rate.and_then(NonZeroU32::new),
        }
    }

    const STALLS: Stalls = Stalls { calls: 0, at: 100, takes: Duration::from_millis(200) };

    #[tokio::test]
    async fn an_open_loop_shows_a_stall_in_all_calls_that_it_delayed() {
        let measured = measure(vec![vec![STALLS]], pace(Some(1000))).await.unwrap().remove(0);
        let count = measured.calls() + measured.late;
        assert_eq!(count, 400, "a call for each millisecond, whatever came of the others");
        // 200 ms of 400 were lost: half of the calls waited, a quarter for 100 ms and more.
        let quarter = measured.latency_us(760);
        assert!(quarter >= 90_000.0, "{quarter}");
    }

    #[tokio::test]
    async fn a_closed_loop_shows_a_stall_once() {
        let callers = vec![STALLS, Stalls { at: 0, ..STALLS }];
        let measured = measure(vec![callers], pace(None)).await.unwrap().remove(0);
        assert!(measured.latency_us(990) < 90_000.0, "{}", measured.latency_us(990));
        assert!(measured.latency_us(1000) >= 200_000.0, "{}", measured.latency_us(1000));
    }

    #[tokio::test]
    async fn groups_are_counted_apart() {
        let groups = vec![vec![STALLS], vec![Stalls { at: 0, ..STALLS }]];
        let measured = measure(groups, pace(None)).await.unwrap();
        assert!(measured[0].latency_us(1000) >= 200_000.0);
        assert!(measured[1].latency_us(1000) < 200_000.0);
    }

    #[tokio::test]
    async fn a_number_of_calls_is_made_and_their_rate_is_over_all_of_their_time() {
        let groups = vec![vec![STALLS], vec![Stalls { at: 0, ..STALLS }]];
        let measured = measure_calls(groups, 200).await.unwrap();
        assert_eq!(measured.iter().map(Measured::calls).collect::<Vec<_>>(), [200, 200]);
        assert!(measured[0].calls_per_second() <= 200.0 / 0.2, "it took 200 ms at least");
        let all = Measured::sum(&measured);
        assert_eq!(all.calls(), 400);
        assert!(all.calls_per_second() <= 400.0 / 0.2, "the longer of both times");
    }

    #[tokio::test]
    async fn calls_that_fail_are_no_throughput() {
        let measured = measure(vec![vec![Fails]], pace(None)).await.unwrap().remove(0);
        assert_eq!(measured.calls(), 0);
        assert!(measured.errors > 0);
        let error = measured.usable().expect_err("all calls failed").to_string();
        assert!(error.ends_with("calls failed: no"), "{error}");
    }
}
