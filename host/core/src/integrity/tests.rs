//! Nodes that tell each other of their states, and who finds itself wrong.

use super::*;
use crate::state::{Key, Value, Writes};

fn node(number: u32) -> NodeId {
    NodeId::new(number).unwrap()
}

/// A cluster of watches. Each applies entries by itself; `tick` lets all talk with all.
struct Group {
    watches: Vec<Watch>,
    leader: u32,
    found: Vec<(u32, Divergence)>,
}

impl Group {
    fn new(count: u32) -> Self {
        let watch = |number| Watch::new(node(number), Point::default(), false);
        Self { watches: (1..=count).map(watch).collect(), leader: 1, found: Vec::new() }
    }

    fn count(&self) -> u32 {
        self.watches.len().try_into().unwrap()
    }

    fn watch(&mut self, number: u32) -> &mut Watch {
        &mut self.watches[number as usize - 1]
    }

    /// A node applies an entry; `odd` tells apart what it decides there.
    fn apply(&mut self, number: u32, odd: u64) {
        let watch = self.watch(number);
        let Point { index, digest } = watch.last();
        let index = index + 1;
        let digest = crc32c::crc32c(&[digest.to_le_bytes(), odd.to_le_bytes()].concat());
        watch.applied(LogId { term: 1, index }, digest.into(), Changes::default());
    }

    fn apply_all(&mut self) {
        for number in 1..=self.count() {
            self.apply(number, 0);
        }
    }

    /// The nodes that reach each other talk, and judge.
    fn tick(&mut self, reached: &[u32]) {
        let leader = node(self.leader);
        let nodes = self.watches.len();
        for from in reached {
            for to in reached {
                let report = self.watch(*from).report_for(node(*to));
                self.watch(*to).hear(node(*from), &report);
                if let Some(divergence) = self.watch(*to).judge(Some(leader), nodes) {
                    self.found.push((*to, divergence));
                }
            }
        }
        for watch in &mut self.watches {
            watch.tick();
        }
    }

    fn quarantined(&self) -> Vec<u32> {
        let is_wrong = |number: &u32| self.watches[*number as usize - 1].is_quarantined();
        (1..=self.count()).filter(is_wrong).collect()
    }
}

#[test]
fn equal_nodes_stay_whatever_they_have_applied() {
    let mut group = Group::new(3);
    for round in 0..200 {
        for number in 1..=3 {
            if (round + number) % 3 < number {
                group.apply(number, 0);
            }
        }
        group.tick(&[1, 2, 3]);
    }
    assert_eq!(group.quarantined(), [0; 0]);
}

#[test]
fn a_node_against_two_is_wrong_at_once_and_knows_where() {
    for wrong in 1..=3 {
        let mut group = Group::new(3);
        for index in 1..=20 {
            for number in 1..=3 {
                group.apply(number, u64::from(number == wrong && index == 9));
            }
            if index == 5 {
                group.tick(&[1, 2, 3]);
            }
        }
        group.tick(&[1, 2, 3]);
        assert_eq!(group.quarantined(), [wrong], "also the leader");
        let (_, divergence) = group.found.pop().unwrap();
        assert_eq!((divergence.entry, divergence.agreed), (9, 8));
        assert!(divergence.is_outvoted);
        let own = group.watch(wrong).report_for(node(9)).digests[9];
        assert_eq!(divergence.own, own);
        assert_eq!(divergence.others.len(), 2);
        assert!(divergence.others.iter().all(|(_, digest)| *digest != own));
        assert!(group.watch(wrong).report_for(node(9)).is_quarantined);
    }
}

#[test]
fn of_two_nodes_the_one_that_does_not_lead_is_wrong_after_a_while() {
    for leader in 1..=2 {
        let mut group = Group::new(3);
        group.leader = leader;
        group.apply_all();
        group.tick(&[1, 2]);
        group.apply(1, 7);
        group.apply(2, 0);
        group.tick(&[1, 2]);
        assert_eq!(group.quarantined(), [0; 0], "a third may still be heard");
        for _ in 0..=TIE_TICKS {
            group.tick(&[1, 2]);
        }
        assert_eq!(group.quarantined(), [3 - leader]);
        assert!(!group.found[0].1.is_outvoted);
        group.tick(&[1, 2]);
        assert_eq!(group.quarantined(), [3 - leader], "the leader stays");
    }
}

#[test]
fn of_three_opinions_the_leaders_counts() {
    let mut group = Group::new(3);
    group.leader = 2;
    for number in 1..=3 {
        group.apply(number, number.into());
    }
    for _ in 0..=TIE_TICKS {
        group.tick(&[1, 2, 3]);
    }
    assert_eq!(group.quarantined(), [1, 3]);
}

