//! What becomes of throughput and memory as state, clients and log grow, and what a start takes.

use serde_json::json;

use super::client::{Client, Read};
use super::load::{self, Measured};
use super::machine::Machine;
use super::plot::{Chart, Drawing};
use super::report::{Cell, Column, Report, Table, column};
use super::servers::{Servers, Setup, storage_name};
use super::work::{self, Data, Fill, KEY_BYTES, Work};
use super::{Method, note};
use crate::identity::LogKind;

/// What is measured, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How all of it is measured.
    pub method: Method,
    /// What grows.
    pub parts: Vec<Part>,
    /// Where log and state are.
    pub storages: Vec<LogKind>,
    /// How many keys the state has, ascending.
    pub keys: Vec<u32>,
    /// How many call at the same time, where that is what grows.
    pub clients: Vec<usize>,
    /// How many entries the log has, ascending.
    pub entries: Vec<u32>,
    /// The length of a value.
    pub value_bytes: usize,
}

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The number of keys.
    State,
    /// Who calls at the same time.
    Clients,
    /// The entries of a log that is not cut meanwhile.
    Log,
}

/// Who calls while something else grows.
const CLIENTS: usize = 64;
/// The keys of a state while something else grows.
const KEYS: u32 = 10_000;
const MIB: f64 = 1024.0 * 1024.0;

const STORAGE: Column = column("storage", "storage");
const RESIDENT: Column = column("resident_mib", "memory MiB");
const STARTED: Column = column("start_ms", "start ms");
const STATE_COLUMNS: [Column; 8] = [
    STORAGE,
    column("keys", "keys"),
    column("data_mib", "data MiB"),
    RESIDENT,
    column("resident_to_data_ratio", "to data"),
    STARTED,
    column("puts_per_second", "puts/s"),
    column("gets_per_second", "gets/s"),
];
const CLIENTS_COLUMNS: [Column; 7] = [
    STORAGE,
    column("clients", "clients"),
    RESIDENT,
    column("puts_per_second", "puts/s"),
    column("put_p99_us", "p99 us"),
    column("gets_per_second", "gets/s"),
    column("get_p99_us", "p99 us"),
];
const LOG_COLUMNS: [Column; 6] = [
    STORAGE,
    column("log_entries", "log entries"),
    RESIDENT,
    STARTED,
    column("puts_per_second", "puts/s"),
    column("put_p99_us", "p99 us"),
];

/// Measures.
pub async fn run(plan: &Plan) -> anyhow::Result<Report> {
    let machine = Machine::look(&plan.method.folder)?;
    let (mut tables, mut charts) = (Vec::new(), Vec::new());
    for part in &plan.parts {
        let mut rows = Vec::new();
        for &storage in &plan.storages {
            match part {
                Part::State => plan.state(storage, &mut rows).await?,
                Part::Clients => plan.clients(storage, &mut rows).await?,
                Part::Log => plan.log(storage, &mut rows).await?,
            }
        }
        let (table, drawn) = part.show(plan, rows);
        tables.push(table);
        charts.extend(drawn);
    }
    let settings = json!({ "method": plan.method.json(), "value_bytes": plan.value_bytes });
    Ok(Report { name: "growth", machine, settings, tables, charts })
}

impl Part {
    fn show(self, plan: &Plan, rows: Vec<Vec<Cell>>) -> (Table, Vec<Chart>) {
        let value = plan.value_bytes;
        let (name, columns, what) = match self {
            Self::State => ("state", STATE_COLUMNS.to_vec(), "As the state grows"),
            Self::Clients => ("clients", CLIENTS_COLUMNS.to_vec(), "As clients grow"),
            Self::Log => ("log", LOG_COLUMNS.to_vec(), "As a log grows that is not cut"),
        };
        let at = |name: &str| columns.iter().position(|column| column.name == name);
        let throughput = ["puts_per_second", "gets_per_second"];
        let drawn = [
            ("throughput", "calls a second", throughput.to_vec()),
            ("memory", "resident memory, MiB", vec!["resident_mib", "data_mib"]),
            ("start", "start, ms", vec!["start_ms"]),
        ];
        let charts = drawn.into_iter().filter_map(|(figure, unit, names)| {
            let figures: Vec<_> =
                names.iter().filter_map(|name| Some((*name, at(name)?))).collect();
            let series = series(&rows, &figures);
            (!series.is_empty()).then(|| Chart {
                name: format!("growth-{name}-{figure}"),
                title: format!("{what}: one node, {value} B values"),
                unit,
                drawing: Drawing::Lines { axis: columns[1].head, series },
            })
        });
        let charts = charts.collect();
        let title =
            format!("{what}: one node, {value} B values, {:?} each", plan.method.pace.lasts);
        (Table { name, title, columns, rows }, charts)
    }
}

/// A line over the second column for each storage and figure; none where there is no figure.
fn series(rows: &[Vec<Cell>], figures: &[(&str, usize)]) -> Vec<(String, Vec<(f64, f64)>)> {
    let mut storages: Vec<String> = rows.iter().map(|row| row[0].to_string()).collect();
    storages.dedup();
    let mut series = Vec::new();
    for storage in storages {
        for (name, at) in figures {
            let of_storage = rows.iter().filter(|row| row[0].to_string() == storage);
            let measured = of_storage.filter(|row| row[*at] != Cell::None);
            let points: Vec<_> = measured.map(|row| (row[1].number(), row[*at].number())).collect();
            if !points.is_empty() {
                let name = name.split('_').next().unwrap_or(name);
                series.push((format!("{storage}: {name}"), points));
            }
        }
    }
    series
}

