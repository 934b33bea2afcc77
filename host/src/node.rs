//! One node: its stages, the channels between them, and the order in which they end.
//!
//! ```text
//!  rpc ──submit──> batcher ──intake──> raft ──committed──> apply ──reply──> rpc
//!  tasks  bounded   task      cap 1    thread    bounded   thread
//! ```
//!
//! Channel ownership is the shutdown protocol: whoever makes a channel owns its sending end, and
//! closing it tells the next stage that nothing more will come. There is no stop flag.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::Duration;

use anyhow::Context as _;
use quorate_core::batch::Proposal;
use quorate_core::batcher::{BatcherConfig, BatcherStats};
use quorate_core::id::{NodeId, RaftId};
use quorate_core::limits;
use quorate_core::log::{LogStore, MemoryLog};
use quorate_core::machine::Machine;
use quorate_core::outcome::Fatal;
use quorate_core::replica::{Recovered, Replica, ReplicaConfig, Status};
use quorate_core::state::{MemoryState, StateStore};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::apply::{self, Waiter};
use crate::consensus::{self, Inputs, Outputs};
use crate::identity::{self, GROUP, Identity, LogKind};
use crate::peers::{self, Directory};
use crate::rocks::{RocksLog, RocksState};
use crate::rpc::query::Queries;
use crate::rpc::server;
use crate::rpc::service::PluginService;
use crate::submit::Submitter;
use crate::threads::Worker;
use crate::wasm::Module;

/// Raft messages that wait for the raft thread.
const INBOX_MAX: usize = 4096;
/// Committed entries between raft and apply; what exceeds them is parked, in bounded bytes.
const COMMITTED_MAX: usize = 64;
/// What callers that are being served may take when the node stops.
const GRACE_MAX: Duration = Duration::from_millis(700);
const PEERS_GRACE_MAX: Duration = Duration::from_millis(100);
/// Between two requests of a node that wants to be admitted.
const JOIN_PAUSE: Duration = Duration::from_millis(200);

/// What a node needs to start.
pub struct NodeConfig {
    /// Who it is.
    pub identity: Identity,
    /// Where clients connect; bound by the caller, so that port 0 works.
    pub clients: TcpListener,
    /// Where peers connect.
    pub peers: TcpListener,
    /// The peers' addresses; its own may be among them.
    pub addresses: BTreeMap<NodeId, String>,
    /// Where log and state live.
    pub storage: Storage,
    /// The machine's code; its digest is in the identity.
    pub module: Arc<Module>,
    /// What bounds a batch.
    pub batcher: BatcherConfig,
    /// Raft's tick: a heartbeat each, an election after 10 to 20 without one.
    pub tick: Duration,
}

/// Where a node keeps its log and state.
#[derive(Clone, Debug)]
pub enum Storage {
    /// In memory, for as long as this process lives. The node must never start again in the same
    /// cluster.
    Volatile,
    /// A folder that knows its owner; the log is there, or in memory.
    Folder(PathBuf, LogKind),
}

/// A running node. Dropping it stops it.
#[derive(Debug)]
pub struct Node {
    client_address: SocketAddr,
    status: watch::Receiver<Status>,
    batcher_stats: watch::Receiver<BatcherStats>,
    failure: std_mpsc::Receiver<String>,
    /// In the order in which they end; `None` once stopped.
    stages: Option<Stages>,
}

#[derive(Debug)]
struct Stages {
    serving: watch::Sender<()>,
    clients: JoinHandle<()>,
    submit: mpsc::Sender<Proposal<Waiter>>,
    batcher: JoinHandle<()>,
    raft: Worker<()>,
    apply: Worker<()>,
    peers_serving: watch::Sender<()>,
    peers: JoinHandle<()>,
    runtime: Runtime,
}

