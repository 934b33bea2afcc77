//! Commands that somebody else has chosen: lines of a file, or the log of a node.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use prost::Message as _;
use prost_reflect::DynamicMessage;
use quorate_core::batch;
use quorate_core::log::LogStore as _;
use serde::Deserialize;
use serde_json::json;

use super::dynamic::{Called, Method, START_MS};
use crate::identity::{self, GROUP, LOG_FOLDER};
use crate::rocks::RocksLog;

/// Entries of a log that are read at a time.
const CHUNK_BYTES: u64 = 4 * 1024 * 1024;

/// A line of a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    method: String,
    #[serde(default)]
    request: serde_json::Value,
}

/// The calls of a file, a line of JSON each; methods by their path, or their name alone.
pub(super) fn from_file<'a>(file: &Path, methods: &'a [Method]) -> anyhow::Result<Vec<Called<'a>>> {
    let text = fs::read_to_string(file)?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| parse(line, methods).with_context(|| format!("line {number}")))
        .collect()
}

fn parse<'a>(line: &str, methods: &'a [Method]) -> anyhow::Result<Called<'a>> {
    let Line { method: name, request } = serde_json::from_str(line)?;
    let name = name.trim_start_matches('/');
    let mut methods = methods.iter();
    let is = |method: &&Method| method.path == name || method.descriptor.name() == name;
    let method = methods.find(is).with_context(|| format!("the plugin has no method {name}"))?;
    let request = if request.is_null() { json!({}) } else { request };
    let input = method.descriptor.input();
    let request = DynamicMessage::deserialize(input.clone(), request)
        .with_context(|| format!("the request is no {}", input.full_name()))?;
    let payload = request.encode_to_vec().into();
    Ok(Called { time_ms: START_MS, method, payload })
}

/// The commands in the log of a node that does not run, committed or not. Calls of sessions are
/// taken for calls without.
pub(super) fn from_log<'a>(
    folder: &Path,
    methods: &'a [Method],
) -> anyhow::Result<Vec<Called<'a>>> {
    let _stays_so = identity::inherit(folder)?;
    let log = RocksLog::open(&folder.join(LOG_FOLDER), GROUP)?;
    let (cut, end) = (log.base().id.index, log.last_index() + 1);
    ensure!(cut == 0, "the log begins behind entry {cut}, and the state from there is not known");
    let mut commands = Vec::new();
    let mut next = 1;
    while next < end {
        let entries = log.entries(next, end, CHUNK_BYTES)?;
        next += entries.len() as u64;
        // What is not a batch is about members, or nothing.
        let batches = entries.iter().filter_map(|entry| batch::decode(&entry.data).ok());
        for batch in batches {
            let known = batch.commands.into_iter().filter_map(|command| {
                let method = methods.iter().find(|method| method.id == command.method)?;
                Some(Called { time_ms: batch.time_ms, method, payload: command.payload })
            });
            commands.extend(known);
        }
    }
    ensure!(!commands.is_empty(), "the log has no command of this plugin");
    Ok(commands)
}
