//! `cargo sim`: one seed to look at, or many to trust.
//!
//! Exit codes: 0 nothing found and everything reached; 1 a seed failed, or something was not
//! reached or not caught; 2 it was asked wrongly.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use quorate_core::canary::Canary;
use quorate_sim::campaign::{self, Failure, Order, TWICE, Totals};
use quorate_sim::plan::Plan;
use quorate_sim::report::{self, Hunt};
use quorate_sim::run::run;
use quorate_sim::shrink::shrink;

/// Runs a simulated cluster under faults: one seed with its story, or many seeds with a summary.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo sim --", arg_required_else_help = true)]
struct Cli {
    /// Replay this seed, and print what happens
    #[arg(long, conflicts_with_all = ["seeds", "minutes", "full", "from"])]
    seed: Option<u64>,
    /// With --seed: only these of its faults, by their numbers
    #[arg(long, requires = "seed", value_delimiter = ',')]
    faults: Option<Vec<usize>>,
    /// With --seed: without the story, only the verdict
    #[arg(long, requires = "seed")]
    quiet: bool,
    /// Run so many seeds
    #[arg(long)]
    seeds: Option<u64>,
    /// Run for so many minutes at most
    #[arg(long)]
    minutes: Option<u64>,
    /// The first of the seeds
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Run what CI runs, and require its numbers
    #[arg(long)]
    full: bool,
    /// Plant this bug
    #[arg(long)]
    canary: Option<Canary>,
    /// Do not look whether planted bugs are found
    #[arg(long)]
    skip_canaries: bool,
    /// How the summary is printed
    #[arg(short, long, value_enum, default_value_t = Output::Human)]
    output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Human,
    Json,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.seed.is_none() && cli.seeds.is_none() && cli.minutes.is_none() && !cli.full {
        complain("error: one of --seed, --seeds, --minutes and --full says how much to run");
        return ExitCode::from(2);
    }
    if cli.canary.is_some() && !cfg!(feature = "canary") {
        complain("error: planted bugs need a build with the feature canary, as `cargo sim` has");
        return ExitCode::from(2);
    }
    let done = match cli.seed {
        Some(seed) => replay(&cli, seed),
        None => trust(&cli),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Whoever reads it may have gone: that is not a failure of the run.
fn say(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

fn complain(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

#[cfg(feature = "canary")]
fn plant(canary: Option<Canary>) {
    quorate_core::canary::plant(canary);
}

#[cfg(not(feature = "canary"))]
fn plant(_: Option<Canary>) {}

/// One seed with its story.
fn replay(cli: &Cli, seed: u64) -> anyhow::Result<bool> {
    plant(cli.canary);
    let mut plan = Plan::of(seed);
    if let Some(faults) = &cli.faults {
        let known = plan.faults();
        let unknown = faults.iter().find(|fault| **fault != 0 && !known.contains(fault));
        anyhow::ensure!(unknown.is_none(), "seed {seed} has the faults 1 to {}", known.len());
        plan = plan.with_faults(faults);
    }
    let module = if plan.is_wasm { Some(campaign::load_module()?) } else { None };
    say(&describe(&plan));
    let run = run(&plan, module.as_ref(), !cli.quiet);
    for line in &run.lines {
        say(line);
    }
    match run.verdict {
        Ok(audited) => say(&format!("seed {seed} holds: {audited:?}, digest {:016x}", run.digest)),
        Err(violation) => {
            say(&format!("seed {seed} fails: {violation}"));
            return Ok(false);
        }
    }
    Ok(true)
}

fn describe(plan: &Plan) -> String {
    let log = if plan.is_volatile { "in memory" } else { "on disk" };
    let program = if plan.is_wasm { "the real module" } else { "the native program" };
    let cluster = format!(
        "seed {}: {} nodes with {program} and logs {log}, {} clients on {} registers",
        plan.seed, plan.nodes, plan.clients, plan.keys
    );
    let episodes = plan.episodes.iter().map(|episode| format!("  {episode}"));
    std::iter::once(cluster).chain(episodes).collect::<Vec<_>>().join("\n")
}

/// Many seeds, then the canaries.
fn trust(cli: &Cli) -> anyhow::Result<bool> {
    let requirement = cli.full.then_some(report::FULL);
    let seeds = cli.seeds.or_else(|| requirement.map(|full| full.seeds));
    // Without any bound, a day; the seeds that there are time for.
    let minutes = cli.minutes.unwrap_or(24 * 60);
    let time_max = Duration::from_secs(60 * minutes);
    let order =
        Order { from: cli.from, seeds: seeds.unwrap_or(u64::MAX), time_max, has_wasm: true };
    complain(&format!("seeds from {}", order.from));
    let totals = campaign::campaign(order, || plant(cli.canary), Progress::new().teller())?;
    let mut hunts = Vec::new();
    if let Some(failure) = &totals.failure {
        tell_failure(cli, failure)?;
    } else if cfg!(feature = "canary") && !cli.skip_canaries && cli.canary.is_none() {
        hunts = hunt_all()?;
    }
    let missing = if totals.failure.is_some() {
        // What was not reached is no news then.
        Vec::new()
    } else {
        report::shortfalls(&totals, &hunts, requirement)
    };
    if totals.failure.is_none() && seeds.is_some_and(|seeds| totals.seeds < seeds) {
        complain(&format!("time is up after {} seeds", totals.seeds));
    }
    match cli.output {
        Output::Human => {
            say(&report::table(&totals, &hunts));
            let (took, seeds) = (totals.took.as_secs(), totals.seeds);
            say(&format!("  {seeds} seeds in {took} s"));
        }
        Output::Json => say(&format!("{:#}", report::json(&totals, &hunts, &missing))),
    }
    for what in &missing {
        complain(&format!("missing: {what}"));
    }
    Ok(totals.failure.is_none() && missing.is_empty())
}

/// Each planted bug, until it is found or a minute has passed.
fn hunt_all() -> anyhow::Result<Vec<Hunt>> {
    let mut hunts = Vec::new();
    for canary in Canary::ALL {
        let begun = Instant::now();
        let order = Order {
            from: 1_000_000,
            seeds: u64::MAX,
            time_max: report::FULL.canary,
            has_wasm: false,
        };
        let totals = campaign::campaign(order, || plant(Some(*canary)), |_| {})?;
        let caught = totals.failure.map(|failure| (failure.seed, failure.violation.rule));
        // A seed that fails anyway has caught nothing.
        plant(None);
        let caught = caught.filter(|(seed, _)| {
            let plan = Plan { is_wasm: false, ..Plan::of(*seed) };
            run(&plan, None, false).verdict.is_ok()
        });
        let took = begun.elapsed();
        hunts.push(Hunt { canary: canary.name(), caught, seeds: totals.seeds, took });
        complain(&format!("canary {canary}: {}", caught.map_or("not caught", |(_, rule)| rule)));
    }
    Ok(hunts)
}

/// A seed that failed: what is wrong, which faults it takes, and how to see it again.
fn tell_failure(cli: &Cli, failure: &Failure) -> anyhow::Result<()> {
    let Failure { seed, violation } = failure;
    complain(&format!("seed {seed} fails: {violation}"));
    plant(cli.canary);
    let plan = Plan::of(*seed);
    let module = if plan.is_wasm { Some(campaign::load_module()?) } else { None };
    if violation.rule == TWICE {
        complain(&format!("replay: run cargo sim -- --seed {seed} twice, and compare"));
        return Ok(());
    }
    complain("looking for the faults that it takes");
    let faults = shrink(&plan, module.as_ref(), violation.rule);
    let smaller = plan.with_faults(&faults);
    let (before, after) = (plan.episodes.len(), faults.len());
    complain(&format!("of its {before} faults, {after} are enough:"));
    for episode in &smaller.episodes {
        complain(&format!("  {episode}"));
    }
    let story = run(&smaller, module.as_ref(), true);
    let file = story_file(*seed)?;
    std::fs::write(&file, story.lines.join("\n"))?;
    complain(&format!("its story is in {}", file.display()));
    let numbers: Vec<_> = faults.iter().map(ToString::to_string).collect();
    // An empty list would be none at all.
    let numbers = if numbers.is_empty() { "0".to_owned() } else { numbers.join(",") };
    let canary = cli.canary.map(|canary| format!(" --canary {canary}")).unwrap_or_default();
    complain(&format!("replay: cargo sim -- --seed {seed} --faults {numbers}{canary}"));
    Ok(())
}

fn story_file(seed: u64) -> anyhow::Result<PathBuf> {
    let folder = std::env::temp_dir().join("quorate-sim");
    std::fs::create_dir_all(&folder)?;
    Ok(folder.join(format!("seed-{seed}.txt")))
}

/// Tells how far a campaign has come: on one line of a terminal, or a line now and then.
struct Progress {
    told: Mutex<Instant>,
    is_terminal: bool,
}

impl Progress {
    fn new() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { told: Mutex::new(Instant::now()), is_terminal }
    }

    fn teller(self) -> impl Fn(&Totals) + Sync {
        move |totals| {
            let every = Duration::from_secs(if self.is_terminal { 1 } else { 15 });
            let Ok(mut told) = self.told.lock() else { return };
            if told.elapsed() < every {
                return;
            }
            *told = Instant::now();
            let hours = totals.lasted / 3_600_000_000;
            let text = format!("{} seeds, {hours} hours, {} calls", totals.seeds, totals.calls);
            if self.is_terminal {
                // The next line takes its place.
                drop(write!(std::io::stderr(), "\r{text}   \r"));
            } else {
                complain(&text);
            }
        }
    }
}
