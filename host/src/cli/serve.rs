//! `quorate serve`: one node of a cluster.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use quorate_core::batcher::BatcherConfig;
use quorate_core::id::NodeId;
use quorate_core::limits;
use serde::Deserialize;

use super::membership::{self, Beginning, Wanted};
use super::settings::{LogSettings, from_file, load_module};
use super::{Failure, cluster, say, unfit, usage};
use crate::identity::{Identity, LogKind, Timing};
use crate::node::{Node, NodeConfig, Storage, Tuning};

const CLUSTER: &str = "quorate";
const MIB: u64 = 1024 * 1024;

#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Settings {
    /// This node's number, from 1
    #[arg(long, env = "QUORATE_NODE", value_name = "ID")]
    node: Option<u32>,
    /// Where clients connect
    #[arg(long, env = "QUORATE_LISTEN", value_name = "ADDR")]
    listen: Option<String>,
    /// Where the other nodes connect
    #[arg(long, env = "QUORATE_PEER_LISTEN", value_name = "ADDR")]
    peer_listen: Option<String>,
    /// The nodes that the cluster begins with, this one included; with --join, the ways to some
    #[arg(long, env = "QUORATE_PEERS", value_name = "1=ADDR,2=ADDR,3=ADDR")]
    peers: Option<String>,
    /// Join a cluster that runs, by asking one of its members; see quorate member add
    #[arg(long, env = "QUORATE_JOIN", value_name = "PEER_ADDR,PEER_ADDR")]
    join: Option<String>,
    /// Come back as a new member, when the data of this node is lost and --data is empty
    #[arg(long)]
    #[serde(skip)]
    rejoin: bool,
    /// The folder of this node alone
    #[arg(long, env = "QUORATE_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the log is kept; with memory, a node that restarts joins anew [default: rocksdb]
    #[arg(long, env = "QUORATE_LOG", value_name = "rocksdb|memory")]
    log: Option<LogKind>,
    /// The module to run; the same on all nodes [default: the key-value plugin]
    #[arg(long, env = "QUORATE_PLUGIN", value_name = "FILE.wasm")]
    plugin: Option<PathBuf>,
    /// The cluster's name; nodes of different clusters refuse each other [default: quorate]
    #[arg(long, env = "QUORATE_CLUSTER", value_name = "NAME")]
    cluster: Option<String>,
    /// Let the leader answer reads by a lease, when they ask for it; the same on all nodes. It
    /// takes clocks that run within 5 % of real time
    #[arg(long, env = "QUORATE_LEASE_READS")]
    #[serde(default)]
    lease_reads: bool,
    /// Entries of the log before its front is cut off; a quarter of them stays, and whoever is
    /// further behind gets a snapshot [default: 65536]
    #[arg(long, env = "QUORATE_LOG_ENTRIES_MAX", value_name = "N")]
    log_entries_max: Option<u64>,
    /// Commands that travel as one entry of the log; with 1, each is an entry of its own [default:
    /// 4096]
    #[arg(long, env = "QUORATE_BATCH_COMMANDS_MAX", value_name = "N")]
    batch_commands_max: Option<NonZeroUsize>,
    /// What must be free on the disk of --data, in MiB; while it is not, only commands that make
    /// room are taken [default: 5 % of the disk, but not more than 256]
    #[arg(long, env = "QUORATE_DISK_RESERVE_MIB", value_name = "MIB")]
    disk_reserve_mib: Option<u64>,
    /// How much of each snapshot leaves for another node within a second, in MiB [default: 32]
    #[arg(long, env = "QUORATE_SNAPSHOT_MIB_PER_SECOND", value_name = "MIB")]
    snapshot_mib_per_second: Option<NonZeroU32>,
    /// A TOML file with a table [serve] of such settings
    #[arg(long, env = "QUORATE_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
}

