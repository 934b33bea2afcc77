//! A node that is set up otherwise than its peers: both sides say why it cannot join.

use std::process::Command;
use std::time::Duration;

use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::ledger::{Ledger, Load};
use quorate_e2e::{turn, wait};
use tonic::Code;

use crate::modules;

/// More than two nodes that refuse each other need to say in a test's time, and less than a line
/// for each attempt.
const COMPLAINTS_MAX: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_cluster_is_refused_and_both_sides_say_why() {
    a_stranger_is_refused("it is of cluster", |command| {
        command.args(["--cluster", "other"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_module_is_refused_and_both_sides_say_why() {
    let plugin = modules::built("counter");
    a_stranger_is_refused("it runs another module", |command| {
        command.args(["--plugin", plugin.path()]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_lease_reads_is_refused_where_the_others_have_none() {
    a_stranger_is_refused("its lease reads are", |command| {
        command.arg("--lease-reads");
    })
    .await;
}

async fn a_stranger_is_refused(reason: &str, estrange: impl FnOnce(&mut Command)) {
    let _turn = turn().await;
    let mut cluster = Cluster::new(3, Log::RocksDb);
    let mut stranger = cluster.command(3);
    estrange(&mut stranger);
    cluster.launch(3, stranger);
    cluster.process(3).says("ready ");
    cluster.start_node(1);
    cluster.start_node(2);

    let ledger = Ledger::new();
    let load = Load::start(&ledger, [1, 2].map(|node| cluster.kv(node)));
    ledger.grows_by(500).await;
    // Both sides refuse the other, and are refused if they speak to it: a follower does not.
    let leader = cluster.kv(1).leader().await;
    for node in cluster.ids() {
        let process = cluster.process(node);
        process.logs(&["ERROR", "refused a peer", reason]);
        if [leader, 3].contains(&node) {
            process.logs(&["ERROR", "refused by a peer", reason]);
        }
    }

    // The stranger knows no leader, and so has no answer, while the others go on.
    let refused = cluster.kv(3).get("key").await.unwrap_err();
    if reason.contains("module") {
        assert_eq!(refused.code(), Code::Unimplemented, "{refused}");
    } else {
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        let refused = cluster.kv(3).put("key", "value").await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    }
    ledger.grows_by(100).await;
    load.stop().await;
    for node in [1, 2] {
        ledger.check(&cluster.kv(node)).await;
    }

    for node in cluster.ids() {
        let lines = cluster.process(node).logged("a peer: node");
        let from_a_peer = |peer: u64| {
            let about = format!("node {peer} may not talk to node {node}");
            lines.iter().filter(|line| line.contains(&about)).count()
        };
        for peer in cluster.others(node) {
            let said = from_a_peer(peer);
            assert!(said <= COMPLAINTS_MAX, "node {node} said of {peer} {said} times: {lines:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_reach_a_majority_says_so_by_its_health() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(3, Log::RocksDb);
    let leader = cluster.kv(1).leader().await;
    let (kept, others) = (leader, cluster.others(leader));
    let health = crate::standards::Health::at(cluster.address(kept));
    wait::eventually("health", wait::LONG, async || health.serves("kv.v1.Kv", true).await).await;
    for other in &others {
        cluster.kill(*other);
    }
    let within = Duration::from_secs(10);
    wait::eventually("bad health", within, async || health.serves("kv.v1.Kv", false).await).await;
    cluster.start_node(others[0]);
    wait::eventually("health", within, async || health.serves("kv.v1.Kv", true).await).await;
}
