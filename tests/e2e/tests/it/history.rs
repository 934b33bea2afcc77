//! Clients on few keys, through all nodes, while nodes are killed and paused: what they saw must be
//! explained by one order of all calls, which is that of the log.
//!
//! 1. `recorder`: clients that write down what they see
//! 2. here: the faults
//!
//! What is wrong with a history is for `tests/history/` to say.

pub(crate) mod recorder;

use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::process::Signal;
use quorate_e2e::{note, turn};
use quorate_history::{by_index, by_search};

use self::recorder::Recorder;

/// Calls that are answered between two faults.
const CALLS: usize = 400;

#[derive(Clone, Copy, Debug)]
enum Fault {
    KillLeader,
    KillFollower,
    PauseLeader,
    KillAll,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_see_has_one_order_while_nodes_with_a_log_on_disk_fail() {
    use Fault::{KillAll, KillFollower, KillLeader, PauseLeader};
    let faults = [KillLeader, PauseLeader, KillFollower, KillAll, PauseLeader, KillLeader];
    survive(Log::RocksDb, &faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_see_has_one_order_while_nodes_with_a_log_in_memory_fail() {
    use Fault::{KillFollower, KillLeader, PauseLeader};
    survive(Log::Memory, &[KillFollower, KillLeader, PauseLeader, KillLeader]).await;
}

async fn survive(log: Log, faults: &[Fault]) {
    let _turn = turn().await;
    let mut cluster = Cluster::start(3, log);
    let mut recorder = Recorder::start(&cluster);
    for fault in faults {
        recorder.goes_on(CALLS).await;
        let begun = std::time::Instant::now();
        inject(&mut cluster, *fault, &recorder).await;
        note(format_args!("{fault:?} took {:?}", begun.elapsed()));
    }
    recorder.goes_on(CALLS).await;
    let history = recorder.stop(&cluster.kv(1)).await;
    let summary = by_index::check(&history).unwrap_or_else(|wrong| panic!("{wrong}"));
    let searched = by_search::check(&history).unwrap_or_else(|wrong| panic!("{wrong}"));
    note(format_args!("{log:?}: {summary:?}, {searched:?}"));
    assert!(summary.terms > 1, "no fault has changed the leader: {summary:?}");
}

async fn inject(cluster: &mut Cluster, fault: Fault, recorder: &Recorder) {
    let leader = cluster.kv(1).leader().await;
    let follower = cluster.others(leader)[0];
    match fault {
        Fault::KillLeader => kill(cluster, leader, recorder).await,
        Fault::KillFollower => kill(cluster, follower, recorder).await,
        Fault::PauseLeader => {
            cluster.process(leader).signal(Signal::Stop);
            recorder.goes_on(CALLS).await;
            cluster.process(leader).signal(Signal::Continue);
        }
        Fault::KillAll => {
            cluster.kill_all();
            cluster.start_all();
        }
    }
}

async fn kill(cluster: &mut Cluster, node: u64, recorder: &Recorder) {
    cluster.kill(node);
    recorder.goes_on(CALLS).await;
    cluster.start_node(node);
    if cluster.log() == Log::Memory {
        // Until it has joined again, another fault would be one too many.
        cluster.process(node).logs(&[": admitted"]);
    }
}
