//! Changes of members that an operator asks for: what is done, what is refused, and what a change
//! of leader in between leaves behind.

use super::*;
use crate::members::{Note, Standing, StoreId};
use crate::replica::{Change, ChangeRefusal, Contact};

fn node(number: u32) -> NodeId {
    NodeId::new(number).unwrap()
}

fn add(number: u32) -> Change {
    Change::Add { node: node(number), address: format!("host-{number}:1") }
}

impl Group {
    fn change(&mut self, change: &Change) -> Result<(), ChangeRefusal> {
        let leader = self.leader();
        self.at(leader).replica.change(change, false, &Contacts::new())
    }

    /// Whoever leads, and is not cut off.
    fn leader(&self) -> RaftId {
        let leads = |(id, member): (&RaftId, &Member)| {
            (member.replica.status().leads && !self.cut_off.contains(id)).then_some(*id)
        };
        self.members.iter().find_map(leads).unwrap()
    }

    /// Asks until it is done.
    fn must(&mut self, change: &Change) {
        for _ in 0..60 {
            let leader = self.leader();
            if change.is_done(&self.at(leader).replica.members()) {
                return;
            }
            match self.change(change) {
                Ok(()) | Err(ChangeRefusal::UnderWay | ChangeRefusal::HandingOver) => {}
                Err(refusal) => panic!("{change:?}: {refusal}"),
            }
            self.tick(1);
        }
        panic!("{change:?} is not done");
    }

    fn join(&mut self, number: u32, founders: u32) {
        self.members.insert(member(number), start(member(number), founders, MemoryLog::new()));
    }
}

#[test]
fn a_group_grows_and_shrinks_again() {
    let mut group = Group::new(1);
    group.elect();
    for number in 2..=5 {
        group.join(number, 1);
        group.must(&add(number));
        group.tick(3);
        group.must(&Change::Promote(node(number)));
    }
    let leader = group.leader();
    group.propose(leader, 7);
    group.tick(2);
    let members = group.at(leader).replica.members();
    assert_eq!(members.voters.len(), 5);
    assert_eq!(members.seats[&node(3)].address, "host-3:1");
    for number in 1..=5 {
        assert_eq!(group.at(member(number)).replica.members().encode(), members.encode());
        assert_eq!(group.commands(member(number)).len(), 1);
    }
    // The leader too: it hands over before it goes.
    for number in 1..=4 {
        group.must(&Change::Remove(node(number)));
    }
    assert_eq!(group.leader(), member(5));
    group.propose(member(5), 8);
    group.settle();
    assert!(group.committed(member(5)).contains(&8));
    assert_eq!(group.change(&Change::Remove(node(5))), Err(ChangeRefusal::LastVoter));
}

#[test]
fn a_wrong_change_has_its_own_refusal() {
    let mut group = Group::new(3);
    let leader = group.elect();
    let follower = (1..=3).map(member).find(|id| *id != leader).unwrap();
    let refused = group.at(follower).replica.change(&add(4), false, &Contacts::new());
    assert_eq!(refused, Err(ChangeRefusal::NotLeader(Some(leader.node()))));
    for (change, refusal) in [
        (Change::Promote(node(9)), ChangeRefusal::Unknown(node(9))),
        (Change::Remove(node(9)), ChangeRefusal::Unknown(node(9))),
        (Change::Promote(follower.node()), ChangeRefusal::AlreadyDone(follower.node())),
        (add(follower.node().get()), ChangeRefusal::AlreadyMember(follower.node())),
        (Change::Transfer(Some(node(9))), ChangeRefusal::Unknown(node(9))),
        (Change::Transfer(Some(leader.node())), ChangeRefusal::AlreadyDone(leader.node())),
        (Change::Replace { old: node(9), new: node(1) }, ChangeRefusal::Unknown(node(9))),
    ] {
        assert_eq!(group.change(&change), Err(refusal), "{change:?}");
    }
    group.change(&add(4)).unwrap();
    assert_eq!(group.change(&add(5)), Err(ChangeRefusal::UnderWay), "one at a time");
    group.tick(2);
    let same_address = Change::Add { node: node(5), address: "host-4:1".to_owned() };
    assert_eq!(group.change(&same_address), Err(ChangeRefusal::AlreadyMember(node(4))));
    assert_eq!(
        group.change(&Change::Transfer(Some(node(4)))),
        Err(ChangeRefusal::NotVoter(node(4)))
    );
}

