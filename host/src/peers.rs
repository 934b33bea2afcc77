//! Nodes among themselves: raft messages as opaque bytes over streams, and commands on their way to
//! the leader. Every conversation begins with a [`Hello`](v1::Hello); a node of another cluster, or
//! with another module, is refused. All of it travels under a checksum, compressed where that pays
//! ([`quorate_proto::sealed`]); what is damaged ends its call, and nothing of it is taken.
//!
//! Raft messages are lossy by contract: a full queue or a broken connection loses them, and raft
//! sends again. Nothing here is allowed to wait for a peer.

mod complaints;
mod link;
mod server;
mod sessions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_core::batch::Command;
use quorate_core::id::{LogId, NodeId, RaftId};
use quorate_core::limits;
use quorate_proto::sealed::{PLAIN_BYTES_MAX, SEAL_BYTES_MAX};
use quorate_proto::v1;
use quorate_proto::v1::peer_client::PeerClient;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::consensus::Request;
use crate::identity::Identity;
use crate::queue;
use crate::submit::Decided;

pub use server::{PeerService, serve};

/// Raft messages that wait for one peer's connection.
const QUEUED_MESSAGES_MAX: usize = 4096;
/// A frame between peers: one raft message of full size, or one large entry, and some small ones.
const FRAME_BYTES_MAX: usize = 2 * (limits::RAFT_MESSAGE_BYTES_MAX + limits::ENTRY_BYTES_MAX);
/// What is received must fit what a receiver makes room for.
const _: () =
    assert!(FRAME_BYTES_MAX + limits::REPLY_BYTES_MAX + SEAL_BYTES_MAX <= PLAIN_BYTES_MAX);
const CONNECT_WAIT_MAX: Duration = Duration::from_millis(500);

/// How to reach the other nodes.
#[derive(Debug)]
pub struct Directory {
    identity: Arc<Identity>,
    channels: BTreeMap<NodeId, Channel>,
}

/// What became of a command that was handed on.
#[derive(Debug)]
pub enum Forwarded {
    /// It was decided.
    Decided(Decided),
    /// It was surely not proposed.
    NotProposed,
    /// Nor this one: the leader has too much to do.
    Busy,
    /// The connection broke, or the other node does not know.
    Unknown,
}

/// The sending ends towards all peers. The raft thread owns it; dropping it ends the links.
#[derive(Debug)]
pub struct Outbound {
    queues: BTreeMap<NodeId, queue::Sender<(RaftId, Bytes)>>,
}

impl Outbound {
    /// Sends a raft message, or loses it.
    pub fn send(&mut self, to: RaftId, message: Bytes) {
        if let Some(queue) = self.queues.get(&to.node()) {
            // A full queue or an ended link loses the message; raft expects that.
            let _lost = queue.try_send((to, message));
        }
    }
}

/// Starts a link to each peer. Connections are made when there is something to send, and again
/// when they break. Must be called within a runtime.
pub fn connect(
    identity: &Arc<Identity>,
    addresses: &BTreeMap<NodeId, String>,
    requests: &mpsc::Sender<Request>,
) -> anyhow::Result<(Arc<Directory>, Outbound, JoinSet<()>)> {
    let mut channels = BTreeMap::new();
    let mut queues = BTreeMap::new();
    let mut links = JoinSet::new();
    for (node, address) in addresses.iter().filter(|(node, _)| **node != identity.node) {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| anyhow::anyhow!("peer {node} at \"{address}\": {error}"))?
            .connect_timeout(CONNECT_WAIT_MAX)
            .tcp_nodelay(true)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(1 << 22)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(5));
        let channel = endpoint.connect_lazy();
        let (queue, messages) = queue::channel(QUEUED_MESSAGES_MAX, limits::PEER_QUEUE_BYTES_MAX);
        let client = client(channel.clone());
        links.spawn(link::run(client, identity.hello(*node), messages, requests.clone()));
        channels.insert(*node, channel);
        queues.insert(*node, queue);
    }
    let directory = Arc::new(Directory { identity: Arc::clone(identity), channels });
    Ok((directory, Outbound { queues }, links))
}

fn client(channel: Channel) -> PeerClient<Channel> {
    PeerClient::new(channel)
        .max_decoding_message_size(FRAME_BYTES_MAX + limits::REPLY_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX)
}

impl Directory {
    /// The other nodes.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.channels.keys().copied()
    }

    /// Hands a command to another node, which may hand it on `hops_left` times.
    pub async fn submit(&self, to: NodeId, command: &Command, hops_left: u32) -> Forwarded {
        let Some(channel) = self.channels.get(&to) else { return Forwarded::NotProposed };
        let request = v1::SubmitRequest {
            hello: Some(self.identity.hello(to)),
            method: command.method,
            payload: command.payload.clone(),
            hops_left,
            session: command.session.map(sessions::to_wire),
        };
        match client(channel.clone()).submit(request).await {
            Ok(reply) => forwarded(reply.into_inner()),
            Err(status) if never_left(&status) => Forwarded::NotProposed,
            Err(status) => {
                tracing::debug!(%to, %status, "a command that was handed on has no known outcome");
                Forwarded::Unknown
            }
        }
    }

    /// Asks a node to admit this one as `member`; true when it votes.
    pub async fn join(&self, to: NodeId, member: RaftId) -> bool {
        let Some(channel) = self.channels.get(&to) else { return false };
        let hello = Some(self.identity.hello(to));
        let request = v1::JoinRequest { hello, raft_id: member.get() };
        match client(channel.clone()).join(request).await {
            Ok(reply) => reply.into_inner().admitted,
            Err(status) => {
                if status.code() == tonic::Code::FailedPrecondition {
                    tracing::error!(%to, "may not join: {}", status.message());
                }
                // Not reached: others are asked as well, and it again.
                false
            }
        }
    }
}

fn forwarded(reply: v1::SubmitReply) -> Forwarded {
    use v1::decided::Outcome;
    use v1::submit_reply::Result as Reply;
    match reply.result {
        Some(Reply::Decided(v1::Decided { index, term, node, outcome: Some(outcome) })) => {
            let outcome = match outcome {
                Outcome::Reply(reply) => Ok(reply),
                Outcome::Rejection(status) => Err(status),
            };
            Forwarded::Decided(Decided { id: LogId { term, index }, node, outcome })
        }
        Some(Reply::NotProposed(v1::NotProposed { busy: true })) => Forwarded::Busy,
        Some(Reply::NotProposed(_)) => Forwarded::NotProposed,
        Some(Reply::Decided(_) | Reply::Unknown(_)) | None => Forwarded::Unknown,
    }
}

/// Whether a call failed before anything was sent, or was refused at the other's door. Everything
/// else may have been executed.
fn never_left(status: &tonic::Status) -> bool {
    use std::error::Error;
    if status.code() == tonic::Code::FailedPrecondition {
        return true;
    }
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
