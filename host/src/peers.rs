//! Nodes among themselves: raft messages as opaque bytes over streams, and commands on their way to
//! the leader. Every conversation begins with a [`Hello`](v1::Hello); a node of another cluster, or
//! with another module, is refused. All of it travels under a checksum, compressed where that pays
//! ([`quorate_proto::sealed`]); what is damaged ends its call, and nothing of it is taken.
//!
//! Raft messages are lossy by contract: a full queue or a broken connection loses them, and raft
//! sends again. Nothing here is allowed to wait for a peer.

mod complaints;
mod link;
mod membership;
mod server;
mod sessions;
mod snapshots;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc as std_mpsc};
use std::time::Duration;

use bytes::Bytes;
use quorate_core::batch::Command;
use quorate_core::id::{LogId, NodeId, RaftId};
use quorate_core::integrity::{Point, Report};
use quorate_core::limits;
use quorate_core::replica::{Status, Transfer};
use quorate_core::state::StateStore;
use quorate_proto::sealed::{PLAIN_BYTES_MAX, SEAL_BYTES_MAX};
use quorate_proto::v1;
use quorate_proto::v1::peer_client::PeerClient;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::consensus::Request;
use crate::node::Failure;
use crate::queue;
use crate::random;
use crate::roster::Roster;
use crate::submit::Decided;

use complaints::Complaints;

pub use membership::{change_from_wire, introduce};
pub use server::{PeerService, serve};

/// Raft messages that wait for one peer's connection.
const QUEUED_MESSAGES_MAX: usize = 4096;
/// A frame between peers: one raft message of full size, or one large entry, and some small ones.
const FRAME_BYTES_MAX: usize = 2 * (limits::RAFT_MESSAGE_BYTES_MAX + limits::ENTRY_BYTES_MAX);
/// What is received must fit what a receiver makes room for.
const _: () =
    assert!(FRAME_BYTES_MAX + limits::REPLY_BYTES_MAX + SEAL_BYTES_MAX <= PLAIN_BYTES_MAX);
/// The largest record of a snapshot fits a frame, even when it does not compress.
const _: () = assert!(limits::REPLY_BYTES_MAX + 128 * 1024 <= FRAME_BYTES_MAX);
const CONNECT_WAIT_MAX: Duration = Duration::from_millis(500);

/// How to reach the other nodes: those who are members, as they come and go.
#[derive(Debug)]
pub struct Directory {
    roster: Arc<Roster>,
    links: RwLock<BTreeMap<NodeId, Link>>,
    complaints: Mutex<Complaints>,
}

/// The way to one node.
#[derive(Debug)]
struct Link {
    address: String,
    channel: Channel,
    /// To the stream of raft messages; dropping it ends the stream.
    queue: queue::Sender<(RaftId, Bytes)>,
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
    /// Nor this one: a disk is nearly full.
    DiskFull,
    /// The connection broke, or the other node does not know.
    Unknown,
}

/// What links tell the rest of the node.
#[derive(Clone, Debug)]
pub struct Reports {
    /// That a member cannot be reached.
    pub requests: mpsc::Sender<Request>,
    /// That this node must not run on, and why.
    pub expelled: std_mpsc::Sender<Failure>,
}

/// A directory, and the task that keeps links to all members. They last until consensus ends.
/// Must be called within a runtime.
pub fn connect(
    roster: &Arc<Roster>,
    reports: Reports,
) -> anyhow::Result<(Arc<Directory>, JoinSet<()>)> {
    for (node, address) in roster.others() {
        endpoint(&address)
            .map_err(|error| anyhow::anyhow!("peer {node} at \"{address}\": {error}"))?;
    }
    let roster = Arc::clone(roster);
    let directory =
        Arc::new(Directory { roster, links: RwLock::default(), complaints: Mutex::default() });
    let mut tasks = JoinSet::new();
    tasks.spawn(follow(Arc::clone(&directory), reports));
    Ok((directory, tasks))
}

/// Opens and closes links as members come and go.
async fn follow(directory: Arc<Directory>, reports: Reports) {
    let mut members = directory.roster.members.clone();
    let mut tasks = JoinSet::new();
    loop {
        members.mark_unchanged();
        directory.renew(&mut tasks, &reports);
        if members.changed().await.is_err() {
            break;
        }
    }
    // Consensus has ended, and so do the streams; what is under way elsewhere goes on.
    directory.end_streams();
    while tasks.join_next().await.is_some() {}
}

fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(CONNECT_WAIT_MAX)
        .tcp_nodelay(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(1 << 22)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5)))
}

fn client(channel: Channel) -> PeerClient<Channel> {
    PeerClient::new(channel)
        .max_decoding_message_size(FRAME_BYTES_MAX + limits::REPLY_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX)
}

/// Sends the snapshots that consensus wants sent, until it ends. Must be called within a runtime.
pub fn spawn_sender(
    (directory, rate): (&Arc<Directory>, Option<u64>),
    state: Arc<dyn StateStore>,
    requests: &mpsc::Sender<Request>,
    status: &watch::Receiver<Status>,
    transfers: mpsc::Receiver<Transfer>,
) {
    let (directory, requests, status) = (Arc::clone(directory), requests.clone(), status.clone());
    let process = random::bits_64();
    let rate = rate.unwrap_or(limits::SNAPSHOT_BYTES_PER_SECOND_MAX);
    let sender = snapshots::send::Sender { directory, state, requests, status, process, rate };
    // It ends when consensus does.
    tokio::spawn(snapshots::send::run(sender, transfers));
}

