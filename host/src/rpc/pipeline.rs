//! Many commands on one stream. Each stream is one task, which takes all commands of a message at
//! once, hands them to the batcher together, and sends together what was decided together: no
//! task, no channel and no timer for each.
//!
//! A stream has a window of commands and bytes. When that is full, or the node has no room for
//! more, the task reads no further, and the client waits: nothing is refused for it.
//!
//! What this deliberately does not do: hand commands on to the leader, or try anything again. A
//! client that has so many of them should speak to the leader itself, and is told who that is.

mod window;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{mem, vec};

use quorate_core::batch::{Command, Proposal};
use quorate_core::id::NodeId;
use quorate_core::limits;
use quorate_core::replica;
use quorate_core::session::{SessionCall, SessionId, SessionUse};
use quorate_proto::v1::client_server::{Client, ClientServer};
use quorate_proto::v1::pipeline_outcome::Result as Outcome;
use quorate_proto::v1::{self, Kind, PipelineOutcome, PipelineRefusal, PipelineReply};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Request, Response, Status, Streaming};

use super::status;
use super::stream::ReceiverStream;
use crate::admission::{Admitted, Load, Room};
use crate::consensus::leader_of;
use crate::node::CLIENTS_GRACE_MAX;
use crate::stages::Span;
use crate::submit::{COMMAND_WAIT_MAX, Submitter};
use crate::waiter::{Answer, Seats, Told, Waiter};
use crate::watchdog;

use window::{Open, Window};

/// Messages that wait for the client to read them; more are made of what is decided meanwhile.
const REPLIES_MAX: usize = 2;
/// How long a node that stops waits for outcomes before it calls them unknown: less than it leaves
/// connections, so that their streams end in good order.
const STOP_WAIT_MAX: Duration = Duration::from_millis(300);
const _: () = assert!(STOP_WAIT_MAX.as_millis() < CLIENTS_GRACE_MAX.as_millis());
/// About what an outcome takes without its reply.
const OUTCOME_BYTES: usize = 16;
/// What stages tell a stream that is taken together.
const TOLD_MAX: usize = 64;

/// Takes commands by the stream.
pub(super) struct PipelineService {
    calls: Arc<Calls>,
}

struct Calls {
    methods: BTreeMap<u32, Kind>,
    submitter: Submitter,
    /// The last leader that a client was sent to, and where its clients connect.
    leader: Mutex<Option<v1::PipelineLeader>>,
}

impl PipelineService {
    /// For these methods, by number.
    pub(super) fn new(methods: BTreeMap<u32, Kind>, submitter: Submitter) -> Self {
        Self { calls: Arc::new(Calls { methods, submitter, leader: Mutex::default() }) }
    }

    /// As a service for a server.
    pub(super) fn into_server(self) -> ClientServer<Self> {
        ClientServer::new(self).max_decoding_message_size(limits::PIPELINE_MESSAGE_BYTES_MAX)
    }
}

#[tonic::async_trait]
impl Client for PipelineService {
    type PipelineStream = ReceiverStream<Result<PipelineReply, Status>>;

    async fn pipeline(
        &self,
        request: Request<Streaming<v1::PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let admission = &self.calls.submitter.admission;
        let admitted = admission.enter();
        let admitted = admitted.ok_or_else(|| status::no_room(admission.retry_after()))?;
        let (replies, stream) = mpsc::channel(REPLIES_MAX);
        let pipeline = Pipeline::new(Arc::clone(&self.calls), admitted, replies);
        tokio::spawn(pipeline.run(request.into_inner()));
        Ok(Response::new(ReceiverStream(stream)))
    }
}

/// So many commands, and the room in the node that they wait for.
type Waiting = (usize, Pin<Box<dyn Future<Output = Room> + Send>>);

