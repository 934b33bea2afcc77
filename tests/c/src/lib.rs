//! Plugins in C for tests: built as their authors build them, and run by the sandbox of the host on
//! a state in memory.
//!
//! What this deliberately does not have: a log, or anything else around a machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::{env, fs};

use bytes::Bytes;
use quorate_core::batch;
use quorate_core::id::{GroupId, LogId};
use quorate_core::machine::Program as _;
use quorate_core::outcome::Outcome;
use quorate_core::run::{Place, Run};
use quorate_core::state::{MemoryState, Meta, Range, Space, StateStore as _};
use quorate_wasm::{Module, WasmProgram};

/// The time of all commands.
pub const TIME_MS: u64 = 1_000;

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Builds a module from C, in a folder of its own, with the flags of the counter.
pub fn build(source: &Path, proto: &Path, out: &Path) -> Vec<u8> {
    let raw = out.join("counter.raw.wasm");
    let made = Command::new("make")
        .arg("-C")
        .arg(root().join("plugins/counter-c"))
        .args(["--no-print-directory", "--always-make"])
        .arg(format!("OUT={}", out.display()))
        .arg(format!("SOURCE={}", source.display()))
        .arg(&raw)
        // Those of a make that runs the tests are not for this one.
        .env_remove("MAKEFLAGS")
        .output()
        .expect("make runs; tools/setup.sh test installs what is missing");
    assert!(
        made.status.success(),
        "{}; tools/setup.sh test installs clang and lld",
        String::from_utf8_lossy(&made.stderr)
    );
    let module = fs::read(&raw).expect("make has made it");
    let manifest = quorate_build::describe("c", "0.1.0", proto)
        .unwrap_or_else(|error| panic!("{}: {error}", proto.display()));
    quorate_build::attach(&module, &manifest)
}

/// The module, compiled.
pub fn load(wasm: &[u8]) -> Arc<Module> {
    Module::load(wasm).unwrap_or_else(|error| panic!("{error}"))
}

/// A machine without a log.
pub struct Bench {
    module: Arc<Module>,
    program: WasmProgram,
    state: MemoryState,
    index: u64,
}

impl Bench {
    /// A machine with nothing in its state.
    pub fn new(module: &Arc<Module>) -> Self {
        let (module, program) = (Arc::clone(module), module.program());
        Self { module, program, state: MemoryState::new(), index: 0 }
    }

    /// Runs one entry with these commands.
    pub fn entry(&mut self, commands: &[(&str, &[u8])]) -> Vec<Outcome> {
        self.index += 1;
        let id = LogId { term: 1, index: self.index };
        let place = Place { group: GroupId(1), id, time_ms: TIME_MS };
        let commands = commands.iter().map(|(path, request)| call(path, request));
        let run = Run::commands(self.state.snapshot(), place, commands.enumerate().collect());
        let (outcomes, writes) = self.program.run(run).expect("no fault of this node").into_parts();
        let meta = Meta { applied: id, time_ms: TIME_MS, ..Meta::default() };
        self.state.commit(&writes.into(), meta).expect("it is in memory");
        outcomes
    }

    /// Runs an entry of one command.
    pub fn command(&mut self, path: &str, request: &[u8]) -> Outcome {
        self.entry(&[(path, request)]).remove(0)
    }

    /// Runs a query.
    pub fn query(&self, path: &str, request: &[u8]) -> Outcome {
        let run = Run::query(self.state.snapshot(), GroupId(1), call(path, request));
        self.module.query(run).expect("no fault of this node")
    }

    /// All that is in the state.
    pub fn pairs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut pairs = Vec::new();
        self.state
            .snapshot()
            .scan(Space::Plugin, Range::ALL, &mut |key, value| {
                pairs.push((key.to_vec(), value.to_vec()));
                std::ops::ControlFlow::Continue(())
            })
            .expect("it is in memory");
        pairs
    }
}

fn call(path: &str, request: &[u8]) -> batch::Command {
    batch::Command::new(quorate_abi::method_id(path), Bytes::copy_from_slice(request))
}
