//! One stream of raft messages to one peer, made again whenever it breaks.

use std::time::Duration;

use bytes::Bytes;
use quorate_core::id::RaftId;
use quorate_core::limits;
use quorate_proto::v1;
use quorate_proto::v1::peer_client::PeerClient;
use quorate_proto::v1::peer_frame::Frame;
use tokio::sync::mpsc;
use tonic::transport::Channel;

use super::complaints::Complaints;
use crate::consensus::Request;
use crate::queue;
use crate::rpc::stream::ReceiverStream;

/// Between two attempts to connect: shorter than an election, so that a peer that came back hears
/// of its leader before it looks for another.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// Frames between the link and the connection.
const FRAMES_MAX: usize = 16;

/// Sends messages until their queue closes.
pub(super) async fn run(
    mut client: PeerClient<Channel>,
    hello: v1::Hello,
    mut messages: queue::Receiver<(RaftId, Bytes)>,
    requests: mpsc::Sender<Request>,
) {
    let mut complaints = Complaints::default();
    loop {
        // A connection is made when there is something to say.
        let Some(first) = messages.recv().await else { return };
        let to = first.0;
        let (frames, stream) = mpsc::channel(FRAMES_MAX);
        let hello = v1::PeerFrame { frame: Some(Frame::Hello(hello.clone())) };
        if frames.try_send(hello).is_err() {
            unreachable!("the channel is new");
        }
        let stream = ReceiverStream(stream);
        let ended = tokio::select! {
            result = client.messages(stream) => result.err(),
            still_open = pump(first, &mut messages, frames) => {
                if still_open { None } else { return }
            }
        };
        if let Some(status) = ended {
            complain(&mut complaints, to, &status);
        }
        // Raft slows down towards a member that it cannot reach.
        drop(requests.try_send(Request::Unreachable(to)));
        // What has gathered meanwhile is stale; raft sends anew.
        tokio::time::sleep(RETRY_PAUSE).await;
        while messages.try_recv().is_some() {}
    }
}

/// Moves messages into frames; false when there will be no more messages, true when the connection
/// does not take frames any more.
async fn pump(
    first: (RaftId, Bytes),
    messages: &mut queue::Receiver<(RaftId, Bytes)>,
    frames: mpsc::Sender<v1::PeerFrame>,
) -> bool {
    let mut next = Some(first);
    loop {
        let Some((_, message)) = next else { return false };
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
        next = messages.recv().await;
    }
}

fn complain(complaints: &mut Complaints, to: RaftId, status: &tonic::Status) {
    let what = status.message();
    if !complaints.is_due(what) {
        return;
    }
    if status.code() == tonic::Code::FailedPrecondition {
        tracing::error!(peer = %to.node(), "refused by a peer: {what}");
    } else if status.code() == tonic::Code::DataLoss {
        tracing::error!(peer = %to.node(), "the way to a peer is not sound: {what}");
    } else {
        tracing::warn!(peer = %to.node(), "cannot reach a peer: {what}");
    }
}
