//! Settings, from a file, the environment and flags.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use quorate_e2e::binary::{quorate, run_command};
use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::process::Process;
use quorate_e2e::{ports, turn};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// So many at once that some would travel together.
const CALLS: usize = 200;

fn config(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("quorate.toml");
    std::fs::write(&file, text).unwrap();
    (folder, file)
}

/// Where a node listens that is started so.
fn listens(command: Command) -> String {
    let process = Process::start("a node", command);
    let ready = process.says("ready ");
    ready.split(' ').next_back().expect("its address").to_owned()
}

#[tokio::test]
async fn a_flag_counts_more_than_the_environment_and_that_more_than_the_file() {
    let _turn = turn().await;
    let [by_file, by_env, by_flag] = [(); 3].map(|()| ports::local(ports::free()));
    let (_folder, file) = config(&format!("[dev]\nnodes = 1\nlisten = \"{by_file}\"\n"));

    let mut command = quorate();
    command.arg("dev").arg("--config").arg(&file);
    assert_eq!(listens(command), by_file);

    let mut command = quorate();
    command.arg("dev").env("QUORATE_CONFIG", &file);
    assert_eq!(listens(command), by_file, "the file itself is a setting");

    let mut command = quorate();
    command.arg("dev").arg("--config").arg(&file).env("QUORATE_LISTEN", &by_env);
    assert_eq!(listens(command), by_env);

    let mut command = quorate();
    command.arg("dev").arg("--config").arg(&file).env("QUORATE_LISTEN", &by_env);
    command.args(["--listen", &by_flag]);
    assert_eq!(listens(command), by_flag);
}

#[tokio::test]
async fn with_batches_of_one_no_two_commands_share_an_entry() {
    let _turn = turn().await;
    let cluster = Cluster::new(1, Log::Memory).with(&["--batch-commands-max", "1"]);
    let node = Process::start("a node", cluster.command(1));
    node.says("ready ");
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let kv = cluster.kv(1);
        calls.spawn(async move { kv.put("key", "value").await.unwrap().place.index });
    }
    let entries: BTreeSet<u64> = calls.join_all().await.into_iter().collect();
    assert_eq!(entries.len(), CALLS);
}

#[tokio::test]
async fn a_node_can_be_set_up_by_a_file_alone() {
    let _turn = turn().await;
    let [clients, peers] = [(); 2].map(|()| ports::local(ports::free()));
    let data = tempfile::tempdir().unwrap();
    let (_folder, file) = config(&format!(
        "[serve]\nnode = 1\nlisten = \"{clients}\"\npeer-listen = \"{peers}\"\n\
         peers = \"1={peers}\"\ndata = \"{}\"\nlog = \"rocksdb\"\ncluster = \"by-file\"\n\
         [dev]\nnodes = 3\n",
        data.path().join("node").display()
    ));
    let mut command = quorate();
    command.arg("serve").arg("--config").arg(&file);
    assert_eq!(listens(command), clients);
}

#[tokio::test]
async fn a_mistake_in_the_file_is_named() {
    let _turn = turn().await;
    for (text, part) in [
        ("[dev]\nnode = 3\n", "node"),
        ("[dev]\nnodes = \"three\"\n", "three"),
        ("[dev]\nnodes = -1\n", "-1"),
        ("[dev]\nlisten = 7400\n", "7400"),
        ("[dev\n", "[dev]"),
        ("[develop]\nnodes = 3\n", "[develop]"),
        ("nodes = 3\n", "nodes"),
    ] {
        let (_folder, file) = config(text);
        let mut command = quorate();
        command.arg("dev").arg("--config").arg(&file);
        let ran = run_command(command);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{text:?}: {ran:?}");
        assert_eq!(ran.err.lines().count(), 1, "{text:?}: {ran:?}");
        for part in [file.to_str().unwrap(), part] {
            assert!(ran.err.contains(part), "{text:?}: no {part:?} in: {}", ran.err);
        }
    }
    let mut command = quorate();
    command.args(["dev", "--config", "/nowhere/quorate.toml"]);
    let ran = run_command(command);
    assert_eq!((ran.code, ran.err.lines().count()), (2, 1), "{ran:?}");
    assert!(ran.err.contains("/nowhere/quorate.toml"), "{ran:?}");
}
