//! Calls: how they are made, how commands get to the leader, and what their clients are told.

use bytes::Bytes;
use quorate_core::batch::{Command, Proposal};
use quorate_core::session::{SessionCall, SessionId, SessionUse};

use super::process::{Origin, Packet, Token, Told};
use super::{Cluster, Event, Verdict};
use crate::calls::{Call, Client, How, Next, Outcome};
use crate::oracle::{Checked, Violation, ensure};
use crate::request::Request;
use crate::session::Sent;
use crate::time::{MS, Time};

/// How long a client waits for an answer.
const CALL_WAIT_MAX: Time = 5_500 * MS;
/// Calls that come at once, just before a node is stopped.
const BURST: u32 = 6;
/// Copies of calls that are sent at once, and one more.
const COPIES_MAX: u32 = 6;
/// Of so many copies, one takes the number of another call, and one is of no session.
const FORGED_ONE_IN: u32 = 16;
/// A client stays with its node; one time of so many it tries another.
const WANDERS_ONE_IN: u32 = 12;

impl Cluster {
    /// A client makes its next call.
    pub(super) fn client_calls(&mut self, number: u32) -> Checked {
        let call = self.calls.len() as u64;
        let client = &mut self.clients[number as usize];
        if client.node == 0 || client.rng.u32(0..WANDERS_ONE_IN) == 0 || self.is_healing {
            client.node = self.serving[client.rng.usize(0..self.serving.len())];
        }
        let node = client.node;
        let how = client.how(&self.plan);
        if self.now < self.quiet_until && !self.is_healing {
            return self.call_as(node, number, Request::Get(0), how);
        }
        match client.next(call, &self.plan, self.is_healing) {
            Some(Next::Plain(request)) => self.call_as(node, number, request, how)?,
            Some(Next::Numbered(request, session)) => {
                let sent = Sent { first: call, call: session };
                if let Some(session) = &mut client.session {
                    session.sends(sent);
                }
                self.send((node, number), request, how, (call, Some(session)))?;
            }
            Some(Next::Again(sent)) => self.send_again(node, number, sent)?,
            None => return Ok(()),
        }
        self.duplicates(number, node)
    }

    fn send_again(&mut self, node: u32, client: u32, sent: Sent) -> Checked {
        let request = self.calls[sent.first as usize].request.clone();
        self.send((node, client), request, How::Linearizable, (sent.first, Some(sent.call)))
    }

    /// Copies of calls that a client has sent, at any node and at any time, as networks and
    /// impatient clients make them; and some that only look like copies.
    fn duplicates(&mut self, number: u32, node: u32) -> Checked {
        let percent = self.plan.duplicates_percent;
        let client = &mut self.clients[number as usize];
        if self.is_healing || client.session.is_none() || client.rng.u32(0..100) >= percent {
            return Ok(());
        }
        for _ in 0..self.rng.u32(1..COPIES_MAX) {
            let call = self.calls.len() as u64;
            let Client { rng, session: Some(session), .. } = &mut self.clients[number as usize]
            else {
                return Ok(());
            };
            let node = if rng.bool() { node } else { rng.u32(1..=self.plan.nodes) };
            let kind = rng.u32(0..FORGED_ONE_IN);
            let Some(sent) = session.any_of_past(rng) else { return Ok(()) };
            let forged = match kind {
                0 => {
                    let Some(known) = session.any_known(rng) else { continue };
                    known.call
                }
                1 => {
                    let (far, id) = (rng.bool(), sent.call.id);
                    let (number, nonce) =
                        if far { (id.number + 1_000, id.nonce) } else { (id.number, !id.nonce) };
                    SessionCall { id: SessionId { number, nonce }, ..sent.call }
                }
                _ => {
                    self.send_again(node, u32::MAX, sent)?;
                    continue;
                }
            };
            let put = Request::Put(0, call, 0);
            self.send((node, u32::MAX), put, How::Linearizable, (call, Some(forged)))?;
        }
        Ok(())
    }

    /// While a node is isolated: somebody writes elsewhere, and somebody reads there.
    pub(super) fn rush(&mut self, isolated: u32, until: Time) -> Checked {
        if self.now >= until || self.is_healing {
            return Ok(());
        }
        let nodes = self.plan.nodes;
        let elsewhere = (isolated + self.rng.u32(0..nodes)) % nodes + 1;
        let number = self.calls.len() as u64;
        self.call(elsewhere, u32::MAX, self.any_write(number))?;
        let how = if self.plan.lease.is_some() { How::Lease } else { How::Linearizable };
        self.call_as(isolated, u32::MAX, self.any_read(), how)?;
        let next = self.now + self.rng.u64(10 * MS..60 * MS);
        self.schedule(next, Event::Rush(isolated, until));
        Ok(())
    }

