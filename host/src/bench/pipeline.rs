//! Many puts at a time: in this process, without gRPC, as the floor of it; and by the client for
//! many commands, from many callers, from a few who have many at hand, and in sessions.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use quorate_client::{Builder, CallError, Client, Decided, Method as Command};
use quorate_core::batch::{self, Proposal};
use quorate_wasm::Module;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::client::put_request;
use super::load::{self, Caller, Measured};
use super::machine::{Machine, process_time};
use super::pace::Pace;
use super::plot::{Chart, Drawing};
use super::report::{Cell, Column, FIGURES, Report, Table, column, figures};
use super::servers::{Servers, Setup};
use super::work::Data;
use super::{counted, note};
use crate::identity::{LogKind, Timing};
use crate::local;
use crate::node::{Node, Storage};
use crate::submit::Submitter;
use crate::waiter::{Answer, Seats, Told, Waiter};

const PUT: &str = "kv.v1.Kv/Put";
/// Puts that one caller has at hand, at the most.
const AT_HAND_MAX: usize = 512;
/// How long a node in this process may take to lead.
const LEAD_WAIT_MAX: Duration = Duration::from_secs(10);

/// What is measured, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where servers have their data.
    pub folder: std::path::PathBuf,
    /// The sizes of clusters.
    pub nodes: Vec<usize>,
    /// How puts get to them.
    pub ways: Vec<Way>,
    /// How many are under way at a time.
    pub at_once: usize,
    /// Keys and values.
    pub data: Data,
    /// How long each figure is measured.
    pub pace: Pace,
}

/// How puts get to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// In the node's own process, without gRPC; one node.
    InProcess,
    /// On one stream, from callers who have many at hand.
    Bulk,
    /// On one stream, from many callers.
    Calls,
    /// The same, in sessions: each counts once, although it is sent again.
    ExactlyOnce,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::InProcess => "in process",
            Self::Bulk => "stream, bulk",
            Self::Calls => "stream, calls",
            Self::ExactlyOnce => "stream, exactly once",
        }
    }

    /// How many puts a caller makes at once, where so many are under way in all.
    fn puts(self, at_once: usize) -> usize {
        match self {
            Self::InProcess | Self::Bulk => AT_HAND_MAX.min(at_once),
            Self::Calls | Self::ExactlyOnce => 1,
        }
    }
}

const COLUMNS: [Column; 6] = [
    column("way", "way"),
    column("nodes", "nodes"),
    column("callers", "callers"),
    column("puts_per_call", "puts each"),
    column("puts_per_second", "puts/s"),
    column("cpu_us_per_put", "cpu us/put"),
];

/// Measures.
pub async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let machine = Machine::look(&plan.folder)?;
    let mut rows = Vec::new();
    for (at, &nodes) in plan.nodes.iter().enumerate() {
        for &way in &plan.ways {
            if way == Way::InProcess && at > 0 {
                continue;
            }
            let nodes = if way == Way::InProcess { 1 } else { nodes };
            let row = plan.measure(way, nodes).await?;
            let rate = row[4].to_string();
            note(format_args!("{}, {}: {rate} puts/s", way.name(), counted(nodes, "node")));
            rows.push(row);
        }
    }
    let title = format!(
        "Puts, {} under way, RocksDB with fsync, {} B values, {} keys, {:?} each",
        plan.at_once, plan.data.value_bytes, plan.data.keys, plan.pace.lasts,
    );
    let charts = vec![chart(&rows)];
    let columns = COLUMNS.iter().chain(&FIGURES[1..]).copied().collect();
    let tables = vec![Table { name: "pipeline", title, columns, rows }];
    let settings = json!({
        "at_once": plan.at_once,
        "value_bytes": plan.data.value_bytes,
        "keys": plan.data.keys,
        "measured_seconds": plan.pace.lasts.as_secs_f64(),
    });
    Ok(Report { name: "pipeline", machine, settings, tables, charts })
}

impl Plan {
    async fn measure(&self, way: Way, nodes: usize) -> anyhow::Result<Vec<Cell>> {
        let puts = way.puts(self.at_once);
        let callers = self.at_once / puts;
        let load = (callers, puts);
        let (measured, busy) = match way {
            Way::InProcess => self.in_process(load).await?,
            Way::Bulk | Way::Calls => self.on_stream(load, nodes, Client::builder()).await?,
            Way::ExactlyOnce => {
                self.on_stream(load, nodes, Client::builder().exactly_once()).await?
            }
        };
        let measured = measured.usable()?;
        let each = Cell::Count(puts as u64).number();
        let puts_per_second = measured.calls_per_second() * each;
        let all = puts_per_second * self.pace.end().as_secs_f64();
        let cpu_us = busy.as_secs_f64() * 1e6 / all;
        let [nodes, callers, each] = [nodes, callers, puts].map(|count| Cell::Count(count as u64));
        let mut row = vec![Cell::Text(way.name().to_owned()), nodes, callers, each];
        row.extend([Cell::Number(puts_per_second, 0), Cell::Number(cpu_us, 2)]);
        row.extend(figures(&measured).into_iter().skip(1));
        Ok(row)
    }