/// One stream.
struct Pipeline {
    calls: Arc<Calls>,
    _admitted: Admitted,
    load: Load,
    window: Window,
    seats: Arc<Seats>,
    told: mpsc::Receiver<Told>,
    replies: mpsc::Sender<Result<PipelineReply, Status>>,
    /// What is said next.
    reply: PipelineReply,
    reply_bytes: usize,
    /// What was read and not taken yet.
    rest: vec::IntoIter<v1::PipelineCommand>,
    waiting: Option<Waiting>,
    /// Once the node stops: until then, it waits for outcomes.
    stops_at: Option<Instant>,
}

impl Pipeline {
    fn new(
        calls: Arc<Calls>,
        admitted: Admitted,
        replies: mpsc::Sender<Result<PipelineReply, Status>>,
    ) -> Self {
        let (seats, told) = Seats::new(limits::PIPELINE_COMMANDS_MAX);
        let welcome = v1::PipelineWelcome {
            node: calls.submitter.node.get().into(),
            commands_max: limits::PIPELINE_COMMANDS_MAX as u64,
            bytes_max: limits::PIPELINE_BYTES_MAX as u64,
            request_bytes_max: limits::REQUEST_BYTES_MAX as u64,
            message_bytes_max: limits::PIPELINE_MESSAGE_BYTES_MAX as u64,
        };
        Self {
            load: admitted.load(),
            _admitted: admitted,
            calls,
            window: Window::default(),
            seats,
            told,
            replies,
            reply: PipelineReply { welcome: Some(welcome), ..PipelineReply::default() },
            reply_bytes: 0,
            rest: Vec::new().into_iter(),
            waiting: None,
            stops_at: None,
        }
    }

    /// Until the client has said all and was told all, or is gone.
    async fn run(mut self, mut requests: Streaming<v1::PipelineRequest>) {
        let mut serving = self.calls.submitter.serving.clone();
        let stalled = self.calls.submitter.stalled.clone();
        let (mut told, mut reads, mut end) = (Vec::new(), true, Ok(()));
        loop {
            self.flush().await;
            let is_idle = self.rest.len() == 0 && self.waiting.is_none();
            if !reads && is_idle && self.window.is_empty() {
                break;
            }
            let deadline = self.deadline();
            tokio::select! {
                _ = self.told.recv_many(&mut told, TOLD_MAX) => {
                    self.calls.submitter.stages.replied(told.iter().flatten().filter_map(span));
                    for (number, answer) in told.drain(..).flatten() {
                        self.answer(number, answer);
                        if self.reply_bytes >= limits::PIPELINE_REPLY_BYTES {
                            self.flush().await;
                        }
                    }
                }
                (count, room) = async {
                    let (count, room) = self.waiting.as_mut().expect("guarded");
                    (*count, room.await)
                }, if self.waiting.is_some() => {
                    self.waiting = None;
                    self.take(count, room).await;
                }
                request = requests.message(), if reads && is_idle && self.window.room() > 0 => {
                    match request {
                        Ok(Some(request)) => self.rest = request.commands.into_iter(),
                        Ok(None) => reads = false,
                        Err(status) => (reads, end) = (false, Err(status)),
                    }
                }
                () = async { tokio::time::sleep_until(deadline.expect("guarded")).await },
                    if deadline.is_some() =>
                {
                    let expired = self.overdue(Instant::now());
                    self.forget(expired);
                }
                () = watchdog::stalls(stalled.clone()), if !self.window.is_empty() => {
                    let all = self.window.close_all();
                    self.forget(all);
                }
                Err(_) = serving.changed(), if reads => {
                    reads = false;
                    self.stops_at = Some(Instant::now() + STOP_WAIT_MAX);
                    self.refuse_rest(PipelineRefusal::Stopping);
                }
                // Who is gone is not read from any more. What is under way counts until it ends.
                () = self.replies.closed(), if reads => {
                    (reads, self.waiting) = (false, None);
                    self.rest = Vec::new().into_iter();
                }
            }
            self.take_rest().await;
        }
        if let Err(status) = end {
            // The client may be gone.
            let _gone = self.replies.send(Err(status)).await.is_err();
        }
    }

    /// When something that is under way is called unknown.
    fn deadline(&self) -> Option<Instant> {
        let deadline = self.window.deadline()?;
        Some(self.stops_at.map_or(deadline, |stops_at| deadline.min(stops_at)))
    }

