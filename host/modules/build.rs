//! Compiles the key-value plugin, which the binary carries, to a module.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use quorate_toolchain::{BuildRequest, Toolchain};

fn main() -> Result<(), Box<dyn Error>> {
    let own = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = own.ancestors().nth(2).ok_or("this crate lies in the workspace")?;
    for source in ["plugins/kv", "sdk", "proto", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", root.join(source).display());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Next to the profiles' folders, so that plugins share the standard library that may have to
    // be built for them.
    let target = out.ancestors().nth(4).unwrap_or_else(|| Path::new(&out)).join("guest");
    let request = BuildRequest::new(root.join("plugins/kv"), target);
    let module = Toolchain::find(root)?.build(&request)?;
    fs::write(out.join("kv.wasm"), module.wasm)?;
    Ok(())
}