impl Node {
    /// Starts a node. Must not be called within an async runtime: it has its own.
    pub fn start(config: NodeConfig) -> anyhow::Result<Self> {
        let node = config.identity.node;
        let client_address = config.clients.local_addr()?;
        let stores = Stores::open(&config.storage, &config.identity)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(format!("node-{node}-rpc"))
            .enable_all()
            .build()
            .context("starting the runtime")?;
        let _in_runtime = runtime.enter();
        let identity = Arc::new(config.identity);
        let (failed, failure) = std_mpsc::channel();

        let (submit, submitted) = mpsc::channel(limits::SUBMIT_MAX);
        let batches = crate::batcher::start(config.batcher, submitted);
        let (inbox_sender, inbox) = mpsc::channel(INBOX_MAX);
        let (reads_sender, reads) = mpsc::channel(limits::SUBMIT_MAX);
        let (requests_sender, requests) = mpsc::channel(limits::SUBMIT_MAX);
        let (committed_sender, committed) = std_mpsc::sync_channel(COMMITTED_MAX);
        let (applied_sender, applied) = watch::channel(stores.recovered.applied.index);
        let (status_sender, status) = watch::channel(Status::default());
        let (serving, is_serving) = watch::channel(());
        let (peers_serving, peers_are_serving) = watch::channel(());

        let (directory, mut outbound, links) =
            peers::connect(&identity, &config.addresses, &requests_sender)?;
        let submitter = Submitter {
            node,
            submit: submit.downgrade(),
            status: status.clone(),
            directory: Arc::clone(&directory),
            serving: is_serving.clone(),
        };

        let machine = Machine::new(GROUP, config.module.program(), Arc::clone(&stores.state));
        let apply = stage(format!("node-{node}-apply"), failed.clone(), move || {
            apply::run(machine, &committed, &applied_sender)
        })?;
        let replica = Replica::new(
            ReplicaConfig {
                id: stores.member,
                founders: identity.founders.iter().map(|node| RaftId::new(*node, 0)).collect(),
                seed: RandomState::new().build_hasher().finish(),
            },
            stores.log,
            &stores.recovered,
        )?;
        let inputs =
            Inputs { intake: batches.intake, inbox, reads, requests, applied: applied.clone() };
        let send = move |to, message| outbound.send(to, message);
        let outputs = Outputs { committed: committed_sender, status: status_sender, send };
        let tick = config.tick;
        let raft = stage(format!("node-{node}-raft"), failed, move || {
            consensus::run(replica, tick, inputs, outputs)
        })?;

        let queries = Queries {
            reads: reads_sender,
            applied,
            state: stores.state,
            module: Arc::clone(&config.module),
            running: Queries::semaphore(),
        };
        let plugin =
            PluginService::new(&config.module, submitter.clone(), queries);
        let clients = spawn_clients(config.clients, config.module, plugin, &status, is_serving)?;
        let peers = {
            let listener = into_tokio(config.peers)?;
            let stop = closed(peers_are_serving);
            let identity = Arc::clone(&identity);
            let serve =
                peers::serve(listener, identity, inbox_sender, requests_sender, submitter, stop);
            tokio::spawn(async move {
                // Links live as long as the peers' server; they end when raft drops their queues.
                let _links = links;
                if let Err(error) = serve.await {
                    tracing::error!("serving peers: {error}");
                }
            })
        };
        if stores.member.incarnation() > 0 {
            tokio::spawn(join(stores.member, directory, status.clone()));
        }
        drop(_in_runtime);
        let stages = Stages {
            serving,
            clients,
            submit,
            batcher: batches.task,
            raft,
            apply,
            peers_serving,
            peers,
            runtime,
        };
        Ok(Self {
            client_address,
            status,
            batcher_stats: batches.stats,
            failure,
            stages: Some(stages),
        })
    }

    /// Where clients connect.
    pub fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// Who leads, as this node knows it.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// How its batcher fares.
    pub fn batcher_stats(&self) -> BatcherStats {
        *self.batcher_stats.borrow()
    }

    /// The fault that ended one of its stages, if one has. The node must then be stopped.
    pub fn failure(&self) -> Option<String> {
        self.failure.try_recv().ok()
    }

    /// Stops the node, stage by stage. What was accepted is answered; within two seconds nothing
    /// is left of it: no thread, no port, no caller without an answer. Must not be called within
    /// an async runtime.
    pub fn stop(mut self) {
        self.stop_stages();
    }

