//! Where the time of a command goes, on the node that has it decided.
//!
//! Every command counts, always: two looks at a clock for each, and five for each entry. Figures
//! are totals since the node began; whoever wants those of a minute takes two and subtracts.
//!
//! What this deliberately does not count: what was refused or never answered, queries, and the way
//! of a command from another node to the leader.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use quorate_core::id::LogId;
use quorate_proto::v1;

/// What is told apart.
const TIME_MIN: Duration = Duration::from_nanos(100);
/// Longer than any command: a node gives up before.
const TIME_MAX: Duration = Duration::from_mins(1);
/// Two digits: histograms stay small enough for the caches.
const DIGITS: u8 = 2;

/// A part of a command's way, named by what it ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From its caller's hands until the raft thread takes its batch.
    Queued,
    /// Until it is an entry of the leader's log, in memory.
    Proposed,
    /// Until the leader's disk has the entry. Appends leave for the followers meanwhile.
    Persisted,
    /// Until a majority's disks have it, and it was handed on.
    Committed,
    /// Until the state has all of the entry.
    Applied,
    /// Until its caller has the outcome.
    Replied,
    /// All of that.
    Total,
}

impl Stage {
    /// In their order.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Proposed,
        Self::Persisted,
        Self::Committed,
        Self::Applied,
        Self::Replied,
        Self::Total,
    ];

    /// Its name on the wire and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Proposed => "proposed",
            Self::Persisted => "persisted",
            Self::Committed => "committed",
            Self::Applied => "applied",
            Self::Replied => "replied",
            Self::Total => "total",
        }
    }
}

/// Times of one stage, in nanoseconds.
pub type Times = Histogram<u64>;

/// An empty histogram, with the bounds of all of them.
pub fn times() -> Times {
    let times = Histogram::new_with_bounds(nanos(TIME_MIN), nanos(TIME_MAX), DIGITS);
    times.expect("the bounds and digits are allowed ones")
}

/// For a histogram; more than it holds is as good as the most.
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// When an entry of this leader came how far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    taken: Instant,
    proposed: Instant,
    persisted: Instant,
    committed: Instant,
}

/// When a command was submitted, and when it was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When its caller gave it away.
    pub submitted: Instant,
    /// When the state had it.
    pub applied: Instant,
}

/// How long commands took.
#[derive(Debug)]
pub struct Stages {
    /// As far as `Applied`: whoever applies adds to these.
    decided: Mutex<[Times; 5]>,
    /// `Replied` and `Total`: callers do.
    replied: Mutex<[Times; 2]>,
}

impl Default for Stages {
    fn default() -> Self {
        let decided = Mutex::new(std::array::from_fn(|_| times()));
        Self { decided, replied: Mutex::new(std::array::from_fn(|_| times())) }
    }
}

impl Stages {
    /// Counts the commands of an entry, by when each was submitted.
    pub fn decided(
        &self,
        passed: Passed,
        applied: Instant,
        submitted: impl ExactSizeIterator<Item = Instant>,
    ) {
        let Passed { taken, proposed, persisted, committed } = passed;
        let commands = submitted.len() as u64;
        let mut decided = locked(&self.decided);
        let [queued, of_entry @ ..] = &mut *decided;
        for submitted in submitted {
            queued.saturating_record(nanos(taken.saturating_duration_since(submitted)));
        }
        let moments = [taken, proposed, persisted, committed, applied];
        for (times, moments) in of_entry.iter_mut().zip(moments.windows(2)) {
            let time = moments[1].saturating_duration_since(moments[0]);
            times.saturating_record_n(nanos(time), commands);
        }
    }

    /// Counts what callers were told now.
    pub fn replied(&self, spans: impl Iterator<Item = Span>) {
        let now = Instant::now();
        let mut histograms = locked(&self.replied);
        let [replied, total] = &mut *histograms;
        for Span { submitted, applied } in spans {
            replied.saturating_record(nanos(now.saturating_duration_since(applied)));
            total.saturating_record(nanos(now.saturating_duration_since(submitted)));
        }
    }

    /// All there is.
    pub fn all(&self) -> [(Stage, Times); 7] {
        let decided = locked(&self.decided).clone();
        let replied = locked(&self.replied).clone();
        let mut all = decided.into_iter().chain(replied);
        Stage::ALL.map(|stage| (stage, all.next().expect("one for each stage")))
    }

    /// The same, for the wire.
    pub fn report(&self) -> Vec<v1::StageTimes> {
        self.all().iter().map(|(stage, times)| to_wire(*stage, times)).collect()
    }
}

fn to_wire(stage: Stage, times: &Times) -> v1::StageTimes {
    let mut wire = v1::StageTimes { stage: stage.name().to_owned(), ..v1::StageTimes::default() };
    for bucket in times.iter_recorded() {
        wire.nanos.push(bucket.value_iterated_to());
        wire.commands.push(bucket.count_at_value());
    }
    wire
}

