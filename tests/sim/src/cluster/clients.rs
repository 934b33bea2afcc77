//! Calls: how they are made, how commands get to the leader, and what their clients are told.

use quorate_core::batch::{Command, Proposal};

use super::process::{Origin, Packet, Token, Told};
use super::{Cluster, Event, Verdict};
use crate::calls::{Call, How, Outcome};
use crate::oracle::{Checked, Violation, ensure};
use crate::request::Request;
use crate::time::{MS, Time};

/// How long a client waits for an answer.
const CALL_WAIT_MAX: Time = 5_500 * MS;
/// Calls that come at once, just before a node is stopped.
const BURST: u32 = 6;
/// A client stays with its node; one time of so many it tries another.
const WANDERS_ONE_IN: u32 = 12;

impl Cluster {
    /// A client makes its next call.
    pub(super) fn client_calls(&mut self, number: u32) -> Checked {
        if self.is_healing {
            return Ok(());
        }
        let call = self.calls.len() as u64;
        let nodes = self.plan.nodes;
        let client = &mut self.clients[number as usize];
        if client.node == 0 || client.rng.u32(0..WANDERS_ONE_IN) == 0 {
            client.node = client.rng.u32(1..=nodes);
        }
        let node = client.node;
        let mut request = client.next(call, &self.plan);
        let how = client.how(&self.plan);
        if self.now < self.quiet_until && request.is_command() {
            request = Request::Get(0);
        }
        self.call_as(node, number, request, how)
    }

    /// While a node is isolated: somebody writes elsewhere, and somebody reads there.
    pub(super) fn rush(&mut self, isolated: u32, until: Time) -> Checked {
        if self.now >= until || self.is_healing {
            return Ok(());
        }
        let nodes = self.plan.nodes;
        let elsewhere = (isolated + self.rng.u32(0..nodes)) % nodes + 1;
        let number = self.calls.len() as u64;
        self.call(elsewhere, u32::MAX, Request::Put(0, number, 0))?;
        let how = if self.plan.lease.is_some() { How::Lease } else { How::Linearizable };
        self.call_as(isolated, u32::MAX, Request::Get(0), how)?;
        let next = self.now + self.rng.u64(10 * MS..60 * MS);
        self.schedule(next, Event::Rush(isolated, until));
        Ok(())
    }

    /// Several calls at once, of nobody who goes on calling.
    pub(super) fn burst(&mut self, node: u32) -> Checked {
        for _ in 0..BURST {
            let number = self.calls.len() as u64;
            self.call(node, u32::MAX, Request::Put(0, number, 0))?;
        }
        Ok(())
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
        let (now, number) = (self.now, self.calls.len() as u64);
        self.trace.note((now, node), "is called", [number, client.into()], || {
            format!("call {number}: {request}{how}")
        });
        self.calls.push(Call {
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
        let command = request.encode();
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
            let before = self.verdicts.insert(call, verdict);
            ensure(before.is_none(), "a waiter is answered once", || {
                format!("call {call}, {before:?} before")
            })?;
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
        let (node, client) = (call.node, call.client);
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
