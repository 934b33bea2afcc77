//! `quorate bench`: measures what users run. Each of its commands gives one table, for people on
//! standard output and for programs as JSON, and pictures of it.
//!
//! Exit codes beyond those of all commands: 130 and 143 when a signal ended it.

mod apply;
mod stages;

use std::fs;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand, value_parser};

use self::apply::Apply;
use self::stages::Stages;
use super::signals::Signals;
use super::{Failure, say, usage};
use crate::bench::client::Route;
use crate::bench::pace::Pace;
use crate::bench::report::Report;
use crate::bench::work::Data;
use crate::bench::{Method, etcd, growth, machine, matrix, pipeline, seed, servers};
use crate::identity::LogKind;

/// Where pictures go, and below it the servers' data.
const OUT: &str = "target/bench";
/// How long one measurement may take.
const SECONDS_MAX: f64 = 86_400.0;
/// More would be refused by the servers.
const CLIENTS: RangeInclusive<i64> = 1..=4096;
const NODES: RangeInclusive<i64> = 1..=7;
/// What one stream may have under way; more would wait.
const AT_ONCE: RangeInclusive<i64> = 1..=16_384;
const VALUE_BYTES: RangeInclusive<i64> = 0..=1_000_000;
const STORAGES: &str = "memory,rocksdb";
/// What a shell says of a process that a signal ended, without the signal's number.
const SIGNALLED: u8 = 128;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Compare with an etcd server: the same puts and gets on both, in alternation
    Etcd(Etcd),
    /// Measure puts, and gets of each kind, on clusters of each kind
    Matrix(Matrix),
    /// Measure the loads that the project began from, and batches beside none
    Seed(Seed),
    /// Measure throughput, memory and start as state, clients and log grow
    Growth(Growth),
    /// Apply entries in this process, without clients or a log: a plugin natively, in one instance
    /// of its module, and in a fresh one for each entry
    Apply(Apply),
    /// Measure where the time of a command goes, from its caller's hands to the reply; also on
    /// nodes that run
    Stages(Stages),
    /// Measure puts many at a time: without gRPC, and on one stream
    Pipeline(Pipeline),
}

/// What all measurements have.
#[derive(Debug, Args)]
struct Common {
    /// Connections, shared by the clients
    #[arg(long, value_name = "N", default_value_t = 8)]
    #[arg(value_parser = value_parser!(u16).range(1..=1024))]
    connections: u16,
    /// Which nodes are called
    #[arg(long, value_enum, default_value_t = Route::Leader)]
    connect: Route,
    #[command(flatten)]
    files: Files,
}

