//! Reads that wait for a read index: one round for all that wait, and a new context per try.
//!
//! A context must never be used twice: raft would answer the second question with the first one's
//! index, which is a stale read (etcd issue 20418). It is made of the member, a number that is new
//! at every start, and a counter.

use std::mem;

use raft::StateRole;

use super::marks::{Mark, Marks};
use super::{Outbox, Replica};
use crate::canary::{self, Canary};
use crate::id::RaftId;
use crate::limits;
use crate::log::LogStore;

/// Ticks until a round is asked for again; doubles with each try, up to an election time-out.
const PATIENCE_TICKS_MIN: u32 = 2;
const PATIENCE_TICKS_MAX: u32 = limits::ELECTION_TICKS;

pub(super) struct Reads<R> {
    member: RaftId,
    start: u64,
    waiting_max: usize,
    rounds: u64,
    queued: Vec<Waiting<R>>,
    round: Option<Round<R>>,
    patience_ticks: u32,
}

struct Waiting<R> {
    reader: R,
    age_ticks: u32,
}

struct Round<R> {
    context: Vec<u8>,
    waiting: Vec<Waiting<R>>,
    age_ticks: u32,
}

impl<R> Reads<R> {
    pub(super) fn new(member: RaftId, start: u64, waiting_max: usize) -> Self {
        Self {
            member,
            start,
            waiting_max,
            rounds: 0,
            queued: Vec::new(),
            round: None,
            patience_ticks: PATIENCE_TICKS_MIN,
        }
    }

    /// Takes a reader, or hands it back when too many wait.
    pub(super) fn push(&mut self, reader: R) -> Result<(), R> {
        let asked = self.round.as_ref().map_or(0, |round| round.waiting.len());
        if self.queued.len() + asked >= self.waiting_max {
            return Err(reader);
        }
        self.queued.push(Waiting { reader, age_ticks: 0 });
        Ok(())
    }

    /// Begins a round for all that wait, unless one is under way; returns its context.
    pub(super) fn next_round(&mut self) -> Option<Vec<u8>> {
        if self.round.is_some() || self.queued.is_empty() {
            return None;
        }
        self.rounds += 1;
        let round = if canary::is_planted(Canary::ReadContextReused) { 0 } else { self.rounds };
        let parts = [self.member.get(), self.start, round];
        let context: Vec<u8> = parts.iter().flat_map(|part| part.to_be_bytes()).collect();
        let waiting = mem::take(&mut self.queued);
        self.round = Some(Round { context: context.clone(), waiting, age_ticks: 0 });
        Some(context)
    }

    /// The readers of the round that was answered; none if it is not the one under way.
    pub(super) fn resolve(&mut self, context: &[u8]) -> Vec<R> {
        let Some(round) = self.round.take_if(|round| round.context == context) else {
            return Vec::new();
        };
        self.patience_ticks = PATIENCE_TICKS_MIN;
        round.waiting.into_iter().map(|waiting| waiting.reader).collect()
    }

    /// The round under way will not be answered: its readers wait for the next one. False if there
    /// was none.
    pub(super) fn restart(&mut self) -> bool {
        let Some(round) = self.round.take() else { return false };
        let later = mem::replace(&mut self.queued, round.waiting);
        self.queued.extend(later);
        true
    }

    /// Counts time; returns the readers that have waited for too long.
    pub(super) fn tick(&mut self, marks: &mut Marks) -> Vec<R> {
        if let Some(round) = &mut self.round {
            round.age_ticks += 1;
            if round.age_ticks >= self.patience_ticks {
                self.patience_ticks = (self.patience_ticks * 2).min(PATIENCE_TICKS_MAX);
                marks.hit(Mark::ReadAskedAgain);
                self.restart();
            }
        }
        let asked = self.round.as_mut().map(|round| &mut round.waiting);
        let mut expired = Vec::new();
        for waiting in asked.into_iter().chain([&mut self.queued]) {
            for reader in waiting.iter_mut() {
                reader.age_ticks += 1;
            }
            let is_expired = |reader: &mut Waiting<R>| reader.age_ticks > limits::READ_TICKS_MAX;
            expired.extend(waiting.extract_if(.., is_expired).map(|waiting| waiting.reader));
        }
        expired
    }
}

