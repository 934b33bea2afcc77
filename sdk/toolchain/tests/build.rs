//! Builds a plugin that lies outside of any workspace, with what this machine has.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use quorate_toolchain::{Artifact, BuildError, BuildRequest, Toolchain, shared_target_dir};

/// Of each of two plugins.
const BUILDS: usize = 8;

const MANIFEST: &str = r#"
[package]
name = "quorate-scratch"
edition = "2024"
[lib]
crate-type = ["cdylib", "rlib"]
[workspace]
"#;

/// The panics' locations are in the module: one in the crate, one in a file that is generated.
const BUILD: &str = r#"
fn main() {
    let path = std::path::Path::new(&std::env::var_os("OUT_DIR").unwrap()).join("generated.rs");
    std::fs::write(path, "fn pick(bytes: &[u8], at: usize) -> u8 { bytes[at] }").unwrap();
}
"#;
const LIBRARY: &str = r#"
include!(concat!(env!("OUT_DIR"), "/generated.rs"));
#[unsafe(no_mangle)]
pub extern "C" fn run(at: usize) -> usize {
    usize::from(pick(&format!("{at}").into_bytes(), at)) + at
}
"#;

fn scratch(name: &str, library: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(dir.join("src")).expect("the tests' folder can be written to");
    for (file, text) in [("Cargo.toml", MANIFEST), ("build.rs", BUILD), ("src/lib.rs", library)] {
        fs::write(dir.join(file), text).expect("the tests' folder can be written to");
    }
    dir
}

fn build(dir: &Path) -> Result<Artifact, BuildError> {
    let toolchain = Toolchain::find(dir).unwrap_or_else(|missing| panic!("{missing}"));
    toolchain.build(&BuildRequest::new(dir, shared_target_dir()))
}

fn built(dir: &Path) -> Vec<u8> {
    build(dir).unwrap_or_else(|error| panic!("{error}")).wasm
}

/// Cargo keeps the modules of two plugins of one name in one file.
#[test]
fn builds_of_one_name_at_the_same_time_get_each_their_own_module() {
    let other = LIBRARY.replace("+ at", "+ at + 1");
    let dirs = [scratch("one", LIBRARY), scratch("other", &other)];
    let alone = dirs.each_ref().map(|dir| built(dir));
    assert!(alone[0] != alone[1]);
    let is_always_its_own = |at: usize| (0..BUILDS).all(|_| built(&dirs[at]) == alone[at]);
    let (one, other) = thread::scope(|scope| {
        let one = scope.spawn(|| is_always_its_own(0));
        (is_always_its_own(1), one.join().unwrap())
    });
    assert!(one && other, "one got the other's module");
}

#[test]
fn a_module_depends_on_its_source_and_not_on_where_that_lies() {
    let modules = ["here", "else/where"].map(|place| built(&scratch(place, LIBRARY)));
    assert!(modules[0].starts_with(b"\0asm"));
    assert!(modules[0] == modules[1], "the module differs between two folders");
    let home = env!("CARGO_TARGET_TMPDIR").as_bytes();
    assert!(!modules[0].windows(home.len()).any(|window| window == home));

    let broken = build(&scratch("broken", "fn"));
    assert!(matches!(broken, Err(BuildError::Failed(_))), "{broken:?}");
    let absent = build(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("absent"));
    assert!(matches!(absent, Err(BuildError::NoCrate(..))), "{absent:?}");
}
