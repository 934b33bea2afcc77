//! Leases by hand: when they begin and end, and whose votes are withheld meanwhile.

use std::collections::BTreeMap;

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::ConfChangeType;

use super::super::{
    Bounds, Committed, Contacts, Event, Recovered, Refusal, ReplicaConfig, Staged, Transfer,
};
use super::*;
use crate::id::{NodeId, RaftId};
use crate::log::MemoryLog;

const LENGTH: Duration = Duration::from_millis(800);

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_lease_begins_when_its_question_left() {
    let mut keeper = Keeper::new(Some(LENGTH));
    keeper.see_clock(at(100));
    keeper.ask(b"first", 3);
    keeper.see_clock(at(500));
    assert_eq!(keeper.lease(3, 9), Lease::default(), "nobody has answered");
    assert!(!keeper.renew(b"other", 3));
    assert!(keeper.renew(b"first", 3));
    assert!(!keeper.renew(b"first", 3), "an answer counts once");
    let lease = keeper.lease(3, 9);
    assert_eq!(lease.covers(at(899)), Some(9));
    assert_eq!(lease.covers(at(900)), None);
}

#[test]
fn a_lease_ends_with_its_term_and_with_an_offer() {
    let mut keeper = Keeper::new(Some(LENGTH));
    keeper.see_clock(at(100));
    keeper.ask(b"a", 3);
    assert!(!keeper.renew(b"a", 4), "what another term asked");
    keeper.ask(b"b", 4);
    assert!(keeper.renew(b"b", 4));
    assert_eq!(keeper.lease(5, 9), Lease::default());
    assert_eq!(keeper.lease(4, 9).covers(at(200)), Some(9));
    keeper.offered_in = 4;
    assert_eq!(keeper.lease(4, 9), Lease::default());
    keeper.ask(b"c", 4);
    assert!(keeper.renew(b"c", 4));
    assert_eq!(keeper.lease(4, 9), Lease::default(), "the offer may be under way for long");
}

#[test]
fn where_it_is_off_or_has_no_clock_there_is_none() {
    let mut off = Keeper::new(None);
    off.see_clock(at(100));
    let mut blind = Keeper::new(Some(LENGTH));
    for keeper in [&mut off, &mut blind] {
        keeper.ask(b"a", 1);
        assert!(!keeper.renew(b"a", 1));
        assert_eq!(keeper.lease(1, 1), Lease::default());
    }
}

/// What a member says.
#[derive(Default)]
struct Said {
    messages: Vec<Message>,
    lease: Lease,
    /// Of the messages, those that left while it had a lease without end.
    while_alone: usize,
}

impl Outbox<(), ()> for Said {
    fn send(&mut self, _to: RaftId, message: Bytes) {
        self.messages.push(Message::parse_from_carllerche_bytes(&message).unwrap());
        self.while_alone += usize::from(self.lease.endless().is_some());
    }
    fn lease(&mut self, lease: Lease) {
        self.lease = lease;
    }
    fn commit(&mut self, _committed: Committed<()>) {}
    fn refuse(&mut self, _waiters: Vec<()>, _refusal: Refusal) {}
    fn read(&mut self, _readers: Vec<()>, _index: Result<u64, Refusal>) {}
    fn forget(&mut self, _: Vec<()>) {}
    fn flush(&mut self) {}
    fn snapshot(&mut self, _: Transfer) {}
    fn install(&mut self, _: Staged) {}
    fn discard(&mut self, _: Staged) {}
}

fn member(node: u32) -> RaftId {
    RaftId::new(NodeId::new(node).unwrap(), 0)
}

/// The first of three members, as it has just started.
struct Voter(Replica<MemoryLog, (), ()>);

impl Voter {
    fn start(lease: Option<Duration>) -> Self {
        Self::of(3, lease)
    }

    fn of(founders: u32, lease: Option<Duration>) -> Self {
        let founders = (1..=founders).map(member).collect();
        let bounds = Bounds::default();
        let config = ReplicaConfig { id: member(1), founders, seed: 1, bounds, lease };
        Self(Replica::new(config, MemoryLog::new(), &Recovered::default()).unwrap())
    }

    /// What it says to a message.
    fn hears(&mut self, kind: MessageType, from: u32, term: u64) -> Vec<MessageType> {
        self.hears_more(kind, from, term, |_| ())
    }

