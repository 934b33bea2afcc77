//! Nodes that know each other, each a process.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::binary::{quorate, run};
use crate::disk::Disks;
use crate::kv::Kv;
use crate::network::Network;
use crate::ports;
use crate::process::Process;

/// Where the nodes keep their log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// On disk.
    RocksDb,
    /// In memory: a node that restarts joins anew.
    Memory,
}

/// A cluster of nodes, numbered from 1, each of which runs or does not.
#[derive(Debug)]
pub struct Cluster {
    log: Log,
    /// So many of the nodes are founders.
    founders: usize,
    nodes: Vec<Node>,
    network: Option<Network>,
    disks: Option<Disks>,
    /// What each node is told besides.
    arguments: Vec<String>,
    /// Last: it is removed when the processes are gone.
    folder: TempDir,
}

#[derive(Debug)]
struct Node {
    clients: String,
    peers: String,
    process: Option<Process>,
}

impl Cluster {
    /// A cluster whose nodes do not run yet.
    pub fn new(count: usize, log: Log) -> Self {
        let node = |_| Node {
            clients: ports::local(ports::free()),
            peers: ports::local(ports::free()),
            process: None,
        };
        let folder = tempfile::tempdir().expect("a folder for the nodes");
        let nodes = (0..count).map(node).collect();
        Self {
            log,
            founders: count,
            nodes,
            network: None,
            disks: None,
            arguments: Vec::new(),
            folder,
        }
    }

    /// The same, with further arguments for each node.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// A cluster whose first nodes found it, and whose others may join; none of them runs yet.
    pub fn founded_by(founders: usize, count: usize, log: Log) -> Self {
        Self { founders, ..Self::new(count, log) }
    }

    /// A cluster on disk whose nodes run, and reach each other by a network that can fail. Must be
    /// called within a runtime.
    pub fn behind_proxies(count: usize) -> Self {
        let mut cluster = Self::new(count, Log::RocksDb).proxied();
        cluster.start_all();
        cluster
    }

    /// The same nodes, who will reach each other by a network that can fail. Must be called within
    /// a runtime.
    #[must_use]
    pub fn proxied(mut self) -> Self {
        let addresses: Vec<_> = self.nodes.iter().map(|node| node.peers.clone()).collect();
        self.network = Some(Network::new(&addresses));
        self
    }

    /// A cluster whose nodes run, each with its data on a disk of so many MiB.
    pub fn on_small_disks(count: usize, mebibytes: u32) -> Self {
        let mut cluster = Self::new(count, Log::RocksDb).with_small_disks(mebibytes);
        cluster.start_all();
        cluster
    }

    /// The same nodes, who will have their data on disks of so many MiB.
    #[must_use]
    pub fn with_small_disks(mut self, mebibytes: u32) -> Self {
        let folders: Vec<_> = self.ids().map(|node| self.data(node)).collect();
        for folder in &folders {
            std::fs::create_dir(folder).expect("its parent is there, and new");
        }
        self.disks = Some(Disks::mount(&folders, mebibytes));
        self
    }

    /// A cluster whose nodes run.
    pub fn start(count: usize, log: Log) -> Self {
        let mut cluster = Self::new(count, log);
        cluster.start_all();
        cluster
    }

    /// Where the nodes keep their log.
    pub fn log(&self) -> Log {
        self.log
    }

    /// The numbers of all nodes.
    pub fn ids(&self) -> impl Iterator<Item = u64> + use<> {
        1..=self.nodes.len() as u64
    }

    /// The numbers of all other nodes.
    pub fn others(&self, node: u64) -> Vec<u64> {
        self.ids().filter(|other| *other != node).collect()
    }

    /// Where clients of a node connect.
    pub fn address(&self, node: u64) -> &str {
        &self.node(node).clients
    }

    /// Where peers of a node connect.
    pub fn peer_address(&self, node: u64) -> &str {
        &self.node(node).peers
    }

    /// The data folder of a node.
    pub fn data(&self, node: u64) -> PathBuf {
        self.folder.path().join(format!("node-{node}"))
    }

    /// What `quorate status -o json` says at a node.
    ///
    /// # Panics
    /// When it fails.
    pub fn status(&self, at: u64) -> Value {
        let ran = run(&["status", "--at", self.address(at), "-o", "json"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out))
    }

