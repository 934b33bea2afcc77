//! Where the time of a command goes: of puts on servers of its own, or of whatever commands a
//! cluster that runs is given meanwhile.
//!
//! Nodes count always ([`crate::stages`]), so what is seen here is what users' commands took. Of
//! servers of its own, the last row has what the client saw: what it is longer than the whole way
//! went to gRPC on both sides, the network, and the wait for a processor.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tokio::time::sleep;

use super::client::{Client, Route, System, Target};
use super::load::{self, Measured};
use super::machine::Machine;
use super::plot::{Chart, Drawing};
use super::report::{Cell, Column, Report, Table, column};
use super::servers::{Servers, Setup, storage_name};
use super::work::{self, Data, Fill, Work};
use super::{Method, counted, note};
use crate::identity::LogKind;
use crate::stages::{self, Stage, Times};

/// What is measured, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How all of it is measured.
    pub method: Method,
    /// The sizes of clusters.
    pub nodes: Vec<usize>,
    /// Where they have log and state.
    pub storages: Vec<LogKind>,
    /// How many put at the same time.
    pub clients: Vec<usize>,
    /// Keys and values.
    pub data: Data,
}

const LOADS: [Column; 3] =
    [column("nodes", "nodes"), column("storage", "storage"), column("clients", "clients")];
const FIGURES: [Column; 6] = [
    column("stage", "stage"),
    column("commands", "commands"),
    column("p50_us", "p50 us"),
    column("p99_us", "p99 us"),
    column("mean_us", "mean us"),
    column("percent_of_total", "% of total"),
];
/// What the client saw.
const CLIENT: &str = "client";
/// What the picture has.
const DRAWN: usize = Stage::ALL.len() - 1;

/// Measures puts on servers of its own.
pub async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let machine = Machine::look(&plan.method.folder)?;
    let (mut rows, mut groups) = (Vec::new(), Vec::new());
    for &nodes in &plan.nodes {
        for &storage in &plan.storages {
            plan.measure(nodes, storage, (&mut rows, &mut groups)).await?;
        }
    }
    let title = format!(
        "Where the time of a put goes, {} B values, {} keys, {} connections to the leader, {:?} \
         each",
        plan.data.value_bytes, plan.data.keys, plan.method.connections, plan.method.pace.lasts,
    );
    let columns = LOADS.iter().chain(&FIGURES).copied().collect();
    let settings = json!({
        "method": plan.method.json(),
        "value_bytes": plan.data.value_bytes,
        "keys": plan.data.keys,
    });
    Ok(report(machine, settings, Table { name: "stages", title, columns, rows }, groups))
}

impl Plan {
    /// Adds the rows of each number of clients, and the bars of each.
    async fn measure(
        &self,
        nodes: usize,
        storage: LogKind,
        (rows, groups): (&mut Vec<Vec<Cell>>, &mut Vec<Group>),
    ) -> anyhow::Result<()> {
        let kind = storage_name(storage);
        let name = format!("{}, {kind}", counted(nodes, "node"));
        note(format_args!("{name}: starting, and filling"));
        let method = &self.method;
        let servers = Servers::start(&Setup::quorate(nodes, storage), &method.folder).await?;
        let mut clients = servers.target().connect(method.connections, Route::Leader).await?;
        work::fill(&clients, 0, self.data, Fill::Transactions).await?;
        for &callers in &self.clients {
            let workers = work::workers(&clients, callers, Work::Put, self.data);
            let (measured, watched) = tokio::join!(
                load::measure(vec![workers], method.pace),
                watch(&mut clients[..1], method.pace.warm_up, method.pace.lasts),
            );
            let (measured, watched) = (measured?.remove(0).usable()?, watched?);
            let who = counted(callers, "client");
            note(format_args!("{name}, {who}: {} commands", watched.commands()));
            let [nodes, callers] = [nodes, callers].map(|count| Cell::Count(count as u64));
            let load = [nodes, Cell::Text(kind.to_owned()), callers];
            let figures = watched.rows().into_iter().chain([client_row(&measured)]);
            rows.extend(figures.map(|figures| load.iter().cloned().chain(figures).collect()));
            groups.push(watched.group(format!("{name}, {who}")));
        }
        Ok(())
    }
}

