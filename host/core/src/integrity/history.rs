//! The digests of the latest entries, and what those entries have changed: as many as others may be
//! behind, and as much as fits.

use std::collections::VecDeque;

use super::{Peer, Point};
use crate::canary::{self, Canary};
use crate::id::LogId;
use crate::limits::{DIGESTS_KEPT_MAX, TRAIL_BYTES_MAX, TRAIL_ENTRIES_MAX};
use crate::state::{Changes, Space};

/// What this node has at its latest indexes.
#[derive(Debug)]
pub(super) struct History {
    /// Without holes, the latest last; never empty.
    digests: VecDeque<u64>,
    last: u64,
    trail: VecDeque<(LogId, Changes)>,
    trail_bytes: usize,
}

impl From<Point> for History {
    fn from(point: Point) -> Self {
        let digests = VecDeque::from([point.digest]);
        Self { digests, last: point.index, trail: VecDeque::new(), trail_bytes: 0 }
    }
}

impl History {
    pub(super) fn push(&mut self, id: LogId, digest: u64, changes: Changes) {
        assert_eq!(id.index, self.last + 1, "a digest is skipped or repeated");
        self.last = id.index;
        self.digests.push_back(digest);
        if self.digests.len() > DIGESTS_KEPT_MAX {
            self.digests.pop_front();
        }
        self.trail_bytes += bytes_of(&changes);
        self.trail.push_back((id, changes));
        while (self.trail_bytes > TRAIL_BYTES_MAX || self.trail.len() > TRAIL_ENTRIES_MAX)
            && let Some((_, oldest)) = self.trail.pop_front()
        {
            self.trail_bytes -= bytes_of(&oldest);
        }
    }

    pub(super) fn last(&self) -> Point {
        let digest = self.digests.back().copied().expect("there is always one");
        Point { index: self.last, digest }
    }

    pub(super) fn get(&self, index: u64) -> Option<u64> {
        let back = usize::try_from(self.last.checked_sub(index)?).ok()?;
        let at = self.digests.len().checked_sub(back + 1)?;
        self.digests.get(at).copied()
    }

    /// So many of the latest, the last one last.
    pub(super) fn latest(&self, count: usize) -> Vec<u64> {
        let skipped = self.digests.len().saturating_sub(count);
        self.digests.iter().skip(skipped).copied().collect()
    }

    pub(super) fn changes(&self, index: u64) -> Option<&(LogId, Changes)> {
        self.trail.iter().find(|(id, _)| id.index == index)
    }

    /// Whether a node agrees at the last index that both have; `None` when there is none.
    pub(super) fn compare(&self, peer: &mut Peer) -> Option<bool> {
        if canary::is_planted(Canary::ComparedApart) {
            let (_, latest) = peer.points.last_key_value()?;
            return Some(*latest == self.last().digest);
        }
        let mut common = peer.points.iter().rev().filter_map(|(index, theirs)| {
            let own = self.get(*index)?;
            Some((*index, own == *theirs))
        });
        let (last, is_equal) = common.next()?;
        let same = if is_equal { Some(last) } else { common.find(|point| point.1).map(|p| p.0) };
        peer.agreed = peer.agreed.max(same.unwrap_or_default());
        Some(is_equal)
    }

    /// The first index at which a node is known to differ.
    pub(super) fn first_difference(&self, peer: &Peer) -> Option<u64> {
        let differs =
            |(index, theirs): &(&u64, &u64)| self.get(**index).is_some_and(|own| own != **theirs);
        peer.points.iter().find(differs).map(|(index, _)| *index)
    }
}

/// What changes take in memory, about.
fn bytes_of(changes: &Changes) -> usize {
    const PAIR_OVERHEAD_BYTES: usize = 128;
    let of = |space| {
        changes.space(space).iter().map(|(key, value)| {
            key.len() + value.as_ref().map_or(0, |value| value.len()) + PAIR_OVERHEAD_BYTES
        })
    };
    Space::ALL.into_iter().flat_map(of).sum()
}
