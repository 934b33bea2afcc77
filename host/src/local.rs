//! A cluster in this process, to develop and test against. Its nodes are whole ones, and reach each
//! other over the loopback interface.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use quorate_core::batcher::BatcherConfig;
use quorate_core::id::NodeId;

use crate::identity::{Birth, Identity, LogKind, Timing};
use crate::node::{Node, NodeConfig, Storage, Tuning};
use quorate_wasm::Module;

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
    let ids: Vec<NodeId> = (1..).filter_map(NodeId::new).take(clients.len()).collect();
    let mut peers = Vec::new();
    let mut addresses = BTreeMap::new();
    for id in &ids {
        let listener = TcpListener::bind("127.0.0.1:0").context("binding a port for peers")?;
        addresses.insert(*id, listener.local_addr()?.to_string());
        peers.push(listener);
    }
    let mut nodes = Vec::new();
    for ((id, clients), peers) in ids.iter().zip(clients).zip(peers) {
        let storage = data.map_or(Storage::Volatile, |data| {
            Storage::Folder(data.join(format!("node-{id}")), LogKind::RocksDb)
        });
        nodes.push(Node::start(NodeConfig {
            identity: Identity {
                cluster: "dev".to_owned(),
                node: *id,
                founders: ids.clone(),
                module: module.digest().0,
                timing,
            },
            clients,
            peers,
            addresses: addresses.clone(),
            birth: Birth::default(),
            storage,
            module: Arc::clone(module),
            batcher: BatcherConfig::default(),
            tuning: Tuning::default(),
        })?);
    }
    Ok(nodes)
}
