//! The peers' side of the conversation.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use quorate_core::batch::Command;
use quorate_core::id::RaftId;
use quorate_core::limits;
use quorate_core::replica::Admission;
use quorate_proto::v1;
use quorate_proto::v1::peer_frame::Frame;
use quorate_proto::v1::peer_server::{Peer, PeerServer};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};

use super::FRAME_BYTES_MAX;
use super::complaints::Complaints;
use super::sessions;
use crate::consensus;
use crate::identity::Identity;
use crate::queue::{self, Lost};
use crate::submit::{Decided, Submitter, Undecided};

/// Serves peers until `stop` resolves.
pub async fn serve(
    listener: TcpListener,
    service: PeerService,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let service = PeerServer::new(service)
        .max_decoding_message_size(FRAME_BYTES_MAX)
        .max_encoding_message_size(FRAME_BYTES_MAX + limits::REPLY_BYTES_MAX);
    Server::builder()
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(1 << 22)
        .add_service(service)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), stop)
        .await
}

/// What peers may ask of this node.
#[derive(Debug)]
pub struct PeerService {
    identity: Arc<Identity>,
    inbox: queue::Sender<Bytes>,
    requests: mpsc::Sender<consensus::Request>,
    submitter: Submitter,
    complaints: Mutex<Complaints>,
}

impl PeerService {
    /// For peers of the same cluster: takes their raft messages to `inbox`, their admissions to
    /// `requests`, and their commands to `submitter`.
    pub fn new(
        identity: Arc<Identity>,
        inbox: queue::Sender<Bytes>,
        requests: mpsc::Sender<consensus::Request>,
        submitter: Submitter,
    ) -> Self {
        Self { identity, inbox, requests, submitter, complaints: Mutex::default() }
    }

    fn check(&self, hello: Option<&v1::Hello>) -> Result<(), Status> {
        let hello = hello.ok_or_else(|| Status::invalid_argument("a peer must say hello first"))?;
        self.identity.check(hello).map_err(|problem| {
            self.complain("refused a peer", &problem);
            Status::failed_precondition(problem)
        })
    }

    fn complain(&self, what: &str, problem: &str) {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if complaints.is_due(problem) {
            tracing::error!("{what}: {problem}");
        }
    }

    /// The next frame of a stream. One that is damaged ends the stream: the peer connects anew, and
    /// raft sends again.
    async fn next(
        &self,
        frames: &mut Streaming<v1::PeerFrame>,
    ) -> Result<Option<v1::PeerFrame>, Status> {
        frames.message().await.inspect_err(|status| {
            if status.code() == Code::DataLoss {
                self.complain("closed a peer's stream", status.message());
            }
        })
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn messages(
        &self,
        request: Request<Streaming<v1::PeerFrame>>,
    ) -> Result<Response<v1::MessagesEnd>, Status> {
        let mut frames = request.into_inner();
        match self.next(&mut frames).await?.and_then(|frame| frame.frame) {
            Some(Frame::Hello(hello)) => self.check(Some(&hello))?,
            Some(Frame::Raft(_)) | None => self.check(None)?,
        }
        while let Some(frame) = self.next(&mut frames).await? {
            let Some(Frame::Raft(raft)) = frame.frame else { continue };
            for message in raft.messages {
                // A full inbox loses messages: raft sends again. Once consensus has ended, nobody
                // listens any more.
                if self.inbox.try_send(message) == Err(Lost::Closed) {
                    return Ok(Response::new(v1::MessagesEnd {}));
                }
            }
        }
        Ok(Response::new(v1::MessagesEnd {}))
    }

    async fn submit(
        &self,
        request: Request<v1::SubmitRequest>,
    ) -> Result<Response<v1::SubmitReply>, Status> {
        let request = request.into_inner();
        self.check(request.hello.as_ref())?;
        if request.payload.len() > limits::REQUEST_BYTES_MAX {
            return Err(Status::failed_precondition("a request over the limit"));
        }
        let Some(_admitted) = self.submitter.admission.enter().and_then(|mut admitted| {
            let fits = admitted.weighs(request.payload.len());
            fits.then_some(admitted)
        }) else {
            let result = Some(reply_of(Err(Undecided::Busy)));
            return Ok(Response::new(v1::SubmitReply { result }));
        };
        let session = request.session.map(sessions::of_wire);
        let command = Command { method: request.method, payload: request.payload, session };
        let hops_left = request.hops_left.min(limits::FORWARD_HOPS_MAX);
        let result = self.submitter.submit(command, hops_left).await;
        Ok(Response::new(v1::SubmitReply { result: Some(reply_of(result)) }))
    }

    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinReply>, Status> {
        let request = request.into_inner();
        self.check(request.hello.as_ref())?;
        let member = RaftId::from_u64(request.raft_id)
            .ok_or_else(|| Status::invalid_argument("raft id 0 is nobody"))?;
        let callers = request.hello.map(|hello| hello.from);
        if callers != Some(member.node().get().into()) || member.incarnation() == 0 {
            return Err(Status::failed_precondition(format!("member {member} may not join")));
        }
        let (reply, admission) = oneshot::channel();
        let stopping = |()| Status::unavailable("this node is stopping");
        let request = consensus::Request::Admit(member, reply);
        self.requests.send(request).await.map_err(|_| stopping(()))?;
        let reply = match admission.await.map_err(|_| stopping(()))? {
            Admission::Admitted => v1::JoinReply { leader: 0, admitted: true },
            Admission::UnderWay => v1::JoinReply::default(),
            Admission::NotLeader(leader) => v1::JoinReply {
                leader: leader.map_or(0, |node| node.get().into()),
                admitted: false,
            },
            Admission::Refused => {
                return Err(Status::failed_precondition(format!("member {member} may not join")));
            }
        };
        Ok(Response::new(reply))
    }
}

fn reply_of(result: Result<Decided, Undecided>) -> v1::submit_reply::Result {
    use v1::decided::Outcome;
    use v1::submit_reply::Result as Reply;
    match result {
        Ok(Decided { id, node, outcome }) => {
            let outcome = match outcome {
                Ok(reply) => Outcome::Reply(reply),
                Err(status) => Outcome::Rejection(status),
            };
            let (index, term) = (id.index, id.term);
            Reply::Decided(v1::Decided { index, term, node, outcome: Some(outcome) })
        }
        Err(Undecided::Unknown) => Reply::Unknown(v1::Unknown {}),
        Err(Undecided::Busy) => Reply::NotProposed(v1::NotProposed { busy: true }),
        Err(Undecided::NoLeader | Undecided::Stopping) => {
            Reply::NotProposed(v1::NotProposed { busy: false })
        }
    }
}
