//! A leader whose disk does not answer: the others elect one, and it says so and leads nobody until
//! the disk is back. Alone, it goes on reading.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::{turn, wait};
use tonic::Code;

/// Syncs that wait for as long as a file is there. RocksDB calls them by these names.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
static void hang(void) {
    const char *file = getenv("HANG_WHILE");
    while (file && access(file, F_OK) == 0) usleep(10000);
}
int fsync(int fd) {
    hang();
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
int fdatasync(int fd) {
    hang();
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
"#;

/// Compiles the shim. The build of RocksDB needs a compiler anyway.
fn shim(folder: &Path) -> String {
    let (source, library) = (folder.join("hang.c"), folder.join("hang.so"));
    std::fs::write(&source, SHIM).unwrap();
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl");
    assert!(compile.status().expect("there is a C compiler").success());
    library.to_str().unwrap().to_owned()
}

/// The syncs of a node hang while this file is there.
fn hangs(folder: &Path, node: u64) -> PathBuf {
    folder.join(format!("hang-{node}"))
}

/// Nodes whose disks can hang.
fn start(nodes: usize, folder: &Path) -> Cluster {
    let library = shim(folder);
    let mut cluster = Cluster::new(nodes, Log::RocksDb);
    for node in cluster.ids() {
        let mut command = cluster.command(node);
        command.env("LD_PRELOAD", &library).env("HANG_WHILE", hangs(folder, node));
        cluster.launch(node, command);
    }
    for node in cluster.ids() {
        cluster.process(node).says("ready ");
    }
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_hangs_is_replaced_and_says_so_and_follows_when_it_is_back() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let hangs = |node: u64| hangs(folder.path(), node);
    let cluster = start(3, folder.path());
    let old = cluster.kv(1).leader().await;
    let (stuck, other) = (cluster.kv(old), cluster.kv(cluster.others(old)[0]));
    other.put_eventually("key", "before").await;

    std::fs::write(hangs(old), "").unwrap();
    // Something must be written for it to meet its disk. What becomes of it, nobody knows yet.
    let begun = std::time::Instant::now();
    let unknown = stuck.put("lost", "perhaps").await;
    if let Err(status) = unknown {
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "it was not kept to the end");
    cluster.process(old).logs(&["ERROR", "has not come back from its disk"]);
    let new = other.put_eventually("key", "after").await.place.node;
    assert_ne!(new, old);

    // It says so, refuses what only it could answer, and hands on the rest.
    let health = crate::standards::Health::at(cluster.address(old));
    wait::eventually("bad health", wait::LONG, async || health.serves("kv.v1.Kv", false).await)
        .await;
    let refused = stuck.get("key").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("disk"), "{refused}");
    let handed_on = stuck.put_eventually("key", "by another").await;
    assert_eq!(handed_on.place.node, new);

    std::fs::remove_file(hangs(old)).unwrap();
    cluster.process(old).logs(&["the disk is back"]);
    assert_eq!(stuck.get_eventually("key").await.unwrap(), "by another");
    wait::eventually("health", wait::LONG, async || health.serves("kv.v1.Kv", true).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_votes_alone_goes_on_reading_while_its_disk_hangs() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let cluster = start(1, folder.path());
    let kv = cluster.kv(1);
    let before = kv.put_eventually("key", "before").await;

    std::fs::write(hangs(folder.path(), 1), "").unwrap();
    let unknown = kv.put("key", "after").await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unavailable, "{unknown}");
    let get = kv.get("key").await.unwrap();
    assert_eq!(get.message.kv.unwrap().value, "before", "what was answered last");
    assert!(get.place.index >= before.place.index, "{:?}", get.place);

    std::fs::remove_file(hangs(folder.path(), 1)).unwrap();
    cluster.process(1).logs(&["the disk is back"]);
    kv.put_eventually("key", "at last").await;
    assert_eq!(kv.get_eventually("key").await.unwrap(), "at last");
}
