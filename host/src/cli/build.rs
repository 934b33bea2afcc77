//! `quorate build`: a plugin's crate to a module.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use quorate_toolchain::{BuildRequest, Toolchain, shared_target_dir};
use serde_json::json;

use super::{Failure, Output, complain, say, usage};
use quorate_wasm::gate;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder of the plugin's crate
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Where to put the module [default: DIR/NAME.wasm]
    #[arg(long, value_name = "FILE.wasm")]
    out: Option<PathBuf>,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let dir = &arguments.dir;
    if !dir.join("Cargo.toml").is_file() {
        return Err(usage(format_args!("{}: there is no Cargo.toml", dir.display())));
    }
    let toolchain = Toolchain::find(dir).context("finding a compiler for WebAssembly")?;
    let built = toolchain
        .build(&BuildRequest::new(dir, shared_target_dir()))
        .with_context(|| format!("building {}", dir.display()))?;
    let out = arguments.out.clone().unwrap_or_else(|| dir.join(&built.file_name));
    hand_out(&built.wasm, &out, arguments.output)
}

/// Writes a new module to its place, if a node would take it.
pub(super) fn hand_out(wasm: &[u8], out: &Path, output: Output) -> Result<(), Failure> {
    let report = gate::inspect(wasm);
    if !report.refusals.is_empty() {
        for refusal in &report.refusals {
            complain(format_args!("refused: {refusal}"));
        }
        return Err(Failure::Failed(anyhow::anyhow!("the plugin was built, but no node takes it")));
    }
    write(out, wasm)?;
    let out = out.display().to_string();
    match output {
        Output::Human => {
            say(format_args!("{out}: {} bytes, digest {}", report.bytes, report.digest));
        }
        Output::Json => say(format_args!(
            "{:#}",
            json!({ "file": out, "bytes": report.bytes, "digest": report.digest.to_string() })
        )),
    }
    Ok(())
}

fn write(out: &Path, wasm: &[u8]) -> anyhow::Result<()> {
    if let Some(folder) = out.parent() {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    fs::write(out, wasm).with_context(|| format!("writing {}", out.display()))
}
