//! `quorate snapshot restore`: a cluster that begins with the state of another.

use std::fs;
use std::path::Path;
use std::process::Command;

use quorate_e2e::binary::{Ran, quorate, run_command};
use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::ledger::{Ledger, Load};
use quorate_e2e::session::Session;
use quorate_e2e::{note, turn};

use crate::backup::{report, save};
use crate::modules::built;

const NAME: &str = "restored";
/// How a node is refused that began with another state.
const LINEAGE: &str = "two histories";

/// The command that makes a node's folder.
fn restore_command(file: &Path, cluster: &Cluster, node: u64) -> Command {
    let mut command = quorate();
    command.args(["snapshot", "restore", "-o", "json", "--cluster", NAME]).arg(file);
    command.args(["--node", &node.to_string(), "--peers", &cluster.peers(node), "--data"]);
    command.arg(cluster.data(node));
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_cluster_goes_on_with_what_was_saved() {
    let _turn = turn().await;
    let ledger = Ledger::new();
    let old = Cluster::start(3, Log::RocksDb);
    let load = Load::start(&ledger, old.ids().map(|node| old.kv(node)));
    ledger.grows_by(500).await;
    load.stop().await;
    let addresses: Vec<_> = old.ids().map(|node| old.address(node).to_owned()).collect();
    let session = Session::open(&addresses).await;
    let once = session.put_at(&old.kv(3), "once", 1, 1).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved");
    let saved = save(old.address(2), &file);
    // What comes later is not in it; the old cluster lives on, and the new one does not meet it.
    old.kv(1).put_eventually("later", "value").await;

    let mut new = Cluster::new(3, Log::RocksDb).with(&["--cluster", NAME]);
    for node in new.ids() {
        let restored = report(&run_command(restore_command(&file, &new, node)));
        assert_eq!(restored["digest"], saved["digest"]);
    }
    new.start_all();
    for node in new.ids() {
        ledger.check(&new.kv(node)).await;
        assert_eq!(new.kv(node).get_eventually("later").await, None);
        // The session is there too: the call was executed, and is not again.
        let again = session.put_at(&new.kv(node), "once", 1, 1).await.unwrap();
        assert_eq!(again.message, once.message);
        assert_eq!((again.place.index, again.place.term), (once.place.index, once.place.term));
    }
    let version = new.kv(1).get("once").await.unwrap().message.kv.unwrap().version;
    assert_eq!(version, 1);
    let place = new.kv(1).put_eventually("after", "value").await.place;
    assert!(place.index > saved["index"].as_u64().unwrap(), "{place:?} after {saved}");
    assert!(place.term > saved["term"].as_u64().unwrap(), "{place:?} after {saved}");

    // It is a cluster as any other: it goes on without one node, and through the end of all.
    let leader = new.kv(1).leader().await;
    new.kill(leader);
    let others = new.others(leader);
    let load = Load::start(&ledger, others.iter().map(|node| new.kv(*node)));
    ledger.grows_by(200).await;
    load.stop().await;
    new.kill_all();
    new.start_all();
    for node in new.ids() {
        ledger.check(&new.kv(node)).await;
    }
    let again = save(new.address(1), &folder.path().join("again"));
    assert_eq!(again["cluster"], NAME);
    assert!(again["time_ms"].as_u64() >= saved["time_ms"].as_u64(), "time does not fall");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_not_restored() {
    let _turn = turn().await;
    let old = Cluster::start(1, Log::RocksDb);
    for number in 0..100 {
        old.kv(1).put_eventually(&format!("key {number}"), "value").await;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved");
    let saved = save(old.address(1), &file);
    let new = Cluster::new(3, Log::RocksDb).with(&["--cluster", NAME]);
    let data = new.data(1);
    let refused = |command: Command, code: i32, why: &str| {
        let ran: Ran = run_command(command);
        note(format_args!("{}", ran.err));
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{ran:?}");
        assert!(ran.err.contains(why), "no {why:?} in {}", ran.err);
    };
    let with = |arguments: &[&str]| {
        let mut command = restore_command(&file, &new, 1);
        command.args(arguments);
        command
    };

    let sound = fs::read(&file).unwrap();
    let damaged = folder.path().join("damaged");
    let mut flipped = sound.clone();
    flipped[sound.len() / 2] ^= 1;
    fs::write(&damaged, flipped).unwrap();
    refused(restore_command(&damaged, &new, 1), 1, "its checksum does not match");
    fs::write(&damaged, &sound[..sound.len() - 1]).unwrap();
    refused(restore_command(&damaged, &new, 1), 1, "is cut off");
    assert!(!data.exists(), "nothing is left of it");

    let counter = built("counter");
    refused(with(&["--plugin", counter.path()]), 2, "--other-module");
    let mut same_name = quorate();
    same_name.args(["snapshot", "restore", "--cluster", saved["cluster"].as_str().unwrap()]);
    same_name.args(["--node", "1", "--peers", "1=a:1", "--data"]).arg(&data).arg(&file);
    refused(same_name, 2, "a name of its own");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("mine"), "precious").unwrap();
    refused(with(&[]), 2, "is not empty");
    assert_eq!(fs::read(data.join("mine")).unwrap(), b"precious");

    // An empty folder is as good as none, and a folder that was restored is not restored again.
    fs::remove_file(data.join("mine")).unwrap();
    assert_eq!(report(&run_command(with(&[])))["digest"], saved["digest"]);
    refused(with(&[]), 2, "is not empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_that_begins_with_nothing_or_with_something_else_is_refused() {
    let _turn = turn().await;
    let old = Cluster::start(1, Log::RocksDb);
    old.kv(1).put_eventually("key", "value").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved");
    save(old.address(1), &file);
    let mut new = Cluster::new(3, Log::RocksDb).with(&["--cluster", NAME]);
    for node in [1, 2] {
        report(&run_command(restore_command(&file, &new, node)));
    }
    // The third was forgotten.
    new.start_all();
    assert_eq!(new.kv(1).get_eventually("key").await.unwrap(), "value");
    new.process(3).logs(&["refused by a peer", LINEAGE]);
    new.kill(3);

    old.kv(1).put_eventually("key", "another value").await;
    let file = folder.path().join("later");
    save(old.address(1), &file);
    fs::remove_dir_all(new.data(3)).unwrap();
    report(&run_command(restore_command(&file, &new, 3)));
    new.start_node(3);
    new.process(3).logs(&["refused by a peer", LINEAGE]);
    assert_eq!(new.kv(2).get_eventually("key").await.unwrap(), "value");
}
