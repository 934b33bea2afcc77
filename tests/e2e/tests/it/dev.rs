//! `quorate dev`: a cluster to develop against.

use quorate_e2e::binary::{quorate, run_command};
use quorate_e2e::kv::Kv;
use quorate_e2e::process::Process;
use quorate_e2e::{ports, turn};
use serde_json::Value;
use std::process::Command;

/// Starts `dev`, and gives it with the addresses of its nodes.
pub(crate) fn start(arguments: &[&str]) -> (Process, Vec<String>) {
    let mut command = quorate();
    command.arg("dev").args(arguments);
    let process = Process::start("dev", command);
    let ready = process.says("ready ");
    // ready SERVICES ADDRESS ADDRESS...
    let addresses = ready.split(' ').skip(2).map(str::to_owned).collect();
    (process, addresses)
}

#[tokio::test]
async fn a_cluster_says_where_it_is_and_any_node_serves_any_call() {
    let _turn = turn().await;
    let (dev, addresses) = start(&["--nodes", "3", "--listen", "127.0.0.1:0"]);
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    let ready: Vec<_> = dev.said().into_iter().filter(|line| line.starts_with("ready")).collect();
    assert_eq!(ready, [format!("ready kv.v1.Kv {}", addresses.join(" "))]);

    let (first, last) = (Kv::at(&addresses[0]), Kv::at(&addresses[2]));
    for number in 1..=50 {
        let put = first.put("key", format!("{number}")).await.unwrap();
        assert_eq!(put.message.revision, number);
        let get = last.get("key").await.unwrap();
        let found = get.message.kv.as_ref().unwrap();
        assert_eq!(found.value, format!("{number}"), "the latest, through another node");
        assert_eq!(found.mod_revision, number);

        assert!(get.place.index >= put.place.index, "{get:?} after {put:?}");
        assert!(get.place.term >= put.place.term, "{get:?} after {put:?}");
        assert_eq!(get.place.node, 3, "a query is answered where it is asked");
        assert!((1..=3).contains(&put.place.node), "{put:?}");
    }
}

#[tokio::test]
async fn the_lines_to_paste_work_as_they_are_printed() {
    let _turn = turn().await;
    let (dev, _) = start(&["--nodes", "3", "--listen", "127.0.0.1:0"]);
    let calls: Vec<_> = dev.said().into_iter().filter(|line| line.contains(" call ")).collect();
    let replies: Vec<Value> = calls.iter().map(|line| paste(line)).collect();
    let [put, get] = &replies[..] else { panic!("{calls:?}") };
    assert_eq!(put["revision"], "1");
    assert_eq!(get["kv"]["key"], "hello");
    assert_eq!(get["kv"]["value"], "world");
}

fn paste(line: &str) -> Value {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]);
    let ran = run_command(shell);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line}");
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out))
}

#[tokio::test]
async fn the_ports_follow_each_other_when_the_first_is_given() {
    let _turn = turn().await;
    let port = ports::free_in_a_row(3);
    let (_dev, addresses) = start(&["--nodes", "3", "--listen", &ports::local(port)]);
    assert_eq!(addresses, [port, port + 1, port + 2].map(ports::local));
}

#[tokio::test]
async fn what_dev_keeps_in_a_folder_is_there_the_next_time() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let arguments = ["--nodes", "3", "--listen", "127.0.0.1:0", "--data", data];
    let (dev, addresses) = start(&arguments);
    Kv::at(&addresses[1]).put_eventually("key", "kept").await;
    dev.kill();
    let (_dev, addresses) = start(&arguments);
    assert_eq!(Kv::at(&addresses[1]).get_eventually("key").await.unwrap(), "kept");
}
