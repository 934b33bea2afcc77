//! Many seeds under all faults. A seed is as stable as what seeds draw: what one has found is kept
//! as a test of the core, or as a story.

use std::time::Duration;

use quorate_sim::campaign::{Order, campaign};
use quorate_sim::report::{self, SEEDS_THAT_REACH_ALL};

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
    assert_eq!(totals.seeds, SEEDS_THAT_REACH_ALL, "there was not enough time");
    let missing = report::shortfalls(&totals, &[], None);
    assert!(missing.is_empty(), "{missing:#?}");
}

/// A run that does nothing is not a run that holds.
#[test]
fn a_campaign_that_tests_nothing_falls_short() {
    let order = Order { from: 1, seeds: 0, time_max: Duration::ZERO, has_wasm: false };
    let totals = campaign(order, || (), |_| ()).unwrap();
    assert!(!report::shortfalls(&totals, &[], None).is_empty());
    assert!(report::shortfalls(&totals, &[], Some(report::FULL)).len() > 50);
}