    /// Several calls at once, of nobody who goes on calling.
    pub(super) fn burst(&mut self, node: u32) -> Checked {
        for _ in 0..BURST {
            let number = self.calls.len() as u64;
            self.call(node, u32::MAX, self.any_write(number))?;
        }
        Ok(())
    }

    /// A command that says who it is. Of a plugin that is not known, it changes nothing.
    pub(super) fn any_write(&self, number: u64) -> Request {
        if self.code.is_own() { Request::Put(0, number, 0) } else { Request::Open(number) }
    }

    /// A query; a plugin that is not known refuses it.
    pub(super) fn any_read(&self) -> Request {
        if self.code.is_own() { Request::Get(0) } else { Request::Other(0, Bytes::new(), false) }
    }

    /// A call of a client to a node; its number is the next in [`Cluster::calls`].
    pub(crate) fn call(&mut self, node: u32, client: u32, request: Request) -> Checked {
        self.call_as(node, client, request, How::Linearizable)
    }

    /// The same; a query is to be read so.
    pub(super) fn call_as(
        &mut self,
        node: u32,
        client: u32,
        request: Request,
        how: How,
    ) -> Checked {
        let number = self.calls.len() as u64;
        self.send((node, client), request, how, (number, None))
    }

    /// The same of a call that may have been sent before: first by that number.
    pub(super) fn send(
        &mut self,
        (node, client): (u32, u32),
        request: Request,
        how: How,
        (first, session): (u64, Option<SessionCall>),
    ) -> Checked {
        let (now, number) = (self.now, self.calls.len() as u64);
        self.trace.note((now, node), "is called", [number, client.into()], || match session {
            None => format!("call {number}: {request}{how}"),
            Some(SessionCall { id, seq, floor }) => {
                let session = format!("session {}, {seq} from {floor}", id.number);
                format!("call {number}: {request}; {session}")
            }
        });
        self.calls.push(Call {
            first,
            session,
            client,
            node,
            request,
            how,
            begun: now,
            ended: now,
            outcome: Outcome::Pending,
        });
        let Some(process) = &mut self.node(node).process else {
            return self.tell_client(number, &Told::Refused("down"));
        };
        process.open.insert(number, client);
        process.calls.push_back(number);
        self.schedule(now + CALL_WAIT_MAX, Event::GiveUp(number));
        self.pump(node)
    }

    /// A client waits no longer.
    pub(super) fn give_up(&mut self, call: u64) -> Checked {
        let Call { node, outcome, .. } = &self.calls[call as usize];
        let node = *node;
        if *outcome != Outcome::Pending {
            return Ok(());
        }
        if let Some(process) = &mut self.node(node).process {
            process.open.remove(&call);
        }
        self.tell_client(call, &Told::Unknown)
    }

    /// A node takes the calls that have come to it, from clients and from other nodes.
    pub(super) fn take_calls(&mut self, number: u32) -> Checked<bool> {
        let mut moved = false;
        while let Some(process) = &mut self.node(number).process
            && let Some(call) = process.calls.pop_front()
        {
            moved = true;
            self.take_call(number, call)?;
        }
        let Some(process) = &mut self.node(number).process else { return Ok(moved) };
        let is_call =
            |packet: &mut Packet| matches!(packet, Packet::Forward(..) | Packet::Answer(..));
        let mut others: Vec<_> = Vec::new();
        let mut at = 0;
        while at < process.inbox.len() {
            if is_call(&mut process.inbox[at]) {
                others.extend(process.inbox.remove(at));
            } else {
                at += 1;
            }
        }
        for packet in others {
            moved = true;
            match packet {
                Packet::Forward(call, command, life) => {
                    // The inbox does not say who sent it; a call knows whom its client called.
                    let from = self.calls[call as usize].node;
                    self.submit(number, call, command, Origin::Node(from, life))?;
                }
                Packet::Answer(call, life, told) if life == self.node(number).life => {
                    self.told(number, call, Origin::Client, told)?;
                }
                _ => {}
            }
        }
        Ok(moved)
    }

    fn take_call(&mut self, number: u32, call: u64) -> Checked {
        let request = self.calls[call as usize].request.clone();
        let node = self.node(number);
        let life = node.life;
        let Some(process) = &mut node.process else { return Ok(()) };
        if process.stopping.is_some() {
            return self.told(number, call, Origin::Client, Told::Refused("stopping"));
        }
        if !request.is_command() && self.is_closed_to(number, call, Origin::Client)? {
            return Ok(());
        }
        let Some(process) = &mut self.node(number).process else { return Ok(()) };
        if !request.is_command() {
            return self.take_read(number, call);
        }
        let status = process.replica.status();
        let session = self.calls[call as usize].session.map(SessionUse::Call);
        let mut command = request.encode();
        command.session = session.or(command.session);
        match status.leader.map(|leader| leader.node().get()) {
            Some(leader) if leader != number => {
                self.transmit(number, leader, Packet::Forward(call, command, life));
                Ok(())
            }
            Some(_) => self.submit(number, call, command, Origin::Client),
            None => self.told(number, call, Origin::Client, Told::Refused("no leader")),
        }
    }