/// It was started as a later member, lost its data, and was never one.
#[test]
fn a_node_that_is_added_is_none_that_anybody_has_met() {
    let mut group = Group::new(1);
    let leader = group.elect();
    let met = Contacts::from([(RaftId::new(node(2), 2), Contact::default())]);
    group.at(leader).replica.change(&add(2), false, &met).unwrap();
    group.tick(2);
    let members = group.at(leader).replica.members();
    assert_eq!(members.member_of(node(2)), Some(RaftId::new(node(2), 3)));
}

#[test]
fn a_learner_that_is_far_behind_gets_no_vote() {
    let mut group = Group::new(1);
    let leader = group.elect();
    for waiter in 0..100 {
        group.propose(leader, waiter);
    }
    group.settle();
    group.must(&add(2));
    let Err(ChangeRefusal::TooFarBehind(_, behind)) = group.change(&Change::Promote(node(2)))
    else {
        panic!("it was promoted");
    };
    assert!(behind >= 100, "{behind}");
    group.join(2, 1);
    group.tick(5);
    group.must(&Change::Promote(node(2)));
}

#[test]
fn a_change_after_which_the_group_would_stand_still_is_refused_unless_forced() {
    let mut group = Group::new(3);
    let leader = group.elect();
    let others: Vec<_> = (1..=3).map(member).filter(|id| *id != leader).collect();
    group.cut_off.insert(others[0]);
    group.tick(limits::ELECTION_TICKS + 2);
    let remove = Change::Remove(others[1].node());
    let refusal = ChangeRefusal::LosesQuorum { heard: 1, needed: 2 };
    assert_eq!(group.change(&remove), Err(refusal));
    let dead = Change::Transfer(Some(others[0].node()));
    assert_eq!(group.change(&dead), Err(ChangeRefusal::NotHeard(others[0].node())));
    group.must(&Change::Remove(others[0].node()));
    assert!(group.at(leader).replica.members().is_past(others[0]));
    group
        .at(leader)
        .replica
        .change(&Change::Remove(leader.node()), true, &Contacts::new())
        .unwrap();
    group.settle();
    assert!(!group.at(leader).replica.status().leads, "it was forced out, and has stepped down");
    assert_eq!(group.elect(), others[1]);
}

#[test]
fn a_replacement_goes_by_way_of_a_joint_configuration() {
    let mut group = Group::new(3);
    let leader = group.elect();
    let old = (1..=3).map(member).find(|id| *id != leader).unwrap();
    group.join(4, 3);
    group.must(&add(4));
    group.tick(3);
    group.change(&Change::Replace { old: old.node(), new: node(4) }).unwrap();
    group.settle();
    assert!(group.at(leader).replica.members().is_joint());
    // The leader fails in between, and another one finishes what it began.
    group.cut_off.insert(leader);
    let next = group.elect();
    assert_ne!(next, leader);
    group.tick(5);
    let members = group.at(next).replica.members();
    assert!(!members.is_joint());
    assert!(members.voters.contains(&member(4)) && !members.voters.contains(&old));
    assert_eq!(members.seats[&old.node()].standing, Standing::Gone);
    assert!(group.at(next).replica.marks().get(Mark::JointLeft) > 0);
}

