//! Nodes that were away while the others' logs were cut: they come back by a snapshot, whatever
//! happens on its way.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use quorate_e2e::binary::run;
use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::kv::Kv;
use quorate_e2e::ledger::{Ledger, Load};
use quorate_e2e::proxy::Fault;
use quorate_e2e::session::Session;
use quorate_e2e::{noise, note, turn, wait};
use serde_json::Value;

/// Logs so short that a moment is too long to be away.
const SHORT_LOG: [&str; 2] = ["--log-entries-max", "16"];
/// What a log of that length holds at the most, several times over.
const MANY: usize = 600;
const MEBIBYTE: u64 = 1024 * 1024;
const HALF_MEBIBYTE: usize = 512 * 1024;
/// Some seconds of a slow snapshot, and more than a disk has room for that is nearly full.
const NOISE_MEBIBYTES: usize = 12;
const DISK_MEBIBYTES: u32 = 128;

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
    cluster.process(forgetful).logs(&["INFO", "a snapshot is in place"]);
    ledger.check(&cluster.kv(forgetful)).await;
}

/// Values that do not compress, so that it takes a while until they are there.
async fn put_noise(kv: &Kv, mebibytes: usize) {
    for number in 0..2 * mebibytes {
        let value = bytes::Bytes::from(noise(number as u64, HALF_MEBIBYTE));
        let key = format!("noise {number:04}");
        wait::eventually("a Put", wait::LONG, async || {
            let put = kv.put(key.clone(), value.clone()).await;
            put.map_err(|status| status.to_string())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_cut_on_its_way_goes_on_where_it_was() {
    let _turn = turn().await;
    let ledger = Ledger::new();
    let slowly = ["--snapshot-mib-per-second", "2"];
    let mut cluster = Cluster::new(3, Log::RocksDb).with(&SHORT_LOG).with(&slowly).proxied();
    cluster.start_all();
    let leader = cluster.kv(1).leader().await;
    let [down, other] = cluster.others(leader)[..] else { unreachable!("three nodes") };
    cluster.kill(down);
    put_noise(&cluster.kv(leader), NOISE_MEBIBYTES).await;
    let load = Load::start(&ledger, [cluster.kv(leader), cluster.kv(other)].into_iter());
    cut_without(&cluster, down).await;
    // Else it would be behind the log once more when it is there.
    load.stop().await;
    let before = cluster.network().carried(leader, down);
    cluster.start_node(down);
    for cut in 1..=2 {
        wait::eventually("a part of it", wait::LONG, async || {
            let came = cluster.network().carried(leader, down) - before;
            if came > cut * MEBIBYTE { Ok(()) } else { Err(format!("{came} bytes")) }
        })
        .await;
        cluster.network().set(leader, down, Fault::Reset);
        wait::eventually("it breaks off", wait::LONG, async || {
            match cluster.process(leader).logged("a snapshot broke off").len() as u64 {
                times if times >= cut => Ok(()),
                times => Err(format!("{times} times so far")),
            }
        })
        .await;
        cluster.network().set(leader, down, Fault::NONE);
        wait::eventually("it goes on", wait::LONG, async || {
            match cluster.process(down).logged("goes on with a snapshot").len() as u64 {
                times if times >= cut => Ok(()),
                times => Err(format!("{times} times so far")),
            }
        })
        .await;
    }
    cluster.process(down).logs(&["INFO", "a snapshot is in place"]);
    let came = cluster.network().carried(leader, down) - before;
    note(format_args!("{came} bytes came, in three parts"));
    assert!(came < 2 * NOISE_MEBIBYTES as u64 * MEBIBYTE, "{came}");
    ledger.check(&cluster.kv(down)).await;
    assert_eq!(states(&cluster, down).len(), 1, "one was begun, and no other");
    assert!(states(&cluster, down).contains("state-1"), "{:?}", states(&cluster, down));
}

/// The client's retry comes to a leader that has never seen the first try: its table came by a
/// snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn a_duplicate_is_answered_by_a_leader_that_has_its_sessions_from_a_snapshot() {
    const CALLS: u64 = 10;
    let _turn = turn().await;
    let ledger = Ledger::new();
    let mut cluster = Cluster::new(3, Log::RocksDb).with(&SHORT_LOG);
    cluster.start_all();
    let leader = cluster.kv(1).leader().await;
    let [down, other] = cluster.others(leader)[..] else { unreachable!("three nodes") };
    let up = [leader, other].map(|node| cluster.address(node).to_owned());
    cluster.kill(down);
    let session = Session::open(&up).await;
    let mut first = Vec::new();
    for seq in 1..=CALLS {
        first.push(session.put("count", seq, 1).await.unwrap());
    }
    let load = Load::start(&ledger, [cluster.kv(leader), cluster.kv(other)].into_iter());
    cut_without(&cluster, down).await;
    cluster.start_node(down);
    cluster.process(down).logs(&["INFO", "a snapshot is in place"]);
    wait::eventually("a transfer", wait::LONG, async || {
        let moved = run(&["member", "transfer", &down.to_string(), "--at", &up[1]]);
        if moved.code == 0 { Ok(()) } else { Err(moved.err) }
    })
    .await;
    load.stop().await;
    assert_eq!(cluster.kv(other).leader().await, down);
    for (seq, first) in (1..).zip(&first) {
        let again = session.put_at(&cluster.kv(down), "count", seq, 1).await.unwrap();
        assert_eq!(again.message, first.message, "call {seq}");
        assert_eq!(again.place.index, first.place.index, "call {seq} was decided there");
    }
    let version = cluster.kv(down).get("count").await.unwrap().message.kv.unwrap().version;
    assert_eq!(version, CALLS, "a key's version counts its puts");
    ledger.check(&cluster.kv(down)).await;
}

/// While there is no room for all of it, the node says so, and is a follower as before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_for_which_there_is_no_room_waits_until_there_is() {
    let _turn = turn().await;
    let ledger = Ledger::new();
    let slowly = ["--snapshot-mib-per-second", "2"];
    let cluster = Cluster::new(3, Log::RocksDb).with(&SHORT_LOG).with(&slowly);
    let mut cluster = cluster.with_small_disks(DISK_MEBIBYTES);
    cluster.start_all();
    let leader = cluster.kv(1).leader().await;
    let [down, other] = cluster.others(leader)[..] else { unreachable!("three nodes") };
    ledger.write(&cluster.kv(leader)).await.unwrap();
    cluster.kill(down);
    put_noise(&cluster.kv(leader), NOISE_MEBIBYTES).await;
    let load = Load::start(&ledger, [cluster.kv(leader), cluster.kv(other)].into_iter());
    cut_without(&cluster, down).await;
    load.stop().await;
    // Its reserve, which is five percent, and a part of what comes.
    let left = u64::from(DISK_MEBIBYTES) * 1024 / 20 + NOISE_MEBIBYTES as u64 * 1024 / 4;
    let folder = cluster.data(down);
    cluster.start_node(down);
    cluster.disks().fill(&folder, left);
    cluster.process(down).logs(&["ERROR", "no room for a snapshot"]);
    cluster.process(leader).logs(&["INFO", "a snapshot broke off", "no room"]);
    // It has taken down none of the others, nor itself.
    ledger.write(&cluster.kv(leader)).await.expect("two of three");
    let stale = cluster.kv(down).get_as("stale", "key").await;
    assert!(stale.is_ok(), "it runs: {stale:?}");

    cluster.disks().make_room(&folder);
    cluster.process(down).logs(&["INFO", "a snapshot is in place"]);
    ledger.check(&cluster.kv(down)).await;
    cluster.kill(other);
    ledger.write(&cluster.kv(leader)).await.expect("it counts for a majority");
}