    /// What has been under way for too long.
    fn overdue(&mut self, now: Instant) -> Vec<Open> {
        if self.stops_at.is_some_and(|stops_at| now >= stops_at) {
            return self.window.close_all();
        }
        self.window.expire(now)
    }

    /// Takes commands that were read, as far as there is room.
    async fn take_rest(&mut self) {
        while self.rest.len() > 0 && self.waiting.is_none() && self.window.room() > 0 {
            let (count, bytes) = self.piece();
            match self.load.try_room(bytes) {
                Some(room) => self.take(count, room).await,
                None => self.waiting = Some((count, Box::pin(self.load.room(bytes)))),
            }
        }
    }

    /// How many commands have a place in the window, and what they count for.
    fn piece(&self) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        for command in self.rest.as_slice().iter().take(self.window.room()) {
            if bytes >= limits::PIPELINE_BYTES_MAX {
                break;
            }
            count += 1;
            bytes += weight(command.payload.len());
        }
        (count, bytes)
    }

    /// Hands so many commands to the batcher, that there is room for.
    async fn take(&mut self, count: usize, room: Room) {
        self.load.add(room);
        let may_propose = self.calls.submitter.may_propose();
        let lacks_room = self.calls.submitter.integrity.lacks_room();
        let (now, mut proposals) = (Instant::now(), Vec::with_capacity(count));
        for _ in 0..count {
            let Some(command) = self.rest.next() else { break };
            let (id, bytes) = (command.id, weight(command.payload.len()));
            match self.calls.command(command, may_propose, lacks_room) {
                Ok(command) => {
                    let number = self.window.open(Open { id, bytes });
                    let waiter = Waiter::seat(self.seats.seat(number), now.into_std());
                    proposals.push(Proposal { command, waiter });
                }
                Err(refusal) => {
                    self.load.release(bytes);
                    self.refuse(id, refusal);
                }
            }
        }
        self.window.wait_until(now + COMMAND_WAIT_MAX);
        if !proposals.is_empty() {
            self.calls.submitter.hand_over(proposals).await;
        }
    }

    fn answer(&mut self, number: u64, answer: Option<Answer>) {
        let Some(Open { id, bytes }) = self.window.close(number) else { return };
        self.load.release(bytes);
        let (place, result) = match answer {
            Some(Answer::Decided(place, outcome, _)) => (
                Some(place),
                match outcome {
                    Ok(reply) => Outcome::Reply(reply),
                    Err(rejection) => {
                        let v1::Status { code, message, details, session } =
                            status::of_rejection(&rejection);
                        let rejection = v1::PipelineRejection { code, message, details, session };
                        Outcome::Rejection(rejection)
                    }
                },
            ),
            Some(Answer::Refused(refusal)) => {
                return self.refuse(
                    id,
                    match refusal {
                        replica::Refusal::Busy => PipelineRefusal::Busy,
                        replica::Refusal::NotLeader(_) | replica::Refusal::Overwritten => {
                            PipelineRefusal::NotLeader
                        }
                    },
                );
            }
            None => (None, Outcome::Unknown(v1::PipelineUnknown {})),
        };
        let (index, term) = place.map_or((0, 0), |place| (place.index, place.term));
        self.say(PipelineOutcome { id, index, term, result: Some(result) });
    }

    /// Of these, nobody knows.
    fn forget(&mut self, commands: Vec<Open>) {
        for Open { id, bytes } in commands {
            self.load.release(bytes);
            let result = Some(Outcome::Unknown(v1::PipelineUnknown {}));
            self.say(PipelineOutcome { id, result, ..PipelineOutcome::default() });
        }
    }

    fn refuse_rest(&mut self, refusal: PipelineRefusal) {
        self.waiting = None;
        for command in mem::replace(&mut self.rest, Vec::new().into_iter()) {
            self.refuse(command.id, refusal);
        }
    }

    fn refuse(&mut self, id: u64, refusal: PipelineRefusal) {
        match refusal {
            PipelineRefusal::NotLeader => {
                self.reply.leader.get_or_insert_default();
            }
            PipelineRefusal::Busy if self.reply.retry_after_ms == 0 => {
                let after = self.calls.submitter.admission.retry_after();
                self.reply.retry_after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            }
            _ => {}
        }
        let result = Some(Outcome::Refusal(refusal.into()));
        self.say(PipelineOutcome { id, result, ..PipelineOutcome::default() });
    }

    fn say(&mut self, outcome: PipelineOutcome) {
        self.reply_bytes += match &outcome.result {
            Some(Outcome::Reply(reply)) => OUTCOME_BYTES + reply.len(),
            _ => OUTCOME_BYTES,
        };
        self.reply.outcomes.push(outcome);
    }

    /// Sends what there is to say, if anybody listens.
    async fn flush(&mut self) {
        let has_something = self.reply.welcome.is_some() || !self.reply.outcomes.is_empty();
        if !has_something {
            return;
        }
        let mut reply = mem::take(&mut self.reply);
        self.reply_bytes = 0;
        if reply.leader.is_some() {
            reply.leader = self.calls.leader().await;
        }
        let _gone = self.replies.send(Ok(reply)).await.is_err();
    }
}