    /// A command is to be proposed here.
    fn submit(&mut self, number: u32, call: u64, command: Command, origin: Origin) -> Checked {
        let submit_max = self.plan.submit_max;
        let Some(process) = &mut self.node(number).process else { return Ok(()) };
        if process.stopping.is_some() {
            return self.told(number, call, origin, Told::Refused("stopping"));
        }
        if process.submit.len() >= submit_max {
            return self.told(number, call, origin, Told::Refused("busy"));
        }
        if self.is_closed_to(number, call, origin)? {
            return Ok(());
        }
        let Some(process) = &mut self.node(number).process else { return Ok(()) };
        let waiter = Token::new(call, origin, &process.desk);
        process.submit.push_back(Proposal { command, waiter });
        Ok(())
    }

    /// Whoever waits is answered.
    pub(super) fn answer(&mut self, number: u32, waiter: Token, told: Told) -> Checked {
        let (call, origin) = waiter.settle();
        let verdict = match &told {
            Told::Decided(id, outcome) => Some(Verdict::Decided(*id, outcome.clone())),
            Told::Refused(_) => Some(Verdict::Refused),
            // It is in a snapshot, perhaps.
            Told::Unknown => None,
        };
        if self.calls[call as usize].request.is_command()
            && let Some(verdict) = verdict
        {
            let is_repeatable = self.calls[call as usize].session.is_some();
            let verdicts = self.verdicts.entry(call).or_default();
            // A network may have made two calls of one.
            ensure(verdicts.is_empty() || is_repeatable, "a waiter is answered once", || {
                format!("call {call}, {verdicts:?} before")
            })?;
            verdicts.push(verdict);
        }
        self.told(number, call, origin, told)
    }

    pub(super) fn told(&mut self, number: u32, call: u64, origin: Origin, told: Told) -> Checked {
        let Some(process) = &mut self.node(number).process else { return Ok(()) };
        process.read_since.remove(&call);
        match origin {
            Origin::Client => {
                if process.open.remove(&call).is_some() {
                    return self.tell_client(call, &told);
                }
                Ok(())
            }
            Origin::Node(from, life) => {
                self.transmit(number, from, Packet::Answer(call, life, told));
                Ok(())
            }
        }
    }

    /// A client knows what became of its call, and goes on.
    pub(super) fn tell_client(&mut self, number: u64, told: &Told) -> Checked {
        let now = self.now;
        let call = &mut self.calls[number as usize];
        let twice = call.outcome != Outcome::Pending;
        if twice {
            return Err(Violation::new("a call is answered once", format!("call {number}")));
        }
        let (node, client, first) = (call.node, call.client, call.first);
        call.ended = now;
        call.outcome = outcome_of(&call.request, told)?;
        let outcome = call.outcome.clone();
        let request = call.request.clone();
        let code = match &outcome {
            Outcome::Answered(id, _) => id.index,
            Outcome::Pending | Outcome::Refused | Outcome::Unknown => 0,
        };
        self.trace.note((now, node), "tells", [number, code], || {
            let why = match told {
                Told::Refused(why) => format!(", {why}"),
                Told::Decided(..) | Told::Unknown => String::new(),
            };
            format!("call {number}: {outcome}{why}")
        });
        let Some(client_state) = self.clients.get_mut(client as usize) else { return Ok(()) };
        if let Some(session) = &mut client_state.session {
            session.learn(first, &outcome);
        }
        let pause = match &outcome {
            Outcome::Answered(_, Ok(reply)) => {
                client_state.learn(&request, reply);
                client_state.rng.u64(1..self.plan.think_max)
            }
            Outcome::Answered(_, Err(_)) => client_state.rng.u64(1..self.plan.think_max),
            _ => {
                // Perhaps another node fares better.
                client_state.node = 0;
                client_state.rng.u64(5 * MS..100 * MS)
            }
        };
        self.schedule(now + pause, Event::Call(client));
        Ok(())
    }
}

fn outcome_of(request: &Request, told: &Told) -> Checked<Outcome> {
    Ok(match told {
        Told::Decided(id, Ok(bytes)) => {
            let reply = request.decode_reply(bytes);
            let unreadable = || Violation::new("replies decode", format!("{request:?}: {bytes:?}"));
            Outcome::Answered(*id, Ok(reply.ok_or_else(unreadable)?))
        }
        Told::Decided(id, Err(rejection)) => Outcome::Answered(*id, Err(rejection.clone())),
        Told::Refused(_) => Outcome::Refused,
        Told::Unknown => Outcome::Unknown,
    })
}
