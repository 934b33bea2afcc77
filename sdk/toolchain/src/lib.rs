//! Compiles plugins to WebAssembly modules, with whatever Rust the machine has.
//!
//! ```no_run
//! use quorate_toolchain::{BuildRequest, Toolchain, shared_target_dir};
//!
//! let toolchain = Toolchain::find(".".as_ref())?;
//! let module = toolchain.build(&BuildRequest::new("plugins/kv", shared_target_dir()))?;
//! println!("{} bytes", module.wasm.len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where the target's standard library comes from
//! Plugins are built for `wasm32-unknown-unknown`. Looked for, in this order:
//! 1. a compiler that has the target installed, which is what `rustup target add` gives;
//! 2. a compiler that comes with the standard library's source, from which cargo then builds it.
//!    That is how it works where only package registries can be reached: Debian and Ubuntu package
//!    the source of the compiler that they ship.
//!
//! The compilers asked are the default one (`rustc` on the `PATH`), then `/usr/bin/rustc`.
//!
//! # The module is a function of its source
//! A module is named by its digest, so the same plugin at the same place in its workspace gives the
//! same bytes wherever the clone, cargo's home and the target folder lie: the flags are fixed here
//! rather than taken from the environment, and paths are cut out of panic messages. A different
//! compiler gives different bytes, and so does moving a path dependency that lies outside of the
//! plugin's workspace, because its whole path is part of its name.
//!
//! # What this deliberately does not do
//! It installs nothing, and it does not look inside the module.

mod build;
mod find;
mod owners;

pub use build::{Artifact, BuildError, BuildRequest, shared_target_dir};
pub use find::{Missing, Toolchain};

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// The target that plugins are compiled for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// A command that takes over nothing from a cargo that may have started this process: from within a
/// build script or a test, the outer one's compiler, flags, profile and job server would leak in.
fn command(program: impl AsRef<OsStr>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(belongs_to_outer_build) {
            command.env_remove(&name);
        }
    }
    command
}

fn belongs_to_outer_build(name: &str) -> bool {
    // Where packages come from is a property of the machine, not of one build.
    const MACHINE: [&str; 7] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTRIES_",
        "CARGO_REGISTRY_",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
    ];
    const OUTER: [&str; 3] = ["CARGO", "RUSTC", "RUSTDOC"];
    match name {
        "RUSTFLAGS" | "RUSTUP_TOOLCHAIN" | "MAKEFLAGS" | "MFLAGS" | "MAKELEVEL" => true,
        _ if MACHINE.iter().any(|prefix| name.starts_with(prefix)) => false,
        _ => OUTER.iter().any(|prefix| name.starts_with(prefix)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_build_is_kept_out_and_the_machine_is_not() {
        for name in ["CARGO", "CARGO_TARGET_DIR", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER"] {
            assert!(belongs_to_outer_build(name), "{name}");
        }
        for name in ["CARGO_HOME", "RUSTUP_HOME", "CARGO_NET_OFFLINE", "PATH", "HOME"] {
            assert!(!belongs_to_outer_build(name), "{name}");
        }
    }
}
