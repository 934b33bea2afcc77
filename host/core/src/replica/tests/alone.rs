//! A member that is made the only one while nothing runs: what an operator does when the others are
//! lost.

use super::*;
use crate::members::Standing;
use crate::replica::make_alone;

/// Three founders; of the log of the first, one entry is known to be committed.
fn survivor() -> MemoryLog {
    let entries = [(1, 1), (2, 1), (3, 2)];
    let entries = entries.map(|(index, term)| conformance::entry(index, term, b"x"));
    log_with(&entries, 1)
}

fn goes_on_alone(log: MemoryLog, applied: LogId) {
    let replica = restart(log, applied).unwrap();
    let mut group = Group::new(1);
    group.members.insert(member(1), Member { replica, effects: Effects::default() });
    assert_eq!(group.elect(), member(1), "nobody else has to agree");
    group.propose(member(1), 7);
    group.settle();
    assert_eq!(group.committed(member(1)), [7]);
    let handed_out: Vec<_> =
        group.at(member(1)).effects.applied.iter().map(|(id, _)| id.index).collect();
    let expected: Vec<_> = (applied.index + 1..=handed_out.last().copied().unwrap()).collect();
    assert_eq!(handed_out, expected, "all that the log has counts as committed");
    let members = group.at(member(1)).replica.members();
    assert_eq!((&*members.voters, members.all().len()), (&[member(1)][..], 1));
    for node in 2..=3 {
        let seat = &members.seats[&NodeId::new(node).unwrap()];
        assert_eq!(seat.standing, Standing::Gone, "it does not come back by itself");
    }
}

#[test]
fn a_survivor_leads_alone_with_all_that_its_log_has() {
    let mut log = survivor();
    assert_eq!(make_alone(&mut log, member(1)).unwrap(), 4);
    let hard_state = log.hard_state();
    assert_eq!(hard_state.vote, member(1).get());
    assert_eq!(log.term(4).unwrap(), Some(hard_state.term));
    assert!(hard_state.term > 2, "whatever the others still decide is of an earlier term");
    goes_on_alone(log, LogId::default());
}

#[test]
fn a_survivor_whose_log_was_cut_does_so_too() {
    let mut log = survivor();
    log.cut(1).unwrap();
    make_alone(&mut log, member(1)).unwrap();
    goes_on_alone(log, LogId { term: 1, index: 1 });
}

/// An operator who is not sure whether it went well does it again.
#[test]
fn to_be_made_the_only_one_twice_is_no_different() {
    let mut log = survivor();
    make_alone(&mut log, member(1)).unwrap();
    assert_eq!(make_alone(&mut log, member(1)).unwrap(), 5);
    goes_on_alone(log, LogId::default());
}
