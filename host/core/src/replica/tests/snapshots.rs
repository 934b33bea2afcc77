//! Logs that are cut, and what members then do who need what was cut off.

use super::*;
use crate::log::Base;

/// A log of eight entries is cut to two.
const ENTRIES_MAX: u64 = 8;
const TICKS_MAX: u32 = 30;

fn group() -> Group {
    let bounds =
        Bounds { log_entries_max: ENTRIES_MAX, snapshot_ticks_max: TICKS_MAX, ..Bounds::default() };
    Group::bounded(3, bounds)
}

impl Group {
    fn base(&mut self, id: RaftId) -> u64 {
        self.at(id).replica.status().base
    }

    fn mark(&mut self, id: RaftId, mark: Mark) -> u64 {
        self.at(id).replica.marks().get(mark)
    }

    fn propose_many(&mut self, leader: RaftId, waiters: std::ops::Range<Waiter>) {
        for waiter in waiters {
            self.propose(leader, waiter);
            self.settle();
        }
        self.tick(1);
    }

    fn follower(&self, leader: RaftId) -> RaftId {
        self.members.keys().copied().find(|id| *id != leader).unwrap()
    }

    /// The last snapshot that a member was told to send, with the state that it has now.
    fn transfer(&mut self, from: RaftId) -> Option<(Transfer, Staged)> {
        let effects = &mut self.at(from).effects;
        let applied = effects.state();
        let transfer = effects.transfers.pop()?;
        effects.transfers.clear();
        Some((transfer, Staged { state: 1, applied, conf: Bytes::new() }))
    }

    fn carry(&mut self, transfer: &Transfer, staged: Staged) {
        self.handle(transfer.to, Event::Snapshot { message: transfer.message.clone(), staged });
    }

    /// Carries a snapshot from the leader to the member that it is for.
    fn carry_snapshot(&mut self, leader: RaftId) {
        let (transfer, staged) = self.transfer(leader).expect("a snapshot is due");
        self.carry(&transfer, staged);
        let number = transfer.number;
        self.handle(leader, Event::SnapshotSent { number, is_ok: true });
        self.settle();
    }

    /// A leader, and a follower for whom the log has been cut.
    fn with_one_behind(&mut self) -> (RaftId, RaftId) {
        let leader = self.elect();
        let behind = self.follower(leader);
        self.cut_off.insert(behind);
        self.tick(60);
        self.propose_many(leader, 0..30);
        assert!(self.base(leader) > 20);
        self.cut_off.clear();
        self.tick(3);
        (leader, behind)
    }
}

#[test]
fn a_log_is_cut_and_keeps_a_tail() {
    let mut group = group();
    let leader = group.elect();
    group.propose_many(leader, 0..100);
    for node in (1..=3).map(member) {
        let status = group.at(node).replica.status();
        let entries = status.last - status.base;
        assert!((ENTRIES_MAX / 4..=ENTRIES_MAX).contains(&entries), "{entries} of {node}");
        assert_eq!(group.commands(node).len(), 100);
    }
}

#[test]
fn nothing_is_cut_above_what_is_durable() {
    let bounds = Bounds { log_entries_max: ENTRIES_MAX, ..Bounds::default() };
    let mut only = start_bounded(member(1), 1, MemoryLog::new(), bounds);
    let mut go = |event| {
        only.replica.handle(event);
        only.replica.advance(&mut only.effects).unwrap();
        let applied = only.effects.state().index;
        only.replica.handle(Event::Applied(applied));
        (only.effects.flushes, only.replica.status().base)
    };
    for waiter in 0..40 {
        let command = Command { method: 1, payload: Bytes::new(), session: None };
        let proposals = vec![Proposal { command, waiter }];
        go(Event::Intake { batch: Batch { proposals }, time_ms: 1 });
    }
    assert_eq!(go(Event::Tick), (1, 0), "it was asked once, and has not answered");
    assert_eq!(go(Event::Durable(20)), (2, 20));
    assert_eq!(go(Event::Durable(40)), (2, 39), "a quarter of eight stays");
}

#[test]
fn a_log_waits_for_who_is_slow_but_not_for_who_is_gone() {
    let mut group = group();
    let leader = group.elect();
    let slow = group.follower(leader);
    group.cut_off.insert(slow);
    group.propose_many(leader, 0..20);
    assert!(group.base(leader) < 3, "it has been silent for a moment only");
    group.cut_off.clear();
    group.tick(3);
    assert_eq!(group.commands(slow).len(), 20, "and was served from the log");
    group.cut_off.insert(slow);
    group.propose_many(leader, 20..70);
    assert!(group.base(leader) > 30, "there is an end to it");
}

#[test]
fn who_is_behind_the_log_gets_a_snapshot_and_goes_on_from_there() {
    let mut group = group();
    let (leader, behind) = group.with_one_behind();
    group.carry_snapshot(leader);
    let installed = group.at(behind).effects.installed.clone();
    let [staged] = installed.as_slice() else { panic!("{installed:?}") };
    let base = group.at(behind).replica.raw.store().base();
    assert_eq!(base, Base { id: staged.applied, state: 1 });
    group.propose_many(leader, 30..35);
    assert_eq!(group.commands(behind).len(), 5, "the rest is in the snapshot");
    assert_eq!(group.mark(leader, Mark::SnapshotArrived), 1);
    assert!(group.at(leader).effects.transfers.is_empty(), "one is enough");
    // And it counts for a majority.
    let third = (1..=3).map(member).find(|id| *id != leader && *id != behind).unwrap();
    group.cut_off.insert(third);
    group.propose_many(leader, 50..51);
    assert!(group.committed(leader).contains(&50));
}

