//! The long form: `cargo run --release --package quorate-hostile -- --modules 5000`.
//! Exit codes: 0 nothing was found, 1 something was, or too little was tried to say.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use quorate_hostile::campaign::Campaign;
use quorate_hostile::trial;

/// Tries hostile modules on the gate, and those that it admits on three machines that are fed the
/// same log.
#[derive(Debug, Parser)]
struct Settings {
    /// How many modules to try
    #[arg(long, default_value_t = 5_000)]
    modules: u64,
    /// The number of the first one; with `--modules 1`, the one to see again
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many to try at the same time
    #[arg(long, default_value_t = default_threads())]
    threads: usize,
}

fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Modules between two lines of progress.
const PROGRESS: u64 = 500;

fn main() -> ExitCode {
    let settings = Settings::parse();
    let began = Instant::now();
    let folder = std::env::temp_dir().join("quorate-hostile");
    complain(&format!(
        "{} modules from {} on, {} at a time; what is being tried is in {}",
        settings.modules,
        settings.seed,
        settings.threads,
        folder.display()
    ));
    let campaign = Campaign {
        seed: settings.seed,
        modules: settings.modules,
        threads: settings.threads.max(1),
        folder: &folder,
        wrap: &trial::faithful,
        progress: &|done, of| {
            if done % PROGRESS == 0 {
                let seconds = began.elapsed().as_secs_f64();
                complain(&format!("{done} of {of} modules, {seconds:.0} s"));
            }
        },
    };
    let found = match campaign.run() {
        Ok(found) => found,
        Err(error) => {
            complain(&format!("error: {}: {error}", folder.display()));
            return ExitCode::FAILURE;
        }
    };
    say(&format!("{}\ntook: {:.0} s", found.tally, began.elapsed().as_secs_f64()));
    for finding in &found.findings {
        say(&finding.report());
    }
    // A few modules are not meant to show everything.
    let short = if settings.modules < 100 { Vec::new() } else { found.tally.shortfalls() };
    for shortfall in &short {
        say(&format!("too little was tried: {shortfall}"));
    }
    if found.findings.is_empty() && short.is_empty() {
        return ExitCode::SUCCESS;
    }
    say(&format!("{} findings, {} shortfalls", found.findings.len(), short.len()));
    ExitCode::FAILURE
}

/// A line on standard output. Whoever reads it may have gone.
fn say(line: &str) {
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

/// A line on standard error.
fn complain(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}
