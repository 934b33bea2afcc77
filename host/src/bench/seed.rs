//! The loads that the project began from: a batcher's, in another system. And batches beside none.

use serde_json::json;

use super::client::{Client, Read};
use super::load::{self, Measured};
use super::machine::Machine;
use super::plot::{Chart, Drawing};
use super::report::{Cell, Column, FIGURES, Report, Table, column, figures};
use super::rounds::{median, ratio};
use super::servers::{Servers, Setup, storage_name};
use super::work::{self, Data, Fill, Work};
use super::{Method, note};
use crate::identity::LogKind;

/// What is measured, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How all of it is measured.
    pub method: Method,
    /// What is measured.
    pub parts: Vec<Part>,
    /// Where log and state are.
    pub storages: Vec<LogKind>,
    /// Keys and values.
    pub data: Data,
    /// How often batches and none are compared.
    pub rounds: usize,
    /// Loads that are a number of calls make so many percent of it.
    pub percent: usize,
}

/// One of the loads, or the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// 50 clients, each of which puts and gets 1,000 times; a pair counts as one.
    LargeScale,
    /// 20 clients that put, in a closed loop.
    Sustained,
    /// 12 clients that put, 12 that get, 3 that read ranges, 3 that delete.
    Mixed,
    /// Puts of 5, 20 and 50 clients on a node with batches, and on one with batches of one.
    Batching,
}

/// What clients do in a load, in groups, and how often; without a number, for a time.
struct Load {
    name: &'static str,
    groups: &'static [(&'static str, usize, Work)],
    calls: Option<usize>,
}

const LARGE_SCALE: Load = Load {
    name: "LargeScaleLoad",
    groups: &[("put and get", 50, Work::PutThenGet)],
    calls: Some(1000),
};
const SUSTAINED: Load =
    Load { name: "SustainedLoad", groups: &[("put", 20, Work::Put)], calls: None };
const MIXED: Load = Load {
    name: "MixedWorkload",
    groups: &[
        ("put", 12, Work::Put),
        ("get", 12, Work::Get(Read::Linearizable)),
        ("range", 3, Work::Range),
        ("delete", 3, Work::Delete),
    ],
    calls: None,
};
/// Clients, and how many puts each of them makes.
const BATCHING: [(usize, usize); 3] = [(5, 200), (20, 500), (50, 1000)];
const ALL: &str = "all";

const COLUMNS: [Column; 4] = [
    column("load", "load"),
    column("storage", "storage"),
    column("call", "call"),
    column("clients", "clients"),
];
const BATCHING_COLUMNS: [Column; 8] = [
    column("storage", "storage"),
    column("clients", "clients"),
    column("puts_per_client", "puts each"),
    column("batched_puts_per_second", "batched/s"),
    column("unbatched_puts_per_second", "one by one/s"),
    column("puts_per_second_ratio", "ratio"),
    column("batched_p50_us", "p50 us"),
    column("unbatched_p50_us", "one by one's"),
];

/// Measures.
pub async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let machine = Machine::look(&plan.method.folder)?;
    let (mut loads, mut batching) = (Vec::new(), Vec::new());
    for &storage in &plan.storages {
        for part in &plan.parts {
            match part {
                Part::LargeScale => LARGE_SCALE.measure(plan, storage, &mut loads).await?,
                Part::Sustained => SUSTAINED.measure(plan, storage, &mut loads).await?,
                Part::Mixed => MIXED.measure(plan, storage, &mut loads).await?,
                Part::Batching => batches(plan, storage, &mut batching).await?,
            }
        }
    }
    let (value_bytes, keys) = (plan.data.value_bytes, plan.data.keys);
    let data = format!("one node, {value_bytes} B values, {keys} keys");
    let (title, columns) = (format!("Loads on {data}"), COLUMNS.iter().chain(&FIGURES));
    let charts = [loads_chart(&loads), batching_chart(&batching)].into_iter().flatten().collect();
    let mut tables = Vec::new();
    if !loads.is_empty() {
        tables.push(Table {
            name: "loads",
            title,
            columns: columns.copied().collect(),
            rows: loads,
        });
    }
    if !batching.is_empty() {
        let title = format!(
            "Batches beside batches of one, in alternation: puts on {data}; medians of {} rounds",
            plan.rounds
        );
        let columns = BATCHING_COLUMNS.to_vec();
        tables.push(Table { name: "batching", title, columns, rows: batching });
    }
    let settings = json!({
        "method": plan.method.json(),
        "value_bytes": value_bytes,
        "keys": keys,
        "rounds": plan.rounds,
        "percent_of_calls": plan.percent,
    });
    Ok(Report { name: "seed", machine, settings, tables, charts })
}

/// A node whose key space is full, and connections to it.
async fn start(
    plan: &Plan,
    storage: LogKind,
    arguments: &[&str],
) -> anyhow::Result<(Servers, Vec<Client>)> {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let setup = Setup { arguments, ..Setup::quorate(1, storage) };
    let servers = Servers::start(&setup, &plan.method.folder).await?;
    let clients = servers.target().connect(plan.method.connections, plan.method.route).await?;
    work::fill(&clients, 0, plan.data, Fill::Transactions).await?;
    Ok((servers, clients))
}