/// A stage's times as they come from a node; none where its numbers make no sense.
pub fn from_wire(wire: &v1::StageTimes) -> Option<Times> {
    let mut found = times();
    if wire.nanos.len() != wire.commands.len() {
        return None;
    }
    for (nanos, commands) in wire.nanos.iter().zip(&wire.commands) {
        found.record_n(*nanos, *commands).ok()?;
    }
    Some(found)
}

fn locked<T>(times: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic ends the node; histograms are whole at any time.
    times.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The entries that this leader has proposed and that are not committed yet.
#[derive(Debug, Default)]
pub struct UnderWay {
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    id: LogId,
    taken: Instant,
    proposed: Instant,
    persisted: Option<Instant>,
}

impl UnderWay {
    /// A batch that was taken at that time is that entry now.
    pub fn proposed(&mut self, id: LogId, taken: Instant) {
        // One that was deposed and leads again may propose where it had proposed before.
        while self.entries.pop_back_if(|entry| entry.id.index >= id.index).is_some() {}
        let proposed = Instant::now();
        self.entries.push_back(Entry { id, taken, proposed, persisted: None });
    }

    /// The disk has all entries up to this one.
    pub fn persisted(&mut self, last: u64) {
        let mut now = None;
        let new = self.entries.iter_mut().rev().skip_while(|entry| entry.id.index > last);
        for entry in new.take_while(|entry| entry.persisted.is_none()) {
            entry.persisted = Some(*now.get_or_insert_with(Instant::now));
        }
    }

    /// The entry is committed. None if another member proposed it.
    pub fn committed(&mut self, id: LogId) -> Option<Passed> {
        let mut found = None;
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.id.index <= id.index) {
            found = Some(entry);
        }
        let Entry { taken, proposed, persisted, .. } = found.filter(|found| found.id == id)?;
        Some(Passed { taken, proposed, persisted: persisted?, committed: Instant::now() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn median(reports: &[v1::StageTimes], stage: Stage) -> (u64, u64) {
        let wire = reports.iter().find(|report| report.stage == stage.name()).unwrap();
        let times = from_wire(wire).unwrap();
        (times.len(), times.value_at_quantile(0.5))
    }

    #[test]
    fn each_command_counts_once_in_each_stage() {
        let begin = Instant::now();
        let after = |millis| begin + Duration::from_millis(millis);
        let (taken, proposed) = (after(10), after(12));
        let passed = Passed { taken, proposed, persisted: after(112), committed: after(115) };
        let stages = Stages::default();
        let submitted = [begin, begin, after(9)];
        stages.decided(passed, after(135), submitted.into_iter());
        stages.replied(submitted.into_iter().map(|submitted| Span { submitted, applied: taken }));
        let report = stages.report();
        for (stage, millis) in [
            (Stage::Queued, 10),
            (Stage::Proposed, 2),
            (Stage::Persisted, 100),
            (Stage::Committed, 3),
            (Stage::Applied, 20),
        ] {
            let (commands, median) = median(&report, stage);
            assert_eq!(commands, 3, "{stage:?}");
            assert!(median.abs_diff(millis * 1_000_000) < millis * 10_000, "{stage:?}: {median}");
        }
        assert_eq!(median(&report, Stage::Replied).0, 3);
        assert_eq!(median(&report, Stage::Total).0, 3);
    }

    #[test]
    fn histograms_survive_the_wire() {
        let mut sent = times();
        for nanos in [1, 150, 7_000, 7_001, 3_000_000_000, u64::MAX] {
            sent.saturating_record(nanos);
        }
        let wire = to_wire(Stage::Queued, &sent);
        assert_eq!(from_wire(&wire).unwrap(), sent);
        let torn = v1::StageTimes { commands: Vec::new(), ..wire };
        assert!(from_wire(&torn).is_none());
    }

    #[test]
    fn only_what_this_leader_proposed_has_times() {
        let (mut under_way, taken) = (UnderWay::default(), Instant::now());
        let id = |term, index| LogId { term, index };
        under_way.proposed(id(1, 5), taken);
        under_way.proposed(id(1, 6), taken);
        assert!(under_way.committed(id(1, 4)).is_none(), "it was there before");
        under_way.persisted(5);
        assert!(under_way.committed(id(1, 5)).is_some());
        // Deposed, its entry overwritten by those of another leader, and elected again.
        under_way.proposed(id(3, 6), taken);
        under_way.proposed(id(3, 7), taken);
        under_way.proposed(id(3, 8), taken);
        under_way.persisted(8);
        assert!(under_way.committed(id(3, 6)).is_some());
        assert!(under_way.committed(id(4, 7)).is_none(), "another leader's, at the same index");
        assert!(under_way.committed(id(4, 9)).is_none(), "the entry at 8 was lost");
        assert!(under_way.entries.is_empty());
    }
}
