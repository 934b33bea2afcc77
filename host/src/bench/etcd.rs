//! The same load on an etcd server and on Quorate's key-value plugin, in alternation.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::client::{Client, Read, Route, System, Target};
use super::load::{self, Measured};
use super::machine::Machine;
use super::note;
use super::pace::Pace;
use super::plot::{Chart, Drawing};
use super::report::{Cell, Column, Report, Table, column};
use super::rounds::{median, ratio};
use super::servers::{Servers, Setup};
use super::work::{self, Data, Work};
use crate::identity::LogKind;

/// What is measured, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where servers have their data.
    pub folder: PathBuf,
    /// An etcd that runs, `HOST:PORT` of each member; none to start one.
    pub etcd: Vec<String>,
    /// The sizes of clusters.
    pub nodes: Vec<usize>,
    /// How many call at the same time.
    pub clients: Vec<usize>,
    /// Connections, shared by the clients.
    pub connections: usize,
    /// Which nodes they lead to.
    pub route: Route,
    /// Keys and values.
    pub data: Data,
    /// How often each system is measured.
    pub rounds: usize,
    /// How long, each time.
    pub pace: Pace,
}

const COLUMNS: [Column; 14] = [
    column("operation", "call"),
    column("nodes", "nodes"),
    column("clients", "clients"),
    column("quorate_calls_per_second", "quorate/s"),
    column("etcd_calls_per_second", "etcd/s"),
    column("calls_per_second_ratio", "ratio"),
    column("quorate_p50_us", "p50 us"),
    column("etcd_p50_us", "etcd's"),
    column("p50_ratio", "ratio"),
    column("quorate_p99_us", "p99 us"),
    column("etcd_p99_us", "etcd's"),
    column("p99_ratio", "ratio"),
    column("errors", "errors"),
    column("rounds", ""),
];

/// The systems, in the order in which each round has them.
const SYSTEMS: [System; 2] = [System::Quorate, System::Etcd];
const WORKS: [(&str, Work); 2] = [("put", Work::Put), ("get", Work::Get(Read::Linearizable))];

/// Measures.
pub async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let mut machine = Machine::look(&plan.folder)?;
    machine.is_shared = plan.etcd.iter().all(|address| is_local(address));
    let mut rows = Vec::new();
    let mut charts = Vec::new();
    for &nodes in &plan.nodes {
        let mut running = Vec::new();
        let mut clients = Vec::new();
        for system in SYSTEMS {
            let target = match system {
                System::Etcd if !plan.etcd.is_empty() => {
                    Target { system, addresses: plan.etcd.clone() }
                }
                System::Etcd | System::Quorate => {
                    note(format_args!("{nodes} of {}: starting, and filling", system.name()));
                    let (storage, arguments) = (LogKind::RocksDb, Vec::new());
                    let setup = Setup { system, nodes, storage, arguments };
                    let servers = Servers::start(&setup, &plan.folder).await?;
                    let target = servers.target().clone();
                    running.push(servers);
                    target
                }
            };
            if let Some(version) = target.version().await? {
                machine.etcd_version = Some(version);
            }
            let connections = target.connect(plan.connections, plan.route).await?;
            work::fill(&connections, plan.data).await?;
            clients.push(connections);
        }
        let before = rows.len();
        for (name, work) in WORKS {
            for &callers in &plan.clients {
                let rounds = rounds(plan, &clients, work, callers).await?;
                let mut row = vec![Cell::Text(name.to_owned())];
                row.extend([nodes, callers].map(|count| Cell::Count(count as u64)));
                row.extend(cells(&rounds));
                let rates: Vec<_> = row[3..6].iter().map(Cell::to_string).collect();
                let rates = rates.join(" : ");
                note(format_args!("{nodes} nodes, {callers} clients, {name}s a second: {rates}"));
                rows.push(row);
            }
        }
        charts.push(chart(nodes, &rows[before..]));
    }
    let title = format!(
        "Quorate beside etcd: unary calls, RocksDB with fsync, {} B values, {} keys, {} \
         connections to {}; medians of {} rounds of {:?} in alternation",
        plan.data.value_bytes,
        plan.data.keys,
        plan.connections,
        if plan.route == Route::Leader { "the leader" } else { "all nodes" },
        plan.rounds,
        plan.pace.lasts,
    );
    let table = Table { name: "etcd", title, columns: COLUMNS.to_vec(), rows };
    let settings = settings(plan);
    Ok(Report { name: "etcd", machine, settings, tables: vec![table], charts })
}