/// Watches nodes that run, `HOST:PORT` of each, and gives them no load.
pub async fn watch_running(method: &Method, nodes: &[String]) -> anyhow::Result<Report> {
    let machine = Machine::look(&method.folder)?;
    let target = Target { system: System::Quorate, addresses: nodes.to_vec() };
    let mut clients = target.connect(nodes.len(), Route::All).await?;
    note(format_args!("watching {} for {:?}", nodes.join(", "), method.pace.lasts));
    let watched = watch(&mut clients, Duration::ZERO, method.pace.lasts).await?;
    let who = watched.leaders();
    anyhow::ensure!(
        watched.commands() > 0,
        "{} decided no command in {:?}; {who}, and only a leader's are counted",
        nodes.join(", "),
        method.pace.lasts,
    );
    let title = format!("Where the time of commands went, within {:?}; {who}", method.pace.lasts);
    let settings = json!({ "at": nodes, "watched_seconds": method.pace.lasts.as_secs_f64() });
    let table = Table { name: "stages", title, columns: FIGURES.to_vec(), rows: watched.rows() };
    Ok(report(machine, settings, table, vec![watched.group(nodes.join(", "))]))
}

/// What is drawn of a load: the median of each stage.
type Group = (String, Vec<f64>);

fn report(
    machine: Machine,
    settings: serde_json::Value,
    table: Table,
    groups: Vec<Group>,
) -> Report {
    let series = Stage::ALL[..DRAWN].iter().map(|stage| stage.name().to_owned()).collect();
    let chart = Chart {
        name: "stages".to_owned(),
        title: "Where the time of a command goes".to_owned(),
        unit: "us, median",
        drawing: Drawing::Bars { series, groups },
    };
    Report { name: "stages", machine, settings, tables: vec![table], charts: vec![chart] }
}

/// What nodes counted within some time.
struct Watched {
    /// In the order of [`Stage::ALL`].
    times: Vec<Times>,
    /// The nodes that were asked, and who led then as each knew it.
    leaders: Vec<(u64, u64)>,
}

/// Has nodes say twice what they have counted, and subtracts.
async fn watch(clients: &mut [Client], skip: Duration, lasts: Duration) -> anyhow::Result<Watched> {
    sleep(skip).await;
    let before = count(clients).await?;
    sleep(lasts).await;
    let mut watched = count(clients).await?;
    for (times, before) in watched.times.iter_mut().zip(&before.times) {
        times.subtract(before).context("a node has begun anew meanwhile")?;
    }
    Ok(watched)
}

async fn count(clients: &mut [Client]) -> anyhow::Result<Watched> {
    let mut counted =
        Watched { times: vec![stages::times(); Stage::ALL.len()], leaders: Vec::new() };
    for client in clients {
        let reply = client.stages().await?;
        counted.leaders.push((reply.node, reply.leader));
        for (stage, times) in Stage::ALL.iter().zip(&mut counted.times) {
            let of_stage = reply.stages.iter().find(|found| found.stage == stage.name());
            let found = of_stage.and_then(stages::from_wire);
            let found = found.with_context(|| format!("a node does not tell {}", stage.name()))?;
            times.add(found).expect("all have the same bounds");
        }
    }
    Ok(counted)
}

impl Watched {
    fn commands(&self) -> u64 {
        self.times.last().map_or(0, Times::len)
    }

    fn leaders(&self) -> String {
        let one = |(node, leader): &(u64, u64)| match leader {
            0 => format!("node {node} knows no leader"),
            leader if leader == node => format!("node {node} leads"),
            leader => format!("node {node} follows node {leader}"),
        };
        self.leaders.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    fn rows(&self) -> Vec<Vec<Cell>> {
        let total = self.times.last().map_or(0.0, Times::mean);
        let row = |(stage, times): (&Stage, &Times)| {
            vec![
                Cell::Text(stage.name().to_owned()),
                Cell::Count(times.len()),
                Cell::Number(micros(times, 0.5), 1),
                Cell::Number(micros(times, 0.99), 1),
                Cell::Number(times.mean() / 1000.0, 1),
                Cell::Number(100.0 * times.mean() / total, 0),
            ]
        };
        Stage::ALL.iter().zip(&self.times).map(row).collect()
    }

    fn group(&self, name: String) -> Group {
        (name, self.times[..DRAWN].iter().map(|times| micros(times, 0.5)).collect())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a minute at most")]
fn micros(times: &Times, quantile: f64) -> f64 {
    times.value_at_quantile(quantile) as f64 / 1000.0
}

fn client_row(measured: &Measured) -> Vec<Cell> {
    vec![
        Cell::Text(CLIENT.to_owned()),
        Cell::Count(measured.calls()),
        Cell::Number(measured.latency_us(500), 1),
        Cell::Number(measured.latency_us(990), 1),
        Cell::Number(measured.mean_us(), 1),
        Cell::None,
    ]
}
