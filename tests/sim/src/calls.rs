//! Clients and their calls: what they ask for, and what they saw.

use std::fmt;

use quorate_core::id::LogId;
use quorate_core::outcome::Rejection;
use quorate_core::session::SessionCall;

use crate::plan::{Plan, stream};
use crate::request::{End, Reply, Request, Script, Step, StepKind};
use crate::session::{Sent, Session};
use crate::time::Time;

/// What became of a call, as its client knows it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Nothing yet.
    Pending,
    /// It was decided there.
    Answered(LogId, Result<Reply, Rejection>),
    /// It was surely not executed.
    Refused,
    /// It may have been executed, or may be later.
    Unknown,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pending => f.write_str("pending"),
            Self::Answered(id, Ok(reply)) => write!(f, "{reply}, entry {id}"),
            Self::Answered(id, Err(rejection)) => write!(f, "rejected ({rejection}), entry {id}"),
            Self::Refused => f.write_str("refused"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// How a query wants to be read; a command does not ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// After a round for a read index.
    Linearizable,
    /// By the leader's lease, if there is one.
    Lease,
    /// From what the node has applied.
    Stale,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linearizable => "",
            Self::Lease => ", by lease",
            Self::Stale => ", stale",
        })
    }
}

/// One call, sent once.
#[derive(Clone, Debug)]
pub struct Call {
    /// The first call that sent it; a call of its own unless it has a session.
    pub first: u64,
    /// What makes it harmless to send it several times.
    pub session: Option<SessionCall>,
    /// Whose it is.
    pub client: u32,
    /// The node that was called.
    pub node: u32,
    /// What was asked for.
    pub request: Request,
    /// How it is read.
    pub how: How,
    /// When it began.
    pub begun: Time,
    /// When its client knew what it knows.
    pub ended: Time,
    /// What became of it.
    pub outcome: Outcome,
}

impl Call {
    /// Whether it may have seen the past.
    pub fn is_stale(&self) -> bool {
        self.how == How::Stale && !self.request.is_command()
    }
}

/// Of so many calls, a client opens another session before one.
const BEGINS_ONE_IN: u32 = 40;

/// A client: one call at a time, on the node that served it last.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) rng: fastrand::Rng,
    /// Of how it reads: apart, so that it moves nothing else.
    reads_rng: fastrand::Rng,
    pub(crate) node: u32,
    /// The revision of each register that it saw last.
    revisions: Vec<u64>,
    /// What it sends is executed once, if it has one.
    pub(crate) session: Option<Session>,
}

/// What a client does next.
pub(crate) enum Next {
    Plain(Request),
    Numbered(Request, SessionCall),
    Again(Sent),
}

impl Client {
    pub(crate) fn new(plan: &Plan, number: u32) -> Self {
        let rng = stream(plan.seed, &format!("client {number}"));
        let reads_rng = stream(plan.seed, &format!("reads of client {number}"));
        let mut session_rng = stream(plan.seed, &format!("session of client {number}"));
        let session = (session_rng.u32(0..100) < plan.sessions_percent).then(Session::default);
        Self { rng, reads_rng, node: 0, revisions: Vec::new(), session }
    }

    /// What it saw of a register.
    pub(crate) fn learn(&mut self, request: &Request, reply: &Reply) {
        let (Request::Put(key, ..) | Request::Cas(key, ..) | Request::Get(key)) = request else {
            return;
        };
        let Reply::Register { revision, wrote, found } = reply else { return };
        let seen = found.as_ref().map_or(0, |found| found.mod_revision);
        if let Some(known) = self.revisions.get_mut(*key as usize) {
            *known = if *wrote { *revision } else { seen };
        }
    }

    /// How it reads next.
    pub(crate) fn how(&mut self, plan: &Plan) -> How {
        match self.reads_rng.u32(0..8) {
            0 => How::Stale,
            1..=4 if plan.lease.is_some() => How::Lease,
            _ => How::Linearizable,
        }
    }

    /// What it does next; nothing, once it `ends` and knows all.
    pub(crate) fn next(&mut self, call: u64, plan: &Plan, ends: bool) -> Option<Next> {
        let again = self.session.as_ref().and_then(|session| session.again(&mut self.rng, ends));
        if let Some(sent) = again {
            return Some(Next::Again(sent));
        }
        if ends {
            return None;
        }
        // Now and then it begins anew, and does not say so: what it had makes room for others.
        let begins = |session: &Session| {
            session.id.is_none() || session.knows_all() && self.rng.u32(0..BEGINS_ONE_IN) == 0
        };
        if self.session.as_ref().is_some_and(begins) {
            return Some(Next::Plain(Request::Open(call)));
        }
        let request = self.request(call, plan);
        let session = self.session.as_mut().filter(|_| request.is_command());
        Some(match session.and_then(|session| Some((session.id?, session))) {
            Some((id, session)) => Next::Numbered(request, session.number(&mut self.rng, id)),
            None => Next::Plain(request),
        })
    }

    fn request(&mut self, call: u64, plan: &Plan) -> Request {
        self.revisions.resize(plan.keys as usize, 0);
        if self.rng.u32(0..100) < plan.scripts_percent {
            let script = script(&mut self.rng, call);
            let is_look = self.rng.u32(0..5) == 0;
            return if is_look { Request::Look(script) } else { Request::Script(script) };
        }
        let key = self.rng.u32(0..plan.keys);
        if self.rng.u32(0..100) < plan.reads_percent {
            return Request::Get(key);
        }
        if self.rng.bool() {
            Request::Cas(key, self.revisions[key as usize], call)
        } else {
            let padding = if self.rng.bool() { 0 } else { self.rng.u16(0..300) };
            Request::Put(key, call, padding)
        }
    }
}

/// Keys are few, so that steps meet: in one script, in one entry, and over entries.
fn script_key(rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut key = vec![b's', rng.u8(b'a'..b'g')];
    // Now and then there are many.
    if rng.u32(0..3) == 0 {
        key.push(rng.u8(b'a'..b'u'));
    }
    key
}

fn script(rng: &mut fastrand::Rng, call: u64) -> Script {
    use StepKind::{Delete, DeleteRange, Get, Put, PutTooLong, Scan, ScanBack, Stamp};
    let mut steps = Vec::new();
    for _ in 0..rng.u32(1..7) {
        let kinds = [Put, Put, Put, Delete, Delete, DeleteRange, Get, Scan, ScanBack];
        let kind = kinds[rng.usize(0..kinds.len())];
        let key = script_key(rng);
        let value = match kind {
            DeleteRange | Scan | ScanBack if rng.u32(0..8) == 0 => Vec::new(),
            DeleteRange | Scan | ScanBack => script_key(rng),
            _ => call.to_le_bytes().to_vec(),
        };
        let is_scan = matches!(kind, Scan | ScanBack);
        let limit = if is_scan && rng.bool() { rng.u32(1..5) } else { 0 };
        steps.push(Step { kind: kind.into(), key, value, limit });
    }
    let of = |kind: StepKind| Step { kind: kind.into(), ..Step::default() };
    if rng.bool() {
        steps.push(of(Stamp));
    }
    let end = match rng.u32(0..12) {
        0 | 1 => End::Reject,
        2 => End::Trap,
        3 => End::Fuel,
        4 => {
            steps.push(of(PutTooLong));
            End::Reply
        }
        _ => End::Reply,
    };
    Script { call, steps, end: end.into() }
}
