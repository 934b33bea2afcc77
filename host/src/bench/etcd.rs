//! The same load on an etcd server and on Quorate's key-value plugin, in alternation.

use serde_json::{Value, json};

use super::client::{Client, Read, System, Target};
use super::load::{self, Measured};
use super::machine::Machine;
use super::plot::{Chart, Drawing};
use super::report::{Cell, Column, Report, Table, column};
use super::rounds::{median, ratio};
use super::servers::{Servers, Setup};
use super::work::{self, Data, Fill, Work};
use super::{Method, counted, note};
use crate::identity::LogKind;

/// What is measured, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How all of it is measured.
    pub method: Method,
    /// An etcd that runs, `HOST:PORT` of each member; none to start one.
    pub etcd: Vec<String>,
    /// The sizes of clusters.
    pub nodes: Vec<usize>,
    /// What is called.
    pub calls: Vec<Call>,
    /// How many call at the same time.
    pub clients: Vec<usize>,
    /// Keys and values.
    pub data: Data,
    /// How often each system is measured.
    pub rounds: usize,
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

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Call {
    /// A put.
    Put,
    /// A get, linearizable.
    Get,
}

impl Call {
    fn work(self) -> (&'static str, Work) {
        match self {
            Self::Put => ("put", Work::Put),
            Self::Get => ("get", Work::Get(Read::Linearizable)),
        }
    }
}

/// Measures.
pub async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let mut machine = Machine::look(&plan.method.folder)?;
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
                    let (name, nodes_text) = (system.name(), counted(nodes, "node"));
                    note(format_args!("{name}, {nodes_text}: starting, and filling"));
                    let setup = match system {
                        System::Quorate => Setup::quorate(nodes, LogKind::RocksDb),
                        System::Etcd => Setup::etcd(nodes),
                    };
                    let servers = Servers::start(&setup, &plan.method.folder).await?;
                    let target = servers.target().clone();
                    running.push(servers);
                    target
                }
            };
            if let Some(version) = target.version().await? {
                machine.etcd_version = Some(version);
            }
            let connections = target.connect(plan.method.connections, plan.method.route).await?;
            work::fill(&connections, 0, plan.data, Fill::Puts).await?;
            clients.push(connections);
        }
        let before = rows.len();
        for (name, work) in plan.calls.iter().map(|call| call.work()) {
            for &callers in &plan.clients {
                let rounds = rounds(plan, &clients, work, callers).await?;
                let mut row = vec![Cell::Text(name.to_owned())];
                row.extend([nodes, callers].map(|count| Cell::Count(count as u64)));
                row.extend(cells(&rounds));
                let rates: Vec<_> = row[3..6].iter().map(Cell::to_string).collect();
                let rates = rates.join(" : ");
                let (nodes, callers) = (counted(nodes, "node"), counted(callers, "client"));
                note(format_args!("{nodes}, {callers}, {name}s a second: {rates}"));
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
        plan.method.connections,
        plan.method.route.label(),
        plan.rounds,
        plan.method.pace.lasts,
    );
    let table = Table { name: "etcd", title, columns: COLUMNS.to_vec(), rows };
    let settings = json!({
        "method": plan.method.json(),
        "value_bytes": plan.data.value_bytes,
        "keys": plan.data.keys,
        "rounds": plan.rounds,
        "etcd_endpoints": plan.etcd,
    });
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
            let measured = load::measure(vec![workers], plan.method.pace).await?.remove(0);
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
    let group = |row: &Vec<Cell>| {
        let name = format!("{}, clients: {}", row[0], row[2]);
        (name, vec![row[3].number(), row[4].number()])
    };
    let series = SYSTEMS.map(|system| system.name().to_owned()).to_vec();
    Chart {
        name: format!("etcd-{nodes}"),
        title: format!("Unary calls, {}, durable", counted(nodes, "node")),
        unit: "calls a second",
        drawing: Drawing::Bars { series, groups: rows.iter().map(group).collect() },
    }
}

fn is_local(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host == "localhost" || host.starts_with("127.") || host == "[::1]"
}
