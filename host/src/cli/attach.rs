//! `quorate attach`: the last step of a build in another language than Rust.

use std::fs;
use std::path::PathBuf;

use clap::Args;

use super::build::hand_out;
use super::{Failure, Output, usage};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The module as its compiler made it
    #[arg(value_name = "FILE.wasm")]
    module: PathBuf,
    /// The plugin's .proto; imports are found from the folder above it that is named proto
    #[arg(long, value_name = "FILE.proto")]
    proto: PathBuf,
    /// The plugin's name
    #[arg(long)]
    name: String,
    /// Its version
    #[arg(long, value_name = "VERSION")]
    version: String,
    /// Where to put the module that a node takes
    #[arg(long, value_name = "FILE.wasm")]
    out: PathBuf,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let module = fs::read(&arguments.module)
        .map_err(|error| usage(format_args!("{}: {error}", arguments.module.display())))?;
    let Arguments { proto, name, version, .. } = arguments;
    let manifest = quorate_build::describe(name, version, proto)
        .map_err(|error| Failure::Failed(anyhow::anyhow!("{}: {error}", proto.display())))?;
    hand_out(&quorate_build::attach(&module, &manifest), &arguments.out, arguments.output)
}