/// A leader that took the last step itself would stop leading as soon as it is committed, before
/// the only voter left has heard that it is; and that one could not be elected without it.
#[test]
fn the_only_voter_hands_over_to_its_replacement() {
    let mut group = Group::new(1);
    let old = group.elect();
    group.join(2, 1);
    group.must(&add(2));
    group.tick(3);
    group.change(&Change::Replace { old: old.node(), new: node(2) }).unwrap();
    group.tick(5);
    let members = group.at(member(2)).replica.members();
    assert_eq!((members.voters, members.outgoing), (vec![member(2)], Vec::new()));
    assert!(group.at(member(2)).replica.status().leads);
    assert!(!group.at(old).replica.status().leads);
}

/// One that is down may have as much of the log as one that is not.
#[test]
fn the_lead_is_handed_to_a_voter_that_is_heard() {
    for down in [0, 1] {
        let mut group = Group::new(3);
        let leader = group.elect();
        group.tick(2);
        let others: Vec<_> = (1..=3).map(member).filter(|id| *id != leader).collect();
        group.cut_off.insert(others[down]);
        group.tick(limits::ELECTION_TICKS + 2);
        group.handle(leader, Event::HandOver);
        group.settle();
        assert_eq!(group.leader(), others[1 - down]);
    }
}

/// Restarting must not bring back who was removed.
#[test]
fn a_removed_node_is_not_admitted_by_its_own_request() {
    let mut group = Group::new(3);
    let leader = group.elect();
    let gone = (1..=3).map(member).find(|id| *id != leader).unwrap();
    group.must(&Change::Remove(gone.node()));
    let reborn = RaftId::new(gone.node(), 1);
    let admission = group.at(leader).replica.admit(reborn, &Contacts::new());
    assert_eq!(admission, Admission::Refused);
    // An operator may ask for it back; it comes as another member, and as a learner.
    group.members.remove(&gone);
    group.must(&add(gone.node().get()));
    group.members.insert(reborn, start(reborn, 3, MemoryLog::new()));
    group.tick(3);
    assert_eq!(group.at(leader).replica.admit(reborn, &Contacts::new()), Admission::Admitted);
    assert!(!group.at(reborn).replica.status().votes);
    assert!(group.at(leader).replica.members().is_past(gone));
}

#[test]
fn what_a_node_knows_of_others_is_agreed_on_with_the_next_change() {
    let mut group = Group::new(3);
    let leader = group.elect();
    let contact = |number: u32| {
        let (address, store) = (format!("host-{number}:1"), Some(StoreId(number.into())));
        (member(number), Contact { address, store })
    };
    let contacts: Contacts = (1..=3).map(contact).collect();
    group.at(leader).replica.change(&add(4), false, &contacts).unwrap();
    group.tick(2);
    for number in 1..=3 {
        let seats = group.at(member(number)).replica.members().seats;
        assert_eq!(seats[&node(2)].address, "host-2:1");
        assert_eq!(seats[&node(3)].store, Some(StoreId(3)));
    }
}

/// As `quorate recover` leaves a log: its last entry makes the survivor the only member.
#[test]
fn a_survivor_that_was_made_alone_goes_on() {
    let mut log = MemoryLog::new();
    let context = Note { alone: Some(member(2)), ..Note::default() }.encode();
    let change = raft::prelude::ConfChangeV2 { context, ..Default::default() };
    let mut last = conformance::entry(2, 8, b"");
    last.set_entry_type(EntryType::EntryConfChangeV2);
    last.data = change.write_to_bytes().unwrap().into();
    let entries = [conformance::entry(1, 7, b"a"), last];
    let hard_state = conformance::hard_state(8, 2, 2);
    let round =
        Persist { hard_state: Some(&hard_state), entries: &entries, must_sync: true, base: None };
    log.persist(round).unwrap();
    let mut group = Group::new(0);
    group.members.insert(member(2), start(member(2), 3, log));
    assert_eq!(group.elect(), member(2));
    group.propose(member(2), 5);
    group.settle();
    assert_eq!(group.committed(member(2)), [5]);
    let members = group.at(member(2)).replica.members();
    assert_eq!(members.voters, [member(2)]);
    assert!(members.is_past(member(1)) && members.is_past(member(3)));
}
