//! The servers that are measured, each a process with a folder of its own.
//!
//! They end with their owner: dropping it kills them, then removes their data.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::client::{System, Target};
use super::machine::process_time;
use crate::identity::LogKind;

/// How long servers may take to start.
const START_WAIT_MAX: Duration = Duration::from_mins(1);
/// How long a server may take to stop.
const STOP_WAIT_MAX: Duration = Duration::from_mins(1);
/// Between two looks whether a server has ended.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// What is shown of a server's log when it does not start.
const LOG_LINES_MAX: usize = 5;
/// Room for etcd's data, which keeps all versions of a key: the most that it recommends.
const ETCD_QUOTA_BYTES: u64 = 8 * 1024 * 1024 * 1024;

/// What to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// What it is.
    pub system: System,
    /// How many nodes; they know each other.
    pub nodes: usize,
    /// Where log and state are. etcd has no other place than the disk.
    pub storage: LogKind,
    /// What else each node is told.
    pub arguments: Vec<String>,
}

impl Setup {
    /// So many nodes of this program, as they are by themselves.
    pub fn quorate(nodes: usize, storage: LogKind) -> Self {
        Self { system: System::Quorate, nodes, storage, arguments: Vec::new() }
    }

    /// So many members of etcd.
    pub fn etcd(nodes: usize) -> Self {
        Self { system: System::Etcd, ..Self::quorate(nodes, LogKind::RocksDb) }
    }
}

/// Where log and state are, in tables and to `serve`.
pub fn storage_name(storage: LogKind) -> &'static str {
    match storage {
        LogKind::RocksDb => "rocksdb",
        LogKind::Memory => "memory",
    }
}

/// Servers that run.
#[derive(Debug)]
pub struct Servers {
    target: Target,
    /// Above the folder: they end before it is removed.
    nodes: Vec<Server>,
    _folder: TempDir,
}

/// A process that is killed when this is dropped.
#[derive(Debug)]
struct Server {
    command: Command,
    child: Child,
    log: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail when it has ended, which is what they are for.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where a node listens.
#[derive(Clone, Debug)]
struct Place {
    number: usize,
    clients: String,
    peers: String,
    folder: PathBuf,
}

impl Servers {
    /// Starts servers with their data in a new folder within `folder`, and waits until each of
    /// them answers a linearizable read.
    pub async fn start(setup: &Setup, folder: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("quorate-bench-").tempdir_in(folder);
        let folder = folder.context("there is no place for the servers' data")?;
        let places = places(setup.nodes, folder.path())?;
        let mut nodes = Vec::new();
        for place in &places {
            let command = match setup.system {
                System::Quorate => quorate(setup, place, &places)?,
                System::Etcd => etcd(place, &places),
            };
            nodes.push(Server::start(command, place)?);
        }
        let addresses = places.iter().map(|place| place.clients.clone()).collect();
        let target = Target { system: setup.system, addresses };
        let mut servers = Self { target, nodes, _folder: folder };
        for node in 0..servers.nodes.len() {
            servers.wait_for(node).await?;
        }
        Ok(servers)
    }

    /// Where they are.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// How long the processes have been busy.
    pub fn process_time(&self) -> anyhow::Result<Duration> {
        self.nodes.iter().map(|node| process_time(Some(node.child.id()))).sum()
    }

    /// The memory that the first node has, without what the kernel keeps of its files.
    pub fn resident_bytes(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.nodes[0].child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.context("the kernel does not tell a process's memory")?.trim();
        let kibibytes: u64 = kibibytes.trim_end_matches(" kB").parse()?;
        Ok(kibibytes * 1024)
    }

    /// Has the first node end in good order, starts it again, and says how long it took until it
    /// answered a linearizable read.
    pub async fn restart(&mut self) -> anyhow::Result<Duration> {
        let server = &mut self.nodes[0];
        // The standard library can only kill.
        let terminate = format!("kill -s TERM {}", server.child.id());
        let status = Command::new("sh").args(["-c", &terminate]).status()?;
        anyhow::ensure!(status.success(), "{terminate}: {status}");
        timeout(STOP_WAIT_MAX, server.ended()).await.context("a node does not stop")?;
        let begin = Instant::now();
        server.child = server.command.spawn()?;
        self.wait_for(0).await?;
        Ok(begin.elapsed())
    }

