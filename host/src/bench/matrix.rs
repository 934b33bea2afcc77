//! Every way to call, on every size of cluster, storage, size of value and number of clients.

use serde_json::json;

use super::client::Read;
use super::load;
use super::machine::Machine;
use super::plot::{Chart, Drawing};
use super::report::{Cell, Column, FIGURES, Report, Table, column, figures};
use super::servers::{Servers, Setup, storage_name};
use super::work::{self, Data, Fill, Work};
use super::{Method, counted, note};
use crate::identity::LogKind;

/// What is measured, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How all of it is measured.
    pub method: Method,
    /// The sizes of clusters.
    pub nodes: Vec<usize>,
    /// Where they have log and state.
    pub storages: Vec<LogKind>,
    /// The lengths of values.
    pub value_bytes: Vec<usize>,
    /// How many keys there are.
    pub keys: u32,
    /// How many call at the same time.
    pub clients: Vec<usize>,
    /// What they call.
    pub calls: Vec<Call>,
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Call {
    /// Put, which is always linearizable.
    Put,
    /// Get, linearizable.
    Linearizable,
    /// Get by the leader's lease.
    Lease,
    /// Get of what the node happens to have.
    Stale,
}

impl Call {
    fn work(self) -> (&'static str, Work) {
        match self {
            Self::Put => ("put", Work::Put),
            Self::Linearizable => ("linearizable get", Work::Get(Read::Linearizable)),
            Self::Lease => ("lease get", Work::Get(Read::Lease)),
            Self::Stale => ("stale get", Work::Get(Read::Stale)),
        }
    }
}

const COLUMNS: [Column; 5] = [
    column("nodes", "nodes"),
    column("storage", "storage"),
    column("value_bytes", "value B"),
    column("call", "call"),
    column("clients", "clients"),
];

/// Measures.
pub async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let machine = Machine::look(&plan.method.folder)?;
    let (mut rows, mut charts) = (Vec::new(), Vec::new());
    for &nodes in &plan.nodes {
        for &storage in &plan.storages {
            for &value_bytes in &plan.value_bytes {
                let cluster = Cluster { nodes, storage, value_bytes };
                charts.push(cluster.measure(plan, &mut rows).await?);
            }
        }
    }
    let title = format!(
        "Unary calls, {} keys, {} connections to {}, {:?} each",
        plan.keys,
        plan.method.connections,
        plan.method.route.label(),
        plan.method.pace.lasts,
    );
    let columns = COLUMNS.iter().chain(&FIGURES).copied().collect();
    let tables = vec![Table { name: "matrix", title, columns, rows }];
    let settings = json!({ "method": plan.method.json(), "keys": plan.keys });
    Ok(Report { name: "matrix", machine, settings, tables, charts })
}

/// One of the clusters.
struct Cluster {
    nodes: usize,
    storage: LogKind,
    value_bytes: usize,
}

impl Cluster {
    /// Adds a row for each call and number of clients, and gives a picture of them.
    async fn measure(&self, plan: &Plan, rows: &mut Vec<Vec<Cell>>) -> anyhow::Result<Chart> {
        let &Self { nodes, storage, value_bytes } = self;
        let kind = storage_name(storage);
        let name = format!("{}, {kind}, {value_bytes} B", counted(nodes, "node"));
        note(format_args!("{name}: starting, and filling"));
        let method = &plan.method;
        let arguments = vec!["--lease-reads".to_owned()];
        let setup = Setup { arguments, ..Setup::quorate(nodes, storage) };
        let servers = Servers::start(&setup, &method.folder).await?;
        let clients = servers.target().connect(method.connections, method.route).await?;
        let data = Data { keys: plan.keys, value_bytes };
        work::fill(&clients, 0, data, Fill::Transactions).await?;
        let mut series = Vec::new();
        for call in &plan.calls {
            let (call, work) = call.work();
            let mut line = Vec::new();
            for &callers in &plan.clients {
                let workers = work::workers(&clients, callers, work, data);
                let measured = load::measure(vec![workers], method.pace).await?.remove(0);
                let measured = measured.usable()?;
                let rate = measured.calls_per_second();
                let who = counted(callers, "client");
                note(format_args!("{name}, {who}, {call}s a second: {rate:.0}"));
                let [nodes, value_bytes, callers] =
                    [nodes, value_bytes, callers].map(|count| Cell::Count(count as u64));
                let [kind, call] = [kind, call].map(|text| Cell::Text(text.to_owned()));
                line.push((callers.number(), rate));
                let mut row = vec![nodes, kind, value_bytes, call, callers];
                row.extend(figures(&measured));
                rows.push(row);
            }
            series.push((format!("{call}s"), line));
        }
        Ok(Chart {
            name: format!("matrix-{nodes}-{kind}-{value_bytes}"),
            title: format!("Unary calls, {name}"),
            unit: "calls a second",
            drawing: Drawing::Lines { axis: "clients", series },
        })
    }
}
