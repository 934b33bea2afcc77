//! `quorate check`: what is wrong with a module, or may be. The gate, signs of hazards, what it
//! changes about its `.proto`, and what it does when it is run in ways that must make no
//! difference.

mod dynamic;
mod generate;
mod given;
mod hazards;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use quorate_toolchain::{BuildRequest, Toolchain, shared_target_dir};
use serde_json::json;

use self::dynamic::{Findings, Method, Source};
use self::hazards::Hazard;
use super::schema::{self, Break, Breaks};
use super::{Failure, Output, say, usage};
use quorate_wasm::gate::{self, Report};
use quorate_wasm::{Manifest, Module};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The module; or a plugin's crate, which is built first, and whose sources are looked at too
    #[arg(value_name = "FILE.wasm|DIR")]
    what: PathBuf,
    /// An earlier version: what has changed since that breaks what it stored, or its clients?
    #[arg(long, value_name = "OLD.wasm")]
    against: Option<PathBuf>,
    /// Call it at random, and run commands several times in ways that must make no difference
    #[arg(long)]
    dynamic: bool,
    /// The same with these calls: lines of {"method": "Add", "request": {"name": "a"}}
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seed", "count", "dynamic"])]
    commands: Option<PathBuf>,
    /// The same with the commands in the log of a node that is stopped
    #[arg(long, value_name = "DIR", conflicts_with_all = ["seed", "count", "dynamic", "commands"])]
    log: Option<PathBuf>,
    /// What the calls at random are made from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many calls at random
    #[arg(long, value_name = "N", default_value_t = 1000)]
    count: u64,
    /// How to print the result
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// All that was found.
struct Checked {
    report: Report,
    hazards: Vec<Hazard>,
    breaks: Vec<Break>,
    findings: Option<Findings>,
}

impl Checked {
    fn is_ok(&self) -> bool {
        let found = self.findings.as_ref();
        let is_fine =
            |found: &Findings| found.differences.is_empty() && found.breakdowns.is_empty();
        self.report.refusals.is_empty() && self.breaks.is_empty() && found.is_none_or(is_fine)
    }
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let wasm = read(&arguments.what)?;
    let report = gate::inspect(&wasm);
    let mut hazards = hazards::in_functions(&gate::functions(&wasm));
    if arguments.what.is_dir() {
        hazards.extend(hazards::in_sources(&arguments.what));
    }
    let breaks = match (&arguments.against, &report.manifest) {
        (Some(old), Some(new)) => schema::compare(&manifest_of(old)?, new),
        _ => Vec::new(),
    };
    let manifest = report.manifest.as_ref().filter(|_| report.refusals.is_empty());
    let methods = manifest.map(dynamic::methods_of).unwrap_or_default();
    let mut findings = None;
    if let Some(source) = source(arguments, &methods)?.filter(|_| manifest.is_some()) {
        let module = Module::load(&wasm).context("loading the module")?;
        findings = Some(dynamic::run(&module, &methods, &source)?);
    }
    let checked = Checked { report, hazards, breaks, findings };
    match arguments.output {
        Output::Human => print(&checked),
        Output::Json => say(format_args!("{:#}", to_json(&checked))),
    }
    // What is wrong was printed; the exit code says it to programs.
    if checked.is_ok() { Ok(()) } else { Err(Failure::Said) }
}

/// The bytes of a module, or of what a crate is built to.
fn read(what: &Path) -> Result<Vec<u8>, Failure> {
    if !what.is_dir() {
        return fs::read(what).map_err(|error| usage(format_args!("{}: {error}", what.display())));
    }
    if !what.join("Cargo.toml").is_file() {
        return Err(usage(format_args!("{}: there is no Cargo.toml", what.display())));
    }
    let toolchain = Toolchain::find(what).context("finding a compiler for WebAssembly")?;
    let built = toolchain
        .build(&BuildRequest::new(what, shared_target_dir()))
        .with_context(|| format!("building {}", what.display()))?;
    Ok(built.wasm)
}

fn manifest_of(old: &Path) -> Result<Manifest, Failure> {
    let wrong = |why: &str| usage(format_args!("--against {}: {why}", old.display()));
    let wasm = fs::read(old).map_err(|error| wrong(&error.to_string()))?;
    gate::inspect(&wasm).manifest.ok_or_else(|| wrong("it is no module of a plugin"))
}

