//! Members that come and go as an operator has it, and nodes that come back without their data.

use quorate_core::id::{NodeId, RaftId};
use quorate_core::members::{Acquaintances, Meant, Meeting, Members, Standing, StoreId, meant};
use quorate_core::replica::{Change, Contact, Contacts};

use super::process::Packet;
use super::{Cluster, Event};
use crate::disk;
use crate::fault::{Fault, Kind, Target, Unsynced};
use crate::oracle::{Checked, ensure};
use crate::time::{MS, SECOND, Time};
use crate::trace::mix;

/// Between two tries of an operator.
const OPERATOR_PAUSE: Time = 150 * MS;
/// How long an operator tries beyond the end of his episode.
const OPERATOR_WAIT_MAX: Time = 5 * SECOND;
/// How long a node that was removed runs on, at most.
const REMOVED_RUNS_MAX: Time = 3 * SECOND;

/// How a node introduces itself with each message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hello {
    pub(crate) member: RaftId,
    pub(crate) store: StoreId,
    /// The data folder that it knows the other one with.
    pub(crate) expects: Option<(RaftId, StoreId)>,
    /// What no node knows: that the data of this one are gone.
    pub(crate) is_wiped: bool,
}

/// What an operator is about to do.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    changes: Vec<Change>,
    is_forced: bool,
    until: Time,
    /// The leader ends as soon as it has proposed it.
    crashes: bool,
    kind: Kind,
}

impl Cluster {
    /// The members as of the last entry that is committed.
    pub(super) fn members(&self) -> Members {
        self.oracle.members(&self.founders())
    }

    /// How a node introduces itself to another.
    pub(super) fn hello(&self, from: u32, to: u32) -> Hello {
        let node = &self.nodes[from as usize - 1];
        let known = node.process.as_ref().and_then(|process| {
            let member = process.members.member_of(NodeId::new(to)?)?;
            let seat = process.members.seats.get(&member.node());
            let seat = seat.filter(|seat| seat.incarnation == member.incarnation());
            let store = seat.and_then(|seat| seat.store).or_else(|| node.known.store_of(member));
            Some((member, store?))
        });
        Hello { member: node.member(), store: node.store, expects: known, is_wiped: node.is_wiped }
    }

    /// Whether a node listens to who introduces itself so; as the host decides it.
    pub(super) fn listens(&mut self, number: u32, hello: Hello) -> Checked<bool> {
        let newest = self.voters();
        let node = self.node(number);
        let Some(process) = &node.process else { return Ok(false) };
        if process.members.is_past(hello.member)
            || meant(hello.expects, node.member(), node.store) != Meant::This
        {
            return Ok(false);
        }
        let met = node.known.meet(hello.member, hello.store, &process.members);
        if matches!(met, Meeting::Impostor(_)) {
            self.ledger.fire(Kind::WipedRefused, number);
            return Ok(false);
        }
        // Whoever votes now, and was there before, knew it.
        let knew = newest.contains(&node.member()) && !node.is_new;
        ensure(!hello.is_wiped || !knew, "nobody listens to who lost what it promised", || {
            format!("node {number} takes a message of {}", hello.member)
        })?;
        Ok(true)
    }

    /// A node says hello to all others, whether or not it has anything to say. Where nobody is
    /// wiped, that makes no difference.
    pub(super) fn say_hello(&mut self, number: u32) {
        if !self.plan.has_wipes() {
            return;
        }
        for to in (1..=self.plan.nodes).filter(|to| *to != number) {
            let hello = self.hello(number, to);
            self.transmit(number, to, Packet::Hello(hello));
        }
    }

