//! Members that come and go while clients write, nodes that lost their data, and a cluster that
//! lost its quorum: as an operator meets them, with the command line.

use std::sync::Arc;
use std::time::Duration;

use quorate_e2e::binary::{Ran, run};
use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::ledger::{Ledger, Load};
use quorate_e2e::{note, ports, turn, wait};
use serde_json::Value;

/// Exit code of a node, or a change, that was refused for good.
const REFUSED: i32 = 3;
/// Writes that are acknowledged between two changes.
const WRITES: usize = 60;
const END_MAX: Duration = Duration::from_secs(20);

/// `quorate member ...`, asked of a node.
fn member(cluster: &Cluster, at: u64, arguments: &[&str]) -> Ran {
    let mut all = vec!["member"];
    all.extend(arguments);
    all.extend(["--at", cluster.address(at), "-o", "json"]);
    run(&all)
}

/// The same, which must succeed; tried again while that may help.
fn change(cluster: &Cluster, at: u64, arguments: &[&str]) -> Value {
    let mut last = None;
    let done = wait::until(wait::LONG, || {
        let ran = member(cluster, at, arguments);
        assert!(ran.code == 0 || ran.code == 4, "{arguments:?}: {ran:?}");
        let done = (ran.code == 0).then(|| serde_json::from_str(&ran.out).expect("JSON"));
        last = Some(ran);
        done
    });
    done.unwrap_or_else(|| panic!("{arguments:?}: {last:?}"))
}

/// Adds a node, starts it, and gives it a vote.
fn grow(cluster: &mut Cluster, at: u64, node: u64) {
    let (id, address) = (node.to_string(), cluster.peer_address(node).to_owned());
    change(cluster, at, &["add", &id, &address]);
    cluster.join_node(node, at);
    change(cluster, at, &["promote", &id]);
}

/// Removes a node, which ends by itself.
fn shrink(cluster: &mut Cluster, at: u64, node: u64) {
    change(cluster, at, &["remove", &node.to_string()]);
    let (code, took) = cluster.take(node).ends(END_MAX);
    note(format_args!("node {node} ended {took:?} after its removal"));
    assert_eq!(code, Ok(REFUSED));
}

/// Starts a node without its data, as one that comes back.
fn rejoin(cluster: &mut Cluster, node: u64) {
    std::fs::remove_dir_all(cluster.data(node)).expect("it was made anew");
    let mut command = cluster.command(node);
    command.arg("--rejoin");
    cluster.launch(node, command);
    cluster.process(node).says("ready ");
}

