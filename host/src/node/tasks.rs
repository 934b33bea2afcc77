//! The tasks and threads of a node, and how they begin and end.

use std::net::TcpListener;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::Duration;

use anyhow::Context as _;
use quorate_core::limits;
use quorate_core::outcome::Fatal;
use quorate_core::replica::Status;
use quorate_core::state::StateStore as _;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::Failure;
use super::States;
use crate::consensus::Outputs;
use crate::disk::{self, Room};
use crate::integrity::{Exchange, Integrity, Reached};
use crate::peers::{self, Directory, PeerService};
use crate::roster::Roster;
use crate::rpc::server::{self, Clients};
use crate::threads::Worker;
use crate::watchdog;

/// Between two requests of a node that wants to be admitted.
const JOIN_PAUSE: Duration = Duration::from_millis(200);
/// Between two looks for states that nobody reads from any more.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// How long a node that was removed helps the others to learn of it.
const REMOVAL_PAUSE: Duration = Duration::from_secs(1);

/// A thread whose fault stops the node, and is said once.
pub(super) fn stage(
    name: String,
    failed: std_mpsc::Sender<Failure>,
    work: impl FnOnce() -> Result<(), Fatal> + Send + 'static,
) -> anyhow::Result<Worker<()>> {
    let thread = name.clone();
    let worker = Worker::start(name, move || {
        if let Err(fatal) = work() {
            tracing::error!(%thread, "{fatal}");
            // The node may be gone already.
            drop(failed.send(Failure::Fault(fatal.to_string())));
        }
    });
    worker.context("starting a thread")
}

/// Watches consensus. A round that lasts for an election time-out is too long.
pub(super) fn watch<S>(outputs: &Outputs<S>, tick: Duration, stalled: watch::Sender<bool>) {
    let (pulse, status) = (outputs.pulse.watched(), outputs.status.clone());
    tokio::spawn(watchdog::watch(pulse, tick * limits::ELECTION_TICKS, status, stalled));
}

/// Makes the state durable whenever consensus asks for it, while apply goes on; and removes the
/// states that snapshots have replaced.
pub(super) fn flush(
    states: &States,
    asked: &std_mpsc::Receiver<()>,
    durable: &watch::Sender<u64>,
) -> Result<(), Fatal> {
    loop {
        match asked.recv_timeout(SWEEP_PAUSE) {
            Ok(()) => {
                // What is applied by now is what will be durable, at the least.
                let index = states.snapshot().meta().applied.index;
                states.flush()?;
                durable.send_replace(index);
            }
            Err(RecvTimeoutError::Timeout) => states.sweep(),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// The server of clients; stops when `is_serving` closes.
pub(super) fn spawn_clients(clients: Clients, is_serving: watch::Receiver<()>) -> JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = server::serve(clients, closed(is_serving)).await {
            tracing::error!("{error:#}");
        }
    })
}

/// The server of peers, and the links to them; stops when `is_serving` closes.
pub(super) fn spawn_peers(
    listener: tokio::net::TcpListener,
    service: PeerService,
    links: JoinSet<()>,
    is_serving: watch::Receiver<()>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        // They end when consensus does, which then has no members to tell; or, late, with this.
        let _links = links;
        if let Err(error) = peers::serve(listener, service, closed(is_serving)).await {
            tracing::error!("serving peers: {error}");
        }
    })
}

/// The comparison with other nodes; ends when `is_serving` closes.
pub(super) fn spawn_exchange(
    integrity: &Arc<Integrity>,
    reached: Reached,
    tick: Duration,
    is_serving: watch::Receiver<()>,
) {
    let exchange = Exchange::new(Arc::clone(integrity), reached, tick);
    tokio::spawn(exchange.run(closed(is_serving)));
}

/// The look at the disk; ends when `is_serving` closes.
pub(super) fn spawn_look(integrity: &Arc<Integrity>, room: Room, is_serving: watch::Receiver<()>) {
    tokio::spawn(disk::look(room, Arc::clone(integrity), closed(is_serving)));
}

/// Bound sockets for the runtime that this is called in.
pub(super) fn into_tokio(
    [clients, peers]: [TcpListener; 2],
) -> anyhow::Result<[tokio::net::TcpListener; 2]> {
    let convert = |listener: TcpListener| {
        listener.set_nonblocking(true)?;
        tokio::net::TcpListener::from_std(listener)
    };
    Ok([convert(clients)?, convert(peers)?])
}

/// Resolves when the sending end is dropped.
async fn closed(mut serving: watch::Receiver<()>) {
    while serving.changed().await.is_ok() {}
}

/// Waits for a task, and ends it when it takes too long.
pub(super) fn end(runtime: &Runtime, mut task: JoinHandle<()>, wait_max: Duration) {
    runtime.block_on(async {
        if tokio::time::timeout(wait_max, &mut task).await.is_err() {
            task.abort();
        }
    });
}

/// What a node does about its own membership.
pub(super) fn spawn_membership(
    roster: Arc<Roster>,
    directory: Arc<Directory>,
    status: watch::Receiver<Status>,
    expelled: std_mpsc::Sender<Failure>,
) {
    tokio::spawn(notice_removal(Arc::clone(&roster), expelled));
    if roster.member.incarnation() > 0 {
        tokio::spawn(join(roster, directory, status));
    }
}

/// Asks to be admitted until this member is what it is to be.
async fn join(roster: Arc<Roster>, directory: Arc<Directory>, mut status: watch::Receiver<Status>) {
    let member = roster.member;
    tracing::info!(%member, "what this node voted is gone; asking to be admitted as a new member");
    while !status.borrow_and_update().votes {
        for node in directory.nodes() {
            if directory.join(node).await {
                tracing::info!(%member, "admitted");
                return;
            }
        }
        tokio::time::sleep(JOIN_PAUSE).await;
    }
    tracing::info!(%member, "admitted");
}

/// Ends this node a little after the group has agreed that it is no member any more: its peers must
/// hear first that it was agreed on.
async fn notice_removal(roster: Arc<Roster>, failed: std_mpsc::Sender<Failure>) {
    let mut members = roster.members.clone();
    let member = roster.member;
    if members.wait_for(|members| members.is_past(member)).await.is_err() {
        return;
    }
    tokio::time::sleep(REMOVAL_PAUSE).await;
    let node = member.node();
    let failure = Failure::Expelled(format!(
        "node {node} was removed from the cluster; to let it come back: give it an empty --data, \
         and add it again (quorate member add {node} ADDR)"
    ));
    // It may be stopping already.
    let _gone = failed.send(failure).is_err();
}
