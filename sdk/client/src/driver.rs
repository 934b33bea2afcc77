//! The client's task: takes calls, sends what waits when the stream can take more, and tells
//! callers what became of their calls. It alone decides what is sent again.

mod judge;

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use quorate_proto::v1::{PipelineCommand, PipelineReply, PipelineRequest, PipelineSession};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::Status;

use crate::Builder;
use crate::call::{Call, Calls};
use crate::error::{CallError, ConnectError, Refusal};
use crate::link::{self, LinkError, Outbound, Stream};
use crate::route::Route;
use crate::sessions::{SessionId, Sessions};

/// Calls, and bytes of requests, at which a message is full. A larger request travels alone.
const MESSAGE_CALLS_MAX: usize = 4096;
const MESSAGE_BYTES: usize = 256 * 1024;
/// Between two looks for calls whose time is over.
const SWEEP_PAUSE: Duration = Duration::from_millis(100);
/// How often each node is tried before there is no client.
const CONNECT_ROUNDS: usize = 2;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Connected = Result<(Stream, Outbound), LinkError>;
type Opened = Result<(SessionId, usize), LinkError>;

pub(crate) struct Driver {
    calls_max: usize,
    is_exactly_once: bool,
    queue: mpsc::Receiver<Calls>,
    /// Whether nobody calls any more.
    is_closed: bool,
    /// Calls to send, the first first.
    waiting: VecDeque<Call>,
    route: Route,
    /// The stream that calls are sent on.
    stream: Option<Stream>,
    outbound: Option<Outbound>,
    /// One that was left, until all on it is decided.
    left: Option<Stream>,
    connecting: Option<BoxFuture<Connected>>,
    sessions: Sessions,
    opening: Option<BoxFuture<Opened>>,
    /// Nothing is sent before.
    pause: Option<Instant>,
    sweep: Instant,
    /// Why calls wait.
    trouble: Refusal,
}

/// What the task wakes up for.
enum Event {
    /// Somebody calls; with none, nobody does any more.
    Called(Option<Calls>),
    /// The stream can take more.
    HasRoom,
    Said(Result<PipelineReply, Status>),
    /// The same, on the stream that was left.
    SaidLate(Result<PipelineReply, Status>),
    Connected(Box<Connected>),
    Opened(Opened),
    Time,
}

impl Driver {
    /// Connects to the first node that can be reached.
    pub(crate) async fn connect(
        builder: &Builder,
        mut route: Route,
        queue: mpsc::Receiver<Calls>,
    ) -> Result<Self, ConnectError> {
        let mut last_error: LinkError = "no node was tried".into();
        for _ in 0..route.named() * CONNECT_ROUNDS {
            match link::open(route.next()).await {
                Ok(link) => {
                    let mut driver = Self::new(builder, route, queue);
                    driver.connected(link);
                    return Ok(driver);
                }
                Err(error) => last_error = error,
            }
            sleep(route.failed()).await;
        }
        Err(ConnectError::Unreachable(last_error))
    }

    fn new(builder: &Builder, route: Route, queue: mpsc::Receiver<Calls>) -> Self {
        Self {
            calls_max: builder.calls_max,
            is_exactly_once: builder.is_exactly_once,
            queue,
            is_closed: false,
            waiting: VecDeque::new(),
            route,
            stream: None,
            outbound: None,
            left: None,
            connecting: None,
            sessions: Sessions::default(),
            opening: None,
            pause: None,
            sweep: Instant::now() + SWEEP_PAUSE,
            trouble: Refusal::NoLeader,
        }
    }

    /// Until nobody calls any more, and all calls have ended.
    pub(crate) async fn run(mut self) {
        while !(self.is_closed && self.under_way() == 0) {
            self.open_session();
            self.send();
            let event = self.wait().await;
            self.handle(event);
        }
    }

