//! What a person and a program are told of a campaign.

use std::fmt::Write as _;
use std::time::Duration;

use quorate_core::canary::Canary;
use serde_json::{Value, json};

use crate::campaign::Totals;
use crate::fault::Kind;
use crate::time::SECOND;

const INFALLIBLE: &str = "a string takes all that is written to it";

/// What a campaign must have reached, or else it has not tested what it says.
#[derive(Clone, Copy, Debug)]
pub struct Requirement {
    /// Seeds.
    pub seeds: u64,
    /// Virtual hours.
    pub hours: u64,
    /// Calls checked.
    pub calls: u64,
    /// Copies of calls in logs, none of them executed.
    pub duplicates: u64,
    /// How often each kind of fault fired.
    pub fired: u64,
    /// Bits that flipped in what a replica decided, each of which put it into quarantine.
    pub divergences: u64,
    /// Within how long a canary is caught.
    pub canary: Duration,
}

/// What CI runs.
pub const FULL: Requirement = Requirement {
    seeds: 4_700,
    hours: 20,
    calls: 1_000_000,
    duplicates: 100_000,
    fired: 100,
    divergences: 200,
    canary: Duration::from_mins(1),
};

/// So many seeds reach everything once, or something is wrong with them.
pub const SEEDS_THAT_REACH_ALL: u64 = 900;

/// A planted bug, and whether it was found.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// Its name.
    pub canary: &'static str,
    /// The seed that found it, and by which rule.
    pub caught: Option<(u64, &'static str)>,
    /// Seeds until then.
    pub seeds: u64,
    /// Time until then.
    pub took: Duration,
}

/// What is missing.
pub fn shortfalls(
    totals: &Totals,
    hunts: &[Hunt],
    requirement: Option<Requirement>,
) -> Vec<String> {
    let mut missing = Vec::new();
    let mut at_least = |what: &str, is: u64, must: u64| {
        if is < must {
            missing.push(format!("{what}: {is}, of at least {must}"));
        }
    };
    let reaches_all = totals.seeds >= SEEDS_THAT_REACH_ALL || requirement.is_some();
    let fired = requirement.map_or_else(|| u64::from(reaches_all), |requirement| requirement.fired);
    at_least("seeds", totals.seeds, requirement.map_or(1, |requirement| requirement.seeds));
    at_least("calls checked", totals.calls, requirement.map_or(1, |wanted| wanted.calls));
    if let Some(requirement) = requirement {
        at_least("simulated hours", hours(totals), requirement.hours);
        at_least("seeds with equal traces", totals.seeds_twice * 20, requirement.seeds);
        at_least("canaries hunted", hunts.len() as u64, Canary::ALL.len() as u64);
        at_least("duplicates in logs", totals.duplicates, requirement.duplicates);
        at_least("calls answered", totals.answered, requirement.calls / 2);
        let flipped = [Kind::FlipWrite, Kind::FlipOutcome].map(|kind| totals.ledger.fired(kind));
        let flipped = flipped.iter().sum();
        at_least("divergences", flipped, requirement.divergences);
        at_least("quarantines", totals.ledger.fired(Kind::Quarantine), flipped);
        at_least("seeds with the real module", totals.seeds_wasm, requirement.seeds / 25);
    }
    for kind in Kind::ALL {
        at_least(&format!("fault {:?}", kind.name()), totals.ledger.fired(*kind), fired);
        let recovered = totals.ledger.recovered(*kind);
        at_least(&format!("recovery from {:?}", kind.name()), recovered, fired.min(1));
    }
    for (name, count) in &totals.marks {
        at_least(&format!("rare path {name:?}"), *count, fired.min(1));
    }
    for hunt in hunts {
        if hunt.caught.is_none() || hunt.took > FULL.canary {
            missing.push(format!("canary {} not caught in time", hunt.canary));
        }
    }
    missing
}

fn hours(totals: &Totals) -> u64 {
    totals.lasted / SECOND / 3600
}