/// The same load on each system, several times in alternation; for each round, what came of each.
async fn rounds(
    plan: &Plan,
    clients: &[Vec<Client>],
    work: Work,
    callers: usize,
) -> anyhow::Result<Vec<[Measured; 2]>> {
    let mut rounds = Vec::new();
    for _ in 0..plan.rounds {
        let mut round = Vec::new();
        for clients in clients {
            let workers = work::workers(clients, callers, work, plan.data);
            let measured = load::measure(vec![workers], plan.pace).await?.remove(0);
            round.push(measured.usable()?);
        }
        rounds.push(round.try_into().expect("one for each of the two systems"));
    }
    Ok(rounds)
}

/// What the figures of a row are called, and how they are had of a round.
type Figure = (&'static str, fn(&Measured) -> f64);
const FIGURES: [Figure; 3] = [
    ("calls_per_second", Measured::calls_per_second),
    ("p50_us", |measured| measured.latency_us(500)),
    ("p99_us", |measured| measured.latency_us(990)),
];

fn cells(rounds: &[[Measured; 2]]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (_, figure) in FIGURES {
        let of = |system: usize| rounds.iter().map(|round| figure(&round[system])).collect();
        let (ours, theirs): (Vec<_>, Vec<_>) = (of(0), of(1));
        let ratio = Cell::Ratio(ratio(&ours, &theirs));
        cells.extend([Cell::Number(median(ours), 0), Cell::Number(median(theirs), 0), ratio]);
    }
    cells.push(Cell::Count(rounds.iter().flatten().map(|measured| measured.errors).sum()));
    let each = |measured: &Measured| -> Value {
        FIGURES
            .iter()
            .map(|(name, figure)| ((*name).to_owned(), Value::from(figure(measured))))
            .collect()
    };
    let round = |[ours, theirs]: &[Measured; 2]| {
        let [quorate, etcd] = SYSTEMS.map(System::name);
        json!({ quorate: each(ours), etcd: each(theirs) })
    };
    cells.push(Cell::Json(rounds.iter().map(round).collect()));
    cells
}

fn chart(nodes: usize, rows: &[Vec<Cell>]) -> Chart {
    let value = |cell: &Cell| if let Cell::Number(value, _) = cell { *value } else { 0.0 };
    let group = |row: &Vec<Cell>| {
        let name = format!("{}, {} clients", row[0], row[2]);
        (name, vec![value(&row[3]), value(&row[4])])
    };
    let series = SYSTEMS.map(|system| system.name().to_owned()).to_vec();
    let of = if nodes == 1 { "one node" } else { "nodes on one machine" };
    let count = if nodes == 1 { String::new() } else { format!("{nodes} ") };
    Chart {
        name: format!("etcd-{nodes}"),
        title: format!("Unary calls, {count}{of}, RocksDB with fsync"),
        unit: "calls a second",
        drawing: Drawing::Bars { series, groups: rows.iter().map(group).collect() },
    }
}

fn settings(plan: &Plan) -> Value {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    json!({
        "connections": plan.connections,
        "connected_to": plan.route.name(),
        "keys": plan.data.keys,
        "key_bytes": work::KEY_BYTES,
        "value_bytes": plan.data.value_bytes,
        "rounds": plan.rounds,
        "warm_up_ms": milliseconds(plan.pace.warm_up),
        "measured_ms": milliseconds(plan.pace.lasts),
        "rate_per_second": plan.pace.rate_per_second,
        "etcd_endpoints": plan.etcd,
    })
}

fn is_local(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host == "localhost" || host.starts_with("127.") || host == "[::1]"
}
