//! What many trials came to, and whether that was enough to have tested anything.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use quorate_core::outcome::{Outcome, Rejection};

use crate::abi::IMPORTS;
use crate::family::Family;
use crate::trial::{Trial, Verdict};

/// Modules from which on a run must have seen everything once.
pub const THOROUGH_MODULES: u64 = 2_000;

/// The kinds of outcome.
const KINDS: [&str; 6] = ["replies", "status", "traps", "fuel", "memory", "limit"];

/// How guests break off: the machine's own traps, and the ABI's. Words of each reason.
const TRAPS: [&str; 19] = [
    "the call stack is exhausted",
    "a memory access is out of bounds",
    "a table access is out of bounds",
    "an indirect call has no target",
    "an indirect call has another signature",
    "an integer overflowed",
    "an integer was divided by zero",
    "a float does not fit an integer",
    "unreachable code was reached",
    "it passed a pointer out of bounds",
    "it asked for the next call before",
    "it finished a call that it did not have",
    "it finished a call with verdict",
    "it scanned with flags",
    "it logged at level",
    "it refused a call with a malformed status",
    "it returned before it finished",
    "panicked at line",
    "a query tried to change the state",
];

/// What there can be too much of. What a whole batch writes or replies is 64 MiB: not here.
const TOO_LARGE: [&str; 6] = [
    "a key",
    "the end of a range",
    "a value",
    "a reply",
    "what a command writes",
    "the details of a status",
];

/// Why the gate refuses; two methods of one number are too hard to find.
const REFUSALS: [&str; 15] = [
    "NotWasm",
    "Invalid",
    "TooMany",
    "UnknownImport",
    "ImportType",
    "MissingExport",
    "ExportType",
    "MemoryCount",
    "StartFunction",
    "NoManifest",
    "SeveralManifests",
    "BadManifest",
    "NoMethods",
    "Streaming",
    "BadKind",
];

/// What the modules of one family came to.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    modules: u64,
    refused: u64,
    unusable: u64,
    ran: u64,
    commands: u64,
    outcomes: [u64; KINDS.len()],
    queries: u64,
    findings: u64,
    took: Duration,
}

/// What all of them came to.
#[derive(Debug, Default)]
pub struct Tally {
    rows: BTreeMap<Family, Row>,
    refusals: BTreeMap<String, u64>,
    traps: BTreeMap<&'static str, u64>,
    too_large: BTreeMap<String, u64>,
    /// Modules in which an import was seen to come back.
    returned: [u64; IMPORTS.len()],
    slowest: Option<(Duration, u64)>,
    digest: u64,
}

impl Tally {
    /// Adds a trial.
    pub fn add(&mut self, trial: &Trial) {
        let row = self.rows.entry(trial.family).or_default();
        row.modules += 1;
        row.took += trial.took;
        self.slowest = self.slowest.max(Some((trial.took, trial.seed)));
        // A sum does not mind the order in which threads are done.
        self.digest = self.digest.wrapping_add(trial.hash);
        match &trial.verdict {
            Verdict::Refused(refusals) => {
                row.refused += 1;
                for refusal in refusals {
                    let text = format!("{refusal:?}");
                    let end = text.find(|c: char| !c.is_alphanumeric()).unwrap_or(text.len());
                    *self.refusals.entry(text[..end].to_owned()).or_default() += 1;
                }
            }
            Verdict::Unusable => row.unusable += 1,
            Verdict::Finding(_) => row.findings += 1,
            Verdict::Ran(ran) => {
                row.ran += 1;
                row.commands += ran.outcomes.len() as u64;
                row.queries += ran.answers.len() as u64;
                for outcome in &ran.outcomes {
                    row.outcomes[kind(outcome)] += 1;
                }
                for (sum, returned) in self.returned.iter_mut().zip(ran.returned) {
                    *sum += u64::from(returned);
                }
                ran.outcomes.iter().chain(&ran.answers).for_each(|outcome| self.note(outcome));
            }
        }
    }

    fn note(&mut self, outcome: &Outcome) {
        match outcome {
            Err(Rejection::Trap { reason }) => {
                let known = TRAPS.into_iter().find(|words| reason.starts_with(words));
                *self.traps.entry(known.unwrap_or("another reason")).or_default() += 1;
            }
            Err(Rejection::OverLimit { what, .. }) => {
                *self.too_large.entry(what.to_string()).or_default() += 1;
            }
            _ => {}
        }
    }

    fn sum(&self, what: impl Fn(&Row) -> u64) -> u64 {
        self.rows.values().map(what).sum()
    }

    /// Of all modules and outcomes: the same for the same numbers, on every machine.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Commands that were run, on each of three machines.
    pub fn commands(&self) -> u64 {
        self.sum(|row| row.commands)
    }

