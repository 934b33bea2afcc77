//! What an author sees of `quorate dev DIR`, on standard output. What cargo says goes by on
//! standard error, as cargo writes it.

use std::fmt;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use super::super::schema::Break;
use super::super::{program, say};
use super::generation::Handover;
use crate::node::Node;
use quorate_wasm::{Manifest, Module};

/// Methods that are shown with a call to paste.
const CALLS_MAX: usize = 8;

/// The author's terminal, or whatever reads in its place.
#[derive(Clone, Debug)]
pub(super) struct Screen {
    /// The crate.
    dir: PathBuf,
    has_colours: bool,
}

impl Screen {
    pub(super) fn new(dir: &Path) -> Self {
        let is_wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let has_colours = is_wanted && std::io::stdout().is_terminal();
        Self { dir: dir.to_owned(), has_colours }
    }

    fn good(&self, what: fmt::Arguments<'_>) {
        self.coloured("32", what);
    }

    fn bad(&self, what: fmt::Arguments<'_>) {
        self.coloured("31", what);
    }

    fn notable(&self, what: fmt::Arguments<'_>) {
        self.coloured("33", what);
    }

    fn coloured(&self, colour: &str, what: fmt::Arguments<'_>) {
        if self.has_colours {
            say(format_args!("\x1b[{colour}m{what}\x1b[0m"));
        } else {
            say(what);
        }
    }

    pub(super) fn building(&self) {
        say(format_args!("building {}", self.dir.display()));
    }

    pub(super) fn changed(&self, paths: &[PathBuf]) {
        // Editors come and go with files of their own; what is there no more is said if nothing is.
        let there: Vec<_> = paths.iter().filter(|path| self.dir.join(path).exists()).collect();
        let paths = if there.is_empty() { paths.iter().collect() } else { there };
        let (Some(first), more) = (paths.first(), paths.len().saturating_sub(1)) else { return };
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        say(format_args!("\n{}{more} changed", first.display()));
    }

    /// The first build, once it is served.
    pub(super) fn ready(module: &Module, nodes: &[Node], is_kept: bool) {
        let manifest = module.manifest();
        let addresses: Vec<_> =
            nodes.iter().map(|node| node.client_address().to_string()).collect();
        let services: Vec<_> = manifest.service_names().collect();
        let place = if is_kept { "on disk" } else { "in memory" };
        say(format_args!(
            "{} on {} node(s), state {place}. In another terminal:",
            services.join(", "),
            nodes.len()
        ));
        let program = program();
        for (path, request) in calls(manifest).into_iter().take(CALLS_MAX) {
            say(format_args!("  {program} call {} {path} '{request}'", addresses[0]));
        }
        say(format_args!("ready {} {}", services.join(","), addresses.join(" ")));
    }

    pub(super) fn built(&self, number: u32, module: &Module, bytes: usize, took: Duration) {
        let Manifest { name, version, .. } = module.manifest();
        let kibibytes = bytes / 1024;
        self.good(format_args!(
            "build {number} of {name} {version}: {kibibytes} KiB in {}",
            Seconds(took)
        ));
    }

    /// A later build, once it is served.
    pub(super) fn reloaded(&self, number: u32, built: Duration, handover: &Handover, keeps: bool) {
        let state = if keeps {
            format!("state kept, at index {}", handover.applied.index)
        } else {
            "state begun anew".to_owned()
        };
        let (built, reloaded) = (Seconds(built), Seconds(handover.took));
        self.good(format_args!(
            "build {number} serves: built in {built}, reloaded in {reloaded}, {state}"
        ));
        if let Some(saved) = &handover.saved {
            say(format_args!("the old state is in {}", saved.display()));
        }
    }

    /// What a build changed that does not fit the state, or clients.
    pub(super) fn broken(&self, whom: &str, breaks: &[Break], advice: &str) {
        if breaks.is_empty() {
            return;
        }
        self.notable(format_args!("{whom}:"));
        for one in breaks {
            say(format_args!("  {one}"));
        }
        if !advice.is_empty() {
            say(format_args!("{advice}"));
        }
    }

    pub(super) fn same(&self, number: u32) {
        self.good(format_args!("the module is the same: build {number} goes on"));
    }

    /// There is no new module, and cargo or the gate have said why.
    pub(super) fn failed(&self, what: &str, refusals: &[String], served: Option<u32>) {
        for refusal in refusals {
            self.bad(format_args!("refused: {refusal}"));
        }
        match served {
            Some(number) => self.bad(format_args!("{what}: still serving build {number}")),
            None => self.bad(format_args!("{what}: nothing is served until a change helps")),
        }
    }
}

/// A time as people read it.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} s", self.0.as_secs_f64())
    }
}

/// Each method with a request that has all fields, empty.
fn calls(manifest: &Manifest) -> Vec<(String, String)> {
    let pool = DescriptorPool::decode(manifest.descriptors.as_ref());
    let pool = pool.expect("the gate has let it through");
    let options = SerializeOptions::new().skip_default_fields(false);
    let mut calls = Vec::new();
    for service in pool.services() {
        for method in service.methods() {
            let message = DynamicMessage::new(method.input());
            // To bytes at once: a value would have the fields in another order.
            let mut json = Vec::new();
            let mut serializer = serde_json::Serializer::new(&mut json);
            let written = message.serialize_with_options(&mut serializer, &options);
            written.expect("an empty message is JSON");
            let json = String::from_utf8(json).expect("JSON is UTF-8");
            calls.push((format!("{}/{}", service.full_name(), method.name()), json));
        }
    }
    calls
}