impl Plan {
    async fn start(
        &self,
        storage: LogKind,
        arguments: &[&str],
    ) -> anyhow::Result<(Servers, Vec<Client>)> {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let setup = Setup { arguments, ..Setup::quorate(1, storage) };
        let servers = Servers::start(&setup, &self.method.folder).await?;
        let clients = self.connect(&servers).await?;
        Ok((servers, clients))
    }

    async fn connect(&self, servers: &Servers) -> anyhow::Result<Vec<Client>> {
        servers.target().connect(self.method.connections, self.method.route).await
    }

    /// The same call by so many at a time, for a while.
    async fn load(
        &self,
        clients: &[Client],
        callers: usize,
        work: Work,
        data: Data,
    ) -> anyhow::Result<Measured> {
        let workers = work::workers(clients, callers, work, data);
        load::measure(vec![workers], self.method.pace).await?.remove(0).usable()
    }

    /// A row for each number of keys.
    async fn state(&self, storage: LogKind, rows: &mut Vec<Vec<Cell>>) -> anyhow::Result<()> {
        let name = storage_name(storage);
        let (mut servers, mut clients) = self.start(storage, &[]).await?;
        let mut filled = 0;
        for &keys in &self.keys {
            note(format_args!("state, {name}: filling up to {keys} keys"));
            let data = Data { keys, value_bytes: self.value_bytes };
            work::fill(&clients, filled, data, Fill::Transactions).await?;
            filled = keys;
            let puts = self.load(&clients, CLIENTS, Work::Put, data).await?;
            let gets = self.load(&clients, CLIENTS, GET, data).await?;
            let resident = servers.resident_bytes()?;
            let start = restart(storage, &mut servers).await?;
            clients = self.connect(&servers).await?;
            let data_bytes = u64::from(keys) * (KEY_BYTES + self.value_bytes) as u64;
            rows.push(vec![
                Cell::Text(name.to_owned()),
                Cell::Count(keys.into()),
                mebibytes(data_bytes),
                mebibytes(resident),
                Cell::Ratio(mebibytes(resident).number() / mebibytes(data_bytes).number()),
                start,
                per_second(&puts),
                per_second(&gets),
            ]);
        }
        Ok(())
    }

    /// A row for each number of clients.
    async fn clients(&self, storage: LogKind, rows: &mut Vec<Vec<Cell>>) -> anyhow::Result<()> {
        let name = storage_name(storage);
        let (servers, clients) = self.start(storage, &[]).await?;
        let data = Data { keys: KEYS, value_bytes: self.value_bytes };
        work::fill(&clients, 0, data, Fill::Transactions).await?;
        for &callers in &self.clients {
            note(format_args!("clients, {name}: {callers}"));
            let puts = self.load(&clients, callers, Work::Put, data).await?;
            let gets = self.load(&clients, callers, GET, data).await?;
            rows.push(vec![
                Cell::Text(name.to_owned()),
                Cell::Count(callers as u64),
                mebibytes(servers.resident_bytes()?),
                per_second(&puts),
                Cell::Number(puts.latency_us(990), 0),
                per_second(&gets),
                Cell::Number(gets.latency_us(990), 0),
            ]);
        }
        Ok(())
    }

    /// A row for each number of entries: puts that each are an entry, on a log that is not cut.
    async fn log(&self, storage: LogKind, rows: &mut Vec<Vec<Cell>>) -> anyhow::Result<()> {
        let name = storage_name(storage);
        let entries_max = u32::MAX.to_string();
        let uncut = ["--log-entries-max", &entries_max, "--batch-commands-max", "1"];
        let (mut servers, mut clients) = self.start(storage, &uncut).await?;
        let data = Data { keys: KEYS, value_bytes: self.value_bytes };
        let mut before = 0;
        for &entries in &self.entries {
            note(format_args!("log, {name}: up to {entries} entries"));
            let calls = ((entries - before) as usize).div_ceil(CLIENTS);
            let workers = work::workers(&clients, CLIENTS, Work::Put, data);
            let puts = load::measure_calls(vec![workers], calls).await?.remove(0).usable()?;
            before = entries;
            let resident = servers.resident_bytes()?;
            let start = restart(storage, &mut servers).await?;
            clients = self.connect(&servers).await?;
            rows.push(vec![
                Cell::Text(name.to_owned()),
                Cell::Count(entries.into()),
                mebibytes(resident),
                start,
                per_second(&puts),
                Cell::Number(puts.latency_us(990), 0),
            ]);
        }
        Ok(())
    }
}

const GET: Work = Work::Get(Read::Linearizable);

/// How long a node takes to serve again what it has on disk.
async fn restart(storage: LogKind, servers: &mut Servers) -> anyhow::Result<Cell> {
    match storage {
        LogKind::Memory => Ok(Cell::None),
        LogKind::RocksDb => {
            let took = servers.restart().await?;
            Ok(Cell::Number(took.as_secs_f64() * 1000.0, 0))
        }
    }
}

fn per_second(measured: &Measured) -> Cell {
    Cell::Number(measured.calls_per_second(), 0)
}

#[expect(clippy::cast_precision_loss, reason = "less than 2^52 bytes")]
fn mebibytes(bytes: u64) -> Cell {
    Cell::Number(bytes as f64 / MIB, 1)
}
