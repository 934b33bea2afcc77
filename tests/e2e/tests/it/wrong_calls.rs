//! What is asked wrongly is refused at once: exit code 2, and one line that says why.

use std::net::TcpListener;
use std::path::Path;

use quorate_e2e::binary::run;
use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::{ports, turn};

use crate::modules;

/// Runs the binary, which must refuse; the line that says why must contain all of `parts`.
fn refused(arguments: &[&str], parts: &[&str]) {
    let ran = run(arguments);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}: {ran:?}");
    assert_eq!(ran.err.lines().count(), 1, "{arguments:?}: {ran:?}");
    for part in parts {
        assert!(ran.err.contains(part), "{arguments:?}: not {part:?} in: {}", ran.err);
    }
}

/// A module that imports what no host has: a type, and an import of it.
const DISALLOWED_IMPORT: &[u8] =
    b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x0c\x01\x03env\x04time\0\0";

#[tokio::test]
async fn a_plugin_that_no_node_takes_is_refused() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let file = folder.path().join(name);
        std::fs::write(&file, content).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let plugins = [
        (file("text.wasm", b"int main() {}\n"), "not a WebAssembly module"),
        (file("empty.wasm", b""), "not a WebAssembly module"),
        (file("import.wasm", DISALLOWED_IMPORT), "env.time"),
        (folder.path().join("nothing.wasm").to_str().unwrap().to_owned(), "No such file"),
        (folder.path().to_str().unwrap().to_owned(), "directory"),
    ];
    let data = folder.path().join("data");
    for (plugin, reason) in &plugins {
        let dev = ["dev", "--listen", "127.0.0.1:0", "--plugin", plugin];
        refused(&dev, &["--plugin", plugin, reason]);
        let mut serve = serve("1", "1=127.0.0.1:1", data.to_str().unwrap());
        serve.extend(["--plugin", plugin]);
        refused(&serve, &["--plugin", plugin, reason]);
    }
    assert!(!data.exists(), "nothing was begun");
}

fn serve<'a>(node: &'a str, peers: &'a str, data: &'a str) -> Vec<&'a str> {
    let listen = ["--listen", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0"];
    [&["serve", "--node", node, "--peers", peers, "--data", data], &listen[..]].concat()
}

#[tokio::test]
async fn a_setting_that_is_missing_or_malformed_is_named() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let complete = serve("1", "1=127.0.0.1:1", data);
    for (at, flag) in complete.iter().enumerate().filter(|(_, word)| word.starts_with("--")) {
        let without: Vec<_> = [&complete[..at], &complete[at + 2..]].concat();
        let variable = format!("QUORATE_{}", flag[2..].replace('-', "_").to_uppercase());
        refused(&without, &[flag, "missing", &variable]);
    }
    for (peers, reason) in [
        ("", "1 to 7 nodes"),
        ("127.0.0.1:1", "ID=ADDR"),
        ("1=127.0.0.1", "HOST:PORT"),
        ("1=127.0.0.1:x", "HOST:PORT"),
        ("1=127.0.0.1:99999", "HOST:PORT"),
        ("0=127.0.0.1:1", "numbered from 1"),
        ("one=127.0.0.1:1", "numbered from 1"),
        ("1=127.0.0.1:1,1=127.0.0.1:2", "twice"),
        ("2=127.0.0.1:1", "node 1"),
        ("1=a:1,2=a:1,3=a:1,4=a:1,5=a:1,6=a:1,7=a:1,8=a:1", "1 to 7 nodes"),
    ] {
        refused(&serve("1", peers, data), &["--peers", reason]);
    }
    refused(&serve("0", "1=127.0.0.1:1", data), &["--node 0"]);
    refused(&serve("one", "1=127.0.0.1:1", data), &["--node", "one"]);
    for count in ["0", "8", "99"] {
        refused(&["dev", "--nodes", count], &["--nodes", count, "1 to 7"]);
    }
    refused(&["dev", "--nodes", "many"], &["--nodes", "many"]);
    refused(&["dev", "--unknown"], &["--unknown"]);
    refused(&["develop"], &["develop"]);
    refused(&["dev", "--listen", "nowhere"], &["--listen", "nowhere"]);
    refused(&["dev", "--listen", "127.0.0.1:70000"], &["--listen", "127.0.0.1:70000"]);
    refused(&["dev", "--nodes", "3", "--listen", "127.0.0.1:65535"], &["--listen", "65536"]);
    refused(&["dev", "--log-level", "a=b=c"], &["--log-level"]);
    refused(&["dev", "--log-format", "xml"], &["--log-format", "xml"]);
    refused(&[&complete[..], &["--log", "paper"]].concat(), &["--log", "paper"]);
    for (count, reason) in [("0", "non-zero"), ("4097", "at most 4096")] {
        let batches = ["--batch-commands-max", count];
        refused(&[&complete[..], &batches].concat(), &["--batch-commands-max", reason]);
    }
    assert!(!Path::new(data).exists(), "nothing was begun");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let _turn = turn().await;
    let taken = TcpListener::bind(ports::local(ports::free())).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(&["dev", "--listen", &address], &["--listen", &address, "in use"]);

    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    for flag in ["--listen", "--peer-listen"] {
        let mut arguments = serve("1", "1=127.0.0.1:1", data);
        let at = arguments.iter().position(|word| *word == flag).unwrap();
        arguments[at + 1] = &address;
        refused(&arguments, &[flag, &address, "in use"]);
    }
}

#[tokio::test]
async fn a_data_folder_is_for_one_node_of_one_cluster_and_one_process() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(1, Log::RocksDb);
    let data = cluster.data(1);
    let data = data.to_str().unwrap();
    let own = serve("1", "1=127.0.0.1:1", data);
    refused(&own, &[data, "another process"]);
    cluster.kill(1);

    refused(&serve("2", "2=127.0.0.1:1", data), &[data, "node 1"]);
    refused(&serve("1", "1=127.0.0.1:1,2=127.0.0.1:2", data), &[data, "began with"]);
    refused(&[&own[..], &["--cluster", "other"]].concat(), &[data, "cluster \"quorate\""]);
    refused(&[&own[..], &["--log", "memory"]].concat(), &[data, "--log"]);
    let plugin = modules::built("counter");
    let other_module = [&own[..], &["--plugin", plugin.path()]].concat();
    refused(&other_module, &[data, "module"]);
    let file = cluster.data(1).join("not-a-folder");
    std::fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    refused(&serve("1", "1=127.0.0.1:1", file), &[file]);

    // Nothing of it has harmed the folder.
    cluster.start_node(1);
    cluster.kv(1).put_eventually("key", "value").await;
}

#[tokio::test]
async fn a_data_folder_of_a_log_in_memory_is_for_one_process_too() {
    let _turn = turn().await;
    let cluster = Cluster::start(3, Log::Memory);
    let (data, peers) = (cluster.data(1), cluster.peers(1));
    let data = data.to_str().unwrap();
    // On other ports, so that these are not what the two dispute.
    let second = [&serve("1", &peers, data), &["--log", "memory"][..]].concat();
    refused(&second, &[data, "another process"]);
}
