//! Three nodes with their log on disk, some of which are killed.

use std::time::{Duration, Instant};

use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::ledger::{Ledger, Load};
use quorate_e2e::{note, turn, turn_alone};

/// Two election time-outs at their longest, less a second: a split vote would take longer.
const FAILOVER_MAX: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn two_of_three_go_on_and_the_third_catches_up_when_it_returns() {
    let _turn = turn().await;
    let ledger = Ledger::new();
    let mut cluster = Cluster::start(3, Log::RocksDb);
    let leader = cluster.kv(1).leader().await;
    let [down, other] = cluster.others(leader)[..] else { unreachable!("three nodes") };

    let load = Load::start(&ledger, cluster.ids().map(|node| cluster.kv(node)));
    ledger.grows_by(200).await;
    cluster.kill(down);
    ledger.grows_by(500).await;
    load.stop().await;
    assert_eq!(cluster.kv(other).leader().await, leader, "a follower's end is not noticed");

    cluster.start_node(down);
    cluster.kill(other);
    // Without the node that returned there is no majority.
    ledger.write(&cluster.kv(leader)).await.expect("two of three");
    ledger.check(&cluster.kv(down)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_is_replaced_within_three_seconds() {
    const ROUNDS: usize = 4;
    let _turn = turn_alone().await;
    let ledger = Ledger::new();
    let mut cluster = Cluster::start(3, Log::RocksDb);
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let leader = cluster.kv(1).leader().await;
        let load = Load::start(&ledger, cluster.ids().map(|node| cluster.kv(node)));
        ledger.grows_by(200).await;
        load.stop().await;

        let others = cluster.others(leader);
        let kv = cluster.kv(others[0]);
        cluster.kill(leader);
        let killed = Instant::now();
        let next = kv.put_eventually("key", "value").await.place.node;
        times.push(killed.elapsed());
        assert!(others.contains(&next), "node {next} after {leader}");

        cluster.start_node(leader);
        ledger.check(&cluster.kv(leader)).await;
    }
    note(format_args!("a Put after the leader's end took {times:?}"));
    assert!(times.iter().all(|time| *time < FAILOVER_MAX), "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_killed_as_a_whole_has_all_that_it_acknowledged() {
    let _turn = turn().await;
    let ledger = Ledger::new();
    let mut cluster = Cluster::start(3, Log::RocksDb);
    for _ in 0..2 {
        let load = Load::start(&ledger, cluster.ids().map(|node| cluster.kv(node)));
        ledger.grows_by(300).await;
        cluster.kill_all();
        load.stop().await;
        cluster.start_all();
        for node in cluster.ids() {
            ledger.check(&cluster.kv(node)).await;
        }
    }
}
