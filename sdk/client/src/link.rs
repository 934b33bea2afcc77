//! What the client says to a node: the stream of commands, and the opening of sessions.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use quorate_proto::v1::client_client::ClientClient;
use quorate_proto::v1::sessions_client::SessionsClient;
use quorate_proto::v1::{OpenSessionRequest, PipelineReply, PipelineRequest};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::codegen::tokio_stream::Stream as TokioStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::flight::Flight;
use crate::sessions::SessionId;

/// How long a node may take to take a stream.
const WELCOME_WAIT_MAX: Duration = Duration::from_secs(2);
/// As long as a node waits for a leader, and a little longer.
const SESSION_WAIT_MAX: Duration = Duration::from_secs(6);
/// A message of outcomes: a reply of the largest size, and many small ones.
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A stream to a node, and what is under way on it.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The node, and by which address it was reached.
    pub(crate) node: u64,
    pub(crate) address: String,
    inbound: Streaming<PipelineReply>,
    pub(crate) flight: Flight,
    pub(crate) request_bytes_max: usize,
}

/// Why there is no stream, or no session.
pub(crate) type LinkError = Box<dyn Error + Send + Sync>;

/// Where a stream's commands go in. It holds one message: while the connection is busy, the next
/// one grows. Dropping it tells the node that nothing more will come.
pub(crate) type Outbound = mpsc::Sender<PipelineRequest>;

/// Has a node take a stream.
pub(crate) async fn open(
    (address, channel): (String, Channel),
) -> Result<(Stream, Outbound), LinkError> {
    let (outbound, messages) = mpsc::channel(1);
    let opening = async {
        let mut client = ClientClient::new(channel).max_decoding_message_size(REPLY_BYTES_MAX);
        let mut inbound = client.pipeline(Messages(messages)).await?.into_inner();
        let welcome = inbound.message().await?.and_then(|reply| reply.welcome);
        let welcome = welcome.ok_or_else(|| Status::internal("a stream without a welcome"))?;
        Ok::<_, Status>((inbound, welcome))
    };
    let (inbound, welcome) = timeout(WELCOME_WAIT_MAX, opening).await??;
    let request_bytes_max = usize::try_from(welcome.request_bytes_max).unwrap_or(usize::MAX);
    let (node, flight) = (welcome.node, Flight::default());
    Ok((Stream { node, address, inbound, flight, request_bytes_max }, outbound))
}

/// Opens a session, by any node; gives how many replies it keeps, too.
pub(crate) async fn open_session(channel: Channel) -> Result<(SessionId, usize), LinkError> {
    let mut client = SessionsClient::new(channel);
    let opened = timeout(SESSION_WAIT_MAX, client.open(OpenSessionRequest {})).await??;
    let opened = opened.into_inner();
    let id = SessionId::parse(&opened.session).ok_or("a session without a name")?;
    Ok((id, usize::try_from(opened.replies_max).unwrap_or(1).max(1)))
}

impl Stream {
    /// The next message from the node; an error when the stream has ended, in whichever way.
    pub(crate) async fn message(&mut self) -> Result<PipelineReply, Status> {
        let message = self.inbound.message().await?;
        message.ok_or_else(|| Status::unavailable("the node has ended the stream"))
    }
}

/// A channel's receiver as the stream that tonic wants.
struct Messages(mpsc::Receiver<PipelineRequest>);

impl TokioStream for Messages {
    type Item = PipelineRequest;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<PipelineRequest>> {
        self.0.poll_recv(context)
    }
}
