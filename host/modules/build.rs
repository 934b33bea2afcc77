//! Compiles the plugins that the binary carries to modules.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use quorate_toolchain::{BuildRequest, Toolchain};

fn main() -> Result<(), Box<dyn Error>> {
    let own = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let root = own.ancestors().nth(2).ok_or("this crate lies in the workspace")?;
    for source in ["plugins/counter", "plugins/kv", "sdk", "proto", "Cargo.toml", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", root.join(source).display());
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Next to the profiles' folders, so that plugins share the standard library that may have to
    // be built for them.
    let target = out.ancestors().nth(4).unwrap_or_else(|| Path::new(&out)).join("guest");
    let toolchain = Toolchain::find(root)?;
    for plugin in ["counter", "kv"] {
        let request = BuildRequest::new(root.join("plugins").join(plugin), &target);
        fs::write(out.join(plugin).with_extension("wasm"), toolchain.build(&request)?.wasm)?;
    }
    Ok(())
}
