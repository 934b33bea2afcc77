//! A node whose disk is full: it stops and says why, the others serve on, and it is back when there
//! is room again.

use std::time::Duration;

use quorate_e2e::binary::{Ran, run_command};
use quorate_e2e::cluster::Cluster;
use quorate_e2e::kv::Kv;
use quorate_e2e::{note, turn};

use crate::witness::Witness;

/// Room for the files that a log and a state begin with, and for the load of a test.
const DISK_MEBIBYTES: u32 = 48;
/// Calls that are answered between two faults.
const CALLS: usize = 200;
/// Large values, of which a disk does not hold so many.
const PUT_BYTES: usize = 512 * 1024;
const PUTS_MAX: usize = 2 * DISK_MEBIBYTES as usize;
const STOP_MAX: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_with_a_full_disk_stops_and_is_back_when_there_is_room() {
    let _turn = turn().await;
    let cluster = Cluster::on_small_disks(3, DISK_MEBIBYTES);
    let leader = cluster.kv(1).leader().await;
    let follower = cluster.others(leader)[0];
    fills_up_and_returns(cluster, follower, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_is_filled_by_its_clients_is_replaced() {
    let _turn = turn().await;
    let cluster = Cluster::on_small_disks(3, DISK_MEBIBYTES);
    let leader = cluster.kv(1).leader().await;
    fills_up_and_returns(cluster, leader, 4096).await;
}

/// Fills the disk of a node but for some room, which large values of clients then take.
async fn fills_up_and_returns(mut cluster: Cluster, node: u64, kibibytes_left: u64) {
    let witness = Witness::start(&cluster);
    witness.goes_on(CALLS).await;
    let folder = cluster.data(node);
    cluster.disks().fill(&folder, kibibytes_left);
    if kibibytes_left > 0 {
        takes_the_rest(&cluster.kv(node)).await;
    }
    let stopped = cluster.take(node).finish(STOP_MAX);
    says_why(&stopped, folder.to_str().unwrap());
    witness.goes_on(CALLS).await;

    // As long as there is no room, it does not start, and harms nothing.
    cluster.disks().fill(&folder, 0);
    let refused = run_command(cluster.command(node));
    note(format_args!("{refused:?}"));
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("No space left on device"), "{}", refused.err);
    witness.goes_on(CALLS).await;

    cluster.disks().make_room(&folder);
    cluster.start_node(node);
    witness.all_serve(&cluster).await;
    witness.testify(&cluster).await;
}

/// Writes large values until the node takes no more.
async fn takes_the_rest(kv: &Kv) {
    for written in 1..=PUTS_MAX {
        let value = vec![b'x'; PUT_BYTES];
        if let Err(status) = kv.put("large", value).await {
            note(format_args!("large value {written}: {status}"));
            return;
        }
    }
    panic!("there is still room on the disk");
}

fn says_why(stopped: &Ran, folder: &str) {
    note(format_args!("{}", stopped.err));
    assert_eq!(stopped.code, 1, "{}", stopped.err);
    let errors: Vec<_> = stopped.err.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    for part in [folder, "No space left on device", "make room"] {
        assert!(errors[0].contains(part), "no {part:?} in {}", errors[0]);
    }
}
