//! Which seeds a test runs, as its caller says in the environment.

use std::env;
use std::ops::RangeInclusive;

use crate::ground::Fidelity;

/// One seed alone.
pub(crate) const SEED_VARIABLE: &str = "QUORATE_SEED";
/// So many seeds, from 1.
const SEEDS_VARIABLE: &str = "QUORATE_SEEDS";
/// `wasm`: clusters run modules.
const CLUSTER_VARIABLE: &str = "QUORATE_CLUSTER";

/// Not empty: clusters that fail tell all that went on in them.
const TRACE_VARIABLE: &str = "QUORATE_TRACE";

/// Seeds of a test in the cluster, when nobody says how many.
const TESTS: u64 = 10;
/// Random scripts of a model: native, in the sandbox, in the cluster.
const SCRIPTS: [u64; 3] = [200, 10, 30];

/// The seeds of a test. Outside of the cluster nothing is random.
pub(crate) fn of_test(fidelity: Fidelity) -> RangeInclusive<u64> {
    if fidelity == Fidelity::Cluster { asked_for(TESTS) } else { 1..=1 }
}

/// The seeds of a model.
pub(crate) fn of_model(fidelity: Fidelity) -> RangeInclusive<u64> {
    let [native, wasm, cluster] = SCRIPTS;
    asked_for(match fidelity {
        Fidelity::Native => native,
        Fidelity::Wasm => wasm,
        Fidelity::Cluster => cluster,
    })
}

fn asked_for(otherwise: u64) -> RangeInclusive<u64> {
    if let Some(seed) = number(SEED_VARIABLE) {
        return seed..=seed;
    }
    1..=number(SEEDS_VARIABLE).unwrap_or(otherwise)
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")))
}

/// Whether a cluster that fails tells all that its nodes did.
pub(crate) fn shows_traces() -> bool {
    env::var_os(TRACE_VARIABLE).is_some_and(|shows| !shows.is_empty())
}

/// Whether clusters run modules.
pub(crate) fn cluster_runs_modules() -> bool {
    env::var(CLUSTER_VARIABLE).is_ok_and(|runs| runs == "wasm")
}