    /// A client of a node.
    pub fn kv(&self, node: u64) -> Kv {
        Kv::at(self.address(node))
    }

    /// What the nodes reach each other by.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("the cluster is behind proxies")
    }

    /// Where the nodes have their data.
    pub fn disks(&self) -> &Disks {
        self.disks.as_ref().expect("the cluster is on small disks")
    }

    /// All nodes, as one of them is told.
    pub fn peers(&self, node: u64) -> String {
        let address = |peer: u64| match &self.network {
            Some(network) if peer != node => network.address(node, peer),
            Some(_) | None => self.peer_address(peer).to_owned(),
        };
        let founders = self.ids().take(self.founders);
        let peers = founders.map(|peer| format!("{peer}={}", address(peer)));
        peers.collect::<Vec<_>>().join(",")
    }

    /// The command that runs a founder.
    pub fn command(&self, node: u64) -> Command {
        let mut command = self.join_command(node, None);
        command.args(["--peers", &self.peers(node)]);
        command
    }

    /// The command that runs a node which joins by way of a member, or knows its cluster already.
    pub fn join_command(&self, node: u64, via: Option<u64>) -> Command {
        let mut command = quorate();
        command.args(["serve", "--node", &node.to_string()]);
        command.args(["--listen", self.address(node), "--peer-listen", self.peer_address(node)]);
        command.arg("--data").arg(self.data(node));
        if let Some(via) = via {
            command.args(["--join", self.peer_address(via)]);
        }
        command.args([
            "--log",
            match self.log {
                Log::RocksDb => "rocksdb",
                Log::Memory => "memory",
            },
        ]);
        command.args(&self.arguments);
        match &self.disks {
            Some(disks) => disks.within(&command),
            None => command,
        }
    }

    /// The command that runs a second process with the number of a founder, elsewhere.
    pub fn twin_command(&self, node: u64) -> Command {
        let mut command = quorate();
        let anywhere = "127.0.0.1:0";
        command.args(["serve", "--node", &node.to_string()]);
        command.args(["--listen", anywhere, "--peer-listen", anywhere]);
        command.args(["--peers", &self.peers(node)]);
        command.arg("--data").arg(self.folder.path().join(format!("twin-{node}")));
        command
    }

    /// Starts a node that joins by way of a member, and waits until it serves.
    pub fn join_node(&mut self, node: u64, via: u64) {
        self.launch(node, self.join_command(node, Some(via)));
        self.process(node).says("ready ");
    }

    /// Starts a node, and waits until it serves.
    pub fn start_node(&mut self, node: u64) {
        self.launch(node, self.command(node));
        self.process(node).says("ready ");
    }

    /// Starts a node by a command of one's own, without waiting.
    pub fn launch(&mut self, node: u64, command: Command) {
        let running = &mut self.node_mut(node).process;
        assert!(running.is_none(), "node {node} runs already");
        *running = Some(Process::start(format!("node {node}"), command));
    }

    /// Starts all nodes that do not run, and waits until they serve.
    pub fn start_all(&mut self) {
        let down: Vec<_> = self.ids().filter(|node| self.node(*node).process.is_none()).collect();
        for node in &down {
            self.launch(*node, self.command(*node));
        }
        for node in down {
            self.process(node).says("ready ");
        }
    }

    /// Kills a node (`kill -9`).
    pub fn kill(&mut self, node: u64) {
        self.take(node).kill();
    }

    /// Kills all nodes that run.
    pub fn kill_all(&mut self) {
        let running: Vec<_> =
            self.nodes.iter_mut().filter_map(|node| node.process.take()).collect();
        drop(running);
    }

    /// The process of a node that runs.
    pub fn process(&self, node: u64) -> &Process {
        let process = self.node(node).process.as_ref();
        process.unwrap_or_else(|| panic!("node {node} does not run"))
    }

    /// Takes the process of a node out of the cluster.
    pub fn take(&mut self, node: u64) -> Process {
        let process = self.node_mut(node).process.take();
        process.unwrap_or_else(|| panic!("node {node} does not run"))
    }

    fn node(&self, node: u64) -> &Node {
        &self.nodes[usize::try_from(node).expect("a small number") - 1]
    }

    fn node_mut(&mut self, node: u64) -> &mut Node {
        &mut self.nodes[usize::try_from(node).expect("a small number") - 1]
    }
}
