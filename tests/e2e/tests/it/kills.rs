//! Three nodes that are killed (`kill -9`) and started again, a hundred times: each recovers, and
//! no write that was acknowledged is lost.
//!
//! What the system has taken survives its process: this is about processes, not about power.

use std::time::{Duration, Instant};

use quorate_e2e::cluster::Cluster;
use quorate_e2e::{is_full, note, turn};

use crate::witness::Witness;

/// Kills after which the node was ready again.
const RECOVERIES: usize = 100;
/// In the short form: until each kind was done at least once.
const RECOVERIES_SHORT: usize = 15;
/// Calls that are answered between two kills.
const CALLS: usize = 60;

#[derive(Clone, Copy, Debug)]
enum Kill {
    Leader,
    /// While their leader still leads: it goes on when they are back.
    Followers,
    All,
    /// And again as soon as all are ready: nobody leads yet.
    AllTwice,
    /// A follower, and then several times while it starts.
    Starting,
}

/// The cheap ones more often.
const KILLS: [Kill; 7] = {
    use Kill::{All, AllTwice, Followers, Leader, Starting};
    [Followers, AllTwice, Leader, Starting, Followers, All, Followers]
};

/// When a node that starts is killed, after its process was made: in each round somewhat later.
const START_STEP: Duration = Duration::from_millis(9);
const STARTS_KILLED: u32 = 3;

/// What was done, in all.
#[derive(Debug, Default)]
struct Count {
    recoveries: usize,
    /// Nodes that were killed before they were ready; they recover later.
    starts_killed: u32,
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_are_killed_again_and_again_recover_all_that_was_acknowledged() {
    let _turn = turn().await;
    let wanted = if is_full() { RECOVERIES } else { RECOVERIES_SHORT };
    let mut cluster = Cluster::behind_proxies(3);
    let witness = Witness::start(&cluster);
    let mut count = Count::default();
    let begun = Instant::now();
    for kill in KILLS.into_iter().cycle() {
        witness.goes_on(CALLS).await;
        let before = Instant::now();
        inject(&mut cluster, kill, &mut count).await;
        let recovered = before.elapsed();
        witness.goes_on(CALLS).await;
        note(format_args!("{kill:?}: {recovered:?}; all of it {:?}", before.elapsed()));
        if count.recoveries >= wanted {
            break;
        }
    }
    note(format_args!("{count:?} in {:?}", begun.elapsed()));
    witness.all_serve(&cluster).await;
    witness.testify(&cluster).await;
    assert!(count.recoveries >= wanted, "{count:?}");
}

async fn inject(cluster: &mut Cluster, kill: Kill, count: &mut Count) {
    let leader = cluster.kv(1).leader().await;
    let followers = cluster.others(leader);
    match kill {
        Kill::Leader => recover(cluster, &[leader], count),
        Kill::Followers => recover(cluster, &followers, count),
        Kill::All => recover(cluster, &cluster.ids().collect::<Vec<_>>(), count),
        Kill::AllTwice => {
            for _ in 0..2 {
                recover(cluster, &cluster.ids().collect::<Vec<_>>(), count);
            }
        }
        Kill::Starting => {
            let node = followers[0];
            cluster.kill(node);
            for _ in 0..STARTS_KILLED {
                cluster.launch(node, cluster.command(node));
                // Nothing is waited for: this is the moment of the kill.
                tokio::time::sleep(START_STEP * count.starts_killed).await;
                cluster.kill(node);
                count.starts_killed += 1;
            }
            cluster.start_node(node);
            count.recoveries += 1;
        }
    }
}

/// Kills nodes at the same time, and waits until they are ready again.
fn recover(cluster: &mut Cluster, nodes: &[u64], count: &mut Count) {
    // Whoever is reaped is dead; whoever is dropped is reaped.
    let killed: Vec<_> = nodes.iter().map(|node| cluster.take(*node)).collect();
    drop(killed);
    cluster.start_all();
    count.recoveries += nodes.len();
}