impl Directory {
    /// Sends a raft message, or loses it.
    pub fn send(&self, to: RaftId, message: Bytes) {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(&to.node()) {
            // A full queue or an ended link loses the message; raft expects that.
            let _lost = link.queue.try_send((to, message));
        }
    }

    /// A connection of its own to a node.
    fn connect_anew(&self, to: NodeId) -> Option<Channel> {
        let address = self.roster.others().remove(&to)?;
        Some(endpoint(&address).ok()?.connect_lazy())
    }

    /// The nodes that vote, this one included.
    pub fn voters(&self) -> BTreeSet<NodeId> {
        self.roster.members().voters.iter().map(|member| member.node()).collect()
    }

    /// The other nodes.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }

    /// Has a link to each of the others, and to nobody else.
    fn renew(self: &Arc<Self>, tasks: &mut JoinSet<()>, reports: &Reports) {
        use std::collections::btree_map::Entry;
        let others = self.roster.others();
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        links.retain(|node, link| others.get(node) == Some(&link.address));
        for (to, address) in others {
            let Entry::Vacant(place) = links.entry(to) else { continue };
            let Ok(endpoint) = endpoint(&address) else {
                tracing::error!(node = %to, "\"{address}\" is no address");
                continue;
            };
            let channel = endpoint.connect_lazy();
            let (queue, messages) =
                queue::channel(QUEUED_MESSAGES_MAX, limits::PEER_QUEUE_BYTES_MAX);
            let (client, roster) = (client(channel.clone()), Arc::clone(&self.roster));
            let stream = link::Stream { client, roster, to, reports: reports.clone() };
            tasks.spawn(stream.run(messages));
            place.insert(Link { address, channel, queue });
        }
    }

    fn end_streams(&self) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        for link in links.values_mut() {
            link.queue = queue::channel(1, 1).0;
        }
    }

    fn channel(&self, to: NodeId) -> Option<Channel> {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        links.get(&to).map(|link| link.channel.clone())
    }

    /// Hands a command to another node, which may hand it on `hops_left` times.
    pub async fn submit(&self, to: NodeId, command: &Command, hops_left: u32) -> Forwarded {
        let Some(channel) = self.channel(to) else { return Forwarded::NotProposed };
        let request = v1::SubmitRequest {
            hello: Some(self.roster.hello(to)),
            method: command.method,
            payload: command.payload.clone(),
            hops_left,
            session: command.session.map(sessions::to_wire),
        };
        match client(channel).submit(request).await {
            Ok(reply) => forwarded(reply.into_inner()),
            Err(status) if never_left(&status) => Forwarded::NotProposed,
            Err(status) => {
                tracing::debug!(%to, %status, "a command that was handed on has no known outcome");
                Forwarded::Unknown
            }
        }
    }

    /// Tells a node of this one's state; returns what it has.
    pub async fn compare(&self, to: NodeId, report: Report) -> Option<Report> {
        let channel = self.channel(to)?;
        let request = report_to_wire(self.roster.hello(to), report);
        // One that cannot be reached has no opinion; the links complain.
        let answer = client(channel).compare(request).await.ok()?;
        Some(report_from_wire(answer.into_inner()))
    }

    /// Asks a node to admit this one as the member that it is; true when it is what it is to be.
    pub async fn join(&self, to: NodeId) -> bool {
        let Some(channel) = self.channel(to) else { return false };
        let hello = Some(self.roster.hello(to));
        let request = v1::JoinRequest { hello, raft_id: self.roster.member.get() };
        match client(channel).join(request).await {
            Ok(reply) => reply.into_inner().admitted,
            Err(status) => {
                let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
                if status.code() != Code::Unavailable && complaints.is_due(status.message()) {
                    tracing::error!(%to, "may not join: {}", status.message());
                }
                // Not reached: others are asked as well, and it again.
                false
            }
        }
    }
}

fn report_to_wire(hello: v1::Hello, report: Report) -> v1::StateReport {
    v1::StateReport {
        hello: Some(hello),
        last: report.last,
        digests: report.digests,
        echo_index: report.echo.map(|point| point.index),
        echo_digest: report.echo.map_or(0, |point| point.digest),
        is_quarantined: report.is_quarantined,
        is_nearly_full: report.is_nearly_full,
    }
}

fn report_from_wire(report: v1::StateReport) -> Report {
    let digest = report.echo_digest;
    Report {
        last: report.last,
        digests: report.digests,
        echo: report.echo_index.map(|index| Point { index, digest }),
        is_quarantined: report.is_quarantined,
        is_nearly_full: report.is_nearly_full,
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
        Some(Reply::NotProposed(v1::NotProposed { busy: true, .. })) => Forwarded::Busy,
        Some(Reply::NotProposed(v1::NotProposed { disk_full: true, .. })) => Forwarded::DiskFull,
        Some(Reply::NotProposed(_)) => Forwarded::NotProposed,
        Some(Reply::Decided(_) | Reply::Unknown(_)) | None => Forwarded::Unknown,
    }
}

/// What a node is refused with at another's door, before anything is taken.
const REFUSALS: [Code; 3] = [Code::FailedPrecondition, Code::PermissionDenied, Code::AlreadyExists];

/// Whether a call failed before anything was sent, or was refused at the other's door. Everything
/// else may have been executed.
fn never_left(status: &tonic::Status) -> bool {
    use std::error::Error;
    // Refused at its door.
    if REFUSALS.contains(&status.code()) {
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