    async fn wait(&mut self) -> Event {
        let under_way = self.under_way();
        let room = self.calls_max.saturating_sub(under_way);
        let outbound = self.outbound.as_ref().filter(|_| {
            let lacks_number = self.is_exactly_once && !self.sessions.has_number();
            let next = self.waiting.front();
            self.pause.is_none() && next.is_some_and(|next| next.session.is_some() || !lacks_number)
        });
        let wake = self.pause.map_or(self.sweep, |pause| pause.min(self.sweep));
        tokio::select! {
            calls = self.queue.recv(), if room > 0 && !self.is_closed => Event::Called(calls),
            // Its only sender is here: what has room keeps it until it is used.
            _ = async { outbound.expect("guarded").reserve().await }, if outbound.is_some() => {
                Event::HasRoom
            }
            said = async { self.stream.as_mut().expect("guarded").message().await },
                if self.stream.is_some() => Event::Said(said),
            said = async { self.left.as_mut().expect("guarded").message().await },
                if self.left.is_some() => Event::SaidLate(said),
            connected = async { self.connecting.as_mut().expect("guarded").await },
                if self.connecting.is_some() => {
                Event::Connected(Box::new(connected))
            }
            opened = async { self.opening.as_mut().expect("guarded").await },
                if self.opening.is_some() => Event::Opened(opened),
            () = sleep_until(wake), if under_way > 0 || self.pause.is_some() => Event::Time,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Called(Some(calls)) => self.take(calls),
            Event::Called(None) => self.is_closed = true,
            Event::HasRoom => {}
            Event::Said(Ok(reply)) => self.hear(reply),
            Event::Said(Err(_)) => {
                self.outbound = None;
                let stream = self.stream.take();
                self.lose(stream);
                self.reconnect();
            }
            Event::SaidLate(Ok(reply)) => self.hear_late(reply),
            Event::SaidLate(Err(_)) => {
                let left = self.left.take();
                self.lose(left);
            }
            Event::Connected(connected) => {
                self.connecting = None;
                match *connected {
                    Ok(link) => self.connected(link),
                    Err(_) => self.reconnect(),
                }
            }
            Event::Opened(opened) => {
                self.opening = None;
                if let Ok((id, replies_max)) = opened {
                    self.sessions.add(id, replies_max);
                } else {
                    let pause = self.route.failed();
                    self.pause_for(pause);
                }
            }
            Event::Time => self.look_at_clock(),
        }
    }

    /// Takes calls, and those that came after them, as far as there is room.
    fn take(&mut self, calls: Calls) {
        let mut room = self.calls_max.saturating_sub(self.under_way());
        let mut next = Some(calls);
        while let Some(calls) = next {
            let before = self.waiting.len();
            match calls {
                Calls::One(call) => self.waiting.push_back(call),
                Calls::Many(calls) => self.waiting.extend(calls),
            }
            room = room.saturating_sub(self.waiting.len() - before);
            next = if room > 0 { self.queue.try_recv().ok() } else { None };
        }
    }

    /// Calls that have not ended.
    fn under_way(&self) -> usize {
        let streams = self.stream.iter().chain(&self.left);
        self.waiting.len() + streams.map(|stream| stream.flight.len()).sum::<usize>()
    }

    fn connected(&mut self, (stream, outbound): (Stream, Outbound)) {
        self.route.is_node(stream.address.clone(), stream.node);
        self.stream = Some(stream);
        self.outbound = Some(outbound);
    }

    fn reconnect(&mut self) {
        let pause = self.route.failed();
        let next = self.route.next();
        self.connecting = Some(Box::pin(async move {
            sleep(pause).await;
            link::open(next).await
        }));
    }

    /// Sends no more on the stream; what is under way on it is heard to its end.
    fn leave(&mut self) {
        self.outbound = None;
        let stream = self.stream.take().filter(|stream| stream.flight.len() > 0);
        if let Some(stream) = stream {
            let left = self.left.replace(stream);
            self.lose(left);
        }
        self.reconnect();
    }

