//! `quorate check` beyond the gate: what may go wrong with a plugin, what does, and what a new
//! version breaks.

use std::fs;
use std::path::Path;
use std::time::Duration;

use quorate_e2e::binary::{Ran, quorate, run, run_within};
use quorate_e2e::{turn, workspace};
use serde_json::{Value, json};

use crate::dev;

/// A plugin may have to be built first.
const BUILD_WAIT_MAX: Duration = Duration::from_mins(5);

fn check(what: &Path, arguments: &[&str]) -> Ran {
    let mut command = quorate();
    command.arg("check").arg(what).args(arguments);
    run_within(command, BUILD_WAIT_MAX)
}

fn report(what: &Path, arguments: &[&str]) -> (i32, Value) {
    let ran = check(what, &[arguments, &["-o", "json"]].concat());
    (ran.code, serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}")))
}

/// Builds a crate to a module in a folder.
fn build(dir: &Path, module: &Path) {
    let mut command = quorate();
    command.arg("build").arg(dir).arg("--out").arg(module);
    let ran = run_within(command, BUILD_WAIT_MAX);
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[tokio::test]
async fn a_command_that_depends_on_what_it_must_not_is_named() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("hazards.wasm");
    build(&workspace().join("tests/hazards"), &module);
    let commands = folder.path().join("commands.jsonl");
    for (method, when) in [
        ("Sound", &[][..]),
        ("Address", &["moved"]),
        ("HashOrder", &["moved", "warm"]),
        ("Counted", &["warm"]),
        ("Allocated", &["warm"]),
        ("Cached", &["warm"]),
        ("Replied", &["moved"]),
    ] {
        // Surrounded by what is sound.
        let line = |method: &str, number: u32| {
            let name = format!("n{}", number % 3);
            json!({ "method": method, "request": { "name": name } })
        };
        let lines = (0..60).map(|number| {
            let is_sound = number < 10 || number % 2 == 0;
            line(if is_sound { "Sound" } else { method }, number).to_string()
        });
        fs::write(&commands, lines.collect::<Vec<_>>().join("\n")).unwrap();
        let (code, found) = report(&module, &["--commands", commands.to_str().unwrap()]);
        let differences = found["dynamic"]["differences"].as_array().unwrap();
        assert_eq!(found["dynamic"]["calls"], 60);
        assert_eq!(code, i32::from(!when.is_empty()), "{method}: {found}");
        assert_eq!(found["ok"], when.is_empty());
        for difference in differences {
            assert_eq!(difference["method"], format!("hazards.v1.Hazards/{method}"), "{found}");
            assert!(difference["call"].as_u64().unwrap() > 10, "{found}");
            assert!(difference["request"]["name"].as_str().unwrap().starts_with('n'), "{found}");
            let what = if method == "Replied" { "the reply" } else { r#"the key "values\x00n"# };
            assert!(difference["what"].as_str().unwrap().starts_with(what), "{found}");
            assert_ne!(difference["fresh"], difference["other"]);
        }
        for when in when {
            assert!(differences.iter().any(|found| found["when"] == *when), "{method}: {found}");
        }
    }
}

#[tokio::test]
async fn the_commands_of_a_node_that_has_run_are_run_again() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let module = folder.path().join("hazards.wasm");
    build(&workspace().join("tests/hazards"), &module);
    let module_path = module.to_str().unwrap();
    let data = folder.path().join("data");
    let (dev, addresses) = dev::start(&[
        "--listen",
        "127.0.0.1:0",
        "--plugin",
        module_path,
        "--data",
        data.to_str().unwrap(),
    ]);
    for method in ["Sound", "Sound", "Replied", "Sound"] {
        let method = format!("hazards.v1.Hazards/{method}");
        let ran = run(&["call", &addresses[0], &method, r#"{"name": "a"}"#]);
        assert_eq!(ran.code, 0, "{ran:?}");
    }
    let node = data.join("node-1");
    let log = ["--log", node.to_str().unwrap()];
    let busy = check(&module, &log);
    assert_eq!(busy.code, 2, "{busy:?}");
    dev.kill();
    let (code, found) = report(&module, &log);
    assert_eq!((code, &found["dynamic"]["calls"]), (1, &json!(4)), "{found}");
    let difference = &found["dynamic"]["differences"][0];
    assert_eq!(difference["call"], 3, "{found}");
    assert_eq!(difference["request"], json!({ "name": "a" }), "{found}");
}

#[tokio::test]
async fn commands_at_random_find_every_hazard_and_nothing_in_plugins_without() {
    let _turn = turn().await;
    let dir = workspace().join("tests/hazards");
    let (code, found) = report(&dir, &["--dynamic"]);
    assert_eq!(code, 1);
    let differences = found["dynamic"]["differences"].as_array().unwrap();
    let is_found = |method: &str| {
        let path = format!("hazards.v1.Hazards/{method}");
        differences.iter().any(|found| found["method"] == *path)
    };
    for method in ["Address", "HashOrder", "Counted", "Allocated", "Cached", "Replied"] {
        assert!(is_found(method), "{method}: {found}");
    }
    assert!(!is_found("Sound"), "{found}");
    let breakdowns = found["dynamic"]["breakdowns"].as_array().unwrap();
    let [overflow] = &breakdowns[..] else { panic!("{breakdowns:?}") };
    assert_eq!(overflow["method"], "hazards.v1.Hazards/Overflow");
    assert!(overflow["reason"].as_str().unwrap().contains("overflow"), "{overflow}");
    let hazards = found["hazards"].as_array().unwrap();
    let names =
        |part: &str| hazards.iter().any(|hazard| hazard["place"].as_str().unwrap().contains(part));
    assert!(names("hashbrown") && names("src/lib.rs:"), "{hazards:?}");

    let human = check(&dir, &["--dynamic"]);
    assert_eq!(human.code, 1);
    for part in ["differs  call ", "in a fresh instance", "look for: ", "hazard   src/lib.rs:"] {
        assert!(human.out.contains(part), "{human:?}");
    }

    for plugin in fs::read_dir(workspace().join("plugins")).unwrap() {
        let dir = plugin.unwrap().path();
        if !dir.join("Cargo.toml").is_file() {
            continue;
        }
        let (code, found) = report(&dir, &["--dynamic", "--seed", "7", "--count", "2000"]);
        assert_eq!(code, 0, "{found}");
        assert_eq!(found["hazards"], json!([]), "{}", dir.display());
        assert_eq!(found["dynamic"]["calls"], 2000);
        for method in found["dynamic"]["methods"].as_array().unwrap() {
            // Else nothing was tested.
            assert!(method["succeeded"].as_u64().unwrap() > 2, "{method}");
        }
    }
}

#[tokio::test]
async fn what_a_new_version_breaks_is_told_and_what_it_adds_is_not() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("desk");
    let mut command = quorate();
    command.arg("new").arg(&dir);
    assert_eq!(run_within(command, BUILD_WAIT_MAX).code, 0);
    let old = folder.path().join("old.wasm");
    build(&dir, &old);
    let against = ["--against", old.to_str().unwrap()];
    let proto = dir.join("proto/desk/v1/desk.proto");
    let edit = |from: &str, to: &str| {
        let text = fs::read_to_string(&proto).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&proto, text.replace(from, to)).unwrap();
    };
    edit("uint64 by = 2;", "uint64 by = 2;\n  string why = 3;");
    let library = dir.join("src/lib.rs");
    let (code, found) = report(&dir, &against);
    assert_eq!((code, &found["breaks"]), (0, &json!([])), "{found}");

    edit("message ResetRequest {", "message ResetRequest {\n  reserved 7;");
    edit(
        "rpc Get(GetRequest) returns (GetReply) { option",
        "rpc Get(GetRequest) returns (GetReply) { // ",
    );
    let text = fs::read_to_string(&library).unwrap();
    fs::write(&library, text.replace("fn get(cx: &Query<'_>", "fn get(cx: &mut Command<'_>"))
        .unwrap();
    edit("{ // ", "; // ");
    edit(
        "message GetReply {\n  // What the counter stands at.\n  uint64 total = 1;",
        "message GetReply {\n  uint64 total = 4;",
    );
    let (code, found) = report(&dir, &against);
    assert_eq!((code, &found["ok"]), (1, &json!(false)), "{found}");
    let breaks = json!([
        {
            "breaks": "state",
            "place": "desk.v1.GetReply.total",
            "what": "it was field 1, and is field 4",
        },
        {
            "breaks": "clients",
            "place": "desk.v1.Desk/Get",
            "what": "it was a QUERY, and is a COMMAND",
        },
    ]);
    assert_eq!(found["breaks"], breaks);
    let human = check(&dir, &against);
    let line = "breaks   stored values: desk.v1.GetReply.total: it was field 1, and is field 4";
    assert!(human.out.lines().any(|said| said == line), "{human:?}");
}

#[tokio::test]
async fn what_cannot_be_checked_is_one_line() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text");
    fs::write(&text, "{\"method\": 1}\n").unwrap();
    let text = text.to_str().unwrap();
    let counter = workspace().join("plugins/counter");
    let nowhere = folder.path().join("nowhere");
    for (what, arguments, part) in [
        (nowhere.as_path(), &[][..], "nowhere"),
        (folder.path(), &[], "there is no Cargo.toml"),
        (&counter, &["--against", text], "it is no module of a plugin"),
        (&counter, &["--commands", text], "line 1"),
        (&counter, &["--commands", "nowhere"], "--commands nowhere"),
    ] {
        let ran = check(what, arguments);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
        let said: Vec<_> = ran.err.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(matches!(said[..], [line] if line.contains(part)), "{part}: {ran:?}");
    }
}
