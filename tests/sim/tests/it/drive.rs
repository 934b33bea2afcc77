//! Clusters that are driven from outside, as the tests of plugins do it: things do go wrong, each
//! command is executed once, and a seed is a seed.

use std::sync::Arc;

use quorate_sim::cluster::Cluster;
use quorate_sim::fault::{Kind, Ledger};
use quorate_sim::oracle::Checked;
use quorate_sim::plan::Plan;
use quorate_sim::program::Code;
use quorate_sim::request::{Reply, Request};

const SEEDS: u64 = 40;
const COMMANDS: u64 = 40;

/// Puts, with something going wrong before each third; what came of it, and a number for all of it.
fn drive(seed: u64) -> Checked<(Ledger, usize, u64)> {
    let plan = Plan::driven(seed);
    let mut cluster = Cluster::of(plan, Code::Native, &Arc::default(), false)?;
    cluster.set_wall_clock(1_735_689_600_000);
    for number in 1..=COMMANDS {
        if number % 3 == 0 {
            cluster.disturb()?;
        }
        if number % 10 == 0 {
            cluster.send_copy()?;
        }
        let put = Request::Put(1, number, 0);
        let command = put.encode();
        let (_, outcome) = cluster.command(command.method, command.payload)?;
        let reply = put.decode_reply(&outcome.expect("a put is not refused"));
        // Only the puts of this register count as revisions, and nobody else puts there.
        let Some(Reply::Register { found, .. }) = reply else { panic!("{reply:?}") };
        assert_eq!(found.map_or(0, |found| found.value), number - 1, "each once, in order");
    }
    cluster.settle()?;
    Ok((cluster.ledger.clone(), cluster.terms(), cluster.trace.digest()))
}

#[test]
fn what_is_driven_is_disturbed_and_executed_once() {
    let (mut ledger, mut terms) = (Ledger::default(), 0);
    for seed in 1..=SEEDS {
        let (fired, led, _) = drive(seed).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        ledger.add(&fired);
        terms += led;
    }
    for kind in [Kind::Crash, Kind::Partition, Kind::Isolate, Kind::Pause, Kind::Loss, Kind::Stop] {
        assert!(ledger.fired(kind) > 0, "{kind:?} never happened");
    }
    assert!(terms as u64 > SEEDS + SEEDS / 2, "leaders change: {terms} terms in {SEEDS} clusters");
}

#[test]
fn a_seed_that_is_driven_does_the_same_again() {
    let digest = |seed| drive(seed).map(|(_, _, digest)| digest);
    assert_eq!(digest(7), digest(7));
    assert_ne!(digest(7), digest(8));
}