#[test]
fn a_minority_with_the_leader_is_wrong_and_so_is_half_without_it() {
    let mut group = Group::new(5);
    for number in 1..=5 {
        group.apply(number, u64::from(number <= 2));
    }
    group.tick(&[1, 2, 3, 4, 5]);
    group.tick(&[1, 2, 3, 4, 5]);
    assert_eq!(group.quarantined(), [1, 2]);
    assert_eq!(group.found.len(), 2, "and nobody else, in whatever order they hear of each other");

    let mut group = Group::new(4);
    for number in 1..=4 {
        group.apply(number, u64::from(number <= 2));
    }
    for _ in 0..=TIE_TICKS {
        group.tick(&[1, 2, 3, 4]);
    }
    assert_eq!(group.quarantined(), [3, 4]);
}

#[test]
fn who_believes_itself_wrong_has_no_opinion() {
    let mut group = Group::new(3);
    for number in 1..=3 {
        group.apply(number, u64::from(number == 3));
    }
    group.tick(&[1, 2, 3]);
    assert_eq!(group.quarantined(), [3]);
    // Now another one, of the two that are left; the first would make it three opinions.
    group.apply(1, 0);
    group.apply(2, 5);
    group.apply(3, 5);
    for _ in 0..=TIE_TICKS {
        group.tick(&[1, 2, 3]);
    }
    assert_eq!(group.quarantined(), [2, 3]);
}

#[test]
fn a_node_that_is_far_behind_compares_by_what_it_is_told_of_its_own_place() {
    let mut group = Group::new(3);
    group.apply_all();
    group.apply(3, 4);
    for _ in 0..REPORT_DIGESTS_MAX * 4 {
        group.apply(1, 0);
        group.apply(2, 0);
    }
    group.tick(&[1, 2, 3]);
    group.tick(&[1, 2, 3]);
    assert_eq!(group.quarantined(), [3]);
    assert_eq!((group.found[0].1.entry, group.found[0].1.agreed), (2, 0), "at most");
}

#[test]
fn a_state_that_was_replaced_is_healthy_and_a_restart_is_not_enough() {
    let mut group = Group::new(3);
    for number in 1..=3 {
        group.apply(number, u64::from(number == 3));
    }
    group.tick(&[1, 2, 3]);
    let wrong = group.watch(3).last();
    *group.watch(3) = Watch::new(node(3), wrong, true);
    group.tick(&[1, 2, 3]);
    assert_eq!(group.quarantined(), [3]);
    let sound = group.watch(1).last();
    group.watch(3).replaced(sound);
    for _ in 0..20 {
        group.apply_all();
        group.tick(&[1, 2, 3]);
    }
    assert_eq!(group.quarantined(), [0; 0]);
}

#[test]
fn reports_that_are_old_or_oversized_do_not_count() {
    let mut group = Group::new(3);
    for number in 1..=3 {
        group.apply(number, u64::from(number == 3));
    }
    let stale = group.watch(1).report_for(node(3));
    group.watch(3).hear(node(1), &stale);
    for _ in 0..=REPORT_STALE_TICKS {
        group.watch(3).tick();
    }
    group.tick(&[2, 3]);
    assert_eq!(group.quarantined(), [0; 0], "one against one, and the one does not lead");
    let digests = vec![1; REPORT_DIGESTS_MAX + 1];
    let oversized = Report { last: 1, digests, ..Report::default() };
    group.watch(2).hear(node(3), &oversized);
    assert!(group.watch(2).judge(Some(node(3)), 3).is_none());
}

#[test]
fn a_leader_takes_nothing_when_its_own_disk_or_a_majoritys_is_nearly_full() {
    let mut group = Group::new(4);
    // The fourth is a learner.
    let voters = BTreeSet::from([1, 2, 3].map(node));
    assert!(!group.watch(1).lacks_room(&voters));
    group.watch(2).set_nearly_full(true);
    group.watch(4).set_nearly_full(true);
    group.tick(&[1, 2, 3, 4]);
    assert!(!group.watch(1).lacks_room(&voters), "two are a majority");
    assert!(group.watch(2).lacks_room(&voters), "its own");
    group.watch(3).set_nearly_full(true);
    group.tick(&[1, 2, 3, 4]);
    assert!(group.watch(1).lacks_room(&voters));
    group.watch(2).set_nearly_full(false);
    group.tick(&[1, 2, 3, 4]);
    assert!(!group.watch(1).lacks_room(&voters));
}

#[test]
fn what_an_entry_changed_is_kept_for_a_while_and_within_bounds() {
    let mut watch = Watch::new(node(1), Point::default(), false);
    let changes = |bytes: usize| -> Changes {
        let value = Some(Value::from(vec![0; bytes]));
        Writes::from([(Key::from_slice(b"k"), value)]).into()
    };
    let large = crate::limits::TRAIL_BYTES_MAX / 4;
    for index in 1..=10 {
        watch.applied(LogId { term: 1, index }, index, changes(large));
    }
    assert!(watch.changes(10).is_some() && watch.changes(8).is_some());
    assert_eq!(watch.changes(6), None);
    watch.applied(LogId { term: 1, index: 11 }, 11, changes(8 * large));
    assert_eq!(watch.changes(11), None, "one that is too large is not kept");
}
