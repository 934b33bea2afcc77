//! Builds a plugin that lies outside of any workspace, with what this machine has.

use std::fs;
use std::path::{Path, PathBuf};

use quorate_toolchain::{Artifact, BuildError, BuildRequest, Toolchain, shared_target_dir};

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

/// One test, because the builds replace each other's module.
#[test]
fn a_module_depends_on_its_source_and_not_on_where_that_lies() {
    let modules = ["here", "else/where"].map(|place| {
        let module = build(&scratch(place, LIBRARY)).unwrap_or_else(|error| panic!("{error}"));
        fs::read(module.path).unwrap()
    });
    assert!(modules[0].starts_with(b"\0asm"));
    assert!(modules[0] == modules[1], "the module differs between two folders");
    let home = env!("CARGO_TARGET_TMPDIR").as_bytes();
    assert!(!modules[0].windows(home.len()).any(|window| window == home));

    let broken = build(&scratch("broken", "fn"));
    assert!(matches!(broken, Err(BuildError::Failed(_))), "{broken:?}");
    let absent = build(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("absent"));
    assert!(matches!(absent, Err(BuildError::NoCrate(..))), "{absent:?}");
}
