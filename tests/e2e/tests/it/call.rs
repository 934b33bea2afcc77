//! `quorate call`: any method of any service that offers reflection.

use quorate_e2e::binary::{Ran, quorate, run, run_command};
use quorate_e2e::{ports, turn};
use serde_json::{Value, json};

use crate::dev;

/// One call, of which only the last part is said.
fn call(arguments: &[&str]) -> Ran {
    run(&[&["call"], arguments].concat())
}

fn json_of(ran: &Ran) -> Value {
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out))
}

/// Fails unless the call wrote one line to standard error, and nothing else; gives the line.
fn problem(ran: &Ran, code: i32) -> &str {
    assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{ran:?}");
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    ran.err.trim_end()
}

#[tokio::test]
async fn replies_are_json_and_problems_are_one_line_with_an_exit_code() {
    let _turn = turn().await;
    let (_dev, addresses) = dev::start(&["--listen", "127.0.0.1:0"]);
    let at = addresses[0].as_str();

    let put = call(&["--text", at, "kv.v1.Kv/Put", r#"{"key": "a", "value": "b"}"#]);
    assert_eq!(json_of(&put)["revision"], "1");
    let get = call(&["--text", at, "kv.v1.Kv/Get", r#"{"key": "a"}"#]);
    let expected = json!({
        "key": "a", "value": "b", "createRevision": "1", "modRevision": "1", "version": "1"
    });
    assert_eq!(json_of(&get), json!({ "revision": "1", "kv": expected }));
    let base64 = call(&[at, "kv.v1.Kv/Get", r#"{"key": "YQ=="}"#]);
    assert_eq!(json_of(&base64)["kv"]["value"], "Yg==");

    let verbose = call(&["--verbose", "--text", at, "kv.v1.Kv/Get", r#"{"key": "a"}"#]);
    assert_eq!(verbose.code, 0, "{verbose:?}");
    for key in ["quorate-index: ", "quorate-term: ", "quorate-node: 1"] {
        assert!(verbose.err.lines().any(|line| line.starts_with(key)), "{verbose:?}");
    }

    let service = call(&[at, "nobody.v1.Nothing/Put"]);
    let line = problem(&service, 2);
    assert!(line.starts_with("UNIMPLEMENTED: ") && line.contains("kv.v1.Kv"), "{line}");
    let method = call(&[at, "kv.v1.Kv/Take"]);
    let line = problem(&method, 2);
    assert!(line.starts_with("UNIMPLEMENTED: ") && line.contains("Put"), "{line}");
    let empty_key = call(&["--text", at, "kv.v1.Kv/Put", r#"{"key": "", "value": "b"}"#]);
    let line = problem(&empty_key, 2);
    assert!(line.starts_with("INVALID_ARGUMENT: ") && line.contains("key"), "{line}");

    for request in ["{", "[]", "7", r#"{"nothing": 1}"#, r#"{"key": 1}"#, r#"{"key": "%"}"#] {
        let line = problem(&call(&[at, "kv.v1.Kv/Put", request]), 2).to_owned();
        assert!(line.starts_with("error: "), "{request}: {line}");
    }
    assert!(problem(&call(&[at, "Put"]), 2).contains("SERVICE/METHOD"));
}

#[tokio::test]
async fn a_request_can_come_from_standard_input() {
    let _turn = turn().await;
    let (_dev, addresses) = dev::start(&["--listen", "127.0.0.1:0"]);
    let mut shell = std::process::Command::new("sh");
    let binary = quorate().get_program().to_owned();
    shell.args(["-c", r#"echo '{"key": "YQ=="}' | "$0" call "$1" kv.v1.Kv/Get -"#]);
    shell.arg(binary).arg(&addresses[0]);
    assert_eq!(json_of(&run_command(shell)), json!({ "revision": "0" }));
}

#[tokio::test]
async fn a_node_that_is_not_there_is_unavailable() {
    let _turn = turn().await;
    let nobody = ports::local(ports::free());
    let ran = call(&[&nobody, "kv.v1.Kv/Put"]);
    let line = problem(&ran, 4);
    assert!(line.starts_with("UNAVAILABLE: ") && line.contains(&nobody), "{line}");
    assert!(problem(&call(&["not an address", "kv.v1.Kv/Put"]), 2).contains("not an address"));
}