/// What to run the plugin with, if it is to be run.
fn source<'a>(arguments: &Arguments, methods: &'a [Method]) -> Result<Option<Source<'a>>, Failure> {
    let wrong = |flag: &str, place: &Path| {
        let place = place.display().to_string();
        let flag = flag.to_owned();
        move |error: anyhow::Error| usage(format_args!("{flag} {place}: {error:#}"))
    };
    let Arguments { commands, log, dynamic, seed, count, .. } = arguments;
    if let Some(file) = commands {
        let given = given::from_file(file, methods).map_err(wrong("--commands", file))?;
        return Ok(Some(Source::Given(given)));
    }
    if let Some(folder) = log {
        let given = given::from_log(folder, methods).map_err(wrong("--log", folder))?;
        return Ok(Some(Source::Given(given)));
    }
    Ok(dynamic.then_some(Source::Generated { seed: *seed, count: *count }))
}

fn print(checked: &Checked) {
    let Checked { report, hazards, breaks, findings } = checked;
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
    for Hazard { place, what } in hazards {
        say(format_args!("hazard   {place}: {what}"));
    }
    for one in breaks {
        let whom = if one.breaks == Breaks::State { "stored values" } else { "clients" };
        say(format_args!("breaks   {whom}: {one}"));
    }
    if let Some(findings) = findings {
        print_findings(findings);
    }
    for refusal in &report.refusals {
        say(format_args!("refused  {refusal}"));
    }
    if checked.is_ok() {
        say(format_args!("ok       a node would take it"));
    }
}

fn print_findings(findings: &Findings) {
    for (method, (calls, succeeded)) in &findings.methods {
        say(format_args!("ran      {method}: {calls} times, {succeeded} of them succeeded"));
    }
    for difference in &findings.differences {
        let dynamic::Difference { call, index, method, request, what, fresh, other, .. } =
            difference;
        let [circumstances, sign] = difference.when.story();
        say(format_args!("differs  call {call}, {method} {request}, at index {index}"));
        say(format_args!("         {what} differs when it is run {circumstances}:"));
        say(format_args!("         in a fresh instance  {fresh}"));
        say(format_args!("         otherwise            {other}"));
        say(format_args!("         look for: {sign}"));
    }
    for dynamic::Breakdown { call, method, request, reason } in &findings.breakdowns {
        say(format_args!("breaks off  call {call}, {method} {request}: {reason}"));
    }
}

fn to_json(checked: &Checked) -> serde_json::Value {
    let Checked { report, hazards, breaks, findings } = checked;
    let manifest = report.manifest.as_ref();
    let methods = manifest.map(|manifest| {
        let method = |method: &quorate_wasm::Method| {
            json!({ "path": method.path, "kind": method.kind.as_str_name() })
        };
        manifest.methods().map(method).collect::<Vec<_>>()
    });
    let hazard = |hazard: &Hazard| json!({ "place": hazard.place, "what": hazard.what });
    let one = |one: &Break| {
        let breaks = if one.breaks == Breaks::State { "state" } else { "clients" };
        json!({ "breaks": breaks, "place": one.place, "what": one.what })
    };
    json!({
        "digest": report.digest.to_string(),
        "bytes": report.bytes,
        "name": manifest.map(|manifest| &manifest.name),
        "version": manifest.map(|manifest| &manifest.version),
        "methods": methods,
        "exports": report.exports,
        "imports": report.imports,
        "refusals": report.refusals.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "hazards": hazards.iter().map(hazard).collect::<Vec<_>>(),
        "breaks": breaks.iter().map(one).collect::<Vec<_>>(),
        "dynamic": findings.as_ref().map(findings_to_json),
        "ok": checked.is_ok(),
    })
}

fn findings_to_json(findings: &Findings) -> serde_json::Value {
    let methods = findings.methods.iter().map(|(method, (calls, succeeded))| {
        json!({ "method": method, "calls": calls, "succeeded": succeeded })
    });
    let differences = findings.differences.iter().map(|difference| {
        json!({
            "when": difference.when.name(),
            "call": difference.call,
            "index": difference.index,
            "method": difference.method,
            "request": difference.request,
            "what": difference.what,
            "fresh": difference.fresh,
            "other": difference.other,
        })
    });
    let breakdowns = findings.breakdowns.iter().map(|breakdown| {
        json!({
            "call": breakdown.call,
            "method": breakdown.method,
            "request": breakdown.request,
            "reason": breakdown.reason,
        })
    });
    json!({
        "calls": findings.calls,
        "methods": methods.collect::<Vec<_>>(),
        "differences": differences.collect::<Vec<_>>(),
        "breakdowns": breakdowns.collect::<Vec<_>>(),
    })
}
