//! Reads in other ways than by default: what each promises, and what it costs.

use std::time::Duration;

use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::kv::unavailable;
use quorate_e2e::process::Signal;
use quorate_e2e::{turn, wait};
use tokio::time::timeout;
use tonic::Code;

/// Less than a lease lasts.
const SOON: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_read_needs_nobody_else_and_says_what_it_saw() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(3, Log::RocksDb);
    let written = cluster.kv(1).put_eventually("key", "value").await.place;
    let kv = cluster.kv(1);
    assert_eq!(kv.get_as("linearizable", "key").await.unwrap().message.kv.unwrap().value, "value");
    for other in cluster.others(1) {
        cluster.kill(other);
    }

    let read = kv.get_as("stale", "key").await.unwrap();
    assert_eq!(read.message.kv.unwrap().value, "value");
    assert_eq!((read.place.index, read.place.node), (written.index, 1));
    // Alone, a node does not know whether it has the latest.
    let refused = kv.get("key").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ways_to_read_that_are_not_there_are_refused_with_what_to_do() {
    let _turn = turn().await;
    let cluster = Cluster::start(1, Log::RocksDb);
    let kv = cluster.kv(1);
    kv.put_eventually("key", "value").await;
    let unknown = kv.get_as("fresh", "key").await.unwrap_err();
    assert_eq!(unknown.code(), Code::InvalidArgument, "{unknown}");
    assert!(unknown.message().contains("linearizable, lease, stale"), "{unknown}");
    let off = kv.get_as("lease", "key").await.unwrap_err();
    assert_eq!(off.code(), Code::FailedPrecondition, "{off}");
    assert!(off.message().contains("--lease-reads"), "{off}");
}

/// Nobody is there whom it could ask: what it answers by can only be its lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_answers_by_its_lease_while_all_others_are_silent() {
    let _turn = turn().await;
    let mut cluster = Cluster::new(3, Log::RocksDb).with(&["--lease-reads"]);
    cluster.start_all();
    let leader = cluster.kv(1).leader().await;
    let kv = cluster.kv(leader);
    kv.put_eventually("key", "value").await;
    let others = cluster.others(leader);
    let signal = |signal: Signal| {
        for other in &others {
            cluster.process(*other).signal(signal);
        }
    };
    // Where this machine is slow, the lease may be over before the question is asked.
    let by_lease = wait::eventually("a read by a lease", wait::LONG, async || {
        let read = kv.get_as("lease", "key").await.map_err(|status| status.to_string())?;
        signal(Signal::Stop);
        let again = timeout(SOON, kv.get_as("lease", "key")).await;
        let asked = timeout(SOON, kv.get_as("linearizable", "key")).await;
        signal(Signal::Continue);
        assert!(!matches!(asked, Ok(Ok(_))), "a majority has to be asked");
        match again {
            Ok(Ok(again)) => Ok((read, again)),
            Ok(Err(status)) => Err(unavailable(&status)),
            Err(late) => Err(late.to_string()),
        }
    });
    let (read, again) = by_lease.await;
    assert_eq!(again.message, read.message);
    assert_eq!(again.place.node, leader);
}

/// Every node takes them: the leader by its lease, the others by asking it.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_read_sees_the_latest_on_every_node() {
    let _turn = turn().await;
    let mut cluster = Cluster::new(3, Log::RocksDb).with(&["--lease-reads"]);
    cluster.start_all();
    for round in 0..50 {
        let writer = cluster.kv(round % 3 + 1);
        let value = format!("value {round}");
        let written = writer.put_eventually("key", &value).await.place;
        for node in cluster.ids() {
            let read = cluster.kv(node).get_as("lease", "key").await.unwrap();
            assert_eq!(read.message.kv.unwrap().value, value, "round {round}, node {node}");
            assert!(read.place.index >= written.index);
        }
    }
}
