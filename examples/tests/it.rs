//! The examples do what they say.

use std::process::Command;

/// What a program prints; it must end well.
fn output(program: &str) -> String {
    let output = Command::new(program).output().expect("cargo has built it");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {}\n{out}{err}", output.status);
    out
}

#[test]
fn a_cluster_goes_on_without_its_leader() {
    let out = output(env!("CARGO_BIN_EXE_cluster"));
    assert!(out.contains("got from node 2: greeting = hello\n"), "{out}");
    assert!(out.contains("which was the leader\n"), "{out}");
    assert!(out.ends_with("greeting = hello again\ndone\n"), "{out}");
}

#[test]
fn a_client_that_retries_is_served_once_a_call() {
    let out = output(env!("CARGO_BIN_EXE_retry"));
    assert!(out.contains("put 50 times: version 50\n"), "{out}");
    assert!(out.contains("the last one again: decided at entry "), "{out}");
    assert!(out.ends_with("; version 50\ndone\n"), "{out}");
}

#[test]
fn a_client_meets_replies_and_refusals() {
    let out = output(env!("CARGO_BIN_EXE_client"));
    assert!(out.contains("example/count is now 3\n"), "{out}");
    assert!(out.contains("put without a key: InvalidArgument"), "{out}");
    assert!(out.ends_with("done\n"), "{out}");
}

#[test]
fn a_client_for_many_calls_is_served_once_a_call() {
    let out = output(env!("CARGO_BIN_EXE_pipeline"));
    assert!(out.contains("put 20000 times: version 20000\n"), "{out}");
    assert!(out.contains("put without a key: InvalidArgument"), "{out}");
    assert!(out.ends_with("done\n"), "{out}");
}
