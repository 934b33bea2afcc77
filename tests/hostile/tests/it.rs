//! The short form, and proof that a run finds what is there to be found.

#![expect(clippy::unwrap_used, reason = "where a test fails is said with it")]

use std::path::Path;

use bytes::Bytes;
use quorate_core::machine::Program;
use quorate_core::outcome::Fatal;
use quorate_core::run::Run;
use quorate_hostile::campaign::{Campaign, Finding, Found};
use quorate_hostile::trial::{self, Wrap};
use quorate_hostile::trio::Boxed;
use quorate_wasm::WasmProgram;

/// Tries modules; each test has its own folder.
fn campaign(name: &str, seed: u64, modules: u64, wrap: &Wrap) -> Found {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let progress = &|_, _| {};
    Campaign { seed, modules, threads: 2, folder: &folder, wrap, progress }.run().unwrap()
}

#[test]
fn hostile_modules_do_no_harm() {
    let found = campaign("short", 1_000_000, 200, &trial::faithful);
    let reports: Vec<_> = found.findings.iter().map(Finding::report).collect();
    assert!(reports.is_empty(), "{}", reports.join("\n"));
    let short = found.tally.shortfalls();
    assert!(short.is_empty(), "too little was tried: {short:?}\n{}", found.tally);
}

#[test]
fn a_number_is_the_same_module_and_the_same_outcomes() {
    let [one, other] = ["again-1", "again-2"].map(|name| {
        let found = campaign(name, 500, 40, &trial::faithful);
        (found.tally.digest(), found.tally.commands())
    });
    assert_eq!(one, other);
    let next = campaign("again-3", 501, 40, &trial::faithful);
    assert_ne!(one.0, next.tally.digest());
}

/// A fault that shows on one machine alone.
struct Planted {
    program: WasmProgram,
    fault: fn(&mut WasmProgram, Run) -> Result<Run, Fatal>,
}

impl Program for Planted {
    fn run(&mut self, run: Run) -> Result<Run, Fatal> {
        (self.fault)(&mut self.program, run)
    }
}

/// Tries twenty modules, of which one machine has a fault, and expects findings of these words.
#[track_caller]
fn assert_found(
    machine: usize,
    words: &str,
    fault: fn(&mut WasmProgram, Run) -> Result<Run, Fatal>,
) {
    let wrap = move |number, program| match number {
        _ if number == machine => Boxed(Box::new(Planted { program, fault })),
        _ => Boxed(Box::new(program)),
    };
    let found = campaign(&format!("planted-{machine}-{}", words.len()), 40, 20, &wrap);
    assert!(!found.findings.is_empty(), "{}", found.tally);
    for finding in &found.findings {
        let report = finding.report();
        assert!(report.contains(words), "{report}");
        let replay = format!("-- --modules 1 --seed {}", finding.trial.seed);
        assert!(report.contains(&replay), "{report}");
        assert!(finding.module.exists(), "{report}");
    }
}

#[test]
fn a_write_that_one_machine_drops_is_found() {
    assert_found(1, "machine 1 differs from machine 0", |program, run| {
        let mut run = program.run(run)?;
        if let Some(key) = run.writes().keys().next().cloned() {
            run.delete(&key).unwrap();
        }
        Ok(run)
    });
}

#[test]
fn another_reply_of_the_machine_that_restarts_is_found() {
    assert_found(2, "machine 2 differs from machine 0", |_, mut run| {
        while run.next_call().is_some() {
            run.finish(Ok(Bytes::from_static(b"planted")));
        }
        Ok(run)
    });
}

#[test]
fn a_machine_that_stops_is_found() {
    assert_found(0, "machine 0 stopped", |_, _| Err(Fatal::msg("planted")));
}

#[test]
fn a_panic_is_found() {
    assert_found(1, "a panic: planted", |_, _| panic!("planted"));
}