#[test]
fn a_snapshot_that_is_lost_is_sent_again() {
    let mut group = group();
    let (leader, behind) = group.with_one_behind();
    let (first, _) = group.transfer(leader).unwrap();
    group.handle(leader, Event::SnapshotSent { number: first.number, is_ok: false });
    group.tick(3);
    let (second, _) = group.transfer(leader).expect("the next");
    assert_eq!(second.to, behind);
    // Nobody reports this one. News of it keeps it alive for a while.
    group.tick(TICKS_MAX / 2);
    group.handle(leader, Event::SnapshotUnderWay(second.number));
    group.tick(TICKS_MAX - 1);
    assert!(group.at(leader).effects.transfers.is_empty());
    group.tick(10);
    assert_eq!(group.mark(leader, Mark::SnapshotTimedOut), 1);
    group.handle(leader, Event::SnapshotSent { number: second.number, is_ok: true });
    assert_eq!(group.mark(leader, Mark::SnapshotReportLate), 1);
    group.carry_snapshot(leader);
    group.propose_many(leader, 30..31);
    assert_eq!(group.commands(behind).len(), 1);
}

#[test]
fn a_snapshot_that_came_too_late_is_of_no_use() {
    let mut group = group();
    let (leader, behind) = group.with_one_behind();
    let (transfer, staged) = group.transfer(leader).unwrap();
    group.carry(&transfer, staged.clone());
    group.carry(&transfer, Staged { state: 2, ..staged.clone() });
    assert_eq!(group.at(behind).effects.discarded, [Staged { state: 2, ..staged.clone() }]);
    // What is not of one another.
    let forged = Staged { applied: LogId { term: 9, index: 99 }, state: 3, ..staged.clone() };
    group.carry(&transfer, forged.clone());
    let forged_message = Bytes::from_static(b"no message");
    let junk = Event::Snapshot { message: forged_message, staged: forged };
    group.handle(behind, junk);
    assert_eq!(group.at(behind).effects.discarded.len(), 3);
    assert_eq!(group.at(behind).effects.installed, [staged]);
}

#[test]
fn a_restart_goes_on_behind_the_snapshot() {
    let id = LogId { term: 3, index: 50 };
    let log = |id| {
        let mut log = MemoryLog::new();
        conformance::restore(&mut log, id, 7, &[conformance::entry(51, 9, b"x")]);
        log
    };
    let mut replica = restart(log(id), id).unwrap();
    assert_eq!(replica.status().base, 50);
    let mut effects = Effects::default();
    replica.advance(&mut effects).unwrap();
    assert!(effects.applied.is_empty(), "nothing is applied twice");
    let lost = restart(log(id), LogId::default()).err().unwrap().to_string();
    assert!(lost.contains("the state was lost"), "{lost}");
    let other = restart(log(id), LogId { term: 2, index: 50 }).err().unwrap().to_string();
    assert!(other.contains("not of the same node"), "{other}");
}

/// A leader that was deposed holds waiters; the snapshot has their entries, not their outcomes.
#[test]
fn who_waits_for_what_a_snapshot_has_is_left_in_the_dark() {
    let mut group = group();
    let old = group.elect();
    group.propose(old, 1000);
    group.settle();
    group.cut_off.insert(old);
    group.propose(old, 1001);
    for waiter in 1002..1040 {
        group.propose(old, waiter);
    }
    let leader = group.elect();
    group.tick(60);
    group.propose_many(leader, 0..30);
    group.cut_off.clear();
    group.tick(3);
    group.carry_snapshot(leader);
    let effects = &group.at(old).effects;
    assert_eq!(effects.installed.len(), 1);
    assert!(effects.forgotten.contains(&1001), "{:?}", effects.forgotten);
    assert!(effects.refused.contains(&(1039, Refusal::Overwritten)), "{:?}", effects.refused);
    assert_eq!(group.at(old).replica.waiting(), 0);
}

/// A member whose state is not to be trusted, although its log is.
#[test]
fn a_member_may_ask_for_a_snapshot() {
    let mut group = group();
    let leader = group.elect();
    group.propose_many(leader, 0..3);
    let follower = group.follower(leader);
    group.at(follower).replica.resync();
    assert!(group.at(follower).replica.wants_snapshot());
    group.tick(3);
    group.propose_many(leader, 3..6);
    group.carry_snapshot(leader);
    assert!(!group.at(follower).replica.wants_snapshot());
    group.propose_many(leader, 6..9);
    assert_eq!(group.at(follower).effects.installed.len(), 1);
    let last = group.at(leader).effects.state();
    assert_eq!(group.at(follower).effects.state(), last);
}

/// The crate would install it, and the member would lose entries that it has acknowledged: ones
/// that may be committed by its word alone.
#[test]
fn a_snapshot_older_than_what_was_asked_for_takes_nothing_back() {
    let mut group = group();
    let leader = group.elect();
    let follower = group.follower(leader);
    group.at(follower).replica.resync();
    group.tick(2);
    let (old, old_state) = group.transfer(leader).unwrap();
    // It is lost, or so it seems; the member is served otherwise, and asks again.
    group.carry(&old, old_state.clone());
    group.handle(leader, Event::SnapshotSent { number: old.number, is_ok: true });
    group.tick(3);
    group.propose(leader, 1);
    group.settle();
    let acknowledged = group.at(follower).replica.status().last;
    assert!(acknowledged > old_state.applied.index);
    group.at(follower).replica.resync();
    group.carry(&old, old_state);
    assert_eq!(group.mark(follower, Mark::SnapshotUseless), 1);
    assert_eq!(group.at(follower).replica.status().last, acknowledged);
}
