//! The peers' side of the conversation.

use std::sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc};

use bytes::Bytes;
use quorate_core::batch::Command;
use quorate_core::id::{NodeId, RaftId};
use quorate_core::limits;
use quorate_core::replica::Admission;
use quorate_proto::v1;
use quorate_proto::v1::peer_frame::Frame;
use quorate_proto::v1::peer_server::{Peer, PeerServer};
use quorate_proto::v1::snapshot_part::Part;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status, Streaming};

use super::FRAME_BYTES_MAX;
use super::complaints::Complaints;
use super::sessions;
use super::snapshots::Receiver;
use crate::consensus;
use crate::disk::Room;
use crate::node::{Failure, States};
use crate::operator::Operator;
use crate::queue::{self, Lost};
use crate::report::Reporter;
use crate::roster::{Roster, Stranger};
use crate::rpc::status::of_problem;
use crate::rpc::stream::ReceiverStream;
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
pub struct PeerService {
    inbox: queue::Sender<Bytes>,
    submitter: Submitter,
    operator: Operator,
    reporter: Reporter,
    expelled: std_mpsc::Sender<Failure>,
    snapshots: Receiver,
    complaints: Mutex<Complaints>,
}

impl PeerService {
    /// For peers of the same cluster: takes their raft messages to `inbox`, their commands to
    /// `submitter`, and their changes of members to `operator`.
    pub fn new(
        inbox: queue::Sender<Bytes>,
        submitter: Submitter,
        operator: Operator,
        reporter: Reporter,
        ends: (std_mpsc::Sender<Failure>, Arc<States>, Room),
    ) -> Self {
        let (expelled, states, room) = ends;
        let (identity, requests) = (&reporter.roster.identity, operator.requests.clone());
        let snapshots = Receiver::new(Arc::clone(identity), (states, room), requests);
        let complaints = Mutex::default();
        Self { inbox, submitter, operator, reporter, expelled, snapshots, complaints }
    }

    fn roster(&self) -> &Roster {
        &self.reporter.roster
    }

    async fn check(&self, hello: Option<&v1::Hello>) -> Result<RaftId, Status> {
        let hello = hello.ok_or_else(no_hello)?;
        let checked = if self.roster().would_remember(hello) {
            // That takes the disk, which may take its time.
            let (roster, hello) = (Arc::clone(&self.reporter.roster), hello.clone());
            let checked = tokio::task::spawn_blocking(move || roster.check(&hello)).await;
            checked.map_err(|error| Status::internal(error.to_string()))?
        } else {
            self.roster().check(hello)
        };
        checked.map_err(|stranger| self.refuse(stranger))
    }