fn ids(members: &Value) -> Vec<u64> {
    members.as_array().expect("a list").iter().filter_map(Value::as_u64).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_grows_from_one_to_five_nodes_and_back_while_clients_write() {
    let _turn = turn().await;
    let mut cluster = Cluster::founded_by(1, 5, Log::RocksDb);
    cluster.start_node(1);
    let ledger = Ledger::new();
    let load = Load::start(&ledger, [cluster.kv(1), cluster.kv(1)]);
    ledger.grows_by(WRITES).await;
    for node in 2..=5 {
        grow(&mut cluster, 1, node);
        ledger.grows_by(WRITES).await;
    }
    let seen = cluster.status(3);
    let nodes = seen["nodes"].as_array().expect("a list");
    assert_eq!(nodes.len(), 5, "{seen}");
    for node in nodes {
        assert_eq!(node["reachable"], true, "{node}");
        assert_eq!(node["health"], "ok", "{node}");
        assert_ne!(node["store"], "", "{node}");
    }
    let table = run(&["status", "--at", cluster.address(2)]);
    note(format_args!("{}", table.out));
    assert!(table.out.contains("leader"), "{table:?}");

    // Back to one; the node that clients call stays, wherever the leader is.
    for node in [5, 2, 4, 3] {
        shrink(&mut cluster, 1, node);
        ledger.grows_by(WRITES).await;
    }
    load.stop().await;
    ledger.check(&cluster.kv(1)).await;
    let last = member(&cluster, 1, &["remove", "1"]);
    assert_eq!(last.code, REFUSED, "{last:?}");
    assert!(last.out.contains("last_voter"), "{last:?}");
    note(format_args!("{} writes were acknowledged", ledger.len()));
}

/// Each founder is replaced by a node that it does not know, the leader included.
#[tokio::test(flavor = "multi_thread")]
async fn each_node_is_replaced_while_clients_write() {
    let _turn = turn().await;
    let mut cluster = Cluster::founded_by(3, 6, Log::RocksDb);
    for node in 1..=3 {
        cluster.launch(node, cluster.command(node));
    }
    for node in 1..=3 {
        cluster.process(node).says("ready ");
    }
    let ledger = Ledger::new();
    for (old, new) in [(1, 4), (2, 5), (3, 6)] {
        let asked = if old == 3 { 4 } else { 3 };
        let load = Load::start(&ledger, [cluster.kv(asked)]);
        ledger.grows_by(WRITES).await;
        let (id, address) = (new.to_string(), cluster.peer_address(new).to_owned());
        change(&cluster, asked, &["add", &id, &address]);
        cluster.join_node(new, asked);
        let members = change(&cluster, asked, &["replace", &old.to_string(), &id]);
        assert_eq!(ids(&members["voters"]).len(), 3, "{members}");
        assert_eq!(cluster.take(old).ends(END_MAX).0, Ok(REFUSED));
        ledger.grows_by(WRITES).await;
        load.stop().await;
    }
    // None of those who know where the others were at the beginning is left.
    for node in 4..=6 {
        cluster.kill(node);
    }
    for node in 4..=6 {
        cluster.launch(node, cluster.join_command(node, None));
    }
    for node in 4..=6 {
        cluster.process(node).says("ready ");
        ledger.check(&cluster.kv(node)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_hands_over_when_it_is_asked_to_or_removed() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(3, Log::RocksDb);
    let leader = cluster.kv(1).leader().await;
    let [heir, other] = cluster.others(leader)[..] else { unreachable!("three nodes") };
    let moved = change(&cluster, other, &["transfer", &heir.to_string()]);
    assert_eq!(moved["leader"], heir, "{moved}");
    shrink(&mut cluster, other, heir);
    let next = cluster.kv(other).leader().await;
    assert_ne!(next, heir);
    let unknown = member(&cluster, other, &["promote", "9"]);
    assert_eq!(unknown.code, REFUSED, "{unknown:?}");
    assert!(unknown.out.contains("unknown_member"), "{unknown:?}");
    let wrong = member(&cluster, other, &["add", "8", "nowhere"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    let nobody = run(&["status", "--at", &ports::local(ports::free())]);
    assert_eq!(nobody.code, 4, "it may be there later: {nobody:?}");
    // Removed is removed, also when it is started again.
    cluster.launch(heir, cluster.command(heir));
    assert_eq!(cluster.take(heir).ends(END_MAX).0, Ok(REFUSED));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_data_was_wiped_is_refused_until_it_comes_back_as_another_member() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(3, Log::RocksDb);
    let ledger = Ledger::new();
    let leader = cluster.kv(1).leader().await;
    let [wiped, other] = cluster.others(leader)[..] else { unreachable!("three nodes") };
    let load = Load::start(&ledger, [cluster.kv(leader)]);
    ledger.grows_by(WRITES).await;
    load.stop().await;
    cluster.kill(wiped);
    std::fs::remove_dir_all(cluster.data(wiped)).expect("its data are there");

    cluster.launch(wiped, cluster.command(wiped));
    let ran = cluster.take(wiped).finish(END_MAX);
    assert_eq!(ran.code, REFUSED, "{ran:?}");
    assert!(ran.err.contains("--rejoin"), "{ran:?}");

    // Its old vote counts for nothing: without it and the leader there is no majority.
    std::fs::remove_dir_all(cluster.data(wiped)).expect("it was made anew");
    cluster.kill(leader);
    cluster.launch(wiped, cluster.command(wiped));
    cluster.process(wiped).logs(&["refused by a peer", "--rejoin"]);
    assert!(ledger.write(&cluster.kv(other)).await.is_err(), "nobody may lead");
    cluster.kill(wiped);
    // It comes back as another, which nobody can admit now, and is lost once more.
    rejoin(&mut cluster, wiped);
    let met = cluster.data(other).join("acquaintances.toml");
    let came_back = ((1 << 32) | wiped).to_string();
    wait::eventually("a meeting", wait::LONG, async || {
        let met = std::fs::read_to_string(&met).map_err(|error| error.to_string())?;
        if met.contains(&came_back) { Ok(()) } else { Err(met) }
    })
    .await;
    cluster.kill(wiped);
    cluster.start_node(leader);

    // So it comes as yet another.
    rejoin(&mut cluster, wiped);
    ledger.check(&cluster.kv(wiped)).await;
    wait::eventually("a vote for who came back", wait::LONG, async || {
        let seen = cluster.status(leader);
        let nodes = seen["nodes"].as_array().expect("a list");
        let node = nodes.iter().find(|node| node["id"] == wiped);
        match node {
            Some(node) if node["role"] != "learner" && node["incarnation"] == 2 => Ok(()),
            _ => Err(seen.to_string()),
        }
    })
    .await;
    // As any other from here on.
    cluster.kill(wiped);
    cluster.kill(other);
    cluster.start_node(wiped);
    ledger.check(&cluster.kv(wiped)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_with_the_id_of_another_is_refused() {
    let _turn = turn().await;
    let cluster = Cluster::start(3, Log::RocksDb);
    let leader = cluster.kv(1).leader().await;
    let twin = cluster.others(leader)[0];
    cluster.kv(twin).get_eventually("key").await;
    let ran = quorate_e2e::process::Process::start("the twin", cluster.twin_command(twin));
    let ran = ran.finish(END_MAX);
    assert_eq!(ran.code, REFUSED, "{ran:?}");
    assert!(ran.err.contains("two processes"), "{ran:?}");
    cluster.kv(twin).put_eventually("key", "value").await;
}

/// Term and index of the last entry in the folder of a node that does not run.
fn last_entry(cluster: &Cluster, node: u64) -> (u64, u64) {
    let asked = run(&["recover", "--data", cluster.data(node).to_str().expect("letters")]);
    let number = |name: &str| {
        let (_, rest) = asked.err.split_once(name).expect("it is told");
        let digits = rest.trim_start().split(|c: char| !c.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse().ok()).expect("a number")
    };
    (number("has term"), number("and index"))
}

/// The log begins in the middle of the history: the rest of it is the state.
#[tokio::test(flavor = "multi_thread")]
async fn a_survivor_whose_log_was_cut_goes_on_alone_and_others_come_by_a_snapshot() {
    let _turn = turn().await;
    let mut cluster = Cluster::new(3, Log::RocksDb).with(&["--log-entries-max", "16"]);
    cluster.start_all();
    let ledger: Arc<Ledger> = Ledger::new();
    let load = Load::start(&ledger, cluster.ids().map(|node| cluster.kv(node)));
    wait::eventually("cut logs", wait::LONG, async || {
        let seen = cluster.status(1);
        let nodes = seen["nodes"].as_array().expect("a list");
        let is_cut = nodes.iter().all(|node| node["log_first"].as_u64() > Some(100));
        if is_cut { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
    load.stop().await;
    cluster.kill_all();

    // As an operator finds out: the last entry of the highest term, and then the longest log.
    let survivor = cluster.ids().max_by_key(|node| last_entry(&cluster, *node)).expect("three");
    let data = cluster.data(survivor);
    let data = data.to_str().expect("a path of letters");
    let recovered = run(&["recover", "--data", data, "--lose-the-others"]);
    assert_eq!(recovered.code, 0, "{recovered:?}");
    cluster.start_node(survivor);
    ledger.check(&cluster.kv(survivor)).await;
    for lost in cluster.others(survivor) {
        std::fs::remove_dir_all(cluster.data(lost)).expect("its data are there");
        grow(&mut cluster, survivor, lost);
        ledger.check(&cluster.kv(lost)).await;
        ledger.write(&cluster.kv(lost)).await.expect("it serves");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_survivor_of_a_lost_quorum_goes_on_alone_and_the_lost_never_come_back() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(3, Log::RocksDb);
    let ledger: Arc<Ledger> = Ledger::new();
    let leader = cluster.kv(1).leader().await;
    let load = Load::start(&ledger, [cluster.kv(leader)]);
    ledger.grows_by(WRITES).await;
    load.stop().await;
    let [lost, survivor] = cluster.others(leader)[..] else { unreachable!("three nodes") };
    ledger.check(&cluster.kv(survivor)).await;
    cluster.kill_all();

    let data = cluster.data(survivor);
    let data = data.to_str().expect("a path of letters");
    let asked = run(&["recover", "--data", data]);
    assert_eq!(asked.code, 2, "{asked:?}");
    assert!(asked.err.contains("--lose-the-others"), "{asked:?}");
    let (term, index) = last_entry(&cluster, survivor);
    assert!(term > 0 && index > WRITES as u64, "{term} {index}");
    let recovered = run(&["recover", "--data", data, "--lose-the-others"]);
    assert_eq!(recovered.code, 0, "{recovered:?}");
    assert!(recovered.err.contains("WARNING"), "{recovered:?}");

    cluster.start_node(survivor);
    ledger.check(&cluster.kv(survivor)).await;
    ledger.write(&cluster.kv(survivor)).await.expect("it leads alone");
    let seen = cluster.status(survivor);
    assert_eq!(seen["nodes"].as_array().map(Vec::len), Some(1), "{seen}");

    // The others know nothing of it, and are not listened to.
    cluster.start_node(leader);
    cluster.process(leader).logs(&["refused by a peer", "two histories"]);
    assert!(ledger.write(&cluster.kv(leader)).await.is_err());
    cluster.kill(leader);

    std::fs::remove_dir_all(cluster.data(lost)).expect("its data are there");
    grow(&mut cluster, survivor, lost);
    ledger.check(&cluster.kv(lost)).await;
}