/// Where results go, and data meanwhile.
#[derive(Debug, Args)]
struct Files {
    /// Where servers have their data, which must not be in memory [default: data below --out]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Where pictures go
    #[arg(long, value_name = "DIR", default_value = OUT)]
    out: PathBuf,
    /// Write the table to this file, too, for programs
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Etcd {
    /// An etcd that runs, where the keys are left [default: start the one in PATH, beside Quorate]
    #[arg(long, value_name = "URL,URL", value_delimiter = ',', value_parser = endpoint)]
    endpoints: Vec<String>,
    /// The sizes of clusters [default: 1, or as many as there are endpoints]
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    #[arg(value_parser = value_parser!(u32).range(NODES))]
    nodes: Vec<u32>,
    /// What they call, in this order; reads behind many writes are slower on etcd
    #[arg(long, value_enum, value_delimiter = ',', default_value = "get,put")]
    calls: Vec<etcd::Call>,
    /// How many call at the same time
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,64,256")]
    #[arg(value_parser = value_parser!(u32).range(CLIENTS))]
    clients: Vec<u32>,
    /// The length of a value; that of a key is 16
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    #[arg(value_parser = value_parser!(u32).range(VALUE_BYTES))]
    value_bytes: u32,
    /// How many keys there are
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    #[arg(value_parser = value_parser!(u32).range(1..))]
    keys: u32,
    /// How often each figure is measured; the median is shown
    #[arg(long, value_name = "N", default_value_t = 9)]
    #[arg(value_parser = value_parser!(u16).range(1..))]
    rounds: u16,
    /// How long each figure is measured in a round, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "0.5")]
    seconds: Duration,
    /// Call at this rate, and count from when a call was to begin, instead of calling again as
    /// soon as an answer is there: not how many calls at most, but how long they take
    #[arg(long, value_name = "CALLS_PER_SECOND")]
    rate: Option<NonZeroU32>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Matrix {
    /// The sizes of clusters
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,3")]
    #[arg(value_parser = value_parser!(u32).range(NODES))]
    nodes: Vec<u32>,
    /// Where log and state are
    #[arg(long, value_enum, value_delimiter = ',', default_value = STORAGES)]
    storage: Vec<LogKind>,
    /// The lengths of values; that of a key is 16
    #[arg(long, value_name = "BYTES,BYTES", value_delimiter = ',', default_value = "16,256,1024")]
    #[arg(value_parser = value_parser!(u32).range(VALUE_BYTES))]
    value_bytes: Vec<u32>,
    /// How many call at the same time
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,64,256")]
    #[arg(value_parser = value_parser!(u32).range(CLIENTS))]
    clients: Vec<u32>,
    /// What they call: puts, and gets of three kinds
    #[arg(long, value_enum, value_delimiter = ',', default_value = "put,linearizable,lease,stale")]
    calls: Vec<matrix::Call>,
    /// How many keys there are
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    #[arg(value_parser = value_parser!(u32).range(1..))]
    keys: u32,
    /// How long each figure is measured, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "1")]
    seconds: Duration,
    /// Call at this rate, as with bench etcd
    #[arg(long, value_name = "CALLS_PER_SECOND")]
    rate: Option<NonZeroU32>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Seed {
    /// What is measured
    #[arg(long, value_enum, value_delimiter = ',')]
    #[arg(default_value = "large-scale,sustained,mixed,batching")]
    only: Vec<seed::Part>,
    /// Where log and state are
    #[arg(long, value_enum, value_delimiter = ',', default_value = STORAGES)]
    storage: Vec<LogKind>,
    /// The length of a value; that of a key is 16
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    #[arg(value_parser = value_parser!(u32).range(VALUE_BYTES))]
    value_bytes: u32,
    /// How many keys there are
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = value_parser!(u32).range(1..))]
    keys: u32,
    /// How long the loads last that have no number of calls, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    seconds: Duration,
    /// How much is made of the loads that have a number of calls
    #[arg(long, value_name = "PERCENT", default_value_t = 100)]
    #[arg(value_parser = value_parser!(u16).range(1..))]
    percent: u16,
    /// How often batches are compared with none; the median is shown
    #[arg(long, value_name = "N", default_value_t = 3)]
    #[arg(value_parser = value_parser!(u16).range(1..))]
    rounds: u16,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Growth {
    /// What grows
    #[arg(long, value_enum, value_delimiter = ',', default_value = "state,clients,log")]
    only: Vec<growth::Part>,
    /// Where log and state are
    #[arg(long, value_enum, value_delimiter = ',', default_value = STORAGES)]
    storage: Vec<LogKind>,
    /// The sizes of the state, in keys; 10000000 takes some minutes more
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "10000,100000,1000000")]
    #[arg(value_parser = value_parser!(u32).range(1..))]
    keys: Vec<u32>,
    /// How many call at the same time
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,4,16,64,256,1024")]
    #[arg(value_parser = value_parser!(u32).range(CLIENTS))]
    clients: Vec<u32>,
    /// The lengths of the log
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1000,10000,50000")]
    #[arg(value_parser = value_parser!(u32).range(1..))]
    entries: Vec<u32>,
    /// The length of a value; that of a key is 16
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    #[arg(value_parser = value_parser!(u32).range(VALUE_BYTES))]
    value_bytes: u32,
    /// How long each figure is measured, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "2")]
    seconds: Duration,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(super) struct Pipeline {
    /// The sizes of clusters
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,3")]
    #[arg(value_parser = value_parser!(u32).range(NODES))]
    nodes: Vec<u32>,
    /// How puts get to them
    #[arg(long, value_enum, value_delimiter = ',')]
    #[arg(default_value = "in-process,bulk,calls,exactly-once")]
    ways: Vec<pipeline::Way>,
    /// How many puts are under way at a time
    #[arg(long, value_name = "N", default_value_t = 16_384)]
    #[arg(value_parser = value_parser!(u32).range(AT_ONCE))]
    at_once: u32,
    /// The length of a value; that of a key is 16
    #[arg(long, value_name = "BYTES", default_value_t = 128)]
    #[arg(value_parser = value_parser!(u32).range(VALUE_BYTES))]
    value_bytes: u32,
    /// How many keys there are
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    #[arg(value_parser = value_parser!(u32).range(1..))]
    keys: u32,
    /// How long each figure is measured, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "3")]
    seconds: Duration,
    #[command(flatten)]
    files: Files,
}

pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Etcd(arguments) => arguments.run(),
        Command::Matrix(arguments) => arguments.run(),
        Command::Seed(arguments) => arguments.run(),
        Command::Growth(arguments) => arguments.run(),
        Command::Apply(arguments) => arguments.run(),
        Command::Stages(arguments) => arguments.run(),
        Command::Pipeline(arguments) => arguments.run(),
    }
}