    fn refuse(&self, stranger: Stranger) -> Status {
        let (code, problem) = match stranger {
            Stranger::Refused(problem) => (Code::FailedPrecondition, problem),
            Stranger::Impostor(problem) => (Code::AlreadyExists, problem),
            Stranger::Doubts(node, problem) => {
                if self.roster().is_doubted_by(node) {
                    // It may be about to end for another reason.
                    let failure = Failure::Expelled(problem.clone());
                    let _gone = self.expelled.send(failure).is_err();
                }
                (Code::FailedPrecondition, problem)
            }
            Stranger::Expelled(problem) => (Code::PermissionDenied, problem),
        };
        self.complain("refused a peer", &problem);
        Status::new(code, problem)
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
    type SnapshotStream = ReceiverStream<Result<v1::SnapshotAnswer, Status>>;

    async fn snapshot(
        &self,
        request: Request<Streaming<v1::SnapshotPart>>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let mut parts = request.into_inner();
        let first = parts.message().await?.and_then(|part| part.part);
        let Some(Part::Begin(begin)) = first else {
            return Err(Status::invalid_argument("a snapshot begins by saying which it is"));
        };
        self.check(begin.hello.as_ref()).await?;
        let (answers, stream) = mpsc::channel(2);
        let receiver = self.snapshots.clone();
        tokio::spawn(async move {
            if let Err(status) = receiver.receive(begin, parts, &answers).await {
                drop(answers.send(Err(status)).await);
            }
        });
        Ok(Response::new(ReceiverStream(stream)))
    }

    async fn messages(
        &self,
        request: Request<Streaming<v1::PeerFrame>>,
    ) -> Result<Response<v1::MessagesEnd>, Status> {
        let mut frames = request.into_inner();
        let hello = match self.next(&mut frames).await?.and_then(|frame| frame.frame) {
            Some(Frame::Hello(hello)) => hello,
            Some(Frame::Raft(_)) | None => return Err(no_hello()),
        };
        self.check(Some(&hello)).await?;
        let mut members = self.roster().members.clone();
        loop {
            let frame = tokio::select! {
                frame = self.next(&mut frames) => frame?,
                // Who was removed is told so, and not listened to any more.
                Ok(()) = members.changed() => {
                    self.check(Some(&hello)).await?;
                    continue;
                }
            };
            let Some(frame) = frame else { break };
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
        self.check(request.hello.as_ref()).await?;
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
        let session = request.session.map(sessions::from_wire);
        let command = Command { method: request.method, payload: request.payload, session };
        let hops_left = request.hops_left.min(limits::FORWARD_HOPS_MAX);
        let result = self.submitter.submit(command, hops_left).await;
        Ok(Response::new(v1::SubmitReply { result: Some(reply_of(result)) }))
    }

    async fn compare(
        &self,
        request: Request<v1::StateReport>,
    ) -> Result<Response<v1::StateReport>, Status> {
        let request = request.into_inner();
        let from = self.check(request.hello.as_ref()).await?.node();
        let answer = self.submitter.integrity.exchange(from, &super::report_from_wire(request));
        Ok(Response::new(super::report_to_wire(self.roster().hello(from), answer)))
    }

    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinReply>, Status> {
        let request = request.into_inner();
        let caller = self.check(request.hello.as_ref()).await?;
        let member = RaftId::from_u64(request.raft_id);
        let member = member.filter(|member| *member == caller && member.incarnation() > 0);
        let may_not = || Status::failed_precondition("that member may not join");
        let member = member.ok_or_else(may_not)?;
        let (reply, admission) = oneshot::channel();
        let stopping = |()| Status::unavailable("this node is stopping");
        let request = consensus::Request::Admit(member, reply);
        self.operator.requests.send(request).await.map_err(|_| stopping(()))?;
        let reply = match admission.await.map_err(|_| stopping(()))? {
            Admission::Admitted => v1::JoinReply { admitted: true },
            Admission::UnderWay | Admission::NotLeader(_) => v1::JoinReply { admitted: false },
            Admission::Refused => {
                return Err(Status::failed_precondition(format!("member {member} may not join")));
            }
        };
        Ok(Response::new(reply))
    }

    async fn introduce(
        &self,
        request: Request<v1::IntroduceRequest>,
    ) -> Result<Response<v1::IntroduceReply>, Status> {
        let request = request.into_inner();
        let roster = self.roster();
        if request.cluster != roster.identity.cluster {
            return Err(Status::failed_precondition(format!(
                "this is cluster \"{}\", not \"{}\"",
                roster.identity.cluster, request.cluster
            )));
        }
        let node = u32::try_from(request.node).ok().and_then(NodeId::new);
        let node = node.ok_or_else(|| Status::invalid_argument("nodes are numbered from 1"))?;
        Ok(Response::new(roster.introduce(node)))
    }

    async fn change(
        &self,
        request: Request<v1::ChangeRequest>,
    ) -> Result<Response<v1::ChangeReply>, Status> {
        let request = request.into_inner();
        self.check(request.hello.as_ref()).await?;
        let change = request.change.ok_or_else(|| Status::invalid_argument("no change"))?;
        let change = super::change_from_wire(change).map_err(of_problem)?;
        let changed = self.operator.change_here(&change, request.is_forced).await;
        let members = changed.map_err(of_problem)?.encode();
        Ok(Response::new(v1::ChangeReply { members }))
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportReply>, Status> {
        self.check(request.into_inner().hello.as_ref()).await?;
        Ok(Response::new(v1::ReportReply { status: Some(self.reporter.own()) }))
    }
}

fn no_hello() -> Status {
    Status::invalid_argument("a peer must say hello first")
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
        Err(Undecided::Busy) => {
            Reply::NotProposed(v1::NotProposed { busy: true, disk_full: false })
        }
        Err(Undecided::DiskFull) => {
            Reply::NotProposed(v1::NotProposed { busy: false, disk_full: true })
        }
        Err(Undecided::NoLeader | Undecided::Stopping) => {
            Reply::NotProposed(v1::NotProposed::default())
        }
    }
}
