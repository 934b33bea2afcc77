//! `quorate build` and `quorate check`: from a plugin's source to what a node takes.

use std::path::PathBuf;
use std::time::Duration;

use quorate_e2e::binary::{quorate, run, run_within};
use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::{turn, workspace};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::dev;

/// The standard library for Wasm may have to be built first.
const BUILD_WAIT_MAX: Duration = Duration::from_mins(5);

/// Builds a plugin of the workspace; gives the module and what was said.
fn build(plugin: &str, output: &str) -> (TempDir, PathBuf, String) {
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("new").join(format!("{plugin}.wasm"));
    let mut command = quorate();
    command.arg("build").arg(workspace().join("plugins").join(plugin));
    command.arg("--out").arg(&module).args(["-o", output]);
    let ran = run_within(command, BUILD_WAIT_MAX);
    assert_eq!(ran.code, 0, "{ran:?}");
    (folder, module, ran.out)
}

/// A plugin's module, at a place of its own.
pub(crate) struct Built {
    _folder: TempDir,
    module: PathBuf,
}

impl Built {
    pub(crate) fn path(&self) -> &str {
        self.module.to_str().expect("made of ASCII")
    }
}

pub(crate) fn built(plugin: &str) -> Built {
    let (folder, module, _) = build(plugin, "human");
    Built { _folder: folder, module }
}

#[tokio::test]
async fn what_is_built_is_what_is_checked_and_what_the_binary_carries() {
    let _turn = turn().await;
    let (_folder, module, said) = build("kv", "human");
    let path = module.to_str().unwrap();
    let bytes = std::fs::metadata(&module).unwrap().len();

    let checked = run(&["check", path, "-o", "json"]);
    assert_eq!((checked.code, checked.err.as_str()), (0, ""), "{checked:?}");
    let report: Value = serde_json::from_str(&checked.out).unwrap();
    assert_eq!(report["ok"], true);
    assert_eq!(report["refusals"], json!([]));
    assert_eq!(report["bytes"], bytes);
    let method =
        |name: &str, kind: &str| json!({ "path": format!("/kv.v1.Kv/{name}"), "kind": kind });
    let methods = [
        ("Put", "COMMAND"),
        ("Get", "QUERY"),
        ("Delete", "COMMAND"),
        ("Range", "QUERY"),
        ("Txn", "COMMAND"),
    ];
    let methods: Vec<_> = methods.iter().map(|(name, kind)| method(name, kind)).collect();
    assert_eq!(report["methods"], json!(methods));
    let digest = report["digest"].as_str().unwrap();
    assert_eq!(said, format!("{path}: {bytes} bytes, digest {digest}\n"));

    let human = run(&["check", path]);
    assert_eq!((human.code, human.err.as_str()), (0, ""), "{human:?}");
    for line in ["method   /kv.v1.Kv/Put (COMMAND)", "method   /kv.v1.Kv/Get (QUERY)"] {
        assert!(human.out.lines().any(|said| said == line), "no {line:?} in {}", human.out);
    }
    assert!(human.out.contains(digest) && human.out.lines().last().unwrap().starts_with("ok"));

    // Nodes talk to each other only if their modules have the same digest.
    let mut cluster = Cluster::new(3, Log::RocksDb);
    for node in [1, 2] {
        let mut command = cluster.command(node);
        if node == 2 {
            command.arg("--plugin").arg(&module);
        }
        cluster.launch(node, command);
    }
    cluster.kv(1).put_eventually("key", "value").await;
    assert_eq!(cluster.kv(2).get_eventually("key").await.unwrap(), "value");
}

#[tokio::test]
async fn a_module_that_no_node_takes_is_refused_with_all_reasons() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken.wasm");
    // Nothing but an import that the host does not have.
    std::fs::write(&broken, b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x0c\x01\x03env\x04time\0\0")
        .unwrap();
    let broken = broken.to_str().unwrap();

    let checked = run(&["check", broken, "-o", "json"]);
    assert_eq!((checked.code, checked.err.as_str()), (1, ""), "{checked:?}");
    let report: Value = serde_json::from_str(&checked.out).unwrap();
    assert_eq!(report["ok"], false);
    let refusals = report["refusals"].as_array().unwrap();
    assert!(refusals.len() > 2, "{refusals:?}");
    assert!(refusals.iter().any(|refusal| refusal.as_str().unwrap().contains("env.time")));

    let human = run(&["check", broken]);
    assert_eq!((human.code, human.err.as_str()), (1, ""), "{human:?}");
    let refused = human.out.lines().filter(|line| line.starts_with("refused  ")).count();
    assert_eq!(refused, refusals.len(), "{}", human.out);

    let missing = run(&["check", "/nowhere/module.wasm"]);
    assert_eq!((missing.code, missing.out.as_str()), (2, ""), "{missing:?}");
    assert_eq!(missing.err.lines().count(), 1, "{missing:?}");
}

#[tokio::test]
async fn another_plugin_is_served_by_its_own_name() {
    let _turn = turn().await;
    let (_folder, module, said) = build("counter", "json");
    let said: Value = serde_json::from_str(&said).unwrap();
    let path = module.to_str().unwrap();
    assert_eq!(said["file"], path);
    assert!(said["digest"].is_string() && said["bytes"].is_u64(), "{said}");

    let (dev, addresses) =
        dev::start(&["--nodes", "3", "--listen", "127.0.0.1:0", "--plugin", path]);
    dev.says("ready counter.v1.Counter ");
    for (address, total) in addresses.iter().zip(["5", "10", "15"]) {
        let add = ["call", address, "counter.v1.Counter/Add", r#"{"name": "a", "by": 5}"#];
        let ran = run(&add);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
        assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), json!({ "total": total }));
    }
    let ran = run(&["call", &addresses[0], "kv.v1.Kv/Put"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.starts_with("UNIMPLEMENTED: "), "{ran:?}");
}
