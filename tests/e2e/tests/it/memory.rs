//! Three nodes with their log in memory: one that restarts has forgotten what it promised, and must
//! join as another member.

use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::ledger::{Ledger, Load};
use quorate_e2e::turn;

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_killed_is_admitted_anew_and_can_carry_the_majority() {
    killed_and_admitted_anew(2, |leader, followers| (followers[0], [followers[1], leader])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_is_admitted_anew_and_can_carry_the_majority() {
    killed_and_admitted_anew(2, |leader, followers| (leader, [followers[0], followers[1]])).await;
}

/// Kills the first chosen node, and when it has joined again the second, so that what it has is
/// needed; and then brings that one back as well.
async fn killed_and_admitted_anew(rounds: usize, choose: impl Fn(u64, &[u64]) -> (u64, [u64; 2])) {
    let _turn = turn().await;
    let ledger = Ledger::new();
    let mut cluster = Cluster::start(3, Log::Memory);
    for _ in 0..rounds {
        let leader = cluster.kv(1).leader().await;
        let (first, [second, third]) = choose(leader, &cluster.others(leader));
        let load = Load::start(&ledger, cluster.ids().map(|node| cluster.kv(node)));
        ledger.grows_by(100).await;
        for node in [first, second] {
            cluster.kill(node);
            ledger.grows_by(100).await;
            if node == second {
                ledger.check(&cluster.kv(first)).await;
            }
            cluster.start_node(node);
            cluster.process(node).logs(&["asking to be admitted as a new member"]);
            cluster.process(node).logs(&[": admitted"]);
        }
        load.stop().await;
        for node in [first, second, third] {
            ledger.check(&cluster.kv(node)).await;
        }
    }
}
