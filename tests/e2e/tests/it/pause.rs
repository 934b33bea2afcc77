//! A leader that is paused while another takes its place, and does not know it when it goes on.

use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::kv::unavailable;
use quorate_e2e::process::Signal;
use quorate_e2e::turn;
use tokio::task::JoinSet;

/// Reads that wait at the old leader's door when it goes on.
const READS: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_paused_does_not_answer_from_the_past() {
    let _turn = turn().await;
    let cluster = Cluster::start(3, Log::RocksDb);
    for round in 0..2 {
        let leader = cluster.kv(1).leader().await;
        let other = cluster.kv(cluster.others(leader)[0]);
        let paused = cluster.kv(leader);
        other.put_eventually("key", "old").await;
        assert_eq!(paused.get_eventually("key").await.unwrap(), "old");

        cluster.process(leader).signal(Signal::Stop);
        let new_leader = other.put_eventually("key", "new").await.place.node;
        assert_ne!(new_leader, leader);

        // They are the first that it hears, before any message of the new leader.
        let mut reads = JoinSet::new();
        for _ in 0..READS {
            let paused = paused.clone();
            reads.spawn(async move { paused.get("key").await });
        }
        tokio::task::yield_now().await;
        cluster.process(leader).signal(Signal::Continue);
        for read in reads.join_all().await {
            match read {
                Ok(reply) => assert_eq!(reply.message.kv.unwrap().value, "new", "round {round}"),
                Err(status) => drop(unavailable(&status)),
            }
        }
        assert_eq!(paused.get_eventually("key").await.unwrap(), "new");
    }
}
