//! What apply costs by itself: entries go into a machine of the core, in one thread, without a
//! client, a network or a log. The plugin's code runs natively, in one instance of its module for
//! all entries, and in a fresh one for each, which is how nodes run it; all else is the same.
//!
//! Making the next instance is part of an entry here, although a node makes it while nobody waits,
//! if there is such a while.

mod contest;
mod integrity;
mod load;
mod native;

use std::path::PathBuf;

use serde_json::json;

use self::contest::{Contest, PROGRAMS, State};
use self::load::Load;
use super::machine::Machine;
use super::note;
use super::plot::{Chart, Drawing};
use super::report::{Cell, Column, Report, Table, column};
use super::rounds::{median, ratio};

/// What is measured, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where states are kept that are on disk.
    pub folder: PathBuf,
    /// Commands an entry.
    pub commands: Vec<usize>,
    /// Bytes of the values that the key-value plugin puts.
    pub value_bytes: Vec<usize>,
    /// Keys there are, all of them written before.
    pub keys: usize,
    /// How often each program applies the same.
    pub rounds: usize,
}

const COLUMNS: [Column; 11] = [
    column("plugin", "plugin"),
    column("value_bytes", "value"),
    column("state", "state"),
    column("entry_commands", "commands"),
    column("native_ns_per_command", "native ns"),
    column("warm_ns_per_command", "warm ns"),
    column("fresh_ns_per_command", "fresh ns"),
    column("warm_ratio", "warm"),
    column("fresh_ratio", "fresh"),
    column("native_commands_per_second", "native/s"),
    column("fresh_commands_per_second", "fresh/s"),
];
const COMMANDS_COLUMN: usize = 3;
const NS_COLUMN: usize = 4;

/// Of what checksums and digests are compared with.
const INTEGRITY_VALUE_BYTES: usize = 256;
const INTEGRITY_COMMANDS: [usize; 3] = [1, 64, 256];

/// Measures.
pub async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let machine = Machine::look(&plan.folder)?;
    let mut rows = Vec::new();
    let mut charts = Vec::new();
    let [counter, kv_module] = load::modules()?;
    let counter = Load::counter(&counter, plan.keys);
    let kv = plan.value_bytes.iter().map(|bytes| Load::kv(&kv_module, plan.keys, *bytes));
    for load in std::iter::once(counter).chain(kv) {
        for state in State::ALL {
            let mut contest = Contest::new(&load, state, &plan.folder)?;
            let before = rows.len();
            for &commands in &plan.commands {
                let times = contest.rounds(plan.rounds, commands)?;
                let mut row = vec![
                    Cell::Text(load.plugin.to_owned()),
                    load.value_bytes.map_or(Cell::None, |bytes| Cell::Count(bytes as u64)),
                    Cell::Text(state.name().to_owned()),
                    Cell::Count(commands as u64),
                ];
                row.extend(cells(&times));
                let times = row[NS_COLUMN..].iter().take(PROGRAMS.len()).map(Cell::to_string);
                let times = times.collect::<Vec<_>>().join(" : ");
                let (plugin, state) = (load.plugin, state.name());
                note(format_args!("{plugin}, {state}, {commands} an entry, ns: {times}"));
                rows.push(row);
                // Here a signal can end it.
                tokio::task::yield_now().await;
            }
            charts.push(chart(&load, state, &rows[before..]));
        }
    }
    let title = format!(
        "Apply in one thread: natively, in one warm instance, and in a fresh one for each entry; \
         {} keys; medians of {} rounds in alternation, and ratios to native",
        plan.keys, plan.rounds,
    );
    let settings =
        json!({ "keys": plan.keys, "rounds": plan.rounds, "key_bytes": load::KEY_BYTES });
    let table = Table { name: "apply", title, columns: COLUMNS.to_vec(), rows };
    let load = Load::kv(&kv_module, plan.keys, INTEGRITY_VALUE_BYTES);
    let integrity = integrity::table(&load, plan.rounds, &INTEGRITY_COMMANDS, &plan.folder)?;
    Ok(Report { name: "apply", machine, settings, tables: vec![table, integrity], charts })
}

/// The figures of the programs.
fn cells(times: &[Vec<f64>; PROGRAMS.len()]) -> Vec<Cell> {
    let [native, warm, fresh] = times;
    let ns = |times: &[f64]| median(times.iter().copied());
    let per_second = |times| Cell::Number(1e9 / ns(times), 0);
    vec![
        Cell::Number(ns(native), 0),
        Cell::Number(ns(warm), 0),
        Cell::Number(ns(fresh), 0),
        Cell::Ratio(ratio(warm, native)),
        Cell::Ratio(ratio(fresh, native)),
        per_second(native),
        per_second(fresh),
    ]
}

fn chart(load: &Load, state: State, rows: &[Vec<Cell>]) -> Chart {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let value = |cell: &Cell| match cell {
        Cell::Number(value, _) => *value,
        Cell::Count(count) => *count as f64,
        _ => 0.0,
    };
    let line = |program: usize| {
        let point =
            |row: &Vec<Cell>| (value(&row[COMMANDS_COLUMN]), value(&row[NS_COLUMN + program]));
        (PROGRAMS[program].to_owned(), rows.iter().map(point).collect())
    };
    let (plugin, state) = (load.plugin, state.name());
    let bytes = load.value_bytes.map(|bytes| bytes.to_string());
    let values = bytes.as_ref().map_or_else(String::new, |bytes| format!(", {bytes} B values"));
    let name = ["apply", plugin].into_iter().chain(bytes.as_deref()).chain([state]);
    Chart {
        name: name.collect::<Vec<_>>().join("-"),
        title: format!("Apply of {plugin}{values}, state in {state}"),
        unit: "ns a command",
        drawing: Drawing::Lines {
            axis: "commands an entry",
            series: (0..PROGRAMS.len()).map(line).collect(),
        },
    }
}