    /// Why this run tested too little; empty when it did not. A short one has less to show.
    pub fn shortfalls(&self) -> Vec<String> {
        let modules = self.sum(|row| row.modules);
        let mut short = Vec::new();
        let mut demand = |what: &str, found: u64, least: u64| {
            if found < least {
                short.push(format!("{what}: {found}, and should be {least} at least"));
            }
        };
        demand("modules that were refused", self.sum(|row| row.refused), modules / 6);
        demand("modules that ran", self.sum(|row| row.ran), modules / 3);
        demand("commands", self.commands(), modules * 5);
        demand("queries", self.sum(|row| row.queries), modules / 3);
        demand("modules that cannot be set up", self.sum(|row| row.unusable), modules / 500);
        for family in Family::ALL {
            let found = self.rows.get(&family).map_or(0, |row| row.modules);
            demand(&format!("modules of the family {family}"), found, modules / 25);
        }
        for (at, kind) in KINDS.into_iter().enumerate() {
            let least = if modules < THOROUGH_MODULES { 1 } else { modules / 100 };
            demand(&format!("outcomes: {kind}"), self.sum(|row| row.outcomes[at]), least);
        }
        if modules < THOROUGH_MODULES {
            return short;
        }
        for trap in TRAPS {
            demand(&format!("traps: {trap}"), self.traps.get(trap).copied().unwrap_or(0), 5);
        }
        for what in TOO_LARGE {
            let found = self.too_large.get(what).copied().unwrap_or(0);
            demand(&format!("too large: {what}"), found, 2);
        }
        for refusal in REFUSALS {
            let found = self.refusals.get(refusal).copied().unwrap_or(0);
            demand(&format!("refusals: {refusal}"), found, 2);
        }
        // The last one, `abort`, never comes back: its trap shows that it was called.
        for ((name, ..), found) in IMPORTS.iter().zip(self.returned).take(IMPORTS.len() - 1) {
            demand(&format!("modules to which {name} returned"), found, modules / 100);
        }
        short
    }
}

fn kind(outcome: &Outcome) -> usize {
    match outcome {
        Ok(_) => 0,
        Err(Rejection::Status { .. }) => 1,
        // That a command has no deadline is checked where machines are compared.
        Err(Rejection::Trap { .. } | Rejection::Deadline | Rejection::Session(_)) => 2,
        Err(Rejection::OutOfFuel) => 3,
        Err(Rejection::OutOfMemory) => 4,
        Err(Rejection::OverLimit { .. }) => 5,
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<10}{:>8}{:>8}{:>9}{:>7}", "family", "modules", "refused", "unusable", "ran")?;
        write!(f, "{:>9}", "commands")?;
        KINDS.iter().try_for_each(|kind| write!(f, "{kind:>8}"))?;
        writeln!(f, "{:>9}{:>9}{:>9}", "queries", "findings", "seconds")?;
        let mut total = Row::default();
        for (family, row) in &self.rows {
            total.add(row);
            line(f, &family.to_string(), row)?;
        }
        line(f, "all", &total)?;
        writeln!(f)?;
        list(f, "refusals", self.refusals.iter())?;
        list(f, "traps", self.traps.iter())?;
        list(f, "too large", self.too_large.iter())?;
        let returned = IMPORTS.iter().map(|(name, ..)| name).zip(&self.returned);
        list(f, "modules to which an import returned", returned)?;
        if let Some((took, seed)) = self.slowest {
            writeln!(f, "slowest: {seed}, {:.1} s", took.as_secs_f64())?;
        }
        write!(f, "digest: {:016x}", self.digest)
    }
}

impl Row {
    fn add(&mut self, other: &Self) {
        self.modules += other.modules;
        self.refused += other.refused;
        self.unusable += other.unusable;
        self.ran += other.ran;
        self.commands += other.commands;
        self.queries += other.queries;
        self.findings += other.findings;
        self.took += other.took;
        for (sum, count) in self.outcomes.iter_mut().zip(other.outcomes) {
            *sum += count;
        }
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, row: &Row) -> fmt::Result {
    write!(f, "{name:<10}{:>8}{:>8}", row.modules, row.refused)?;
    write!(f, "{:>9}{:>7}{:>9}", row.unusable, row.ran, row.commands)?;
    row.outcomes.iter().try_for_each(|count| write!(f, "{count:>8}"))?;
    writeln!(f, "{:>9}{:>9}{:>9.1}", row.queries, row.findings, row.took.as_secs_f64())
}

fn list<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    counts: impl Iterator<Item = (T, impl fmt::Display)>,
) -> fmt::Result {
    writeln!(f, "{title}:")?;
    for (name, count) in counts {
        writeln!(f, "{count:>9} {name}")?;
    }
    Ok(())
}
