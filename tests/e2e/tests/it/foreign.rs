//! A client that has nothing of ours but the `.proto`, in another language.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use quorate_e2e::binary::run_command;
use quorate_e2e::{turn, workspace};

use crate::dev;

/// Where `make setup-test` puts Python and its packages.
fn python() -> PathBuf {
    let set = |variable| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = || {
        let cache = set("XDG_CACHE_HOME").or_else(|| Some(env::home_dir()?.join(".cache")));
        cache.expect("a home folder").join("quorate/python")
    };
    set("QUORATE_VENV").unwrap_or_else(cache).join("bin/python")
}

#[tokio::test]
async fn a_client_in_python_that_has_only_the_proto_can_do_everything() {
    let _turn = turn().await;
    let python = python();
    assert!(
        python.exists(),
        "{} is missing: run `make setup-test`, which installs it",
        python.display()
    );
    let (_dev, addresses) = dev::start(&["--nodes", "3", "--listen", "127.0.0.1:0"]);
    let mut client = Command::new(python);
    client.arg(workspace().join("tests/e2e/python/client.py")).arg(workspace());
    client.args(&addresses);
    let ran = run_command(client);
    assert_eq!((ran.code, ran.out.as_str()), (0, "ok\n"), "{}", ran.err);
}
