//! `quorate dev`: a cluster in one process; of a module, or of a crate whose sources are watched.

mod author;
mod build;
mod generation;
mod screen;
mod watch;

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use quorate_core::limits;
use serde::Deserialize;

use self::generation::Plan;
use super::settings::{LogSettings, from_file, load_module};
use super::{Failure, cluster, say, usage};
use crate::identity::Timing;
use crate::local;
use crate::node::Node;
use quorate_wasm::Module;

const LISTEN: &str = "127.0.0.1:7400";
/// What an author wants to see of the nodes, unless they ask for more.
const AUTHOR_LOG_LEVEL: &str = "warn";
/// How long the nodes may take to elect a leader before `dev` gives up.
const ELECTION_WAIT_MAX: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Settings {
    /// A plugin's crate to build and serve, and to build again whenever its sources change
    #[arg(value_name = "DIR", conflicts_with = "plugin")]
    #[serde(skip)]
    dir: Option<PathBuf>,
    /// Keep the state even if what a new build has changed in its .proto may not fit it
    #[arg(long, requires = "dir", conflicts_with = "fresh")]
    #[serde(skip)]
    keep: bool,
    /// Begin with an empty state after each build
    #[arg(long, requires = "dir")]
    #[serde(skip)]
    fresh: bool,
    /// The module to run [default: the key-value plugin]
    #[arg(long, env = "QUORATE_PLUGIN", value_name = "FILE.wasm")]
    plugin: Option<PathBuf>,
    /// How many nodes [default: 1]
    #[arg(long, env = "QUORATE_NODES", value_name = "N")]
    nodes: Option<u32>,
    /// Where clients of the first node connect, the others' ports follow; with port 0 the system
    /// chooses [default: 127.0.0.1:7400]
    #[arg(long, env = "QUORATE_LISTEN", value_name = "ADDR")]
    listen: Option<String>,
    /// Keep log and state in this folder, on disk [default: memory]
    #[arg(long, env = "QUORATE_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Let the leader answer reads by a lease, when they ask for it
    #[arg(long, env = "QUORATE_LEASE_READS")]
    #[serde(default)]
    lease_reads: bool,
    /// A TOML file with a table [dev] of such settings
    #[arg(long, env = "QUORATE_CONFIG", value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
}

pub(super) fn run(settings: Settings, log: &LogSettings) -> Result<(), Failure> {
    let file: Settings = from_file(settings.config.as_deref(), "dev")?;
    let plugin = settings.plugin.or(file.plugin);
    let count = settings.nodes.or(file.nodes).unwrap_or(1);
    let listen = settings.listen.or(file.listen).unwrap_or_else(|| LISTEN.to_owned());
    let data = settings.data.or(file.data);
    if !(1..=limits::VOTERS_MAX).contains(&(count as usize)) {
        return Err(usage(format_args!(
            "--nodes {count}: a cluster has 1 to {} nodes",
            limits::VOTERS_MAX
        )));
    }
    let has_leases = settings.lease_reads || file.lease_reads;
    let timing = Timing { has_leases, ..Timing::default() };
    if let Some(dir) = settings.dir {
        let state = author::WhenChanged::of(settings.keep, settings.fresh);
        log.install_at(AUTHOR_LOG_LEVEL)?;
        let plan = || Ok(Plan { listeners: bind_clients(&listen, count)?, data, timing });
        return author::run(&dir, state, plan);
    }
    log.install()?;
    let module = load_module(plugin.as_ref())?;
    let clients = bind_clients(&listen, count)?;
    let nodes = local::start_timed(&module, clients, data.as_deref(), timing)?;
    wait_for_leader(&nodes)?;
    cluster::run_until_signal(nodes, |nodes| announce(nodes, &module, plugin.is_none()))
}

/// The first node's address, and the ports after it for the others.
fn bind_clients(listen: &str, count: u32) -> Result<Vec<TcpListener>, Failure> {
    let first = cluster::bind("--listen", listen)?;
    let address = first.local_addr().context("a bound socket has an address")?;
    let system_chooses = listen.ends_with(":0");
    let mut listeners = vec![first];
    for offset in 1..count {
        let port = if system_chooses {
            0
        } else {
            let port = u32::from(address.port()) + offset;
            u16::try_from(port)
                .map_err(|_| usage(format_args!("--listen {listen}: no port {port} exists")))?
        };
        let next = std::net::SocketAddr::new(address.ip(), port).to_string();
        listeners.push(cluster::bind("--listen", &next)?);
    }
    Ok(listeners)
}

fn wait_for_leader(nodes: &[Node]) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .context("starting a runtime")?;
    for node in nodes {
        let mut status = node.status();
        let elected = status.wait_for(|status| status.leader.is_some());
        let elected = async { tokio::time::timeout(ELECTION_WAIT_MAX, elected).await.is_ok() };
        anyhow::ensure!(runtime.block_on(elected), "the nodes did not elect a leader");
    }
    Ok(())
}

fn announce(nodes: &[Node], module: &Module, is_kv: bool) {
    let addresses: Vec<_> = nodes.iter().map(|node| node.client_address().to_string()).collect();
    let services: Vec<_> = module.manifest().service_names().collect();
    if is_kv {
        let program = std::env::args().next().unwrap_or_else(|| "quorate".to_owned());
        let (first, last) = (addresses.first(), addresses.last());
        let (Some(first), Some(last)) = (first, last) else { return };
        say(format_args!(
            "{} on {} node(s). In another terminal:",
            services.join(", "),
            nodes.len()
        ));
        let put = r#"{"key": "hello", "value": "world"}"#;
        say(format_args!("  {program} call --text {first} kv.v1.Kv/Put '{put}'"));
        let get = r#"{"key": "hello"}"#;
        say(format_args!("  {program} call --text {last} kv.v1.Kv/Get '{get}'"));
    }
    say(format_args!("ready {} {}", services.join(","), addresses.join(" ")));
}
