//! The binary under test, and commands that come to an end by themselves.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use crate::process::Process;

/// For a command that compiles nothing.
const COMMAND_WAIT_MAX: Duration = Duration::from_secs(30);

/// A command that runs the binary, without any settings of the environment.
pub fn quorate() -> Command {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(BINARY.get_or_init(build));
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("QUORATE_")) {
            command.env_remove(name);
        }
    }
    command
}

/// Cargo does not build another package's binary for a test, so the first test does.
fn build() -> PathBuf {
    let target = target_dir();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--package", "quorate", "--bin", "quorate", "--target-dir"])
        .arg(&target)
        .current_dir(crate::workspace())
        .stdin(Stdio::null())
        .output()
        .expect("cargo runs");
    let log = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "quorate cannot be built:\n{log}");
    target.join("release/quorate")
}

/// Cargo's target folder.
pub fn target_dir() -> PathBuf {
    let test = env::current_exe().expect("a test knows its file");
    // TARGET/PROFILE/deps/TEST
    test.ancestors().nth(3).expect("cargo's target folder").to_owned()
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it wrote to standard output.
    pub out: String,
    /// What it wrote to standard error.
    pub err: String,
}

/// Runs the binary to its end.
pub fn run(arguments: &[&str]) -> Ran {
    let mut command = quorate();
    command.args(arguments);
    run_command(command)
}

/// Runs a command to its end.
pub fn run_command(command: Command) -> Ran {
    run_within(command, COMMAND_WAIT_MAX)
}

/// Runs a command that may take long, to its end.
pub fn run_within(command: Command, wait_max: Duration) -> Ran {
    Process::start("a command", command).finish(wait_max)
}
