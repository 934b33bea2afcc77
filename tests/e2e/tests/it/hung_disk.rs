//! A leader whose disk does not answer: the others elect one, and it says so and leads nobody until
//! the disk is back.

use std::path::Path;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_disk_hangs_is_replaced_and_says_so_and_follows_when_it_is_back() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let library = shim(folder.path());
    let mut cluster = Cluster::new(3, Log::RocksDb);
    let hangs = |node: u64| folder.path().join(format!("hang-{node}"));
    for node in cluster.ids() {
        let mut command = cluster.command(node);
        command.env("LD_PRELOAD", &library).env("HANG_WHILE", hangs(node));
        cluster.launch(node, command);
    }
    for node in cluster.ids() {
        cluster.process(node).says("ready ");
    }
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