impl Etcd {
    fn run(self) -> Result<(), Failure> {
        if self.endpoints.is_empty() && !servers::has_etcd() {
            return Err(usage(
                "there is no etcd in PATH: install it (Debian: apt-get install etcd-server), or \
                 name one that runs with --endpoints",
            ));
        }
        let nodes = match (self.nodes.as_slice(), self.endpoints.len()) {
            ([], 0) => vec![1],
            ([], endpoints) => vec![endpoints],
            (nodes, _) => sizes(nodes),
        };
        let common = self.common;
        let plan = etcd::Plan {
            method: common.method(Pace::new(self.seconds, self.rate))?,
            etcd: self.endpoints,
            nodes,
            calls: self.calls,
            clients: sizes(&self.clients),
            data: Data { keys: self.keys, value_bytes: self.value_bytes as usize },
            rounds: self.rounds.into(),
        };
        common.files.report(etcd::run(&plan))
    }
}

impl Matrix {
    fn run(self) -> Result<(), Failure> {
        let common = self.common;
        let plan = matrix::Plan {
            method: common.method(Pace::new(self.seconds, self.rate))?,
            nodes: sizes(&self.nodes),
            storages: self.storage,
            value_bytes: sizes(&self.value_bytes),
            keys: self.keys,
            clients: sizes(&self.clients),
            calls: self.calls,
        };
        common.files.report(matrix::run(&plan))
    }
}

impl Seed {
    fn run(self) -> Result<(), Failure> {
        let common = self.common;
        let plan = seed::Plan {
            method: common.method(Pace::new(self.seconds, None))?,
            parts: self.only,
            storages: self.storage,
            data: Data { keys: self.keys, value_bytes: self.value_bytes as usize },
            rounds: self.rounds.into(),
            percent: self.percent.into(),
        };
        common.files.report(seed::run(&plan))
    }
}

impl Growth {
    fn run(self) -> Result<(), Failure> {
        let common = self.common;
        let plan = growth::Plan {
            method: common.method(Pace::new(self.seconds, None))?,
            parts: self.only,
            storages: self.storage,
            keys: ascending("--keys", self.keys)?,
            clients: sizes(&self.clients),
            entries: ascending("--entries", self.entries)?,
            value_bytes: self.value_bytes as usize,
        };
        common.files.report(growth::run(&plan))
    }
}

