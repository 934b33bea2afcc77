//! What checksums and digests cost a put: the same functions over the same bytes, beside the apply
//! of that entry and its synced write to the log, round by round.
//!
//! Counted are the checksums of the entry where it is proposed, sent to a peer, logged and decoded;
//! those of the pairs that it writes to the state, and of as many that it reads; and the digest.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_core::id::LogId;
use quorate_core::integrity::digest;
use quorate_core::log::{Entry, LogStore as _, Persist};
use quorate_core::outcome::Outcome;
use quorate_core::state::{Changes, Meta, Space};
use quorate_wasm::Instances;

use super::contest::{Applier, GROUP, State, TERM};
use super::load::Load;
use crate::bench::report::{Cell, Column, Table, column};
use crate::bench::rounds::{median, ratio};
use crate::rocks::RocksLog;

/// Proposed, sent to a peer, logged, decoded.
const ENTRY_CHECKSUMS: usize = 4;
/// Read and written.
const PAIR_CHECKSUMS: usize = 2;
/// The first ones warm up.
const WARM_UP_ROUNDS: usize = 10;

const COLUMNS: [Column; 6] = [
    column("entry_commands", "commands"),
    column("checks_ns_per_command", "checks ns"),
    column("apply_ns_per_command", "apply ns"),
    column("put_ns_per_command", "put ns"),
    column("checks_percent_of_apply", "% of apply"),
    column("checks_percent_of_put", "% of put"),
];

/// Measures entries of those numbers of commands.
pub(super) fn table(
    load: &Load,
    rounds: usize,
    commands: &[usize],
    folder: &Path,
) -> anyhow::Result<Table> {
    let folder = tempfile::tempdir_in(folder)?;
    let program = Box::new(load.module.program_with(Instances::Fresh));
    let mut put = Put {
        log: RocksLog::open(&folder.path().join("log"), GROUP)?,
        machine: Applier::new(program, State::RocksDb, &folder.path().join("state"))?,
    };
    let mut rows = Vec::new();
    for &count in commands {
        let mut times = [const { Vec::new() }; 3];
        for round in 0..rounds + WARM_UP_ROUNDS {
            let entry = load.entries(1, count, round as u64).remove(0);
            let [logged, applied, checked] =
                put.round(&entry)?.map(|time| time.as_secs_f64() * 1e9);
            if round >= WARM_UP_ROUNDS {
                let figures = [checked, applied, logged + applied];
                times.iter_mut().zip(figures).for_each(|(times, ns)| times.push(ns));
            }
        }
        rows.push(row(count, &times));
    }
    let title = format!(
        "Checksums and digests beside apply, and beside a synced write to the log and apply: puts \
         of {} B, one fresh instance an entry, state in rocksdb; medians of {rounds} rounds",
        load.value_bytes.unwrap_or_default(),
    );
    Ok(Table { name: "integrity", title, columns: COLUMNS.to_vec(), rows })
}

fn row(count: usize, times: &[Vec<f64>; 3]) -> Vec<Cell> {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let each = |times: &Vec<f64>| Cell::Number(median(times.iter().copied()) / count as f64, 1);
    let [checks, apply, put] = times;
    let percent = |whole| Cell::Number(ratio(checks, whole) * 100.0, 2);
    let mut row = vec![Cell::Count(count as u64)];
    row.extend(times.iter().map(each));
    row.extend([percent(apply), percent(put)]);
    row
}

/// What a put goes through in a node that is alone, without its threads.
struct Put {
    log: RocksLog,
    machine: Applier,
}

impl Put {
    /// How long it takes to log the entry, to apply it, and to check all that is checked.
    fn round(&mut self, data: &Bytes) -> anyhow::Result<[Duration; 3]> {
        let id = self.machine.next();
        let entry = Entry { term: TERM, index: id.index, data: data.clone(), ..Entry::default() };
        let begun = Instant::now();
        let entries = std::slice::from_ref(&entry);
        self.log.persist(Persist { entries, must_sync: true, ..Persist::default() })?;
        let logged = begun.elapsed();

        let begun = Instant::now();
        let decided = self.machine.apply_one(data.clone())?;
        let applied = begun.elapsed();

        let changes = self.machine.take_changes();
        let meta = Meta { applied: id, ..Meta::default() };
        let begun = Instant::now();
        check(data, &meta, decided, &changes);
        Ok([logged, applied, begun.elapsed()])
    }
}

/// What nodes compute for an entry to be sure of it, and of nothing else.
fn check(entry: &[u8], meta: &Meta, decided: Vec<(LogId, Outcome)>, changes: &Changes) {
    for _ in 0..ENTRY_CHECKSUMS {
        black_box(crc32c::crc32c(black_box(entry)));
    }
    for space in Space::ALL {
        for (key, value) in changes.space(space) {
            for _ in 0..PAIR_CHECKSUMS {
                let key = crc32c::crc32c(black_box(key));
                black_box(crc32c::crc32c_append(key, value.as_deref().unwrap_or_default()));
            }
        }
    }
    black_box(digest::after(meta, decided, changes));
}
