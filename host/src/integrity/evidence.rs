//! What is kept of a quarantine: a file for a person who asks how a replica could differ, and the
//! mark that keeps the state in quarantine when the node starts again.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use quorate_core::id::LogId;
use quorate_core::integrity::{Divergence, Point};
use quorate_core::state::{Changes, Space};
use serde_json::{Value, json};

use super::Places;
use crate::clock;
use crate::durable::write_durably;
use crate::identity::{GROUP, Identity};

/// In the folder of the state: it is about this state, and goes when another takes its place.
const MARK: &str = "QUARANTINED";

/// What is known of the matter.
pub(super) struct Evidence(Value);

impl Evidence {
    pub(super) fn of_damage(applied: Point, what: &str) -> Self {
        Self(json!({ "damage": what, "applied": of_point(applied) }))
    }

    pub(super) fn of_divergence(
        applied: Point,
        divergence: Divergence,
        changes: Option<(LogId, Changes)>,
    ) -> Self {
        let Divergence { entry, agreed, own, others, is_outvoted } = divergence;
        let others: Vec<Value> = others
            .into_iter()
            .map(|(node, digest)| json!({ "node": node.get(), "digest": hex(digest) }))
            .collect();
        let (term, writes) = changes.map(|(id, changes)| (id.term, of_changes(&changes))).unzip();
        Self(json!({
            "entry": entry,
            "term": term,
            "is_exact": agreed + 1 == entry,
            "agreed_at": agreed,
            "digest": hex(own),
            "digests_of_others": others,
            "by": if is_outvoted { "more nodes" } else { "the leader" },
            "writes": writes,
            "applied": of_point(applied),
        }))
    }
}

fn hex(digest: u64) -> String {
    format!("{digest:016x}")
}

fn of_point(point: Point) -> Value {
    json!({ "index": point.index, "digest": hex(point.digest) })
}

fn of_changes(changes: &Changes) -> Vec<Value> {
    let of_space = |space: Space| {
        changes.space(space).iter().map(move |(key, value)| {
            let value = value.as_ref().map(|value| value.escape_ascii().to_string());
            let key = key.escape_ascii().to_string();
            json!({ "space": space.number(), "key": key, "value": value })
        })
    };
    Space::ALL.into_iter().flat_map(of_space).collect()
}

/// Why the state was in quarantine when the node stopped, if it was.
pub(super) fn marked(places: &Places) -> anyhow::Result<Option<String>> {
    let mark = places.state.join(MARK);
    match fs::read_to_string(&mark) {
        Ok(why) => Ok(Some(why)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", mark.display())),
    }
}

/// Marks the state and writes the evidence, both durably; returns the file.
pub(super) fn keep(
    places: &Places,
    identity: &Identity,
    why: &str,
    evidence: &Evidence,
) -> anyhow::Result<PathBuf> {
    if places.state.is_dir() {
        write_durably(&places.state.join(MARK), why)?;
    }
    let unix_ms = clock::unix_ms();
    let content = json!({
        "why": why,
        "unix_ms": unix_ms,
        "version": env!("CARGO_PKG_VERSION"),
        "cluster": identity.cluster,
        "node": identity.node.get(),
        "group": GROUP.0,
        "module": quorate_wasm::Digest(identity.module).to_string(),
        "fuel": quorate_wasm::FUEL_VERSION,
        "evidence": evidence.0,
    });
    let file = places.data.join(format!("quarantine-{unix_ms}.json"));
    write_durably(&file, &format!("{content:#}\n"))?;
    Ok(file)
}
