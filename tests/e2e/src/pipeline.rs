//! A client of the stream of commands, as simple as it can be: it sends what it is told, and hears
//! what the node says.

use bytes::Bytes;
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::codegen::tokio_stream;
use tonic::{Status, Streaming};

use crate::kv::channel;
use crate::kv::v1::{PutReply, PutRequest};
use crate::session::v1::client_client::ClientClient;
use crate::session::v1::pipeline_outcome::Result as Outcome;
use crate::session::v1::{
    PipelineCommand, PipelineOutcome, PipelineReply, PipelineRequest, PipelineWelcome,
};

/// A stream of commands to one node.
#[derive(Debug)]
pub struct Stream {
    /// What the node has said of it.
    pub welcome: PipelineWelcome,
    /// Where commands go in; dropping it ends the client's side.
    pub requests: mpsc::Sender<PipelineRequest>,
    /// What the node says.
    pub replies: Streaming<PipelineReply>,
}

/// FNV-1a, 32 bits, as the contract says; not the project's own function.
pub fn method(path: &str) -> u32 {
    path.bytes().fold(2_166_136_261, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619))
}

/// A `Put` that gives back what the key held.
pub fn put(id: u64, key: &str, value: impl Into<Bytes>) -> PipelineCommand {
    let request = PutRequest { key: key.to_owned().into(), value: value.into(), prev_kv: true };
    let payload = request.encode_to_vec().into();
    PipelineCommand { id, method: method("kv.v1.Kv/Put"), payload, session: None }
}

/// The reply to a `Put`; none if it was not decided so.
pub fn put_reply(outcome: &PipelineOutcome) -> Option<PutReply> {
    match &outcome.result {
        Some(Outcome::Reply(reply)) => PutReply::decode(reply.clone()).ok(),
        _ => None,
    }
}

impl Stream {
    /// Opens a stream to the node at this address.
    ///
    /// # Panics
    /// When it does not take it.
    pub async fn open(address: &str) -> Self {
        let (requests, receiver) = mpsc::channel(1);
        let opened = ClientClient::new(channel(address)).pipeline(Sent(receiver)).await;
        let mut replies = opened.expect("a node takes a stream").into_inner();
        let first = replies.message().await.expect("it says something");
        let welcome = first.and_then(|reply| reply.welcome).expect("a welcome comes first");
        Self { welcome, requests, replies }
    }

    /// Sends commands in one message.
    ///
    /// # Panics
    /// When the stream has ended.
    pub async fn send(&self, commands: Vec<PipelineCommand>) {
        self.requests.send(PipelineRequest { commands }).await.expect("the stream is open");
    }

    /// The next so many outcomes.
    ///
    /// # Panics
    /// When the stream ends before, or there are more.
    pub async fn outcomes(&mut self, count: usize) -> Vec<PipelineOutcome> {
        let outcomes = self.outcomes_at_least(count).await;
        assert_eq!(outcomes.len(), count, "as many as commands");
        outcomes
    }

    /// The next so many outcomes, and those that come with them.
    ///
    /// # Panics
    /// When the stream ends before.
    pub async fn outcomes_at_least(&mut self, count: usize) -> Vec<PipelineOutcome> {
        let mut outcomes = Vec::new();
        while outcomes.len() < count {
            let reply = self.replies.message().await.expect("the stream goes on");
            outcomes.extend(reply.expect("the stream goes on").outcomes);
        }
        outcomes
    }

    /// All outcomes until the stream ends, and how it does.
    pub async fn rest(mut self) -> (Vec<PipelineOutcome>, Result<(), Status>) {
        drop(self.requests);
        let mut outcomes = Vec::new();
        loop {
            match self.replies.message().await {
                Ok(Some(reply)) => outcomes.extend(reply.outcomes),
                Ok(None) => return (outcomes, Ok(())),
                Err(status) => return (outcomes, Err(status)),
            }
        }
    }
}

struct Sent(mpsc::Receiver<PipelineRequest>);

impl tokio_stream::Stream for Sent {
    type Item = PipelineRequest;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<PipelineRequest>> {
        self.0.poll_recv(context)
    }
}
