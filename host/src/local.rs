//! A cluster in this process, to develop and test against. Its nodes are whole ones, and reach each
//! other over the loopback interface.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use quorate_core::batcher::BatcherConfig;
use quorate_core::id::NodeId;

use crate::identity::{Birth, Identity, LogKind, Timing};
use crate::node::{Node, NodeConfig, Storage, Tuning};
use quorate_wasm::{Digest, Module};

/// Starts a node for each listener, numbered from 1. Each keeps its log and state in a folder of
/// its own in `data`, or in memory. Must not be called within an async runtime.
pub fn start(
    module: &Arc<Module>,
    clients: Vec<TcpListener>,
    data: Option<&Path>,
) -> anyhow::Result<Vec<Node>> {
    start_timed(module, clients, data, Timing::default())
}

/// The same, with a timing of one's own.
pub fn start_timed(
    module: &Arc<Module>,
    clients: Vec<TcpListener>,
    data: Option<&Path>,
    timing: Timing,
) -> anyhow::Result<Vec<Node>> {
    let storage = |id| match data {
        Some(data) => Storage::Folder(folder_of(data, id), LogKind::RocksDb),
        None => Storage::Volatile,
    };
    start_stored(module, clients, &storage, timing)
}

/// The same, each node with a storage of one's own.
pub fn start_stored(
    module: &Arc<Module>,
    clients: Vec<TcpListener>,
    storage: &dyn Fn(NodeId) -> Storage,
    timing: Timing,
) -> anyhow::Result<Vec<Node>> {
    let ids = founders(clients.len());
    let mut peers = Vec::new();
    let mut addresses = BTreeMap::new();
    for id in &ids {
        let listener = TcpListener::bind("127.0.0.1:0").context("binding a port for peers")?;
        addresses.insert(*id, listener.local_addr()?.to_string());
        peers.push(listener);
    }
    let mut nodes = Vec::new();
    for ((id, clients), peers) in ids.iter().zip(clients).zip(peers) {
        nodes.push(Node::start(NodeConfig {
            identity: identity(*id, ids.len(), module.digest(), timing),
            clients,
            peers,
            addresses: addresses.clone(),
            birth: Birth::default(),
            storage: storage(*id),
            module: Arc::clone(module),
            batcher: BatcherConfig::default(),
            tuning: Tuning::default(),
        })?);
    }
    Ok(nodes)
}

/// Who a node of such a cluster is.
pub fn identity(node: NodeId, count: usize, module: Digest, timing: Timing) -> Identity {
    let (cluster, founders) = ("dev".to_owned(), founders(count));
    Identity { cluster, node, founders, module: module.0, timing }
}

/// The nodes of such a cluster.
pub fn founders(count: usize) -> Vec<NodeId> {
    (1..).filter_map(NodeId::new).take(count).collect()
}

/// Where such a node keeps its data.
pub fn folder_of(data: &Path, node: NodeId) -> PathBuf {
    data.join(format!("node-{node}"))
}
