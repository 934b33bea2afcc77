//! Running nodes in the foreground until a signal, or a fault.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::time::Duration;

use anyhow::Context as _;

use super::signals::Signals;
use super::{Failure, REFUSED, complain, usage};
use crate::node::{self, Node};

/// How often the nodes are asked whether one of their stages has failed.
const FAILURE_POLL: Duration = Duration::from_millis(100);

/// Binds an address, or says which setting is wrong.
pub(super) fn bind(flag: &str, address: &str) -> Result<TcpListener, Failure> {
    let resolved: Vec<SocketAddr> = address
        .to_socket_addrs()
        .map_err(|error| usage(format_args!("{flag} {address}: {error}")))?
        .collect();
    TcpListener::bind(&*resolved).map_err(|error| usage(format_args!("{flag} {address}: {error}")))
}

/// Announces nodes, waits for SIGINT, SIGTERM or the fault of one, and stops all of them.
pub(super) fn run_until_signal(
    nodes: Vec<Node>,
    announce: impl FnOnce(&[Node]),
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting a runtime for signals")?;
    let failure = runtime.block_on(async {
        let signals = Signals::listen()?;
        announce(&nodes);
        anyhow::Ok(wait(&nodes, signals).await)
    })?;
    if failure.is_none() {
        tracing::info!("stopping");
    }
    stop(nodes);
    failure.map_or(Ok(()), |failure| Err(ended(failure)))
}

/// Stops all nodes of a cluster. None of them goes on before all take no more calls.
pub(super) fn stop(mut nodes: Vec<Node>) {
    std::thread::scope(|scope| {
        for node in &mut nodes {
            scope.spawn(|| node.stop_serving());
        }
    });
    std::thread::scope(|scope| {
        for node in nodes {
            scope.spawn(|| node.stop());
        }
    });
}

/// What a process ends with whose node has failed.
pub(super) fn ended(failure: node::Failure) -> Failure {
    match failure {
        node::Failure::Fault(fault) => Failure::Failed(anyhow::anyhow!("a node failed: {fault}")),
        node::Failure::Expelled(why) => {
            complain(format_args!("error: {why}"));
            Failure::Code(REFUSED)
        }
    }
}

/// The fault of a node, or nothing on a signal.
async fn wait(nodes: &[Node], signals: Signals) -> Option<node::Failure> {
    let mut signalled = std::pin::pin!(signals.first());
    let mut poll = tokio::time::interval(FAILURE_POLL);
    loop {
        tokio::select! {
            _ = &mut signalled => return None,
            _ = poll.tick() => {
                if let Some(failure) = nodes.iter().find_map(Node::failure) {
                    return Some(failure);
                }
            }
        }
    }
}