pub(super) fn run(settings: Settings, log: &LogSettings) -> Result<(), Failure> {
    let file: Settings = from_file(settings.config.as_deref(), "serve")?;
    let number = required("--node", settings.node.or(file.node))?;
    let node = NodeId::new(number).ok_or_else(|| usage("--node 0: nodes are numbered from 1"))?;
    let listen = required("--listen", settings.listen.or(file.listen))?;
    let peer_listen = required("--peer-listen", settings.peer_listen.or(file.peer_listen))?;
    let peers = settings.peers.or(file.peers).map(|peers| parse_peers(&peers)).transpose()?;
    let join = settings.join.or(file.join).unwrap_or_default();
    let join = join.split(',').map(str::trim).filter(|address| !address.is_empty());
    let data = required("--data", settings.data.or(file.data))?;
    let log_kind = settings.log.or(file.log).unwrap_or(LogKind::RocksDb);
    let plugin = settings.plugin.or(file.plugin);
    let cluster_name = settings.cluster.or(file.cluster).unwrap_or_else(|| CLUSTER.to_owned());
    let reserve_mib = settings.disk_reserve_mib.or(file.disk_reserve_mib);
    let send_mib = settings.snapshot_mib_per_second.or(file.snapshot_mib_per_second);
    let tuning = Tuning {
        log_entries_max: settings.log_entries_max.or(file.log_entries_max),
        disk_reserve_bytes: reserve_mib.map(|mebibytes| mebibytes.saturating_mul(MIB)),
        snapshot_bytes_per_second: send_mib.map(|mebibytes| u64::from(mebibytes.get()) * MIB),
    };
    let batcher = batcher(settings.batch_commands_max.or(file.batch_commands_max))?;
    let has_leases = settings.lease_reads || file.lease_reads;
    log.install()?;
    let module = load_module(plugin.as_ref())?;
    if data.exists() && !data.is_dir() {
        return Err(usage(format_args!("--data {}: this is not a folder", data.display())));
    }
    let clients = cluster::bind("--listen", &listen)?;
    let peer_listener = cluster::bind("--peer-listen", &peer_listen)?;
    let Beginning { founders, addresses, birth } = membership::begin(&Wanted {
        cluster: &cluster_name,
        node,
        data: &data,
        peers,
        join: join.map(str::to_owned).collect(),
        comes_back: settings.rejoin,
        peer_listen: &peer_listen,
    })?;
    let identity = Identity {
        cluster: cluster_name,
        node,
        founders,
        module: module.digest().0,
        timing: Timing { has_leases, ..Timing::default() },
    };
    let services: Vec<String> = module.manifest().service_names().map(str::to_owned).collect();
    let running = Node::start(NodeConfig {
        identity,
        clients,
        peers: peer_listener,
        addresses,
        birth,
        storage: Storage::Folder(data, log_kind),
        module: Arc::clone(&module),
        batcher,
        tuning,
    })
    .map_err(unfit)?;
    let ready = format!("ready {} {}", services.join(","), running.client_address());
    cluster::run_until_signal(vec![running], |_| say(format_args!("{ready}")))
}

/// How commands travel together.
fn batcher(commands_max: Option<NonZeroUsize>) -> Result<BatcherConfig, Failure> {
    let commands_max = commands_max.map_or(limits::BATCH_COMMANDS_MAX, NonZeroUsize::get);
    if commands_max > limits::BATCH_COMMANDS_MAX {
        let most = limits::BATCH_COMMANDS_MAX;
        return Err(usage(format_args!("--batch-commands-max {commands_max}: at most {most}")));
    }
    Ok(BatcherConfig { commands_max, ..BatcherConfig::default() })
}

fn required<T>(flag: &str, value: Option<T>) -> Result<T, Failure> {
    value.ok_or_else(|| {
        let variable = flag.trim_start_matches('-').replace('-', "_").to_uppercase();
        usage(format_args!(
            "{flag} is missing: give the flag, or QUORATE_{variable}, or the key in --config"
        ))
    })
}

/// The nodes of a cluster and where they are.
pub(super) fn parse_peers(peers: &str) -> Result<BTreeMap<NodeId, String>, Failure> {
    let wrong = |why: &str| usage(format_args!("--peers {peers}: {why}"));
    let mut out = BTreeMap::new();
    for peer in peers.split(',').filter(|peer| !peer.trim().is_empty()) {
        let (number, address) =
            peer.split_once('=').ok_or_else(|| wrong("write ID=ADDR,ID=ADDR,..."))?;
        let number = number.trim().parse().ok().and_then(NodeId::new);
        let node = number.ok_or_else(|| wrong("nodes are numbered from 1"))?;
        let address = address.trim();
        let has_port =
            address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if !has_port {
            return Err(wrong(&format!("\"{address}\" is not HOST:PORT")));
        }
        if out.insert(node, address.to_owned()).is_some() {
            return Err(wrong(&format!("node {node} stands there twice")));
        }
    }
    if !(1..=limits::VOTERS_MAX).contains(&out.len()) {
        return Err(wrong(&format!("a cluster has 1 to {} nodes", limits::VOTERS_MAX)));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read_or_the_problem_is_named() {
        let parsed = parse_peers("2=b:2, 1=127.0.0.1:1").ok().unwrap();
        let ids: Vec<_> = parsed.keys().map(|node| node.get()).collect();
        assert_eq!(ids, [1, 2]);
        for (peers, problem) in [
            ("1", "ID=ADDR"),
            ("x=a:1", "numbered from 1"),
            ("0=a:1", "numbered from 1"),
            ("1=a", "not HOST:PORT"),
            ("1=a:1,1=b:1", "twice"),
            ("", "1 to 7"),
        ] {
            let Err(Failure::Usage(error)) = parse_peers(peers) else { panic!("{peers}") };
            assert!(error.to_string().contains(problem), "{error}");
        }
    }
}
