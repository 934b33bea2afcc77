//! Many seeds, on as many threads as there are cores, until one fails or all have run.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use quorate_wasm::Module;

use crate::fault::Ledger;
use crate::oracle::Violation;
use crate::plan::Plan;
use crate::run::{Run, run};
use crate::tally::{self, Tally};

/// Of so many seeds, one runs twice, and must do the same both times. Not the number of which one
/// runs the real module, so that some of those do as well.
const TWICE_ONE_IN: u64 = 19;

/// The rule that a seed breaks whose second run differs from the first.
pub const TWICE: &str = "a seed does the same twice";
/// How long one seed may take; then it is taken to hang, and the process ends.
const SEED_MAX: Duration = Duration::from_mins(2);

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// The first seed.
    pub from: u64,
    /// How many seeds.
    pub seeds: u64,
    /// For how long, at most.
    pub time_max: Duration,
    /// Whether the seeds that would run the real module do; else they run the native program.
    pub has_wasm: bool,
}

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What is wrong.
    pub violation: Violation,
}

/// What came of all runs.
#[derive(Clone, Debug)]
pub struct Totals {
    /// Seeds that ran.
    pub seeds: u64,
    /// Those of them that ran the real module.
    pub seeds_wasm: u64,
    /// Those of them that ran twice.
    pub seeds_twice: u64,
    /// Virtual time, in microseconds.
    pub lasted: u64,
    /// Events.
    pub events: u64,
    /// Calls that were checked.
    pub calls: u64,
    /// Calls that were answered.
    pub answered: u64,
    /// Calls whose fate only the log told.
    pub resolved: u64,
    /// Commands in logs.
    pub commands: u64,
    /// Copies of calls in logs, none of which was executed.
    pub duplicates: u64,
    /// Terms that had a leader.
    pub terms_led: u64,
    /// Faults.
    pub ledger: Ledger,
    /// Rare paths.
    pub marks: Tally,
    /// The first seed that failed.
    pub failure: Option<Failure>,
    /// What all of it took.
    pub took: Duration,
}

impl Totals {
    fn new() -> Self {
        Self {
            seeds: 0,
            seeds_wasm: 0,
            seeds_twice: 0,
            lasted: 0,
            events: 0,
            calls: 0,
            answered: 0,
            resolved: 0,
            commands: 0,
            duplicates: 0,
            terms_led: 0,
            ledger: Ledger::default(),
            marks: tally::none(),
            failure: None,
            took: Duration::ZERO,
        }
    }

    fn add(&mut self, plan: &Plan, run: &Run) {
        self.seeds += 1;
        self.seeds_wasm += u64::from(plan.is_wasm);
        self.lasted += run.lasted;
        self.events += run.events;
        self.terms_led += run.terms_led;
        self.ledger.add(&run.ledger);
        tally::add(&mut self.marks, &run.marks);
        match &run.verdict {
            Ok(audited) => {
                self.calls += audited.calls;
                self.answered += audited.answered;
                self.resolved += audited.resolved;
                self.commands += audited.commands;
                self.duplicates += audited.duplicates;
                tally::add(&mut self.marks, &audited.sessions);
            }
            Err(violation) => self.fail(plan.seed, violation.clone()),
        }
    }

    fn fail(&mut self, seed: u64, violation: Violation) {
        // Of several that fail at once, the first is the one that is told every time.
        if self.failure.as_ref().is_none_or(|failure| seed < failure.seed) {
            self.failure = Some(Failure { seed, violation });
        }
    }
}

/// The module of the key-value plugin, compiled: for one thread, since its pool has instances for
/// one cluster.
pub fn load_module() -> anyhow::Result<Arc<Module>> {
    Module::load(quorate_modules::KV_MODULE).context("loading the key-value plugin")
}

/// Runs the seeds of an order. `prepare` is called on each thread before its first, and `progress`
/// now and then with what there is so far.
pub fn campaign(
    order: Order,
    prepare: impl Fn() + Sync,
    progress: impl Fn(&Totals) + Sync,
) -> anyhow::Result<Totals> {
    let begun = Instant::now();
    let next = AtomicU64::new(order.from);
    let failed = AtomicBool::new(false);
    let totals = Mutex::new(Totals::new());
    let running: Mutex<Vec<(u64, Instant)>> = Mutex::new(Vec::new());
    let is_over = AtomicBool::new(false);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let work = || -> anyhow::Result<()> {
        prepare();
        let module = if order.has_wasm { Some(load_module()?) } else { None };
        while begun.elapsed() < order.time_max && !failed.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed - order.from >= order.seeds {
                break;
            }
            let mut plan = Plan::of(seed);
            plan.is_wasm &= order.has_wasm;
            lock(&running).push((seed, Instant::now()));
            let run = one(&plan, module.as_ref(), &totals);
            lock(&running).retain(|(other, _)| *other != seed);
            failed.fetch_or(run.verdict.is_err(), Ordering::Relaxed);
            let totals = lock(&totals);
            failed.fetch_or(totals.failure.is_some(), Ordering::Relaxed);
            progress(&totals);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let watchdog = scope.spawn(|| watch(&running, &is_over));
        let ended = workers.into_iter().map(|worker| worker.join().expect("runs catch panics"));
        let ended = ended.collect::<anyhow::Result<Vec<()>>>();
        is_over.store(true, Ordering::Relaxed);
        watchdog.thread().unpark();
        ended
    })?;
    let mut totals = totals.into_inner().unwrap_or_else(PoisonError::into_inner);
    totals.took = begun.elapsed();
    Ok(totals)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A loop within the core cannot be broken off from outside: it ends the process, by name.
fn watch(running: &Mutex<Vec<(u64, Instant)>>, is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        thread::park_timeout(Duration::from_secs(1));
        let hangs = lock(running).iter().find(|(_, since)| since.elapsed() > SEED_MAX).copied();
        if let Some((seed, _)) = hangs {
            let text = format!("seed {seed} hangs\nreplay: cargo sim -- --seed {seed}\n");
            drop(std::io::stderr().write_all(text.as_bytes()));
            std::process::abort();
        }
    }
}

fn one(plan: &Plan, module: Option<&Arc<Module>>, totals: &Mutex<Totals>) -> Run {
    let first = run(plan, module, false);
    let is_twice = plan.seed.is_multiple_of(TWICE_ONE_IN) && first.verdict.is_ok();
    let again = is_twice.then(|| run(plan, module, false));
    let mut totals = lock(totals);
    totals.add(plan, &first);
    if let Some(again) = again {
        totals.seeds_twice += 1;
        if again.digest != first.digest {
            let detail = format!("digest {:x}, then {:x}", first.digest, again.digest);
            totals.fail(plan.seed, Violation::new(TWICE, detail));
        }
    }
    first
}