impl Pipeline {
    fn run(self) -> Result<(), Failure> {
        let plan = pipeline::Plan {
            folder: self.files.folder()?,
            nodes: sizes(&self.nodes),
            ways: self.ways,
            at_once: self.at_once as usize,
            data: Data { keys: self.keys, value_bytes: self.value_bytes as usize },
            pace: Pace::new(self.seconds, None),
        };
        self.files.report(pipeline::run(&plan))
    }
}

fn sizes(counts: &[u32]) -> Vec<usize> {
    counts.iter().map(|count| *count as usize).collect()
}

/// What grows must not become less.
fn ascending(flag: &str, counts: Vec<u32>) -> Result<Vec<u32>, Failure> {
    if counts.is_sorted_by(|one, next| one < next) {
        return Ok(counts);
    }
    Err(usage(format_args!("{flag}: each number must be greater than the one before")))
}

impl Common {
    fn method(&self, pace: Pace) -> Result<Method, Failure> {
        let (connections, route) = (self.connections.into(), self.connect);
        Ok(Method { folder: self.files.folder()?, connections, route, pace })
    }
}

impl Files {
    /// Where servers have their data: on a disk.
    fn folder(&self) -> Result<PathBuf, Failure> {
        let folder = self.dir.clone().unwrap_or_else(|| self.out.join("data"));
        let name = folder.display();
        let wrong = |error: std::io::Error| usage(format_args!("--dir {name}: {error}"));
        fs::create_dir_all(&folder).map_err(wrong)?;
        if machine::is_in_memory(&folder).map_err(wrong)? {
            let why = "this folder is in memory, where a sync costs nothing; name one on a disk";
            return Err(usage(format_args!("--dir {name}: {why}")));
        }
        fs::canonicalize(&folder).map_err(wrong)
    }

    /// Measures until it is done or a signal comes, and shows what came of it.
    fn report(&self, measure: impl Future<Output = anyhow::Result<Report>>) -> Result<(), Failure> {
        // Before it takes minutes, not behind.
        writable(&self.out)?;
        let folder = self.json.as_deref().and_then(Path::parent);
        folder.filter(|folder| !folder.as_os_str().is_empty()).map_or(Ok(()), writable)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.context("the runtime does not start")?;
        let report = runtime.block_on(async {
            let signals = Signals::listen()?;
            tokio::select! {
                report = measure => Ok(report?),
                // What is under way is then dropped, and with it all servers.
                number = signals.first() => Err(Failure::Code(SIGNALLED + number)),
            }
        })?;
        say(format_args!("{report}"));
        for chart in &report.charts {
            let file = self.out.join(format!("{}.svg", chart.name));
            chart.draw(&file).with_context(|| format!("{}", file.display()))?;
            say(format_args!("picture   {}", file.display()));
        }
        if let Some(file) = &self.json {
            let name = || format!("--json {}", file.display());
            fs::write(file, format!("{:#}\n", report.json())).with_context(name)?;
        }
        Ok(())
    }
}

fn writable(folder: &Path) -> Result<(), Failure> {
    let name = folder.display();
    fs::create_dir_all(folder).map_err(|error| usage(format_args!("{name}: {error}")))
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if (0.0..=SECONDS_MAX).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err(format!("write seconds, such as 0.5, up to {SECONDS_MAX}")),
    }
}

/// `HOST:PORT` of a URL, or as it is.
fn endpoint(text: &str) -> Result<String, String> {
    let address = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let has_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if !has_port || address.contains('/') {
        return Err("write http://HOST:PORT, or HOST:PORT; there is no TLS".to_owned());
    }
    Ok(address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_addresses_or_urls() {
        for text in ["127.0.0.1:2379", "http://127.0.0.1:2379", "http://127.0.0.1:2379/"] {
            assert_eq!(endpoint(text).as_deref(), Ok("127.0.0.1:2379"));
        }
        for text in ["https://a:1", "a", "http://a", "a:x", ""] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_seconds() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for text in ["", "-1", "x", "NaN", "inf", "1e9"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
