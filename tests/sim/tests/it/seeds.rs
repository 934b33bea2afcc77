//! Many seeds under all faults, and those that have found something.

use std::time::Duration;

use quorate_sim::campaign::{Order, campaign};
use quorate_sim::plan::Plan;
use quorate_sim::report::{self, SEEDS_THAT_REACH_ALL};
use quorate_sim::run::run;

/// Every kind of fault fires, every rare path is taken, and nothing is found.
#[test]
fn some_hundred_seeds_hold() {
    let order = Order {
        from: 1,
        seeds: SEEDS_THAT_REACH_ALL,
        time_max: Duration::from_mins(10),
        has_wasm: true,
    };
    let totals = campaign(order, || (), |_| ()).unwrap();
    if let Some(failure) = &totals.failure {
        let seed = failure.seed;
        panic!("seed {seed}: {}\nreplay: cargo sim -- --seed {seed}", failure.violation);
    }
    let missing = report::shortfalls(&totals, &[], None);
    assert!(missing.is_empty(), "{missing:#?}");
}

/// Seeds that found something, each with what it was.
const FOUND: [(u64, &str); 2] = [
    (5066, "a member that restarted wrote the group's members in another order than the others"),
    (
        5283,
        "a deposed leader left callers in the dark whose entries could not be committed any more",
    ),
];

#[test]
fn seeds_that_found_something_hold_now() {
    for (seed, what) in FOUND {
        let mut plan = Plan::of(seed);
        plan.is_wasm = false;
        let run = run(&plan, None, false);
        assert!(run.verdict.is_ok(), "seed {seed}, {what}: {:?}", run.verdict);
    }
}

/// A run that does nothing is not a run that holds.
#[test]
fn a_campaign_that_tests_nothing_falls_short() {
    let order = Order { from: 1, seeds: 0, time_max: Duration::ZERO, has_wasm: false };
    let totals = campaign(order, || (), |_| ()).unwrap();
    assert!(!report::shortfalls(&totals, &[], None).is_empty());
    assert!(report::shortfalls(&totals, &[], Some(report::FULL)).len() > 50);
}
