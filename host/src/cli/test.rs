//! `quorate test`: the tests of a plugin's crate, counted by fidelity; and what its methods cost.
//!
//! What this deliberately does not do: run tests itself. That is cargo's business; this chooses
//! them, says which seeds, and reads along.

mod costs;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::{Failure, say, usage};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder of the plugin's crate
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Only tests whose names have this in them
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only tests of this fidelity
    #[arg(long, value_enum)]
    fidelity: Option<Fidelity>,
    /// Run this seed alone
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run so many seeds of each test that has seeds
    #[arg(long, value_name = "N")]
    seeds: Option<u64>,
    /// Let clusters run the module, not the plugin's native code
    #[arg(long)]
    wasm_in_cluster: bool,
    /// Tell what each method costs in the sandbox, and compare it with costs.txt beside the plugin
    #[arg(long, conflicts_with_all = ["fidelity", "seed", "seeds", "name"])]
    costs: bool,
    /// Keep these costs as those to compare with
    #[arg(long, requires = "costs")]
    update: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Fidelity {
    Native,
    Wasm,
    Cluster,
}

impl Fidelity {
    /// The end of the names of its tests.
    fn suffix(self) -> &'static str {
        match self {
            Self::Native => "::native",
            Self::Wasm => "::wasm",
            Self::Cluster => "::cluster",
        }
    }

    fn of(test: &str) -> Option<Self> {
        let all = [Self::Native, Self::Wasm, Self::Cluster];
        all.into_iter().find(|fidelity| test.ends_with(fidelity.suffix()))
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let dir = &arguments.dir;
    if !dir.join("Cargo.toml").is_file() {
        return Err(usage(format_args!("{}: there is no Cargo.toml", dir.display())));
    }
    let fidelity = if arguments.costs { Some(Fidelity::Wasm) } else { arguments.fidelity };
    let is_chosen = |test: &&String| {
        let has_name = arguments.name.as_ref().is_none_or(|name| test.contains(name.as_str()));
        has_name && (fidelity.is_none() || Fidelity::of(test) == fidelity)
    };
    let tests: Vec<_> = list(dir)?.iter().filter(is_chosen).cloned().collect();
    if tests.is_empty() {
        return Err(usage(format_args!("{}: there is no such test", dir.display())));
    }
    let mut cargo = cargo(dir);
    let mut environment = |name: &str, value: Option<u64>| {
        value.map(|value| cargo.env(name, value.to_string()));
    };
    environment("QUORATE_SEED", arguments.seed);
    environment("QUORATE_SEEDS", arguments.seeds);
    if arguments.wasm_in_cluster {
        cargo.env("QUORATE_CLUSTER", "wasm");
    }
    cargo.args(["--no-fail-fast", "--", "--exact"]).args(&tests);
    if !arguments.costs {
        return counted(cargo).map(drop);
    }
    let notes = costs::Notes::collect(|folder| {
        cargo.env("QUORATE_COSTS", folder);
        counted(cargo)
    })?;
    costs::compare(&notes, dir, arguments.update)
}

/// A cargo that tests a crate. As in its module, arithmetic that overflows is a trap.
fn cargo(dir: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--release", "--config=profile.release.overflow-checks=true"]);
    cargo.args(["--lib", "--tests", "--manifest-path"]).arg(dir.join("Cargo.toml"));
    cargo
}

/// The names of all tests of a crate.
fn list(dir: &Path) -> Result<Vec<String>, Failure> {
    let mut cargo = cargo(dir);
    cargo.args(["--", "--list", "--format=terse"]).stderr(Stdio::inherit());
    let listed = cargo.output().context("running cargo")?;
    if !listed.status.success() {
        return Err(Failure::Said);
    }
    let text = String::from_utf8_lossy(&listed.stdout);
    Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

/// Tests that passed and that failed, by fidelity.
type Counts = BTreeMap<Option<Fidelity>, (u32, u32)>;

/// Runs tests, shows what they say, and counts them.
fn counted(mut cargo: Command) -> Result<(), Failure> {
    let mut child = cargo.stdout(Stdio::piped()).spawn().context("running cargo")?;
    let stdout = child.stdout.take().expect("it is piped");
    let mut counts = Counts::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("reading what cargo says")?;
        match verdict(&line) {
            Some((test, passed)) => {
                let count = counts.entry(Fidelity::of(test)).or_default();
                *if passed { &mut count.0 } else { &mut count.1 } += 1;
                if !passed {
                    say(format_args!("failed: {test}"));
                }
            }
            // What cargo says when all goes well is of no use here.
            None if is_chatter(&line) => {}
            None => say(format_args!("{line}")),
        }
    }
    let status = child.wait().context("waiting for cargo")?;
    say(format_args!("{}", table(&counts)));
    if status.success() { Ok(()) } else { Err(Failure::Said) }
}

/// The test that a line of the harness is about, and whether it passed.
fn verdict(line: &str) -> Option<(&str, bool)> {
    let (test, verdict) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    match verdict {
        "ok" => Some((test, true)),
        "FAILED" => Some((test, false)),
        _ => None,
    }
}

fn is_chatter(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with("running ") || line.starts_with("test result: ok")
}

fn table(counts: &Counts) -> String {
    let mut lines = vec![format!("{:<10}{:>8}{:>8}", "fidelity", "passed", "failed")];
    let native = [Fidelity::Native, Fidelity::Wasm, Fidelity::Cluster].map(Some);
    for fidelity in native.into_iter().chain([None]) {
        let Some((passed, failed)) = counts.get(&fidelity) else { continue };
        let name = fidelity.map_or("other", |fidelity| &fidelity.suffix()[2..]);
        lines.push(format!("{name:<10}{passed:>8}{failed:>8}"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_off_the_harness() {
        assert_eq!(verdict("test a::wasm ... ok"), Some(("a::wasm", true)));
        assert_eq!(verdict("test b ... FAILED"), Some(("b", false)));
        assert_eq!(verdict("test result: ok. 1 passed"), None);
        assert_eq!(verdict("test c ... ignored"), None);
        assert_eq!(Fidelity::of("it::a::cluster"), Some(Fidelity::Cluster));
        assert_eq!(Fidelity::of("clusters_meet"), None);
    }

    #[test]
    fn a_table_has_a_line_for_each_fidelity_that_was_run() {
        let counts = [(Some(Fidelity::Cluster), (2, 1)), (None, (10, 0))].into_iter().collect();
        let expected =
            "fidelity    passed  failed\ncluster          2       1\nother           10       0";
        assert_eq!(table(&counts), expected);
    }
}
