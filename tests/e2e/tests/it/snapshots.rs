//! Nodes that were away while the others' logs were cut: they come back by a snapshot, whatever
//! happens on its way.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::ledger::{Ledger, Load};
use quorate_e2e::{note, turn, wait};
use serde_json::Value;

/// Logs so short that a moment is too long to be away.
const SHORT_LOG: [&str; 2] = ["--log-entries-max", "16"];
/// What a log of that length holds at the most, several times over.
const MANY: usize = 600;

/// The states of a node that came by snapshots, and are still there.
fn states(cluster: &Cluster, node: u64) -> BTreeSet<String> {
    let entries = fs::read_dir(cluster.data(node)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with("state-")).collect()
}

/// Waits until the logs of all that run begin behind what the one that is `down` can have.
async fn cut_without(cluster: &Cluster, down: u64) {
    let at = cluster.others(down)[0];
    let last = numbers(&cluster.status(at), "last").max().unwrap();
    wait::eventually("cut logs", wait::LONG, async || {
        match numbers(&cluster.status(at), "log_first").min() {
            Some(first) if first > last => Ok(()),
            first => Err(format!("they begin at {first:?}, not behind {last}")),
        }
    })
    .await;
}

/// What a status says of the nodes that could be asked.
fn numbers(status: &Value, field: &str) -> impl Iterator<Item = u64> {
    let nodes = status["nodes"].as_array().unwrap().iter();
    nodes.filter(|node| node["reachable"] == true).map(move |node| node[field].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_down_for_too_long_comes_back_by_a_snapshot() {
    let _turn = turn().await;
    let ledger = Ledger::new();
    let mut cluster = Cluster::new(3, Log::RocksDb).with(&SHORT_LOG);
    cluster.start_all();
    let leader = cluster.kv(1).leader().await;
    let [down, other] = cluster.others(leader)[..] else { unreachable!("three nodes") };
    ledger.write(&cluster.kv(leader)).await.unwrap();
    cluster.kill(down);
    let load = Load::start(&ledger, [cluster.kv(leader), cluster.kv(other)].into_iter());
    cut_without(&cluster, down).await;
    cluster.start_node(down);
    ledger.grows_by(100).await;
    load.stop().await;
    ledger.check(&cluster.kv(down)).await;
    assert!(!states(&cluster, down).is_empty(), "it came by a snapshot");
    // And it counts: without it there is no majority.
    cluster.kill(other);
    ledger.write(&cluster.kv(leader)).await.expect("two of three");
    // A restart goes on with the state that came.
    cluster.kill(down);
    cluster.start_node(down);
    ledger.check(&cluster.kv(down)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_survive_kills_of_those_who_send_and_receive_them() {
    const ROUNDS: u64 = 6;
    let _turn = turn().await;
    let ledger = Ledger::new();
    let mut cluster = Cluster::new(3, Log::RocksDb).with(&SHORT_LOG);
    cluster.start_all();
    let load = Load::start(&ledger, cluster.ids().map(|node| cluster.kv(node)));
    ledger.grows_by(200).await;
    let mut came = BTreeSet::new();
    for round in 0..ROUNDS {
        let down = round % 3 + 1;
        cluster.kill(down);
        cut_without(&cluster, down).await;
        cluster.start_node(down);
        // Nothing is waited for: this is the moment of the kill, each time another one.
        tokio::time::sleep(Duration::from_millis(40 * (round + 1))).await;
        let victim = if round % 2 == 0 { down } else { down % 3 + 1 };
        cluster.kill(victim);
        cluster.start_node(victim);
        ledger.grows_by(100).await;
        came.extend(states(&cluster, down).into_iter().map(|state| (down, state)));
    }
    load.stop().await;
    for node in cluster.ids() {
        ledger.check(&cluster.kv(node)).await;
    }
    note(format_args!("{} snapshots were seen in place", came.len()));
    assert!(!came.is_empty(), "somebody came back by a snapshot");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_forgot_its_log_joins_anew_by_a_snapshot() {
    let _turn = turn().await;
    let ledger = Ledger::new();
    let mut cluster = Cluster::new(3, Log::Memory).with(&SHORT_LOG);
    cluster.start_all();
    let leader = cluster.kv(1).leader().await;
    let forgetful = cluster.others(leader)[0];
    let load = Load::start(&ledger, [cluster.kv(leader)].into_iter());
    ledger.grows_by(MANY).await;
    cluster.kill(forgetful);
    cluster.start_node(forgetful);
    ledger.grows_by(100).await;
    load.stop().await;
    ledger.check(&cluster.kv(forgetful)).await;
}