    /// In this process; also how long its threads were busy.
    async fn in_process(
        &self,
        (callers, puts): (usize, usize),
    ) -> anyhow::Result<(Measured, Duration)> {
        let prefix = tempfile::Builder::new().prefix("quorate-bench-").tempdir_in(&self.folder);
        let folder = prefix.context("there is no place for the node's data")?;
        let data = folder.path().to_owned();
        let node = spawn_blocking(move || start(&data)).await??;
        let submitter = node.submitter().clone();
        let mut status = node.status();
        let leads = status.wait_for(|status| status.leads);
        tokio::time::timeout(LEAD_WAIT_MAX, leads).await.context("the node does not lead")??;
        let caller = |_| InProcess::new(submitter.clone(), puts, self.data);
        let begun = process_time(None)?;
        let measured = load::measure(vec![(0..callers).map(caller).collect()], self.pace).await;
        let busy = process_time(None)?.saturating_sub(begun);
        // It waits for its threads, and has a runtime of its own.
        spawn_blocking(move || node.stop()).await?;
        Ok((measured?.remove(0), busy))
    }

    /// By the client; also how long it and the nodes were busy.
    async fn on_stream(
        &self,
        (callers, puts): (usize, usize),
        nodes: usize,
        builder: Builder,
    ) -> anyhow::Result<(Measured, Duration)> {
        let servers =
            Servers::start(&Setup::quorate(nodes, LogKind::RocksDb), &self.folder).await?;
        let urls = servers.target().addresses.iter().map(|address| format!("http://{address}"));
        let client = builder.calls_max(self.at_once).connect(urls).await?;
        // It finds the leader.
        let first = OnStream::new(client.clone(), 1, self.data).call().await;
        first.map_err(anyhow::Error::msg)?;
        let caller = |_| OnStream::new(client.clone(), puts, self.data);
        let busy = || anyhow::Ok(process_time(None)? + servers.process_time()?);
        let begun = busy()?;
        let callers = (0..callers).map(caller).collect();
        let measured = load::measure(vec![callers], self.pace).await?.remove(0);
        Ok((measured, busy()?.saturating_sub(begun)))
    }
}

fn start(data: &std::path::Path) -> anyhow::Result<Node> {
    let module = Module::load(quorate_modules::KV_MODULE)?;
    let clients = vec![TcpListener::bind("127.0.0.1:0")?];
    let storage = |_| Storage::Folder(data.to_owned(), LogKind::RocksDb);
    let mut nodes = local::start_stored(&module, clients, &storage, Timing::default())?;
    nodes.pop().context("a listener, yet no node")
}

/// Puts many at a time, without a connection.
struct InProcess {
    submitter: Submitter,
    puts: usize,
    seats: Arc<Seats>,
    told: mpsc::Receiver<Told>,
    data: Data,
    random: fastrand::Rng,
}

impl InProcess {
    fn new(submitter: Submitter, puts: usize, data: Data) -> Self {
        let (seats, told) = Seats::new(puts);
        Self { submitter, puts, seats, told, data, random: fastrand::Rng::new() }
    }
}

impl Caller for InProcess {
    async fn call(&mut self) -> Result<(), String> {
        let method = quorate_abi::method_id(PUT);
        let now = Instant::now();
        let proposals = (0..self.puts as u64).map(|number| {
            let command = batch::Command::new(method, put(self.data, &mut self.random));
            Proposal { command, waiter: Waiter::seat(self.seats.seat(number), now) }
        });
        let proposals = proposals.collect();
        self.submitter.hand_over(proposals).await;
        let mut missing = self.puts;
        while missing > 0 {
            for (_, answer) in self.told.recv().await.ok_or("the seats are gone")? {
                missing -= 1;
                if !matches!(answer, Some(Answer::Decided(_, Ok(_), _))) {
                    return Err(format!("{answer:?}"));
                }
            }
        }
        Ok(())
    }
}

/// Puts one or many at a time, by the client.
struct OnStream {
    client: Client,
    puts: usize,
    data: Data,
    random: fastrand::Rng,
}

impl OnStream {
    fn new(client: Client, puts: usize, data: Data) -> Self {
        Self { client, puts, data, random: fastrand::Rng::new() }
    }
}

impl Caller for OnStream {
    async fn call(&mut self) -> Result<(), String> {
        const METHOD: Command = Command::of(PUT);
        let said = |error: CallError| error.to_string();
        if self.puts == 1 {
            let put = put(self.data, &mut self.random);
            return self.client.call_bytes(METHOD, put).await.map(drop).map_err(said);
        }
        let puts = (0..self.puts).map(|_| put(self.data, &mut self.random)).collect();
        let outcomes = self.client.call_all(METHOD, puts).await;
        outcomes.into_iter().collect::<Result<Vec<Decided>, _>>().map(drop).map_err(said)
    }
}

fn put(data: Data, random: &mut fastrand::Rng) -> Bytes {
    put_request(Data::key(random.u32(0..data.keys)), data.value(random))
}

fn chart(rows: &[Vec<Cell>]) -> Chart {
    let group = |row: &Vec<Cell>| (format!("{}, {} nodes", row[0], row[1]), vec![row[4].number()]);
    Chart {
        name: "pipeline".to_owned(),
        title: "Many puts at a time, RocksDB with fsync".to_owned(),
        unit: "puts a second",
        drawing: Drawing::Bars {
            series: vec!["puts".to_owned()],
            groups: rows.iter().map(group).collect(),
        },
    }
}
