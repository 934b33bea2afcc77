//! Members of one group in one thread, their messages carried by hand: elections, deposed leaders,
//! conflicting tails, restarts, reads, and a node that lost its log.

mod alone;
mod change;
mod snapshots;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::batch::Batch;
use crate::batch::{Command, Proposal};
use crate::log::{MemoryLog, conformance};
use crate::outcome::Fatal;

type Waiter = u32;
type Reader = u32;

fn member(node: u32) -> RaftId {
    RaftId::new(NodeId::new(node).unwrap(), 0)
}

/// What a member did, as its host would see it.
#[derive(Default)]
struct Effects {
    sent: VecDeque<(RaftId, Bytes)>,
    applied: Vec<(LogId, Payload)>,
    committed: Vec<Waiter>,
    refused: Vec<(Waiter, Refusal)>,
    reads: Vec<(Reader, Result<u64, Refusal>)>,
    forgotten: Vec<Waiter>,
    flushes: u32,
    transfers: Vec<Transfer>,
    installed: Vec<Staged>,
    discarded: Vec<Staged>,
}

impl Outbox<Waiter, Reader> for Effects {
    fn send(&mut self, to: RaftId, message: Bytes) {
        self.sent.push_back((to, message));
    }
    fn commit(&mut self, committed: Committed<Waiter>) {
        self.applied.push((committed.id, committed.payload));
        self.committed.extend(committed.waiters);
    }
    fn refuse(&mut self, waiters: Vec<Waiter>, refusal: Refusal) {
        self.refused.extend(waiters.into_iter().map(|waiter| (waiter, refusal)));
    }
    fn read(&mut self, readers: Vec<Reader>, index: Result<u64, Refusal>) {
        self.reads.extend(readers.into_iter().map(|reader| (reader, index)));
    }
    fn forget(&mut self, waiters: Vec<Waiter>) {
        self.forgotten.extend(waiters);
    }
    fn flush(&mut self) {
        self.flushes += 1;
    }
    fn snapshot(&mut self, transfer: Transfer) {
        self.transfers.push(transfer);
    }
    fn install(&mut self, staged: Staged) {
        self.installed.push(staged);
    }
    fn discard(&mut self, staged: Staged) {
        self.discarded.push(staged);
    }
}

impl Effects {
    /// What its state has.
    fn state(&self) -> LogId {
        let applied = self.applied.last().map(|(id, _)| *id).unwrap_or_default();
        applied.max(self.installed.last().map(|staged| staged.applied).unwrap_or_default())
    }
}

struct Member {
    replica: Replica<MemoryLog, Waiter, Reader>,
    effects: Effects,
}

struct Group {
    members: BTreeMap<RaftId, Member>,
    cut_off: BTreeSet<RaftId>,
    takes_entries: bool,
    largest_message_bytes: usize,
}

fn start(id: RaftId, founders: u32, log: MemoryLog) -> Member {
    start_bounded(id, founders, log, Bounds::default())
}

fn start_bounded(id: RaftId, founders: u32, log: MemoryLog, bounds: Bounds) -> Member {
    let founders = (1..=founders).map(member).collect();
    let config = ReplicaConfig { id, founders, seed: id.get(), bounds, lease: None };
    let replica = Replica::new(config, log, &Recovered::default()).unwrap();
    Member { replica, effects: Effects::default() }
}

impl Group {
    fn new(size: u32) -> Self {
        Self::bounded(size, Bounds::default())
    }

    fn bounded(size: u32, bounds: Bounds) -> Self {
        let start = |id| (id, start_bounded(id, size, MemoryLog::new(), bounds));
        let members = (1..=size).map(member).map(start);
        Self {
            members: members.collect(),
            cut_off: BTreeSet::new(),
            takes_entries: true,
            largest_message_bytes: 0,
        }
    }

    fn at(&mut self, id: RaftId) -> &mut Member {
        self.members.get_mut(&id).unwrap()
    }

    fn handle(&mut self, id: RaftId, event: Event<Waiter, Reader>) {
        let member = self.at(id);
        member.replica.handle(event);
        member.replica.advance(&mut member.effects).unwrap();
    }