    fn hears_more(
        &mut self,
        kind: MessageType,
        from: u32,
        term: u64,
        more: impl FnOnce(&mut Message),
    ) -> Vec<MessageType> {
        let (from, to) = (member(from).get(), member(1).get());
        let mut message = Message { from, to, term, ..Message::default() };
        message.set_msg_type(kind);
        more(&mut message);
        let message = message.write_to_bytes().unwrap().into();
        self.0.handle(Event::Peer { message, takes_entries: true });
        let mut said = Said::default();
        self.0.advance(&mut said).unwrap();
        said.messages.iter().map(Message::get_msg_type).collect()
    }

    fn tick(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.0.handle(Event::Tick);
        }
    }
}

#[test]
fn who_votes_alone_has_a_lease_without_end_whether_or_not_there_are_leases() {
    for length in [None, Some(LENGTH)] {
        let (mut alone, mut said) = (Voter::of(1, length), Said::default());
        alone.0.advance(&mut said).unwrap();
        let committed = alone.0.status().committed;
        assert!(committed > 0, "it leads, and has committed an entry of its term");
        assert_eq!(said.lease.endless(), Some(committed));
        assert_eq!(said.lease.covers(at(1_000_000_000)), Some(committed));

        let (mut one_of_three, mut said) = (Voter::start(length), Said::default());
        one_of_three.0.advance(&mut said).unwrap();
        assert_eq!(said.lease, Lease::default());
    }
}

#[test]
fn who_is_alone_no_more_says_so_before_it_says_anything_to_others() {
    let (mut alone, mut said) = (Voter::of(1, None), Said::default());
    alone.0.advance(&mut said).unwrap();
    assert!(said.lease.endless().is_some());
    let change = [(ConfChangeType::AddNode, member(2))];
    alone.0.propose_change(&change, BTreeMap::new(), &Contacts::new()).unwrap();
    alone.0.advance(&mut said).unwrap();
    alone.tick(limits::ELECTION_TICKS);
    alone.0.advance(&mut said).unwrap();
    assert_eq!(said.lease, Lease::default());
    assert!(!said.messages.is_empty(), "the new voter is spoken to");
    assert_eq!(said.while_alone, 0, "another learns of it before who reads so");
}

const PRE_VOTE: MessageType = MessageType::MsgRequestPreVote;
const PRE_VOTE_GIVEN: MessageType = MessageType::MsgRequestPreVoteResponse;

#[test]
fn who_has_just_started_gives_no_vote_but_to_a_transfer() {
    let mut voter = Voter::start(Some(LENGTH));
    voter.tick(limits::ELECTION_TICKS - 1);
    assert_eq!(voter.hears(PRE_VOTE, 2, 5), [], "it may have acknowledged a lease before");
    assert_eq!(voter.hears(MessageType::MsgRequestVote, 2, 5), []);
    let transfer = |message: &mut Message| message.context = CAMPAIGN_TRANSFER.to_vec().into();
    let said = voter.hears_more(MessageType::MsgRequestVote, 2, 5, transfer);
    assert_eq!(said, [MessageType::MsgRequestVoteResponse], "its leader has given up its lease");

    let mut voter = Voter::start(Some(LENGTH));
    voter.tick(limits::ELECTION_TICKS);
    assert_eq!(voter.hears(PRE_VOTE, 2, 5).last(), Some(&PRE_VOTE_GIVEN));
    let mut voter = Voter::start(None);
    assert_eq!(voter.hears(PRE_VOTE, 2, 5), [PRE_VOTE_GIVEN], "where there are no leases");
}

/// The crate forgets the leader then, and would vote at once.
#[test]
fn who_hears_of_a_later_term_still_knows_that_it_has_just_heard_a_leader() {
    for lease in [None, Some(LENGTH)] {
        let mut voter = Voter::start(lease);
        voter.tick(limits::ELECTION_TICKS - 1);
        let heard = voter.hears(MessageType::MsgHeartbeat, 2, 3);
        assert_eq!(heard, [MessageType::MsgHeartbeatResponse]);
        voter.tick(1);
        // Late, and to a candidacy that it has given up.
        voter.hears_more(PRE_VOTE_GIVEN, 3, 7, |message| message.reject = true);
        assert_eq!(voter.0.status().term, 7);
        let is_given = voter.hears(PRE_VOTE, 3, 8).contains(&PRE_VOTE_GIVEN);
        assert_eq!(is_given, lease.is_none(), "the leader of term 3 may still have its lease");
        assert_eq!(voter.0.marks().get(Mark::VoteWithheld), u64::from(lease.is_some()));
        voter.tick(limits::ELECTION_TICKS - 1);
        assert!(voter.hears(PRE_VOTE, 3, 8).contains(&PRE_VOTE_GIVEN), "it is over by now");
    }
}
