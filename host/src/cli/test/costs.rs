//! What methods cost, from what tests have noted, beside what is kept of it in the crate.
//!
//! Tests in the sandbox do the same each time, so what they cost is the same as well, as long as
//! plugin, tests and compiler are. A compiler may move fuel a little: that is let pass.

use std::collections::BTreeMap;
use std::path::Path;
use std::{env, fs, process};

use anyhow::Context as _;

use super::super::{Failure, complain, say, usage};

/// The file beside the plugin.
const FILE: &str = "costs.txt";
const HEAD: &str =
    "# What methods cost in the sandbox: median and largest of all calls in the tests.
# `quorate test --costs` compares, `quorate test --costs --update` writes this file.
";
/// So much more fuel is let pass.
const FUEL_PERCENT: u64 = 2;

/// Host calls, bytes and fuel of one call.
type Cost = [u64; 3];
const UNITS: [&str; 3] = ["host calls", "bytes", "fuel"];
/// The median and the most of each.
type Figures = [u64; 6];

/// What calls have cost, by method.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Notes(BTreeMap<String, Vec<Cost>>);

impl Notes {
    /// What tests note in a folder while `run` runs them.
    pub(super) fn collect(run: impl FnOnce(&Path) -> Result<(), Failure>) -> Result<Self, Failure> {
        let folder = env::temp_dir().join(format!("quorate-costs-{}", process::id()));
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
        let ran = run(&folder);
        let notes = Self::read(&folder);
        // What is left of it, the system clears away.
        drop(fs::remove_dir_all(&folder));
        ran?;
        Ok(notes?)
    }

    fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut notes = Self::default();
        for entry in fs::read_dir(folder)? {
            notes.add(&fs::read_to_string(entry?.path())?);
        }
        Ok(notes)
    }

    fn add(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split(' ');
            let (Some(method), numbers) = (words.next(), words) else { continue };
            let numbers: Vec<u64> = numbers.filter_map(|word| word.parse().ok()).collect();
            if let Ok(cost) = numbers.try_into() {
                self.0.entry(method.to_owned()).or_default().push(cost);
            }
        }
    }

    fn summary(&self) -> Summary {
        let figures = |costs: &Vec<Cost>| -> Figures {
            std::array::from_fn(|figure| {
                let mut all: Vec<u64> = costs.iter().map(|cost| cost[figure / 2]).collect();
                all.sort_unstable();
                if figure % 2 == 0 { all[all.len() / 2] } else { all[all.len() - 1] }
            })
        };
        let methods = self.0.iter().map(|(method, costs)| (method.clone(), figures(costs)));
        Summary(methods.collect())
    }
}

/// What is kept of each method.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Summary(BTreeMap<String, Figures>);

impl Summary {
    fn text(&self) -> String {
        let longest = self.0.keys().map(String::len).max().unwrap_or(0);
        let lines = self.0.iter().map(|(method, figures)| {
            let units = UNITS.iter().zip(figures.chunks(2));
            let units = units.map(|(unit, of)| format!("  {unit} {:>5} {:>5}", of[0], of[1]));
            format!("{method:<longest$}{}\n", units.collect::<Vec<_>>().concat())
        });
        lines.collect::<Vec<_>>().concat()
    }

    fn parse(text: &str) -> Option<Self> {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let methods = lines.map(|line| {
            let mut words = line.split_whitespace();
            let method = words.next()?.to_owned();
            let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
            Some((method, numbers.try_into().ok()?))
        });
        methods.collect::<Option<_>>().map(Self)
    }

    /// What is more than it was, and what is less or new, a line for each.
    fn differences(&self, before: &Self) -> (Vec<String>, Vec<String>) {
        let (mut worse, mut other) = (Vec::new(), Vec::new());
        for (method, figures) in &self.0 {
            let Some(known) = before.0.get(method) else {
                other.push(format!("{method} is new"));
                continue;
            };
            for (figure, (now, then)) in figures.iter().zip(known).enumerate() {
                let (unit, which) = (UNITS[figure / 2], ["median", "most"][figure % 2]);
                let slack = if unit == "fuel" { then * FUEL_PERCENT / 100 } else { 0 };
                let line = || format!("{method}: {unit}, {which}: {then} -> {now}");
                worse.extend((*now > then + slack).then(line));
                other.extend((now + slack < *then).then(line));
            }
        }
        let gone = before.0.keys().filter(|method| !self.0.contains_key(*method));
        other.extend(gone.map(|method| format!("{method} is not called any more")));
        (worse, other)
    }
}

/// Tells the costs, and compares them with those that are kept.
pub(super) fn compare(notes: &Notes, dir: &Path, update: bool) -> Result<(), Failure> {
    let now = notes.summary();
    if now.0.is_empty() {
        return Err(usage("no test in the sandbox calls a method"));
    }
    say(format_args!("each: median, most\n{}", now.text().trim_end()));
    let file = dir.join(FILE);
    let before = match fs::read_to_string(&file) {
        Ok(text) if !update => text,
        Err(error) if !update && error.kind() != std::io::ErrorKind::NotFound => {
            return Err(anyhow::Error::new(error).context(file.display().to_string()).into());
        }
        _ => {
            let text = format!("{HEAD}{}", now.text());
            fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
            say(format_args!("kept in {}", file.display()));
            return Ok(());
        }
    };
    let unreadable = || anyhow::anyhow!("{}: these are no costs", file.display());
    let before = Summary::parse(&before).ok_or_else(unreadable)?;
    let (worse, other) = now.differences(&before);
    for line in &other {
        say(format_args!("changed: {line}"));
    }
    for line in &worse {
        complain(format_args!("more than before: {line}"));
    }
    if worse.is_empty() {
        return Ok(());
    }
    complain(format_args!("keep them with: quorate test {} --costs --update", dir.display()));
    Err(Failure::Said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(text: &str) -> Summary {
        let mut notes = Notes::default();
        notes.add(text);
        notes.summary()
    }

    #[test]
    fn costs_are_kept_as_median_and_most() {
        let now = summary("t/A 3 10 500\nt/A 1 30 700\nt/A 2 20 600\nt/B 0 0 0\nnonsense\n");
        assert_eq!(now.0["t/A"], [2, 3, 20, 30, 600, 700]);
        assert_eq!(Summary::parse(&format!("{HEAD}{}", now.text())), Some(now));
        assert_eq!(Summary::parse("t/A 1 2\n"), None);
    }

    #[test]
    fn what_costs_more_is_told_and_what_costs_less_too() {
        let before = summary("t/A 2 10 1000\nt/B 1 1 1\n");
        let differs = |text: &str| summary(text).differences(&before);
        assert_eq!(differs("t/A 2 10 1020\nt/B 1 1 1\n"), (vec![], vec![]));
        let (worse, other) = differs("t/A 3 10 1021\nt/C 1 1 1\n");
        assert_eq!(worse[0], "t/A: host calls, median: 2 -> 3");
        assert_eq!(worse.len(), 4, "median and most of host calls and of fuel: {worse:?}");
        assert_eq!(other, ["t/C is new", "t/B is not called any more"]);
        let (worse, other) = differs("t/A 1 10 1000\nt/B 1 1 1\n");
        assert_eq!((worse.len(), other.len()), (0, 2));
    }
}