/// Of a command that was decided.
const fn span((_, answer): &(u64, Option<Answer>)) -> Option<Span> {
    match answer {
        Some(Answer::Decided(_, _, span)) => Some(*span),
        Some(Answer::Refused(_)) | None => None,
    }
}

/// What a command counts for.
const fn weight(payload_bytes: usize) -> usize {
    payload_bytes + limits::COMMAND_OVERHEAD_BYTES_MAX
}

impl Calls {
    /// A command as a client sent it, if it is one, and may be proposed.
    fn command(
        &self,
        command: v1::PipelineCommand,
        may_propose: bool,
        lacks_room: bool,
    ) -> Result<Command, PipelineRefusal> {
        if !may_propose {
            return Err(PipelineRefusal::NotLeader);
        }
        let v1::PipelineCommand { method, payload, session, .. } = command;
        match self.methods.get(&method) {
            Some(Kind::Command) => {}
            Some(Kind::Query) => return Err(PipelineRefusal::Query),
            None => return Err(PipelineRefusal::UnknownMethod),
        }
        if payload.len() > limits::REQUEST_BYTES_MAX {
            return Err(PipelineRefusal::TooLarge);
        }
        let session = session.map(|session| {
            let v1::PipelineSession { number, nonce, seq, floor } = session;
            let call = SessionCall { id: SessionId { number, nonce }, seq, floor };
            let is_call = (1..=seq).contains(&floor) && seq < u64::MAX;
            is_call.then_some(SessionUse::Call(call)).ok_or(PipelineRefusal::BadSession)
        });
        let command = Command { method, payload, session: session.transpose()? };
        let is_admitted = !lacks_room || self.submitter.disk.admits(&command);
        is_admitted.then_some(command).ok_or(PipelineRefusal::DiskFull)
    }

    /// Who leads, and where its clients connect: asked of it once, as long as it leads.
    async fn leader(&self) -> Option<v1::PipelineLeader> {
        let leader = leader_of(&self.submitter.status.borrow());
        let leader = leader.filter(|leader| *leader != self.submitter.node)?;
        let node = u64::from(leader.get());
        let known = self.known().clone().filter(|known| known.node == node);
        if known.is_some() {
            return known;
        }
        let address = self.client_address(leader).await.unwrap_or_default();
        let found = v1::PipelineLeader { node, address };
        if !found.address.is_empty() {
            *self.known() = Some(found.clone());
        }
        Some(found)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<v1::PipelineLeader>> {
        self.leader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where clients of a node connect, if it can be asked. One that listens everywhere cannot know
    /// by which of its addresses it is reached.
    async fn client_address(&self, node: NodeId) -> Option<String> {
        let report = self.submitter.directory.report(node).await.ok()?;
        let address: std::net::SocketAddr = report.client_address.parse().ok()?;
        (!address.ip().is_unspecified()).then(|| address.to_string())
    }
}