    fn stop_stages(&mut self) {
        let Some(stages) = self.stages.take() else { return };
        let Stages { serving, clients, submit, batcher, raft, apply, peers_serving, peers, runtime } =
            stages;
        // Clients: no new calls; those under way finish, and those that wait for a leader give up.
        drop(serving);
        end(&runtime, clients, GRACE_MAX);
        // The last submitter. The batcher flushes, and closes the intake.
        drop(submit);
        end(&runtime, batcher, GRACE_MAX);
        // Raft has what was proposed decided, hands leadership over, and closes `committed`.
        raft.join();
        // Apply finishes what is committed, and makes it durable.
        apply.join();
        // Peers last: until here, raft heard them.
        drop(peers_serving);
        end(&runtime, peers, PEERS_GRACE_MAX);
        // Connections that their clients keep open end here.
        runtime.shutdown_timeout(PEERS_GRACE_MAX);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop_stages();
    }
}

/// The stores of a node, and what they remember.
struct Stores {
    member: RaftId,
    log: Box<dyn LogStore>,
    state: Arc<dyn StateStore>,
    recovered: Recovered,
}

impl Stores {
    fn open(storage: &Storage, identity: &Identity) -> anyhow::Result<Self> {
        let (member, log, state): (_, Box<dyn LogStore>, Arc<dyn StateStore>) = match storage {
            Storage::Volatile => (
                RaftId::new(identity.node, 0),
                Box::new(MemoryLog::new()),
                Arc::new(MemoryState::new()),
            ),
            Storage::Folder(folder, kind) => {
                let member = identity::claim(folder, identity, *kind)?;
                match kind {
                    LogKind::Memory => {
                        (member, Box::new(MemoryLog::new()), Arc::new(MemoryState::new()))
                    }
                    LogKind::RocksDb => (
                        member,
                        Box::new(RocksLog::open(&folder.join("log"), GROUP)?),
                        Arc::new(RocksState::open(&folder.join("state"))?),
                    ),
                }
            }
        };
        let meta = state.snapshot().meta().clone();
        let recovered = Recovered { applied: meta.applied, conf: meta.conf };
        Ok(Self { member, log, state, recovered })
    }
}

/// A thread whose fault stops the node, and is said once.
fn stage(
    name: String,
    failed: std_mpsc::Sender<String>,
    work: impl FnOnce() -> Result<(), Fatal> + Send + 'static,
) -> anyhow::Result<Worker<()>> {
    let thread = name.clone();
    let worker = Worker::start(name, move || {
        if let Err(fatal) = work() {
            tracing::error!(%thread, "{fatal}");
            // The node may be gone already.
            drop(failed.send(fatal.to_string()));
        }
    });
    worker.context("starting a thread")
}

fn spawn_clients(
    listener: TcpListener,
    module: Arc<Module>,
    plugin: PluginService,
    status: &watch::Receiver<Status>,
    is_serving: watch::Receiver<()>,
) -> anyhow::Result<JoinHandle<()>> {
    let listener = into_tokio(listener)?;
    let status = status.clone();
    Ok(tokio::spawn(async move {
        let stop = closed(is_serving);
        if let Err(error) = server::serve(listener, &module, plugin, status, stop).await {
            tracing::error!("{error:#}");
        }
    }))
}

fn into_tokio(listener: TcpListener) -> anyhow::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    Ok(tokio::net::TcpListener::from_std(listener)?)
}

/// Resolves when the sending end is dropped.
async fn closed(mut serving: watch::Receiver<()>) {
    while serving.changed().await.is_ok() {}
}

/// Waits for a task, and ends it when it takes too long.
fn end(runtime: &Runtime, mut task: JoinHandle<()>, wait_max: Duration) {
    runtime.block_on(async {
        if tokio::time::timeout(wait_max, &mut task).await.is_err() {
            task.abort();
        }
    });
}

/// Asks to be admitted until this member votes.
async fn join(member: RaftId, directory: Arc<Directory>, mut status: watch::Receiver<Status>) {
    tracing::info!(%member, "the log was in memory and is gone; asking to be admitted anew");
    while !status.borrow_and_update().votes {
        for node in directory.nodes() {
            if directory.join(node, member).await {
                break;
            }
        }
        tokio::time::sleep(JOIN_PAUSE).await;
    }
    tracing::info!(%member, "admitted");
}
