//! A plugin that is not in Rust, the way its author takes: make, and then a cluster.

use std::process::Command;

use quorate_e2e::binary::{quorate, run, run_command};
use quorate_e2e::{turn, workspace};
use serde_json::{Value, json};

use crate::dev;

#[tokio::test]
async fn a_plugin_in_c_serves_like_any_other() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("counter.wasm");
    let mut command = Command::new("make");
    command.arg("-C").arg(workspace().join("plugins/counter-c"));
    command.arg(format!("QUORATE={}", quorate().get_program().display()));
    command.arg(format!("OUT={}", folder.path().display()));
    let made = run_command(command);
    assert_eq!(made.code, 0, "{made:?}");

    let module = module.to_str().expect("made of ASCII");
    let checked = run(&["check", module, "-o", "json"]);
    let report: Value = serde_json::from_str(&checked.out).unwrap();
    assert_eq!((report["ok"].clone(), report["name"].clone()), (json!(true), json!("counter-c")));

    let arguments = ["--nodes", "3", "--listen", "127.0.0.1:0", "--plugin", module];
    let (_dev, addresses) = dev::start(&arguments);
    let call = |node: usize, method: &str, request: &str| {
        run(&["call", &addresses[node], &format!("counter.v1.Counter/{method}"), request])
    };
    for total in ["2", "4"] {
        let added = call(0, "Add", r#"{"name": "visits", "by": 2}"#);
        assert_eq!(added.code, 0, "{added:?}");
        let reply: Value = serde_json::from_str(&added.out).unwrap();
        assert_eq!(reply, json!({ "total": total }));
    }
    let read = call(2, "Get", r#"{"name": "visits"}"#);
    assert_eq!(serde_json::from_str::<Value>(&read.out).unwrap(), json!({ "total": "4" }));
    let refused = call(1, "Add", r#"{"by": 2}"#);
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("a counter's name has 1 to 200 bytes"), "{refused:?}");
}

#[tokio::test]
async fn what_cannot_be_attached_is_told() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().expect("made of ASCII").to_owned();
    let (module, out) = (path("empty.wasm"), path("out.wasm"));
    let attach = |proto: &str| {
        let names = ["--name", "n", "--version", "1", "--out", &out];
        run(&[["attach", &module, "--proto", proto].as_slice(), &names].concat())
    };
    let proto = workspace().join("plugins/counter/proto/counter/v1/counter.proto");
    let proto = proto.to_str().expect("made of ASCII");
    assert_eq!(attach(proto).code, 2, "there is no such module");

    std::fs::write(&module, b"\0asm\x01\0\0\0").unwrap();
    let refused = attach(proto);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("it does not export memory"), "{refused:?}");
    std::fs::write(path("broken.proto"), "service").unwrap();
    let broken = attach(&path("broken.proto"));
    assert_eq!(broken.code, 1, "{broken:?}");
    assert!(broken.err.contains("broken.proto"), "{broken:?}");
    assert!(!std::path::Path::new(&out).exists());
}
