//! One stream of raft messages to one peer, made again whenever it breaks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_core::id::{NodeId, RaftId};
use quorate_core::limits;
use quorate_proto::v1;
use quorate_proto::v1::peer_client::PeerClient;
use quorate_proto::v1::peer_frame::Frame;
use tokio::sync::mpsc;
use tonic::Code;
use tonic::transport::Channel;

use super::complaints::Complaints;
use super::{REFUSALS, Reports};
use crate::consensus::Request;
use crate::node::Failure;
use crate::queue;
use crate::roster::Roster;
use crate::rpc::stream::ReceiverStream;

/// Between two attempts to connect: shorter than an election, so that a peer that came back hears
/// of its leader before it looks for another.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Frames between the link and the connection.
const FRAMES_MAX: usize = 16;

/// A stream to one peer.
pub(super) struct Stream {
    pub(super) client: PeerClient<Channel>,
    pub(super) roster: Arc<Roster>,
    pub(super) to: NodeId,
    pub(super) reports: Reports,
}

impl Stream {
    /// Sends messages until their queue closes. Says hello at once, even when there is nothing to
    /// say: nodes must know each other before one of them can lose its data.
    pub(super) async fn run(mut self, mut messages: queue::Receiver<(RaftId, Bytes)>) {
        let mut complaints = Complaints::default();
        loop {
            let (frames, stream) = mpsc::channel(FRAMES_MAX);
            let hello = Frame::Hello(self.roster.hello(self.to));
            if frames.try_send(v1::PeerFrame { frame: Some(hello) }).is_err() {
                unreachable!("the channel is new");
            }
            let stream = ReceiverStream(stream);
            let ended = tokio::select! {
                result = self.client.messages(stream) => result.err(),
                still_open = pump(&mut messages, frames) => {
                    if still_open { None } else { return }
                }
            };
            if let Some(status) = ended {
                self.refused(&status);
                complain(&mut complaints, self.to, &status);
            }
            // Raft slows down towards a member that it cannot reach.
            if let Some(member) = self.roster.members().member_of(self.to) {
                drop(self.reports.requests.try_send(Request::Unreachable(member)));
            }
            tokio::time::sleep(RETRY_PAUSE).await;
            // What has gathered meanwhile is stale; raft sends anew.
            while messages.try_recv().is_some() {}
        }
    }

    /// Some refusals end this node: it must not go on as the member that it believes to be.
    fn refused(&self, status: &tonic::Status) {
        let is_final = match status.code() {
            // The group has agreed on it.
            Code::PermissionDenied => true,
            Code::AlreadyExists => self.roster.is_doubted_by(self.to),
            _ => false,
        };
        if is_final {
            // It may be about to end for another reason.
            let failure = Failure::Expelled(status.message().to_owned());
            let _gone = self.reports.expelled.send(failure).is_err();
        }
    }
}

/// Moves messages into frames; false when there will be no more messages, true when the connection
/// does not take frames any more.
async fn pump(
    messages: &mut queue::Receiver<(RaftId, Bytes)>,
    frames: mpsc::Sender<v1::PeerFrame>,
) -> bool {
    loop {
        let Some((_, message)) = messages.recv().await else { return false };
        let mut bytes = message.len();
        let mut batch = vec![message];
        while bytes < limits::RAFT_MESSAGE_BYTES_MAX
            && let Some((_, message)) = messages.try_recv()
        {
            bytes += message.len();
            batch.push(message);
        }
        let frame = Frame::Raft(v1::RaftMessages { messages: batch });
        if frames.send(v1::PeerFrame { frame: Some(frame) }).await.is_err() {
            return true;
        }
    }
}

fn complain(complaints: &mut Complaints, to: NodeId, status: &tonic::Status) {
    let what = status.message();
    if !complaints.is_due(what) {
        return;
    }
    if REFUSALS.contains(&status.code()) {
        tracing::error!(peer = %to, "refused by a peer: {what}");
    } else if status.code() == Code::DataLoss {
        tracing::error!(peer = %to, "the way to a peer is not sound: {what}");
    } else {
        tracing::warn!(peer = %to, "cannot reach a peer: {what}");
    }
}
