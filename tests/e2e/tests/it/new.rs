//! `quorate new`: from nothing to the first reply, as an author would.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use quorate_e2e::binary::{Ran, quorate, run, run_command, run_within};
use quorate_e2e::{is_full, turn, workspace};
use serde_json::{Value, json};

use crate::dev;

/// A plugin's dependencies may have to be built first.
const BUILD_WAIT_MAX: Duration = Duration::from_mins(5);
/// In the long form, those of the host too.
const TEST_WAIT_MAX: Duration = Duration::from_mins(30);

/// The repository's plugins, which are the templates.
fn templates() -> Vec<String> {
    let folder = fs::read_dir(workspace().join("plugins")).unwrap();
    let folders = folder.map(|entry| entry.unwrap().path());
    let crates = folders.filter(|folder| folder.join("Cargo.toml").is_file());
    let name = |folder: &Path| folder.file_name().unwrap().to_str().unwrap().to_owned();
    let mut names: Vec<_> = crates.map(|folder| name(&folder)).collect();
    names.sort();
    names
}

fn new(folder: &Path, arguments: &[&str]) -> Ran {
    let mut command = quorate();
    command.arg("new").arg(folder).args(arguments);
    run_command(command)
}

/// Builds the crate in a folder to a module beside it.
fn build(folder: &Path) -> String {
    let module = folder.with_extension("wasm");
    let mut command = quorate();
    command.arg("build").arg(folder).arg("--out").arg(&module);
    let ran = run_within(command, BUILD_WAIT_MAX);
    assert_eq!(ran.code, 0, "{ran:?}");
    module.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_template_is_made_built_and_served_and_its_readme_is_right() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let templates = templates();
    assert!(
        ["counter", "kv", "ledger", "lock", "queue"]
            .iter()
            .all(|name| templates.iter().any(|had| had == name))
    );
    for template in templates {
        let place = folder.path().join(format!("my-{template}2"));
        let made = new(&place, &["--template", &template, "-o", "json"]);
        assert_eq!((made.code, made.err.as_str()), (0, ""), "{made:?}");
        let made: Value = serde_json::from_str(&made.out).unwrap();
        assert_eq!(made["package"], format!("my-{template}2"));
        let service = made["service"].as_str().unwrap();
        assert!(service.starts_with(&format!("my_{template}2.v1.My")), "{service}");

        let module = build(&place);
        let arguments = ["--listen", "127.0.0.1:0", "--plugin", &module];
        let (dev, addresses) = dev::start(&arguments);
        dev.says(&format!("ready {service} "));
        let readme = fs::read_to_string(place.join("README.md")).unwrap();
        let calls: Vec<_> =
            readme.lines().filter(|line| line.starts_with("quorate call")).collect();
        assert!(calls.len() >= 2, "{readme}");
        for call in calls {
            let call = call.replacen("quorate", "\"$0\"", 1);
            let call = call.replace("127.0.0.1:7400", &addresses[0]);
            let mut shell = Command::new("sh");
            shell.args(["-c", &call]).arg(quorate().get_program());
            let ran = run_command(shell);
            assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{call}: {ran:?}");
            assert!(serde_json::from_str::<Value>(&ran.out).is_ok_and(|reply| reply.is_object()));
        }
    }
}

#[tokio::test]
async fn the_tests_of_a_new_crate_pass_where_it_lies() {
    // Everything is compiled once more, for a workspace of its own.
    if !is_full() {
        return;
    }
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    for template in templates() {
        let place = folder.path().join(format!("my-{template}2"));
        let made = new(&place, &["--template", &template]);
        assert_eq!(made.code, 0, "{made:?}");
        let lock = place.join("Cargo.lock");
        let locked = fs::read_to_string(&lock).unwrap();
        let mut cargo = Command::new("cargo");
        cargo.args(["test", "--offline", "--target-dir"]).arg(folder.path().join("target"));
        cargo.current_dir(&place);
        let ran = run_within(cargo, TEST_WAIT_MAX);
        assert_eq!(ran.code, 0, "{template}: {ran:?}");
        // What the SDK's own tests need is left out now; nothing has another version.
        let left = fs::read_to_string(&lock).unwrap();
        for package in packages(&left) {
            assert!(packages(&locked).any(|had| had == package), "{template}: {package}");
        }
    }
}

/// Names and versions.
fn packages(lock: &str) -> impl Iterator<Item = String> {
    let entries = lock.split("[[package]]\n").skip(1);
    entries.map(|entry| entry.lines().take(2).collect::<Vec<_>>().join(" "))
}

#[tokio::test]
async fn what_is_printed_leads_to_the_first_reply() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("desk");
    let made = new(&place, &[]);
    assert_eq!((made.code, made.err.as_str()), (0, ""), "{made:?}");
    let program = fs::canonicalize(quorate().get_program()).unwrap();
    let program = program.display();
    let expected = format!(
        "{place}: desk.v1.Desk from the template counter\n\nNext:\n  cd {place}\n  {program} \
         dev .\nand in another terminal:\n  {program} call 127.0.0.1:7400 desk.v1.Desk/Add \
         '{{\"name\": \"visits\", \"by\": 2}}'\n",
        place = place.display()
    );
    assert_eq!(made.out, expected);
}

#[tokio::test]
async fn what_cannot_be_made_is_one_line_that_says_what_to_do() {
    let _turn = turn().await;
    let folder = tempfile::tempdir().unwrap();
    let there = folder.path().join("there");
    fs::create_dir(&there).unwrap();
    let fresh = folder.path().join("fresh");
    let nowhere = folder.path().join("nowhere");
    let nowhere = nowhere.to_str().unwrap();
    let here = folder.path().to_str().unwrap();
    for (place, arguments, parts) in [
        (&there, &[][..], ["there is there already", "choose another name"]),
        (&folder.path().join("No"), &[], ["\"No\"", "small letters"]),
        (&folder.path().join("prost"), &[], ["\"prost\"", "choose another name"]),
        (&folder.path().join("add-request"), &[], ["AddRequest", "choose another name"]),
        (&fresh, &["--template", "nothing"], ["nothing", "counter, kv"]),
        (&fresh, &["--sdk", nowhere], ["--sdk", "a clone of Quorate"]),
        (&fresh, &["--sdk", here], ["it is no checkout", "a clone of Quorate"]),
    ] {
        let ran = new(place, arguments);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{ran:?}");
        assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
        assert!(parts.iter().all(|part| ran.err.contains(part)), "{parts:?}: {ran:?}");
    }
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing is left behind: {left:?}");
    let help = run(&["new"]);
    assert_eq!(help.code, 2, "{help:?}");
    assert_eq!(json!(help.err.lines().count()), 1, "{help:?}");
}