    /// An operator begins to do something; false when there is nothing to do.
    pub(super) fn operate(&mut self, fault: Fault, until: Time) -> Checked {
        let members = self.members();
        // A voter that is gone for good is one that the others would wait for in vain.
        let is_there = |voter: &RaftId| self.nodes.iter().any(|node| node.member() == *voter);
        let is_whole = self.nodes.iter().all(|node| node.is_out || !node.is_doomed())
            && members.voters.iter().all(is_there);
        let votes = members.seats.values().filter(|seat| seat.standing == Standing::Voter).count();
        if !self.operations.is_empty() || !is_whole || votes != members.voters.len() {
            return Ok(());
        }
        let crashes = !self.plan.is_volatile && self.rng.u32(0..3) == 0;
        let free = self.nodes.iter().find(|node| node.is_out).map(|node| node.number);
        let free = free.and_then(NodeId::new);
        let target = |target: Target| match target {
            Target::Node(node) => {
                NodeId::new(node).filter(|node| members.member_of(*node).is_some())
            }
            Target::Leader | Target::Follower => None,
        };
        let mut is_forced = false;
        let (kind, changes) = match (fault, free) {
            (Fault::Grow, Some(node)) => {
                let address = format!("node-{node}");
                (Kind::Grow, vec![Change::Add { node, address }, Change::Promote(node)])
            }
            (Fault::Replace(old), Some(new)) => {
                let Some(old) = target(old) else { return Ok(()) };
                let address = format!("node-{new}");
                let replace = Change::Replace { old, new };
                (Kind::Replace, vec![Change::Add { node: new, address }, replace])
            }
            (Fault::Shrink(node), _) => {
                let Some(node) = target(node) else { return Ok(()) };
                // A leader that is to go would hand over; by force, it goes at once.
                is_forced = members.voters.len() > 2
                    && self.leader() == Some(node.get())
                    && self.rng.bool();
                (Kind::Shrink, vec![Change::Remove(node)])
            }
            (Fault::Transfer(to), _) => {
                let Some(to) = target(to) else { return Ok(()) };
                (Kind::Transfer, vec![Change::Transfer(Some(to))])
            }
            _ => return Ok(()),
        };
        let until = until + OPERATOR_WAIT_MAX;
        self.operations.push(Operation { changes, is_forced, until, crashes, kind });
        self.go_on_operating()
    }

    /// An operator asks whoever leads, until what he wants is done or he gives up.
    pub(super) fn go_on_operating(&mut self) -> Checked {
        let Some(mut operation) = self.operations.pop() else { return Ok(()) };
        let members = self.members();
        while let Some(change) = operation.changes.first()
            && !matches!(change, Change::Transfer(_))
            && change.is_done(&members)
        {
            operation.changes.remove(0);
        }
        if operation.changes.is_empty() || self.now >= operation.until || self.is_healing {
            return Ok(());
        }
        self.schedule(self.now + OPERATOR_PAUSE, Event::Operate);
        self.ask_for_change(&mut operation)?;
        self.operations.push(operation);
        Ok(())
    }

    fn ask_for_change(&mut self, operation: &mut Operation) -> Checked {
        let (Some(leader), Some(change)) = (self.leader(), operation.changes.first().cloned())
        else {
            return Ok(());
        };
        let contacts = self.contacts(leader);
        let unsynced = if self.rng.bool() { Unsynced::Lost } else { Unsynced::Torn };
        let effect = self.rng.u8(0..12);
        let node = self.node(leader);
        let Some(process) = node.process.as_mut().filter(|_| node.pauses == 0) else {
            return Ok(());
        };
        let before = process.replica.members();
        let committed = process.replica.status().committed;
        let asked = process.replica.change(&change, operation.is_forced, &contacts);
        process.wants_round = true;
        let after = process.replica.members();
        ensure(before == after, "members change when that is committed", || {
            format!("node {leader}: {change:?}, {before:?} became {after:?}")
        })?;
        let (now, what) = (self.now, format!("{change:?}"));
        self.trace.note((now, leader), "is asked", [asked.is_ok().into(), 0], || {
            asked.map_or_else(|refusal| format!("{what}: {refusal}"), |()| what.clone())
        });
        if asked.is_err() {
            return self.pump(leader);
        }
        self.ledger.fire(operation.kind, 0);
        if let Change::Promote(new) | Change::Replace { new, .. } = change {
            self.has_caught_up(new, committed)?;
        }
        if operation.crashes && matches!(change, Change::Replace { .. }) {
            operation.crashes = false;
            self.node(leader).armed = Some((effect, unsynced));
            self.ledger.fire(Kind::CrashInChange, leader);
        }
        if matches!(change, Change::Transfer(_)) {
            operation.changes.clear();
        }
        self.pump(leader)
    }

