//! Who waits for which entry of the log.

use std::collections::VecDeque;

use crate::canary::{self, Canary};
use crate::id::LogId;

/// What became of a proposed entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is committed.
    Committed,
    /// Another entry was committed in its place; it never will be.
    Overwritten,
}

/// Waiters, by the entry of each.
type Groups<W> = Vec<Vec<W>>;

/// Waiters by (term, index), in the order of proposal.
pub(super) struct Waiters<W> {
    queue: VecDeque<(LogId, Vec<W>)>,
}

impl<W> Waiters<W> {
    pub(super) fn new() -> Self {
        Self { queue: VecDeque::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(super) fn last(&self) -> Option<LogId> {
        self.queue.back().map(|(id, _)| *id)
    }

    /// Terms never fall and a leader only appends, so places rise; except that a member deposed and
    /// elected again may propose at an index that it had proposed at before.
    pub(super) fn push(&mut self, id: LogId, waiters: Vec<W>) {
        if let Some((last, _)) = self.queue.back() {
            assert!(last.term <= id.term, "terms fall");
            assert!(last.term < id.term || last.index < id.index, "two proposals at one place");
        }
        self.queue.push_back((id, waiters));
    }

    /// All that wait, whatever becomes of them: for a planted bug.
    pub(super) fn take_all(&mut self) -> Vec<Vec<W>> {
        self.queue.drain(..).map(|(_, waiters)| waiters).collect()
    }

    /// Everything that `committed` decides: its own waiters, and those whose places it proves lost.
    /// These are the places before it, and those behind it of earlier terms: terms never fall along
    /// the log, so nothing of an earlier term can follow. So a deposed leader's callers learn of it
    /// as soon as the next leader has committed anything.
    pub(super) fn resolve(&mut self, committed: LogId) -> Vec<(Vec<W>, Verdict)> {
        let mut decided = Vec::new();
        // Indexes need not rise along the queue (see `push`), and it is short: look at all of it
        // only when its front is not past the committed entry.
        let is_decided = |id: LogId| id.index <= committed.index || id.term < committed.term;
        if !self.queue.front().is_some_and(|(id, _)| is_decided(*id))
            && !self.queue.iter().any(|(id, _)| is_decided(*id))
        {
            return decided;
        }
        let mut rest = VecDeque::with_capacity(self.queue.len());
        for (id, waiters) in self.queue.drain(..) {
            let by_index = canary::is_planted(Canary::WaitersMatchedByIndex);
            if id == committed || by_index && id.index == committed.index {
                decided.push((waiters, Verdict::Committed));
            } else if is_decided(id) {
                decided.push((waiters, Verdict::Overwritten));
            } else {
                rest.push_back((id, waiters));
            }
        }
        self.queue = rest;
        decided
    }

    /// Everything that a snapshot up to `id` decides: whose entries it may have, and whose places
    /// it proves lost. It tells of nobody's outcome.
    pub(super) fn cover(&mut self, id: LogId) -> (Groups<W>, Groups<W>) {
        let (mut covered, mut overwritten) = (Vec::new(), Vec::new());
        for (own, waiters) in std::mem::take(&mut self.queue) {
            if own.index <= id.index {
                covered.push(waiters);
            } else if own.term < id.term {
                overwritten.push(waiters);
            } else {
                self.queue.push_back((own, waiters));
            }
        }
        (covered, overwritten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_leaves_those_in_the_dark_whose_entries_it_may_have() {
        let mut waiters = Waiters::new();
        waiters.push(id(1, 5), vec!['a']);
        waiters.push(id(1, 9), vec!['b']);
        waiters.push(id(3, 7), vec!['c']);
        waiters.push(id(3, 8), vec!['d']);
        assert_eq!(waiters.cover(id(3, 7)), (vec![vec!['a'], vec!['c']], vec![vec!['b']]));
        assert_eq!(waiters.resolve(id(3, 8)), [(vec!['d'], Verdict::Committed)]);
    }

    const fn id(term: u64, index: u64) -> LogId {
        LogId { term, index }
    }

    #[test]
    fn a_deposed_leader_still_answers_what_commits_later() {
        let mut waiters = Waiters::new();
        waiters.push(id(1, 5), vec!['a']);
        waiters.push(id(1, 6), vec!['b']);
        assert_eq!(waiters.resolve(id(1, 5)), [(vec!['a'], Verdict::Committed)]);
        assert_eq!(waiters.resolve(id(2, 6)), [(vec!['b'], Verdict::Overwritten)]);
        assert_eq!(waiters.len(), 0);
    }

    #[test]
    fn an_entry_of_others_decides_nothing_later() {
        let mut waiters = Waiters::new();
        waiters.push(id(3, 9), vec!['a']);
        assert_eq!(waiters.resolve(id(3, 8)), []);
        assert_eq!(waiters.len(), 1);
    }

    #[test]
    fn one_commit_overwrites_all_that_waited_before_it_and_all_of_earlier_terms() {
        let mut waiters = Waiters::new();
        waiters.push(id(1, 5), vec!['a']);
        waiters.push(id(1, 7), vec!['b']);
        // Deposed, elected again with a shorter log, and proposing at an old place.
        waiters.push(id(3, 6), vec!['c']);
        let decided = waiters.resolve(id(3, 6));
        let overwritten = |waiter| (vec![waiter], Verdict::Overwritten);
        let expected = [overwritten('a'), overwritten('b'), (vec!['c'], Verdict::Committed)];
        assert_eq!(decided, expected);
        assert_eq!(waiters.len(), 0);
    }
}