impl<L: LogStore, W, R> Replica<L, W, R> {
    /// One round for all reads that wait; the next one when it is answered.
    pub(super) fn ask_for_read_index(&mut self, out: &mut impl Outbox<W, R>) {
        let raft = &self.raw.raft;
        // Raft would drop the question silently.
        let can_answer = match raft.state {
            StateRole::Leader => raft.commit_to_current_term(),
            StateRole::Follower => raft.leader_id != 0,
            StateRole::Candidate | StateRole::PreCandidate => false,
        };
        let Some(context) = can_answer.then(|| self.reads.next_round()).flatten() else { return };
        if canary::is_planted(Canary::ReadsUnconfirmed) && raft.state == StateRole::Leader {
            let index = raft.raft_log.committed;
            out.read(self.reads.resolve(&context), Ok(index));
            return;
        }
        if raft.state == StateRole::Leader {
            self.lease.ask(&context, raft.term);
        }
        self.raw.read_index(context);
    }

    pub(super) fn answer_readers(
        &mut self,
        context: &[u8],
        index: u64,
        out: &mut impl Outbox<W, R>,
    ) {
        let readers = self.reads.resolve(context);
        if readers.is_empty() {
            self.marks.hit(Mark::ReadIndexLate);
            return;
        }
        if self.raw.raft.state != StateRole::Leader {
            self.marks.hit(Mark::ReadByFollower);
        }
        out.read(readers, Ok(index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;

    fn reads() -> Reads<u32> {
        Reads::new(RaftId::new(NodeId::new(1).unwrap(), 0), 7, limits::READS_WAITING_MAX)
    }

    #[test]
    fn one_round_serves_all_that_wait_and_later_ones_the_next() {
        let mut reads = reads();
        assert_eq!(reads.next_round(), None, "nobody waits");
        reads.push(1).unwrap();
        reads.push(2).unwrap();
        let first = reads.next_round().unwrap();
        reads.push(3).unwrap();
        assert_eq!(reads.next_round(), None, "one round at a time");
        assert_eq!(reads.resolve(&first), [1, 2]);
        let second = reads.next_round().unwrap();
        assert_ne!(first, second);
        assert_eq!(reads.resolve(&first), [] as [u32; 0], "an old answer serves nobody");
        assert_eq!(reads.resolve(&second), [3]);
    }

    #[test]
    fn an_unanswered_round_is_asked_again_under_a_new_context() {
        let mut reads = reads();
        reads.push(1).unwrap();
        let first = reads.next_round().unwrap();
        for _ in 0..PATIENCE_TICKS_MIN {
            assert!(reads.tick(&mut Marks::default()).is_empty());
        }
        let second = reads.next_round().unwrap();
        assert_ne!(first, second);
        assert!(reads.resolve(&first).is_empty());
        assert_eq!(reads.resolve(&second), [1]);
    }

    #[test]
    fn a_new_leader_is_asked_at_once() {
        let mut reads = reads();
        reads.push(1).unwrap();
        let first = reads.next_round().unwrap();
        reads.push(2).unwrap();
        reads.restart();
        let second = reads.next_round().unwrap();
        assert_ne!(first, second);
        assert_eq!(reads.resolve(&second), [1, 2], "in the order of arrival");
    }

    #[test]
    fn a_read_is_refused_after_a_while() {
        let mut reads = reads();
        reads.push(1).unwrap();
        let expired: Vec<_> =
            (0..=limits::READ_TICKS_MAX).flat_map(|_| reads.tick(&mut Marks::default())).collect();
        assert_eq!(expired, [1]);
        assert_eq!(reads.next_round(), None);
    }
}