    async fn wait_for(&mut self, node: usize) -> anyhow::Result<()> {
        let answers = self.target.answers(node, START_WAIT_MAX);
        let server = &mut self.nodes[node];
        let what = tokio::select! {
            answered = answers => match answered {
                Ok(()) => return Ok(()),
                Err(error) => format!("{error:#}"),
            },
            ended = server.ended() => ended,
        };
        let name = self.target.system.name();
        bail!("{name} does not start: {what}; its log ends so:\n{}", server.last_words())
    }
}

impl Server {
    fn start(mut command: Command, place: &Place) -> anyhow::Result<Self> {
        let log = place.folder.with_extension("log");
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        for (name, _) in env::vars_os() {
            // What the caller's environment asks of servers is not what is to be measured.
            let is_setting = |name: &str| name.starts_with("QUORATE_") || name.starts_with("ETCD_");
            if name.to_str().is_some_and(is_setting) {
                command.env_remove(name);
            }
        }
        let program = command.get_program().to_owned();
        let child = command.spawn().with_context(|| format!("cannot start {}", program.display()));
        Ok(Self { child: child?, command, log })
    }

    /// Waits for its end, and says which.
    async fn ended(&mut self) -> String {
        loop {
            match self.child.try_wait() {
                Ok(None) => sleep(LOOK_PAUSE).await,
                Ok(Some(status)) => return format!("it ended with {status}"),
                Err(error) => return error.to_string(),
            }
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n")
    }
}

/// Where nodes may listen: ports that were free a moment ago.
fn places(nodes: usize, folder: &Path) -> anyhow::Result<Vec<Place>> {
    // All of them at once, so that no port is given out twice.
    let bind = || TcpListener::bind("127.0.0.1:0");
    let listeners = (0..2 * nodes).map(|_| bind()).collect::<Result<Vec<_>, _>>()?;
    let mut places = Vec::new();
    for (pair, number) in listeners.chunks(2).zip(1..) {
        let address = |listener: &TcpListener| listener.local_addr().map(|at| at.to_string());
        let folder = folder.join(format!("node-{number}"));
        places.push(Place {
            number,
            clients: address(&pair[0])?,
            peers: address(&pair[1])?,
            folder,
        });
    }
    Ok(places)
}

fn joined(places: &[Place], each: impl Fn(&Place) -> String) -> String {
    places.iter().map(each).collect::<Vec<_>>().join(",")
}

/// A node of this very program.
fn quorate(setup: &Setup, place: &Place, places: &[Place]) -> anyhow::Result<Command> {
    let mut command = Command::new(env::current_exe().context("where this program is")?);
    command.args(["serve", "--node", &place.number.to_string()]);
    command.args(["--log", storage_name(setup.storage)]);
    command.args(["--listen", &place.clients, "--peer-listen", &place.peers]);
    command.args(["--peers", &joined(places, |each| format!("{}={}", each.number, each.peers))]);
    command.args([OsStr::new("--data"), place.folder.as_os_str()]).args(&setup.arguments);
    Ok(command)
}

/// A member of etcd, from the search path.
fn etcd(place: &Place, places: &[Place]) -> Command {
    let (clients, peers) = (format!("http://{}", place.clients), format!("http://{}", place.peers));
    let mut command = Command::new(ETCD);
    command.args([OsStr::new("--data-dir"), place.folder.as_os_str()]);
    command.args(["--name", &format!("n{}", place.number)]);
    command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
    command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]);
    let cluster = joined(places, |each| format!("n{}=http://{}", each.number, each.peers));
    command.args(["--initial-cluster", &cluster, "--initial-cluster-state", "new"]);
    command.args(["--logger", "zap", "--quota-backend-bytes", &ETCD_QUOTA_BYTES.to_string()]);
    command
}

const ETCD: &str = "etcd";

/// Whether there is an etcd server in the search path.
pub fn has_etcd() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(ETCD).is_file())
}
