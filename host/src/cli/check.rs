//! `quorate check`: the module gate, offline.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Failure, Output, say, usage};
use quorate_wasm::gate::{self, Report};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The module
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let wasm = fs::read(&arguments.file)
        .map_err(|error| usage(format_args!("{}: {error}", arguments.file.display())))?;
    let report = gate::inspect(&wasm);
    match arguments.output {
        Output::Human => print(&report),
        Output::Json => say(format_args!("{:#}", to_json(&report))),
    }
    // The refusals were printed; the exit code says it to programs.
    if report.refusals.is_empty() { Ok(()) } else { Err(Failure::Said) }
}

fn print(report: &Report) {
    say(format_args!("digest   {}", report.digest));
    say(format_args!("size     {} bytes", report.bytes));
    if let Some(manifest) = &report.manifest {
        say(format_args!("plugin   {} {}", manifest.name, manifest.version));
        for method in manifest.methods() {
            say(format_args!("method   {} ({})", method.path, method.kind.as_str_name()));
        }
    }
    for export in &report.exports {
        say(format_args!("export   {export}"));
    }
    for import in &report.imports {
        say(format_args!("import   {import}"));
    }
    for refusal in &report.refusals {
        say(format_args!("refused  {refusal}"));
    }
    if report.refusals.is_empty() {
        say(format_args!("ok       a node would take it"));
    }
}

fn to_json(report: &Report) -> serde_json::Value {
    let manifest = report.manifest.as_ref();
    let methods = manifest.map(|manifest| {
        let method = |method: &quorate_wasm::Method| {
            json!({ "path": method.path, "kind": method.kind.as_str_name() })
        };
        manifest.methods().map(method).collect::<Vec<_>>()
    });
    json!({
        "digest": report.digest.to_string(),
        "bytes": report.bytes,
        "name": manifest.map(|manifest| &manifest.name),
        "version": manifest.map(|manifest| &manifest.version),
        "methods": methods,
        "exports": report.exports,
        "imports": report.imports,
        "refusals": report.refusals.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "ok": report.refusals.is_empty(),
    })
}