impl Plan {
    /// So many percent of calls, at least one.
    fn share(&self, calls: usize) -> usize {
        (calls * self.percent / 100).max(1)
    }
}

impl Load {
    /// Adds a row for each group of clients, and one for all if there are several.
    async fn measure(
        &self,
        plan: &Plan,
        storage: LogKind,
        rows: &mut Vec<Vec<Cell>>,
    ) -> anyhow::Result<()> {
        let (name, storage_name) = (self.name, storage_name(storage));
        note(format_args!("{name}, {storage_name}: starting, and filling"));
        let (_servers, clients) = start(plan, storage, &[]).await?;
        let groups = self.groups.iter();
        let workers = groups
            .map(|(_, callers, work)| work::workers(&clients, *callers, *work, plan.data))
            .collect();
        let measured = match self.calls {
            Some(calls) => load::measure_calls(workers, plan.share(calls)).await?,
            None => load::measure(workers, plan.method.pace).await?,
        };
        let mut add = |call: &str, clients: usize, measured: &Measured| {
            let texts = [name, storage_name, call].map(|text| Cell::Text(text.to_owned()));
            let mut row = texts.to_vec();
            row.push(Cell::Count(clients as u64));
            row.extend(figures(measured));
            rows.push(row);
        };
        if let [_, _, ..] = measured.as_slice() {
            let all = Measured::sum(&measured).usable()?;
            add(ALL, self.groups.iter().map(|(_, callers, _)| callers).sum(), &all);
        }
        for ((call, callers, _), measured) in self.groups.iter().zip(measured) {
            let measured = measured.usable()?;
            let rate = measured.calls_per_second();
            note(format_args!("{name}, {storage_name}, {call}s a second: {rate:.0}"));
            add(call, *callers, &measured);
        }
        Ok(())
    }
}

/// Adds a row for each number of clients.
async fn batches(plan: &Plan, storage: LogKind, rows: &mut Vec<Vec<Cell>>) -> anyhow::Result<()> {
    let name = storage_name(storage);
    note(format_args!("batches, {name}: starting two nodes, and filling"));
    let nodes = [
        start(plan, storage, &[]).await?,
        start(plan, storage, &["--batch-commands-max", "1"]).await?,
    ];
    for (callers, calls) in BATCHING {
        let calls = plan.share(calls);
        let mut rounds: [Vec<Measured>; 2] = [Vec::new(), Vec::new()];
        for _ in 0..plan.rounds {
            for ((_, clients), measured) in nodes.iter().zip(&mut rounds) {
                let workers = work::workers(clients, callers, Work::Put, plan.data);
                let all = load::measure_calls(vec![workers], calls).await?.remove(0);
                measured.push(all.usable()?);
            }
        }
        let of = |figure: fn(&Measured) -> f64| -> [Vec<f64>; 2] {
            rounds.each_ref().map(|measured| measured.iter().map(figure).collect())
        };
        let [batched, single] = of(Measured::calls_per_second);
        let [batched_p50, single_p50] = of(|measured| measured.latency_us(500));
        let ratio = ratio(&batched, &single);
        let number = |values| Cell::Number(median(values), 0);
        note(format_args!("batches, {name}, {callers} clients: {ratio:.2} times as many"));
        rows.push(vec![
            Cell::Text(name.to_owned()),
            Cell::Count(callers as u64),
            Cell::Count(calls as u64),
            number(batched),
            number(single),
            Cell::Ratio(ratio),
            number(batched_p50),
            number(single_p50),
        ]);
    }
    Ok(())
}

/// A bar for each storage and load.
fn loads_chart(rows: &[Vec<Cell>]) -> Option<Chart> {
    let is_whole = |row: &&Vec<Cell>| {
        let is_mixed = row[0] == Cell::Text(MIXED.name.to_owned());
        !is_mixed || row[2] == Cell::Text(ALL.to_owned())
    };
    let rows: Vec<_> = rows.iter().filter(is_whole).collect();
    let mut storages: Vec<String> = rows.iter().map(|row| row[1].to_string()).collect();
    storages.dedup();
    let group = |load: &Load| {
        let of_load = rows.iter().filter(|row| row[0] == Cell::Text(load.name.to_owned()));
        let bars: Vec<_> = of_load.map(|row| row[4].number()).collect();
        (!bars.is_empty()).then(|| (load.name.to_owned(), bars))
    };
    let groups: Vec<_> = [LARGE_SCALE, SUSTAINED, MIXED].iter().filter_map(group).collect();
    (!groups.is_empty()).then(|| Chart {
        name: "seed-loads".to_owned(),
        title: "The loads that the project began from, one node".to_owned(),
        unit: "operations a second",
        drawing: Drawing::Bars { series: storages, groups },
    })
}

fn batching_chart(rows: &[Vec<Cell>]) -> Option<Chart> {
    let group = |row: &Vec<Cell>| {
        (format!("{}, {} clients", row[0], row[1]), vec![row[3].number(), row[4].number()])
    };
    (!rows.is_empty()).then(|| Chart {
        name: "seed-batching".to_owned(),
        title: "Puts on one node, with batches and one by one".to_owned(),
        unit: "puts a second",
        drawing: Drawing::Bars {
            series: vec!["batched".to_owned(), "one by one".to_owned()],
            groups: rows.iter().map(group).collect(),
        },
    })
}
