//! One node: its stages, the channels between them, and the order in which they end.
//!
//! ```text
//!  rpc ──submit──> batcher ──intake──> raft ──committed──> apply ──reply──> rpc
//!  tasks  bounded   its task  cap 1    thread    bounded   thread
//! ```
//!
//! Channel ownership is the shutdown protocol: whoever makes a channel owns its sending end, and
//! closing it tells the next stage that nothing more will come. There is no stop flag.

mod services;
mod states;
mod stores;
mod tasks;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, mpsc as std_mpsc};
use std::time::Duration;

use anyhow::Context as _;
use quorate_core::batcher::{BatcherConfig, BatcherStats};
use quorate_core::id::{NodeId, RaftId};
use quorate_core::limits;
use quorate_core::log::LogStore;
use quorate_core::machine::Machine;
use quorate_core::outcome::Fatal;
use quorate_core::replica::{Bounds, Lease, Recovered, Replica, ReplicaConfig, Status};
use quorate_core::state::StateStore;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::admission::Admission;
use crate::apply::{self, Apply};
use crate::batcher::{Batches, Submission};
use crate::consensus::{self, HostReplica, Inputs, Outputs};
use crate::disk::{DiskGuard, Room};
use crate::identity::{Birth, Claim, GROUP, Identity};
use crate::integrity::Integrity;
use crate::peers::{self, Reports};
use crate::queue;
use crate::random;
use crate::report::Progress;
use crate::roster::Roster;
use crate::rpc::server::Clients;
use crate::submit::Submitter;
use crate::threads::Worker;
use crate::waiter::Waiter;
use crate::watchdog::Pulse;
use quorate_wasm::Module;

use services::{Ends, Services};
pub use states::{Builder, States};
use stores::Stores;
pub use stores::{Seed, Storage};

/// Raft messages that wait for the raft thread.
const INBOX_MAX: usize = 4096;
/// Committed entries between raft and apply; what exceeds them is parked, in bounded bytes.
const COMMITTED_MAX: usize = 64;
/// Snapshots that wait to be sent.
const TRANSFERS_MAX: usize = 16;
/// What the stages may take when the node stops. With the raft thread's own bounds, and some time
/// for the state to be written, a node stops within two seconds.
pub(crate) const CLIENTS_GRACE_MAX: Duration = Duration::from_millis(500);
const BATCHER_GRACE_MAX: Duration = Duration::from_millis(200);
const PEERS_GRACE_MAX: Duration = Duration::from_millis(50);
/// For queries that still run. They have a deadline of their own.
const QUERIES_GRACE_MAX: Duration = Duration::from_millis(500);

/// What a node needs to start.
pub struct NodeConfig {
    /// Who it is.
    pub identity: Identity,
    /// Where clients connect; bound by the caller, so that port 0 works.
    pub clients: TcpListener,
    /// Where peers connect.
    pub peers: TcpListener,
    /// The peers' addresses, as far as its operator knows them; its own may be among them. Where
    /// the others are, the group knows itself.
    pub addresses: BTreeMap<NodeId, String>,
    /// What a new folder begins with.
    pub birth: Birth,
    /// Where log and state live.
    pub storage: Storage,
    /// The machine's code; its digest is in the identity.
    pub module: Arc<Module>,
    /// What bounds a batch.
    pub batcher: BatcherConfig,
    /// What its operator may want otherwise.
    pub tuning: Tuning,
}

/// Bounds of one node that its operator may change; what is not named is as `limits.rs` has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tuning {
    /// Entries of the log before it is cut.
    pub log_entries_max: Option<u64>,
    /// What must be free on the disk.
    pub disk_reserve_bytes: Option<u64>,
    /// How much of a snapshot leaves for another node within a second.
    pub snapshot_bytes_per_second: Option<u64>,
}

/// Why a node cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A fault of this node.
    Fault(String),
    /// It is no member any more, or not the one that it believes to be.
    Expelled(String),
}

/// A running node. Dropping it stops it.
#[derive(Debug)]
pub struct Node {
    client_address: SocketAddr,
    status: watch::Receiver<Status>,
    batcher_stats: watch::Receiver<BatcherStats>,
    failure: std_mpsc::Receiver<Failure>,
    submitter: Submitter,
    states: Arc<States>,
    /// In the order in which they end; `None` once stopped.
    stages: Option<Stages>,
    /// Last: nobody else gets the folder before all of this has ended.
    _claim: Option<Claim>,
}

#[derive(Debug)]
struct Stages {
    clients: Option<Serving>,
    submit: mpsc::Sender<Submission<Waiter>>,
    batcher: JoinHandle<()>,
    raft: Worker<()>,
    apply: Worker<()>,
    syncer: Worker<()>,
    peers_serving: watch::Sender<()>,
    peers: JoinHandle<()>,
    runtime: Runtime,
}

