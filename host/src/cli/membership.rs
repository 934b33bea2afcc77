//! How a node of `quorate serve` comes to its cluster: as a founder, by its own data folder, or by
//! asking a member who is who.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use quorate_core::id::NodeId;
use quorate_proto::v1::IntroduceReply;

use super::{Failure, say, unfit, usage};
use crate::identity::{self, Birth};
use crate::peers::introduce;
use crate::roster::store_id;

/// Between two times that members are asked.
const ASK_PAUSE: Duration = Duration::from_secs(1);

/// What an operator has said of the cluster.
pub(super) struct Wanted<'a> {
    pub(super) cluster: &'a str,
    pub(super) node: NodeId,
    pub(super) data: &'a Path,
    /// `--peers`.
    pub(super) peers: Option<BTreeMap<NodeId, String>>,
    /// `--join`.
    pub(super) join: Vec<String>,
    /// `--rejoin`.
    pub(super) comes_back: bool,
    /// Where the others reach it, for what the operator is told to do.
    pub(super) peer_listen: &'a str,
}

/// How a node begins.
pub(super) struct Beginning {
    pub(super) founders: Vec<NodeId>,
    pub(super) addresses: BTreeMap<NodeId, String>,
    pub(super) birth: Birth,
}

/// Finds out how a node begins. Asks members where it has to, for as long as it takes.
pub(super) fn begin(wanted: &Wanted<'_>) -> Result<Beginning, Failure> {
    let memory = identity::remember(wanted.data).map_err(unfit)?;
    let peers = wanted.peers.clone().unwrap_or_default();
    if let Some(memory) = memory {
        // It knows its cluster. What is said now counts before what was said then.
        let is_founder = memory.founders.contains(&wanted.node);
        let founders = match &wanted.peers {
            Some(peers) if is_founder => peers.keys().copied().collect(),
            _ => memory.founders,
        };
        let birth = Birth { told: memory.addresses, ..Birth::default() };
        return Ok(Beginning { founders, addresses: peers, birth });
    }
    if wanted.join.is_empty() && !wanted.comes_back {
        let founders: Vec<_> = peers.keys().copied().collect();
        if founders.is_empty() {
            return Err(usage(
                "--peers is missing (or QUORATE_PEERS): the first nodes of a cluster name all of \
                 them; a node that comes later names one to --join",
            ));
        }
        if !founders.contains(&wanted.node) {
            return Err(usage(format_args!(
                "--peers: node {} itself is not among them; to add it to a cluster that runs: \
                 quorate member add, and --join in place of --peers",
                wanted.node
            )));
        }
        return Ok(Beginning { founders, addresses: peers, birth: Birth::default() });
    }
    ask(wanted, &peers)
}

fn ask(wanted: &Wanted<'_>, peers: &BTreeMap<NodeId, String>) -> Result<Beginning, Failure> {
    let others = peers.iter().filter(|(node, _)| **node != wanted.node);
    let asked: Vec<String> =
        wanted.join.iter().cloned().chain(others.map(|(_, address)| address.clone())).collect();
    if asked.is_empty() {
        return Err(usage("--rejoin needs --join or --peers: whom to ask"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting a runtime")?;
    let mut said = String::new();
    runtime.block_on(async {
        loop {
            let (mut latest, mut waits) = (None::<IntroduceReply>, String::new());
            for address in &asked {
                match introduce(address, wanted.cluster, wanted.node).await {
                    // Some may be behind, and some have met it when others had not.
                    Ok(reply) if latest.as_ref().is_none_or(|other| knows_less(other, &reply)) => {
                        latest = Some(reply);
                    }
                    Ok(_) => {}
                    Err(error) => waits = format!("{error:#}"),
                }
            }
            if let Some(reply) = latest {
                match beginning(wanted, peers, reply) {
                    Ok(beginning) => return Ok(beginning),
                    Err(Wait::For(why)) => waits = why,
                    Err(Wait::Never(why)) => return Err(usage(why)),
                }
            }
            if waits != said {
                tracing::info!("waiting to join: {waits}");
                say(format_args!("waiting: {waits}"));
                said = waits;
            }
            tokio::time::sleep(ASK_PAUSE).await;
        }
    })
}

fn knows_less(one: &IntroduceReply, other: &IntroduceReply) -> bool {
    let known = |reply: &IntroduceReply| (reply.incarnation, reply.is_expected);
    known(one) < known(other)
}

enum Wait {
    For(String),
    Never(String),
}

fn beginning(
    wanted: &Wanted<'_>,
    peers: &BTreeMap<NodeId, String>,
    reply: IntroduceReply,
) -> Result<Beginning, Wait> {
    let node = wanted.node;
    if !reply.is_expected {
        let (peer_listen, what) =
            (wanted.peer_listen, if reply.is_known { "was removed" } else { "is no member" });
        return Err(Wait::For(format!(
            "node {node} {what}; add it: quorate member add {node} {peer_listen}"
        )));
    }
    let was_there = store_id(&reply.store).is_some();
    if was_there && !wanted.comes_back {
        return Err(Wait::Never(format!(
            "node {node} was a member with another data folder, and {} is empty: what it voted and \
             acknowledged is gone. If its data is lost: start it once with --rejoin, and it comes \
             back as a new member. Else give it its --data",
            wanted.data.display()
        )));
    }
    let number = |node: u64| u32::try_from(node).ok().and_then(NodeId::new);
    let told: BTreeMap<_, _> = reply
        .addresses
        .into_iter()
        .filter_map(|(node, address)| Some((number(node)?, address)))
        .collect();
    let incarnation = reply.incarnation + u32::from(wanted.comes_back);
    let lineage = store_id(&reply.lineage).map_or(0, |lineage| lineage.0);
    Ok(Beginning {
        founders: reply.founders.into_iter().filter_map(number).collect(),
        addresses: peers.clone(),
        birth: Birth { incarnation, lineage, told },
    })
}