/// For a person.
pub fn table(totals: &Totals, hunts: &[Hunt]) -> String {
    let mut out = String::new();
    let mut line =
        |name: &str, value: String| writeln!(out, "  {name:<34} {value:>12}").expect(INFALLIBLE);
    line("seeds", totals.seeds.to_string());
    line("  with the real module", totals.seeds_wasm.to_string());
    line("  run twice, with equal traces", totals.seeds_twice.to_string());
    let tenths = totals.lasted / SECOND / 360;
    line("simulated hours", format!("{}.{}", tenths / 10, tenths % 10));
    line("events", totals.events.to_string());
    line("terms with a leader", totals.terms_led.to_string());
    line("calls checked", totals.calls.to_string());
    line("  answered", totals.answered.to_string());
    line("  unknown to clients, told by logs", totals.resolved.to_string());
    line("commands in logs", totals.commands.to_string());
    line("  duplicates, none executed", totals.duplicates.to_string());
    writeln!(out, "\n  {:<34} {:>12} {:>12}", "fault", "fired", "recovered").expect(INFALLIBLE);
    for kind in Kind::ALL {
        let (fired, recovered) = (totals.ledger.fired(*kind), totals.ledger.recovered(*kind));
        writeln!(out, "  {:<34} {fired:>12} {recovered:>12}", kind.name()).expect(INFALLIBLE);
    }
    writeln!(out, "\n  {:<34} {:>12}", "rare path", "taken").expect(INFALLIBLE);
    for (name, count) in &totals.marks {
        writeln!(out, "  {name:<34} {count:>12}").expect(INFALLIBLE);
    }
    if !hunts.is_empty() {
        writeln!(out, "\n  {:<30} {:>6} {:>7}  caught by", "canary", "seeds", "ms")
            .expect(INFALLIBLE);
    }
    for hunt in hunts {
        let by = hunt
            .caught
            .map_or_else(|| "NOT CAUGHT".to_owned(), |(seed, rule)| format!("seed {seed}: {rule}"));
        let ms = hunt.took.as_millis();
        writeln!(out, "  {:<30} {:>6} {ms:>7}  {by}", hunt.canary, hunt.seeds).expect(INFALLIBLE);
    }
    out
}

/// For a program.
pub fn json(totals: &Totals, hunts: &[Hunt], missing: &[String]) -> Value {
    let faults: Value = Kind::ALL
        .iter()
        .map(|kind| {
            let (fired, recovered) = (totals.ledger.fired(*kind), totals.ledger.recovered(*kind));
            (kind.name().to_owned(), json!({ "fired": fired, "recovered": recovered }))
        })
        .collect::<serde_json::Map<_, _>>()
        .into();
    let canaries: Vec<Value> = hunts
        .iter()
        .map(|hunt| {
            json!({
                "canary": hunt.canary,
                "caught": hunt.caught.is_some(),
                "seed": hunt.caught.map(|(seed, _)| seed),
                "rule": hunt.caught.map(|(_, rule)| rule),
                "seeds": hunt.seeds,
                "ms": u64::try_from(hunt.took.as_millis()).unwrap_or(u64::MAX),
            })
        })
        .collect();
    let failure = totals.failure.as_ref().map(|failure| {
        json!({
            "seed": failure.seed,
            "rule": failure.violation.rule,
            "detail": failure.violation.detail,
        })
    });
    json!({
        "seeds": totals.seeds,
        "seeds_wasm": totals.seeds_wasm,
        "seeds_twice": totals.seeds_twice,
        "simulated_seconds": totals.lasted / SECOND,
        "events": totals.events,
        "terms_led": totals.terms_led,
        "calls": totals.calls,
        "answered": totals.answered,
        "resolved": totals.resolved,
        "commands": totals.commands,
        "duplicates": totals.duplicates,
        "faults": faults,
        "marks": totals.marks,
        "canaries": canaries,
        "failure": failure,
        "missing": missing,
        "took_ms": u64::try_from(totals.took.as_millis()).unwrap_or(u64::MAX),
    })
}