    /// Nothing more is heard of what was under way on the stream.
    fn lose(&mut self, stream: Option<Stream>) {
        let Some(mut stream) = stream else { return };
        let calls = stream.flight.take_all();
        self.again(calls.into_iter().filter_map(judge::unknown).collect());
    }

    /// What is to be sent again comes before all that was called later.
    fn again(&mut self, calls: Vec<Call>) {
        for call in calls.into_iter().rev() {
            self.waiting.push_front(call);
        }
    }

    fn pause_for(&mut self, pause: Duration) {
        self.pause = Some(Instant::now() + pause);
    }

    /// Has another session opened, where those there are have no number left.
    fn open_session(&mut self) {
        let wants_more = self.is_exactly_once
            && !self.waiting.is_empty()
            && !self.sessions.has_number()
            && self.sessions.calls_max() < self.calls_max;
        if wants_more && self.pause.is_none() && self.opening.is_none() && self.stream.is_some() {
            let channel = self.route.channel();
            self.opening = channel.map(|channel| Box::pin(link::open_session(channel)) as _);
        }
    }

    /// Sends what waits, if the stream can take a message.
    fn send(&mut self) {
        while self.pause.is_none()
            && self.outbound.as_ref().is_some_and(|outbound| outbound.capacity() > 0)
        {
            let commands = self.next_message();
            let Some(outbound) = self.outbound.as_ref().filter(|_| !commands.is_empty()) else {
                return;
            };
            // When the stream has ended, that is about to be heard.
            let _ended = outbound.try_send(PipelineRequest { commands }).is_err();
        }
    }

    fn next_message(&mut self) -> Vec<PipelineCommand> {
        let Some(stream) = &mut self.stream else { return Vec::new() };
        let mut commands = Vec::with_capacity(self.waiting.len().min(MESSAGE_CALLS_MAX));
        let mut bytes = 0;
        while commands.len() < MESSAGE_CALLS_MAX
            && let Some(mut call) = self.waiting.pop_front()
        {
            let call_bytes = call.payload.len();
            if call_bytes > stream.request_bytes_max {
                call.give_up(CallError::Refused(Refusal::TooLarge));
                continue;
            }
            if self.is_exactly_once && call.session.is_none() {
                call.session = self.sessions.number();
            }
            let lacks_number = self.is_exactly_once && call.session.is_none();
            let is_full = bytes > 0 && bytes + call_bytes > MESSAGE_BYTES;
            if lacks_number || is_full {
                self.waiting.push_front(call);
                break;
            }
            bytes += call_bytes;
            let (method, payload) = (call.method.0, call.payload.clone());
            let session = call.session.map(|numbered| PipelineSession {
                number: numbered.id.number,
                nonce: numbered.id.nonce,
                seq: numbered.seq,
                floor: self.sessions.floor(numbered),
            });
            let id = stream.flight.add(call);
            commands.push(PipelineCommand { id, method, payload, session });
        }
        commands
    }

    fn look_at_clock(&mut self) {
        let now = Instant::now();
        if self.pause.is_some_and(|pause| pause <= now) {
            self.pause = None;
        }
        if self.sweep > now {
            return;
        }
        self.sweep = now + SWEEP_PAUSE;
        let mut late = Vec::new();
        for stream in self.stream.iter_mut().chain(&mut self.left) {
            // It was sent, and nobody has said what became of it.
            late.extend(stream.flight.expired(now).into_iter().map(|call| (call, true)));
        }
        for call in std::mem::take(&mut self.waiting) {
            if call.deadline <= now {
                late.push((call, false));
            } else {
                self.waiting.push_back(call);
            }
        }
        for (mut call, was_sent) in late {
            call.may_have_run |= was_sent;
            if let Some(numbered) = call.session {
                self.sessions.done(numbered);
            }
            call.give_up(CallError::Refused(self.trouble));
        }
    }
}
