//! Commands that somebody else has chosen: lines of a file, or the log of a node.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, ensure};
use prost::Message as _;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use quorate_core::batch;
use quorate_core::log::LogStore as _;
use serde::Deserialize;
use serde_json::json;

use super::dynamic::{Called, START_MS, path_of};
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

/// The commands of a file, a line of JSON each; methods by their path, or their name alone.
pub(super) fn from_file(file: &Path, methods: &[MethodDescriptor]) -> anyhow::Result<Vec<Called>> {
    let text = fs::read_to_string(file)?;
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| parse(line, methods).with_context(|| format!("line {number}")))
        .collect()
}

fn parse(line: &str, methods: &[MethodDescriptor]) -> anyhow::Result<Called> {
    let Line { method: name, request } = serde_json::from_str(line)?;
    let name = name.trim_start_matches('/');
    let mut methods = methods.iter();
    let method = methods.find(|method| path_of(method) == name || method.name() == name);
    let method = method.with_context(|| format!("the plugin has no command {name}"))?;
    let request = if request.is_null() { json!({}) } else { request };
    let request = DynamicMessage::deserialize(method.input(), request)
        .with_context(|| format!("the request is no {}", method.input().full_name()))?;
    let payload = request.encode_to_vec().into();
    Ok(Called { time_ms: START_MS, method: method.clone(), payload })
}

/// The commands in the log of a node that does not run, committed or not. Calls of sessions are
/// taken for calls without.
pub(super) fn from_log(folder: &Path, methods: &[MethodDescriptor]) -> anyhow::Result<Vec<Called>> {
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
                let is = |method: &&MethodDescriptor| {
                    quorate_abi::method_id(&path_of(method)) == command.method
                };
                let method = methods.iter().find(is)?.clone();
                Some(Called { time_ms: batch.time_ms, method, payload: command.payload })
            });
            commands.extend(known);
        }
    }
    ensure!(!commands.is_empty(), "the log has no command of this plugin");
    Ok(commands)
}
