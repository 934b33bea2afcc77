//! A node whose disk is full: it stops and says why, the others serve on, and it is back when there
//! is room again. And one whose disk is nearly full, so that it does not come to that.

use std::time::Duration;

use quorate_e2e::binary::{Ran, run_command};
use quorate_e2e::cluster::Cluster;
use quorate_e2e::kv::v1::DeleteRequest;
use quorate_e2e::kv::v1::delete_request::Target;
use quorate_e2e::{note, turn, wait};
use tonic::Code;

use crate::witness::Witness;

/// Room for the files that a log and a state begin with, and for the load of a test; less than what
/// a write-ahead file takes ahead if it can, as a node would not notice a full disk before that is
/// used up.
const DISK_MEBIBYTES: u32 = 32;
/// Calls that are answered between two faults.
const CALLS: usize = 200;
/// What must be free on such a disk: five percent.
const RESERVE_KIBIBYTES: u64 = DISK_MEBIBYTES as u64 * 1024 / 20;
const STOP_MAX: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_with_a_full_disk_stops_and_is_back_when_there_is_room() {
    let _turn = turn().await;
    let cluster = Cluster::on_small_disks(3, DISK_MEBIBYTES);
    let leader = cluster.kv(1).leader().await;
    let follower = cluster.others(leader)[0];
    fills_up_and_returns(cluster, follower).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_is_nearly_full_refuses_writes_and_goes_on_reading_and_deleting() {
    let _turn = turn().await;
    let cluster = Cluster::on_small_disks(3, DISK_MEBIBYTES);
    let leader = cluster.kv(1).leader().await;
    let kv = cluster.kv(leader);
    kv.put_eventually("kept", "value").await;
    kv.put_eventually("deleted", "value").await;
    let folder = cluster.data(leader);
    cluster.disks().fill(&folder, RESERVE_KIBIBYTES / 2);
    // It looks now and then.
    let refused = wait::eventually("a refusal", wait::LONG, async || {
        let refused = kv.put("kept", "another").await;
        refused.err().ok_or_else(|| "there is still room".to_owned())
    });
    let refused = refused.await;
    note(format_args!("{refused}"));
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("disk"), "{refused}");
    let refused = cluster.kv(cluster.others(leader)[0]).put("kept", "another").await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "through a follower: {refused}");

    let read = kv.get("kept").await.unwrap().message.kv.unwrap().value;
    assert_ne!(read, "", "reads go on");
    let request = DeleteRequest { target: Some(Target::Key("deleted".into())), prev_kv: false };
    let deleted = kv.delete(request).await.unwrap();
    assert_eq!(deleted.message.deleted, 1, "what makes room is taken");

    cluster.disks().make_room(&folder);
    let written = wait::eventually("a Put", wait::LONG, async || {
        kv.put("kept", "written").await.map_err(|status| status.to_string())
    });
    written.await;
}

/// Fills the disk of a node.
async fn fills_up_and_returns(mut cluster: Cluster, node: u64) {
    let witness = Witness::start(&cluster);
    witness.goes_on(CALLS).await;
    let folder = cluster.data(node);
    cluster.disks().fill(&folder, 0);
    let stopped = cluster.take(node).finish(STOP_MAX);
    says_why(&stopped, folder.to_str().unwrap());
    witness.goes_on(CALLS).await;

    // As long as there is no room, it does not start, and harms nothing.
    cluster.disks().fill(&folder, 0);
    let refused = run_command(cluster.command(node));
    note(format_args!("{refused:?}"));
    assert_eq!(refused.code, 1, "nothing was asked wrongly");
    assert!(refused.err.contains("No space left on device"), "{}", refused.err);
    witness.goes_on(CALLS).await;

    cluster.disks().make_room(&folder);
    cluster.start_node(node);
    witness.all_serve(&cluster).await;
    witness.testify(&cluster).await;
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