/// The clients' server, and what ends it when it is dropped.
#[derive(Debug)]
struct Serving {
    open: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Node {
    /// Starts a node. Must not be called within an async runtime: it has its own.
    #[expect(
        clippy::too_many_lines,
        reason = "every channel is made here, where one sees who owns which end"
    )]
    pub fn start(config: NodeConfig) -> anyhow::Result<Self> {
        let node = config.identity.node;
        let client_address = config.clients.local_addr()?;
        let Stores { own, log, state, recovered, places, meta, claim } = Stores::open(&config)?;
        let runtime = runtime(node)?;
        let in_runtime = runtime.enter();
        let [listener, peer_listener] = tasks::into_tokio([config.clients, config.peers])?;
        let tick = config.identity.timing.tick;

        let (submit, proposals) = mpsc::channel(limits::SUBMIT_MAX);
        let (inbox_sender, inbox) = queue::channel(INBOX_MAX, limits::PEER_QUEUE_BYTES_MAX);
        let (reads_sender, reads) = mpsc::channel(limits::SUBMIT_MAX);
        let (requests_sender, inbox_of_requests) = mpsc::channel(limits::SUBMIT_MAX);
        let (committed_sender, committed) = std_mpsc::sync_channel(COMMITTED_MAX);
        let (applied_sender, applied) = watch::channel(recovered.applied.index);
        let (durable_sender, durable) = watch::channel(recovered.applied.index);
        let (flush, flushes) = std_mpsc::sync_channel(1);
        let (transfers_sender, transfers) = mpsc::channel(TRANSFERS_MAX);
        let (status_sender, status) = watch::channel(Status::default());
        let (lease_sender, lease) = watch::channel(Lease::default());
        let (stalled_sender, stalled) = watch::channel(false);
        let (serving, is_serving) = watch::channel(());
        let (peers_serving, peers_are_serving) = watch::channel(());
        let (failed, failure) = std_mpsc::channel();
        let expelled = failed.clone();

        let log_entries_max = config.tuning.log_entries_max.unwrap_or(limits::LOG_ENTRIES_MAX);
        let bounds = Bounds { log_entries_max, ..Bounds::default() };
        let replica = replica(own.member, &config.identity, bounds, (log, &recovered))?;
        let (members_sender, members) = watch::channel(Arc::new(replica.members()));
        let roster = Roster::new(config.identity, own, config.addresses, members.clone())?;
        let roster = Arc::new(roster);
        let integrity = Integrity::new(Arc::clone(&roster.identity), &meta, places)?;
        let integrity = Arc::new(integrity);
        let requests = requests_sender.clone();
        let reports = Reports { requests, expelled: failed.clone() };
        let (directory, links) = peers::connect(&roster, reports)?;
        let submitter = Submitter {
            node,
            submit: submit.downgrade(),
            status: status.clone(),
            directory: Arc::clone(&directory),
            serving: is_serving.clone(),
            stalled: stalled.clone(),
            admission: Admission::default(),
            integrity: Arc::clone(&integrity),
            disk: Arc::new(DiskGuard::new(&config.module, Arc::clone(&integrity))),
            stages: Arc::default(),
        };
        let reached = (Arc::clone(&directory), status.clone(), requests_sender.clone());
        tasks::spawn_exchange(&integrity, reached, tick, is_serving.clone());
        let room = Room::new(integrity.folder(), config.tuning.disk_reserve_bytes);
        tasks::spawn_look(&integrity, room.clone(), is_serving.clone());

        let raft_runtime = consensus::runtime()?;
        let Batches { intake, task: batcher, stats: batcher_stats } = {
            let _in_raft = raft_runtime.enter();
            crate::batcher::start(config.batcher, proposals)
        };
        let (requests, applied_seen) = (inbox_of_requests, applied.clone());
        let inputs = Inputs { intake, inbox, reads, requests, applied: applied_seen, durable };
        let (outbound, contacts) = (Arc::clone(&directory), Arc::clone(&roster));
        let store = Arc::clone(&state) as Arc<dyn StateStore>;
        let machine = Machine::new(GROUP, config.module.program(), Arc::clone(&store))?;
        let apply = Arc::new(Mutex::new(Apply {
            machine,
            states: Arc::clone(&state),
            integrity: Arc::clone(&integrity),
            times: Arc::clone(&submitter.stages),
            applied: applied_sender,
            has_failed: false,
        }));
        let outputs = Outputs {
            committed: committed_sender,
            apply: Arc::clone(&apply) as _,
            applied_here_commands_max: consensus::applied_here_commands_max(),
            flush,
            transfers: transfers_sender,
            states: Arc::clone(&state),
            status: status_sender,
            pulse: Pulse::default(),
            lease: lease_sender,
            members: members_sender,
            contacts: Box::new(move || contacts.contacts()),
            send: move |to, message| outbound.send(to, message),
        };
        tasks::watch(&outputs, tick, stalled_sender);
        let raft = tasks::stage(format!("node-{node}-raft"), failed.clone(), move || {
            consensus::run(&raft_runtime, replica, tick, (inputs, outputs))
        })?;
        let apply = tasks::stage(format!("node-{node}-apply"), failed.clone(), move || {
            apply::run(&apply, &committed)
        })?;
        let stores = Arc::clone(&state);
        let syncer = tasks::stage(format!("node-{node}-flush"), failed, move || {
            tasks::flush(&stores, &flushes, &durable_sender)
        })?;

        let module = config.module;
        let services = Ends {
            roster: Arc::clone(&roster),
            module: Arc::clone(&module),
            state: Arc::clone(&state),
            client_address,
            submitter: submitter.clone(),
            progress: Progress {
                status: status.clone(),
                applied,
                stalled,
                integrity: Arc::clone(&integrity),
            },
            members,
            inbox: inbox_sender,
            reads: reads_sender,
            lease,
            requests: requests_sender,
            expelled: expelled.clone(),
            room,
        };
        let rate = config.tuning.snapshot_bytes_per_second;
        peers::spawn_sender((&directory, rate), store, &services.requests, &status, transfers);
        let Services { plugin, admin, metrics, peers } = services.into_services();
        let clients = Clients {
            listener,
            module,
            plugin,
            admin,
            metrics,
            status: status.clone(),
            quarantine: integrity.changes(),
        };
        let clients = tasks::spawn_clients(clients, is_serving);
        let peers = tasks::spawn_peers(peer_listener, peers, links, peers_are_serving);
        tasks::spawn_membership(roster, directory, status.clone(), expelled);
        drop(in_runtime);
        let stages = Some(Stages {
            clients: Some(Serving { open: serving, task: clients }),
            submit,
            batcher,
            raft,
            apply,
            syncer,
            peers_serving,
            peers,
            runtime,
        });
        Ok(Self {
            client_address,
            status,
            batcher_stats,
            failure,
            submitter,
            states: state,
            stages,
            _claim: claim,
        })
    }

    /// Where clients connect.
    pub fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// Its state, which outlives it: once the node has stopped, all that it has applied.
    pub fn states(&self) -> Arc<States> {
        Arc::clone(&self.states)
    }

    /// Who leads, as this node knows it.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// How its batcher fares.
    pub fn batcher_stats(&self) -> BatcherStats {
        *self.batcher_stats.borrow()
    }

    /// The way for commands of this process, without a connection.
    pub fn submitter(&self) -> &Submitter {
        &self.submitter
    }

    /// The fault that ended one of its stages, if one has. The node must then be stopped.
    pub fn failure(&self) -> Option<Failure> {
        self.failure.try_recv().ok()
    }

    /// Takes no more calls, and waits for those under way; those that wait for a leader give up.
    /// Where all nodes of a cluster stop, all of them do this before any of them goes on: a call
    /// that is under way needs a majority.
    pub fn stop_serving(&mut self) {
        let Some(stages) = &mut self.stages else { return };
        if let Some(Serving { open, task }) = stages.clients.take() {
            drop(open);
            tasks::end(&stages.runtime, task, CLIENTS_GRACE_MAX);
        }
    }

    /// Stops the node, stage by stage. What was accepted is answered; within two seconds nothing
    /// is left of it: no thread, no port, no caller without an answer. Must not be called within
    /// an async runtime.
    pub fn stop(mut self) {
        self.stop_stages();
    }

    fn stop_stages(&mut self) {
        self.stop_serving();
        let Some(stages) = self.stages.take() else { return };
        let Stages { submit, batcher, raft, apply, syncer, peers_serving, peers, runtime, .. } =
            stages;
        // The last submitter. The batcher flushes, and closes the intake.
        drop(submit);
        tasks::end(&runtime, batcher, BATCHER_GRACE_MAX);
        // Raft has what was proposed decided, hands leadership over, and closes `committed`.
        raft.join();
        // Apply finishes what is committed, and makes it durable.
        apply.join();
        syncer.join();
        // Peers last: until here, raft heard them.
        drop(peers_serving);
        tasks::end(&runtime, peers, PEERS_GRACE_MAX);
        // Connections that their clients keep open end here.
        runtime.shutdown_timeout(QUERIES_GRACE_MAX);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop_stages();
    }
}

fn runtime(node: NodeId) -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(format!("node-{node}-rpc"))
        .enable_all()
        .build()
        .context("starting the runtime")
}

fn replica(
    member: RaftId,
    identity: &Identity,
    bounds: Bounds,
    (log, recovered): (Box<dyn LogStore>, &Recovered),
) -> Result<HostReplica, Fatal> {
    let founders = identity.founders.iter().map(|node| RaftId::new(*node, 0)).collect();
    let seed = random::bits_64();
    let lease = identity.timing.lease();
    let config = ReplicaConfig { id: member, founders, seed, bounds, lease };
    Replica::new(config, log, recovered)
}