    /// Delivers messages until none is left. Those from and to members that are cut off are lost.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for id in self.members.keys().copied().collect::<Vec<_>>() {
                let applied = self.at(id).effects.state().index;
                self.handle(id, Event::Applied(applied));
                if std::mem::take(&mut self.at(id).effects.flushes) > 0 {
                    self.handle(id, Event::Durable(applied));
                }
                while let Some((to, message)) = self.at(id).effects.sent.pop_front() {
                    moved = true;
                    self.deliver(id, to, message);
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn deliver(&mut self, from: RaftId, to: RaftId, message: Bytes) {
        self.largest_message_bytes = self.largest_message_bytes.max(message.len());
        let is_lost = self.cut_off.contains(&from) || self.cut_off.contains(&to);
        if !is_lost && self.members.contains_key(&to) {
            self.handle(to, Event::Peer { message, takes_entries: self.takes_entries });
        }
    }

    fn tick(&mut self, ticks: u32) {
        for _ in 0..ticks {
            for id in self.members.keys().copied().collect::<Vec<_>>() {
                self.handle(id, Event::Tick);
            }
            self.settle();
        }
    }

    /// Ticks until a member that is not cut off leads.
    fn elect(&mut self) -> RaftId {
        for _ in 0..100 {
            self.tick(1);
            let leads = |(id, member): (&RaftId, &Member)| {
                (member.replica.status().leads && !self.cut_off.contains(id)).then_some(*id)
            };
            if let Some(leader) = self.members.iter().find_map(leads) {
                return leader;
            }
        }
        panic!("no leader within 100 ticks");
    }

    fn propose(&mut self, id: RaftId, waiter: Waiter) {
        let payload = Bytes::from(waiter.to_le_bytes().to_vec());
        let proposal = Proposal { command: Command::new(1, payload), waiter };
        self.handle(id, Event::Intake { batch: Batch { proposals: vec![proposal] }, time_ms: 1 });
    }

    fn committed(&mut self, id: RaftId) -> &[Waiter] {
        &self.at(id).effects.committed
    }

    /// The commands that a member has applied.
    fn commands(&mut self, id: RaftId) -> Vec<Bytes> {
        let of = |(_, payload): &(LogId, Payload)| match payload {
            Payload::Commands(bytes) => Some(bytes.clone()),
            Payload::Empty | Payload::Members(_) => None,
        };
        self.at(id).effects.applied.iter().filter_map(of).collect()
    }
}

#[test]
fn a_group_of_one_leads_and_commits_at_once() {
    let mut group = Group::new(1);
    group.settle();
    assert!(group.at(member(1)).replica.status().leads);
    group.propose(member(1), 7);
    assert_eq!(group.committed(member(1)), [7]);
}

#[test]
fn three_members_elect_one_leader_and_apply_the_same() {
    let mut group = Group::new(3);
    let leader = group.elect();
    for waiter in 0..10 {
        group.propose(leader, waiter);
    }
    group.settle();
    group.tick(2);
    assert_eq!(group.committed(leader), (0..10).collect::<Vec<_>>());
    let applied = group.commands(leader);
    assert_eq!(applied.len(), 10);
    for node in 1..=3 {
        assert_eq!(group.commands(member(node)), applied);
    }
}

#[test]
fn a_follower_refuses_and_names_the_leader() {
    let mut group = Group::new(3);
    let leader = group.elect();
    let follower = (1..=3).map(member).find(|id| *id != leader).unwrap();
    group.propose(follower, 1);
    assert_eq!(group.at(follower).effects.refused, [(1, Refusal::NotLeader(Some(leader.node())))]);
    group.settle();
    assert!(group.commands(leader).is_empty(), "raft must not have forwarded it");
}

#[test]
fn a_leader_that_is_cut_off_steps_down_and_its_tail_is_overwritten() {
    let mut group = Group::new(3);
    let old = group.elect();
    group.propose(old, 1);
    group.settle();
    group.cut_off.insert(old);
    group.propose(old, 2);
    group.propose(old, 3);
    let new = group.elect();
    assert_ne!(old, new);
    group.tick(30);
    assert!(!group.at(old).replica.status().leads, "check_quorum deposes it");
    group.propose(new, 4);
    group.propose(new, 5);
    group.propose(new, 6);
    group.settle();
    assert_eq!(group.committed(new), [4, 5, 6]);
    group.cut_off.clear();
    group.tick(30);
    let refused = &group.at(old).effects.refused;
    assert_eq!(refused, &[(2, Refusal::Overwritten), (3, Refusal::Overwritten)]);
    assert_eq!(group.commands(old), group.commands(new));
}

#[test]
fn a_deposed_leaders_waiter_is_answered_when_its_entry_commits_under_another() {
    let mut group = Group::new(3);
    let old = group.elect();
    group.propose(old, 1);
    // The entry reaches the others, but their acknowledgements are lost.
    while let Some((to, message)) = group.at(old).effects.sent.pop_front() {
        group.handle(to, Event::Peer { message, takes_entries: true });
    }
    for id in (1..=3).map(member).filter(|id| *id != old) {
        group.at(id).effects.sent.clear();
    }
    assert!(group.committed(old).is_empty());
    group.cut_off.insert(old);
    let new = group.elect();
    group.cut_off.clear();
    group.tick(30);
    assert_ne!(old, new);
    assert_eq!(group.committed(old), [1]);
    assert!(group.at(old).effects.refused.is_empty());
}

#[test]
fn a_read_waits_for_what_was_committed_before_it() {
    let mut group = Group::new(3);
    let leader = group.elect();
    group.propose(leader, 1);
    group.settle();
    let committed = group.at(leader).replica.status().committed;
    for node in 1..=3 {
        group.handle(member(node), Event::Read(node));
        group.settle();
        let reads = &group.at(member(node)).effects.reads;
        assert_eq!(reads.len(), 1, "node {node}");
        assert!(reads[0].1.unwrap() >= committed);
    }
}

/// The bug of many a system: the old leader answers a read although another one has committed.
#[test]
fn a_leader_that_is_cut_off_answers_no_read() {
    let mut group = Group::new(3);
    let old = group.elect();
    group.cut_off.insert(old);
    group.handle(old, Event::Read(1));
    group.settle();
    let new = group.elect();
    group.propose(new, 9);
    group.settle();
    assert!(group.at(old).effects.reads.is_empty());
    let committed = group.at(new).replica.status().committed;
    group.cut_off.clear();
    group.tick(30);
    let reads = &group.at(old).effects.reads;
    assert!(reads[0].1.unwrap() >= committed, "{reads:?}");
}

#[test]
fn a_read_without_a_leader_is_refused_in_the_end() {
    let mut group = Group::new(3);
    group.cut_off.extend((1..=3).map(member));
    group.handle(member(1), Event::Read(1));
    group.tick(limits::READ_TICKS_MAX + 1);
    assert_eq!(group.at(member(1)).effects.reads, [(1, Err(Refusal::NotLeader(None)))]);
}

/// Apply is behind everywhere: nothing new commits, but the leader stays, and all goes on later.
#[test]
fn a_backlog_stops_entries_and_nothing_else() {
    let mut group = Group::new(3);
    let leader = group.elect();
    group.takes_entries = false;
    group.propose(leader, 1);
    group.tick(40);
    assert!(group.committed(leader).is_empty());
    assert_eq!(group.elect(), leader, "heartbeats are still heard");
    group.takes_entries = true;
    group.tick(5);
    assert_eq!(group.committed(leader), [1]);
}

#[test]
fn leadership_is_handed_over_on_request() {
    let mut group = Group::new(3);
    let old = group.elect();
    group.handle(old, Event::HandOver);
    group.settle();
    assert!(!group.at(old).replica.status().leads);
    assert!(group.members.values().any(|member| member.replica.status().leads));
}

#[test]
fn the_same_seed_elects_the_same_leader() {
    let history = || {
        let mut group = Group::new(5);
        let leader = group.elect();
        (leader, group.at(leader).replica.status())
    };
    assert_eq!(history(), history());
}

fn log_with(entries: &[Entry], commit: u64) -> MemoryLog {
    let mut log = MemoryLog::new();
    let hard_state = conformance::hard_state(2, 0, commit);
    log.persist(Persist { hard_state: Some(&hard_state), entries, must_sync: true, base: None })
        .unwrap();
    log
}

fn restart(log: MemoryLog, applied: LogId) -> Result<Replica<MemoryLog, Waiter, Reader>, Fatal> {
    let config = ReplicaConfig {
        id: member(1),
        founders: (1..=3).map(member).collect(),
        seed: 1,
        bounds: Bounds::default(),
        lease: None,
    };
    Replica::new(config, log, &Recovered { applied, conf: Bytes::new() })
}

#[test]
fn a_restart_applies_only_what_was_not_applied() {
    let entries = [conformance::entry(1, 1, b"a"), conformance::entry(2, 2, b"b")];
    let mut replica = restart(log_with(&entries, 2), LogId { term: 1, index: 1 }).unwrap();
    let mut effects = Effects::default();
    replica.advance(&mut effects).unwrap();
    let applied: Vec<_> = effects.applied.iter().map(|(id, _)| id.index).collect();
    assert_eq!(applied, [2]);
}

#[test]
fn a_commit_index_older_than_the_state_is_repaired() {
    let entries = [conformance::entry(1, 1, b"a"), conformance::entry(2, 2, b"b")];
    let replica = restart(log_with(&entries, 0), LogId { term: 2, index: 2 }).unwrap();
    assert_eq!(replica.status().committed, 2);
}

#[test]
fn a_lost_or_foreign_or_damaged_log_is_refused_without_a_panic() {
    let entries = [conformance::entry(1, 1, b"a")];
    let refusal = |log, applied| restart(log, applied).err().unwrap().to_string();
    let lost = refusal(MemoryLog::new(), LogId { term: 1, index: 1 });
    assert!(lost.contains("the log was lost"), "{lost}");
    let foreign = refusal(log_with(&entries, 1), LogId { term: 2, index: 1 });
    assert!(foreign.contains("not of the same node"), "{foreign}");
    let damaged = refusal(log_with(&entries, 5), LogId::default());
    assert!(damaged.contains("damaged"), "{damaged}");
}

#[test]
fn bytes_that_are_no_message_are_ignored() {
    let mut group = Group::new(3);
    let leader = group.elect();
    for junk in [&b""[..], b"junk", &[0xff; 100]] {
        let message = Bytes::copy_from_slice(junk);
        group.handle(leader, Event::Peer { message, takes_entries: true });
    }
    assert!(group.at(leader).replica.status().leads);
}

#[test]
fn a_node_that_lost_its_log_is_admitted_as_a_new_member() {
    let mut group = Group::new(3);
    let leader = group.elect();
    for waiter in 0..5 {
        group.propose(leader, waiter);
    }
    group.settle();
    let lost = (1..=3).map(member).find(|id| *id != leader).unwrap();
    group.members.remove(&lost);
    let reborn = RaftId::new(lost.node(), 1);
    group.members.insert(reborn, start(reborn, 3, MemoryLog::new()));
    let mut asked = 0;
    while group.at(leader).replica.admit(reborn, &Contacts::new()) != Admission::Admitted {
        asked += 1;
        assert!(asked < 20, "not admitted after 20 requests");
        group.tick(2);
    }
    group.tick(5);
    assert!(group.at(reborn).replica.status().votes);
    assert_eq!(group.commands(reborn), group.commands(leader));
    // The old incarnation may not come back, and the new one carries a majority.
    assert_eq!(group.at(leader).replica.admit(lost, &Contacts::new()), Admission::Refused);
    let third = (1..=3).map(member).find(|id| *id != leader && *id != lost).unwrap();
    group.cut_off.insert(third);
    group.propose(leader, 99);
    group.settle();
    assert!(group.committed(leader).contains(&99));
}

/// A follower that is far behind is served in messages of bounded size.
#[test]
fn catching_up_sends_no_message_over_its_limit() {
    let mut group = Group::new(3);
    let leader = group.elect();
    let behind = (1..=3).map(member).find(|id| *id != leader).unwrap();
    group.cut_off.insert(behind);
    for waiter in 0..30 {
        let payload = Bytes::from(vec![7; limits::RAFT_MESSAGE_BYTES_MAX / 2]);
        let proposal = Proposal { command: Command::new(1, payload), waiter };
        let batch = Batch { proposals: vec![proposal] };
        group.handle(leader, Event::Intake { batch, time_ms: 1 });
        group.settle();
    }
    group.cut_off.clear();
    group.largest_message_bytes = 0;
    group.tick(5);
    assert_eq!(group.commands(behind).len(), 30);
    let largest = group.largest_message_bytes;
    assert!(largest <= limits::RAFT_MESSAGE_BYTES_MAX + 1024, "{largest} bytes");
}

/// Bytes that decode, and that the raft crate would panic over.
#[test]
fn messages_that_nobody_sends_are_ignored() {
    let mut group = Group::new(3);
    let leader = group.elect();
    let follower = (1..=3).map(member).find(|id| *id != leader).unwrap();
    let term = group.at(leader).replica.status().term;
    for (kind, to, from) in [
        (MessageType::MsgReadIndex, leader, follower),
        (MessageType::MsgHeartbeat, follower, leader),
    ] {
        let mut message = Message::default();
        message.set_msg_type(kind);
        (message.to, message.from) = (to.get(), from.get());
        (message.term, message.commit) = (term, 1_000_000);
        let message = message.write_to_bytes().unwrap().into();
        group.handle(to, Event::Peer { message, takes_entries: true });
    }
    group.propose(leader, 1);
    group.settle();
    assert_eq!(group.committed(leader), [1]);
}

#[test]
fn a_stranger_is_not_admitted() {
    let mut group = Group::new(3);
    let leader = group.elect();
    assert_eq!(group.at(leader).replica.admit(member(9), &Contacts::new()), Admission::Refused);
}
