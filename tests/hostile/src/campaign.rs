//! Many trials, on several threads.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::family::Family;
use crate::tally::Tally;
use crate::trial::{self, Trial, Verdict, Wrap};

/// Findings after which there is no need to look for more.
const FINDINGS_MAX: usize = 20;

/// What to try.
pub struct Campaign<'a> {
    /// The first number.
    pub seed: u64,
    /// How many, from there on.
    pub modules: u64,
    /// How many at the same time.
    pub threads: usize,
    /// Where to leave modules that show something, and which ones are being tried: should one of
    /// them take the process with it, its number is known.
    pub folder: &'a Path,
    /// What makes the machines' programs.
    pub wrap: &'a Wrap,
    /// Told the trials that are done, of how many.
    pub progress: &'a (dyn Fn(u64, u64) + Sync),
}

/// What a campaign found.
#[derive(Debug, Default)]
pub struct Found {
    /// All that was seen.
    pub tally: Tally,
    /// What the host did wrong, by number.
    pub findings: Vec<Finding>,
}

/// Something that the host did wrong.
#[derive(Debug)]
pub struct Finding {
    /// The trial.
    pub trial: Trial,
    /// Where its module is.
    pub module: PathBuf,
}

impl Finding {
    /// What it is, and how to see it again.
    pub fn report(&self) -> String {
        let replay = replay(self.trial.seed);
        format!("{}\n  module: {}\n  replay: {replay}", self.trial, self.module.display())
    }
}

/// The command that tries one number.
pub fn replay(seed: u64) -> String {
    format!("cargo run --release --package quorate-hostile -- --modules 1 --seed {seed}")
}

impl Campaign<'_> {
    /// Tries all of them. An error is one of the folder.
    pub fn run(&self) -> io::Result<Found> {
        fs::create_dir_all(self.folder)?;
        let next = AtomicU64::new(0);
        let found = Mutex::new(Found::default());
        thread::scope(|scope| {
            // The threads have Rust's default stack, as the host's own have.
            let workers: Vec<_> =
                (0..self.threads).map(|_| scope.spawn(|| self.work(&next, &found))).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("panics are caught"))
        })?;
        let mut found = found.into_inner().expect("panics are caught");
        found.findings.sort_by_key(|finding| finding.trial.seed);
        Ok(found)
    }

    fn work(&self, next: &AtomicU64, found: &Mutex<Found>) -> io::Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.modules {
                return Ok(());
            }
            let seed = self.seed.wrapping_add(number);
            let running = self.folder.join(format!("running-{seed}"));
            fs::write(&running, replay(seed))?;
            let trial = trial::run(seed, self.wrap);
            fs::remove_file(running)?;
            let mut found = found.lock().expect("panics are caught");
            found.tally.add(&trial);
            if matches!(trial.verdict, Verdict::Finding(_)) {
                let module = self.folder.join(format!("{seed}.wasm"));
                fs::write(&module, Family::of(seed).module(seed))?;
                found.findings.push(Finding { trial, module });
                if found.findings.len() >= FINDINGS_MAX {
                    next.store(self.modules, Ordering::Relaxed);
                }
            }
            drop(found);
            (self.progress)(number + 1, self.modules);
        }
    }
}