    /// Who gets a vote has what is committed, or nearly.
    fn has_caught_up(&self, node: NodeId, committed: u64) -> Checked {
        let Some(state) = self.nodes.get(node.get() as usize - 1) else { return Ok(()) };
        let last = disk::lock(&state.disk).durable_last(self.now);
        let bound = self.plan.bounds.catch_up_entries_max;
        ensure(last + bound >= committed, "who gets a vote has caught up", || {
            format!("node {node} has {last} of {committed} entries")
        })
    }

    fn contacts(&self, number: u32) -> Contacts {
        let node = &self.nodes[number as usize - 1];
        let contact = |member: RaftId| {
            let own = (member == node.member()).then_some(node.store);
            let store = own.or_else(|| node.known.store_of(member));
            (member, Contact { address: format!("node-{}", member.node()), store })
        };
        self.members().all().into_iter().map(contact).collect()
    }

    /// Nodes that have become members start; those that are none any more end, a little later.
    pub(super) fn reconcile(&mut self) -> Checked {
        let members = self.members();
        for number in 1..=self.plan.nodes {
            let Some(id) = NodeId::new(number) else { continue };
            let node = self.node(number);
            let (member, is_out) = (node.member(), node.is_out);
            let seat = members.seats.get(&id);
            let is_gone = seat.is_some_and(|seat| seat.standing == Standing::Gone);
            match members.member_of(id) {
                Some(current) if is_out || current.incarnation() > member.incarnation() => {
                    self.enter(number, current)?;
                }
                None if !is_out && is_gone => {
                    if self.is_healing {
                        self.leave(number)?;
                    } else {
                        let at = self.now + self.rng.u64(0..REMOVED_RUNS_MAX);
                        self.schedule(at, Event::Leave(number, member));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A node starts that was added, with an empty disk.
    fn enter(&mut self, number: u32, member: RaftId) -> Checked {
        if !self.node(number).is_out {
            self.leave(number)?;
        }
        let now = self.now;
        let node = self.node(number);
        node.start_afresh();
        // It may have been another member meanwhile, that nobody admitted.
        let next = if node.life > 0 { node.incarnation + 1 } else { 0 };
        node.incarnation = next.max(member.incarnation());
        node.is_out = false;
        node.is_lost = false;
        node.starts_at = Some(now);
        self.start_if_due(number)
    }

    /// A node ends that was removed, and does not come back by itself.
    pub(super) fn leave(&mut self, number: u32) -> Checked {
        self.crash(number, Unsynced::Kept)?;
        let node = self.node(number);
        node.is_out = true;
        node.starts_at = None;
        Ok(())
    }

    /// The same, unless it has become another member meanwhile.
    pub(super) fn leave_if_past(&mut self, number: u32, member: RaftId) -> Checked {
        let node = self.node(number);
        if node.is_out || node.member() != member { Ok(()) } else { self.leave(number) }
    }

    /// A node comes back under its old name, without its data. Only if all others know it: whom
    /// they do not know, they have to believe.
    pub(super) fn wipe(&mut self, number: u32, until: Time) -> Checked {
        let (member, store) = {
            let node = self.node(number);
            (node.member(), node.store)
        };
        let members = self.members();
        let others = members.all().into_iter().filter(|other| *other != member);
        let knows = |other: RaftId| {
            let node = &self.nodes[other.node().get() as usize - 1];
            node.member() == other && node.known.store_of(member) == Some(store)
        };
        let is_known = members.all().len() > 1 && { others }.all(knows);
        // A log in memory is gone with its process anyway.
        if self.plan.is_volatile
            || !is_known
            || self.plan.founders < 2
            || !members.voters.contains(&member)
        {
            return Ok(());
        }
        self.crash(number, Unsynced::Kept)?;
        let node = self.node(number);
        if node.member() == member {
            let entries = disk::lock(&node.disk).wipe();
            node.forgotten.push((member, entries));
            node.state.wipe();
            node.is_wiped = true;
            node.renew_store();
        }
        self.ledger.fire(Kind::Wiped, number);
        self.schedule(until, Event::Rejoin(number));
        Ok(())
    }

    /// Its operator has understood: it comes back as another member.
    pub(super) fn rejoin(&mut self, number: u32) -> Checked {
        if !self.node(number).is_wiped {
            return Ok(());
        }
        let now = self.now;
        self.crash(number, Unsynced::Kept)?;
        let node = self.node(number);
        node.start_afresh();
        node.incarnation += 1;
        node.starts_at = Some(now);
        self.start_if_due(number)
    }

    /// What is committed is durable on a majority, at that moment.
    pub(super) fn majority_has(&self, id: quorate_core::id::LogId) -> Checked {
        let chain = self.oracle.chain_of(id);
        let has = |member: &&RaftId| {
            let Some(node) = self.nodes.get(member.node().get() as usize - 1) else {
                return false;
            };
            let disk = disk::lock(&node.disk);
            let is_durable = disk.durable_last(self.now) >= id.index;
            if node.member() == **member && is_durable && disk.chains().get(id.index) == chain {
                return true;
            }
            // It may have been committed before this node forgot it, and be heard of only now.
            node.forgotten.iter().any(|(forgotten, entries)| {
                *forgotten == **member && entries.get(id.index) == chain
            })
        };
        ensure(chain.is_some(), "what is committed was written", || format!("entry {id}"))?;
        let mut recent = self.oracle.recent_members(&self.founders());
        let since = self.oracle.voters_since();
        let knows = |node: &super::Node| {
            node.is_out || node.process.as_ref().is_none_or(|process| process.applied >= since)
        };
        // Before all know the newest members, a leader may count by those before.
        if self.nodes.iter().all(knows) {
            recent.drain(..recent.len() - 1);
        }
        let majority = |voters: &[RaftId]| voters.iter().filter(has).count() > voters.len() / 2;
        let is_held = recent.iter().any(|members| {
            majority(&members.voters) && (!members.is_joint() || majority(&members.outgoing))
        });
        ensure(is_held, "what is committed is durable on a majority", || {
            format!("entry {id}, of {recent:?}")
        })
    }

    /// A removed leader leads no more once it knows.
    pub(super) fn look_at_membership(&self, number: u32) -> Checked {
        let Some(process) = &self.nodes[number as usize - 1].process else { return Ok(()) };
        let status = process.replica.status();
        let members = &process.members;
        let votes =
            members.voters.contains(&process.member) || members.outgoing.contains(&process.member);
        ensure(!status.leads || votes, "who leads has a vote", || {
            format!("node {number} leads {members:?}")
        })
    }
}

impl super::Node {
    /// An empty disk, and nobody known.
    fn start_afresh(&mut self) {
        let entries = disk::lock(&self.disk).wipe();
        if !self.is_wiped {
            self.forgotten.push((self.member(), entries));
        }
        self.state.wipe();
        (self.has_rotted, self.is_cut_back, self.will_forget) = (false, false, false);
        self.is_wiped = false;
        self.is_new = true;
        self.known = Acquaintances::default();
        self.renew_store();
    }

    /// Another data folder.
    pub(super) fn renew_store(&mut self) {
        let next = mix(self.store.0 as u64, u64::from(self.number));
        self.store = StoreId(next.into());
    }
}
