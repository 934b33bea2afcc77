//! A leader that is paused while another takes its place, and does not know it when it goes on.

use std::time::Duration;

use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::kv::unavailable;
use quorate_e2e::process::Signal;
use quorate_e2e::{note, turn};
use tokio::task::JoinSet;
use tokio::time::Instant;

const PAUSED: Duration = Duration::from_secs(10);
/// Reads that wait at the old leader's door when it goes on.
const READS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_paused_does_not_answer_from_the_past() {
    let _turn = turn().await;
    pauses(Cluster::new(3, Log::RocksDb), "linearizable").await;
}

/// When it goes on, its lease is long over, and nothing but the clock tells it so.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_paused_does_not_trust_its_lease() {
    let _turn = turn().await;
    let cluster = Cluster::new(3, Log::RocksDb).with(&["--lease-reads"]);
    pauses(cluster, "lease").await;
}

/// For as short as it takes another to lead, and for longer than anything that a node waits for.
async fn pauses(mut cluster: Cluster, how: &'static str) {
    cluster.start_all();
    for (round, paused_min) in [Duration::ZERO, PAUSED].into_iter().enumerate() {
        let leader = cluster.kv(1).leader().await;
        let other = cluster.kv(cluster.others(leader)[0]);
        let paused = cluster.kv(leader);
        other.put_eventually("key", "old").await;
        assert_eq!(paused.get_eventually("key").await.unwrap(), "old");
        // It has its lease, if there are any.
        paused.get_as(how, "key").await.unwrap();

        let begun = Instant::now();
        cluster.process(leader).signal(Signal::Stop);
        let mut writes = 0;
        let new = loop {
            writes += 1;
            let new = format!("new {writes}");
            let new_leader = other.put_eventually("key", &new).await.place.node;
            assert_ne!(new_leader, leader);
            if begun.elapsed() >= paused_min {
                break new;
            }
        };
        note(format_args!("{writes} writes elsewhere within {:?}", begun.elapsed()));

        // They are the first that it hears, before any message of the new leader.
        let mut reads = JoinSet::new();
        for _ in 0..READS {
            let paused = paused.clone();
            reads.spawn(async move { paused.get_as(how, "key").await });
        }
        tokio::task::yield_now().await;
        cluster.process(leader).signal(Signal::Continue);
        for read in reads.join_all().await {
            match read {
                Ok(reply) => assert_eq!(reply.message.kv.unwrap().value, new, "round {round}"),
                Err(status) => drop(unavailable(&status)),
            }
        }
        assert_eq!(paused.get_eventually("key").await.unwrap(), new);
    }
}
