//! Whether this replica has become another than the rest: a memory or disk that lies, or a bug that
//! decides differently here, shows in nothing else.
//!
//! Each entry that is applied moves a digest on ([`digest`]). Nodes tell each other theirs each
//! tick, and compare what they have at the same index. Digests are a chain: two that differ once
//! differ at every later entry, and two that are equal were equal before. So the first entry at
//! which they differ can be named.
//!
//! **Who is wrong.** A node asks who is of its opinion and who is not, itself included, among those
//! it has heard of lately and who do not believe themselves to be wrong. When those against it who
//! agree with each other are more, it is wrong. When they are as many (two nodes; a majority is
//! down; three nodes of three opinions), nobody knows who is right, and what the leader has counts:
//! clients were told that. Unless even all who were not heard could not change it, the node waits
//! for them a while before it judges.
//!
//! A node that is wrong puts its state into quarantine: no reads, no outcomes, no leadership, until
//! it has another state. Its log and its vote are sound: they do not depend on its state.
//!
//! What this deliberately does not do: tell others that they are wrong. Each finds out by itself,
//! from the same reports, or has been told by the answer to its own.

pub mod digest;
mod history;

use std::collections::{BTreeMap, BTreeSet};

use crate::canary::{self, Canary};
use crate::id::{LogId, NodeId};
use crate::limits::{REPORT_DIGESTS_MAX, REPORT_STALE_TICKS, TIE_TICKS};
use crate::state::Changes;

use history::History;

/// What a node has at an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// An entry that it has applied.
    pub index: u64,
    /// The digest of all entries up to it.
    pub digest: u64,
}

/// What a node tells another of its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The last entry that it has applied.
    pub last: u64,
    /// The digests of the latest entries, up to that one.
    pub digests: Vec<u64>,
    /// What it has where the other one was when it was last heard of.
    pub echo: Option<Point>,
    /// Whether it believes itself to be wrong.
    pub is_quarantined: bool,
    /// Whether its disk is nearly full.
    pub is_nearly_full: bool,
}

/// Why a node is in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The first entry at which it is known to differ.
    pub entry: u64,
    /// The last before it at which it is known to agree. When that is the one before, `entry` is
    /// where it happened.
    pub agreed: u64,
    /// Its own digest there.
    pub own: u64,
    /// What others have there, as far as they have told.
    pub others: Vec<(NodeId, u64)>,
    /// Whether more were against it than with it; else the leader was.
    pub is_outvoted: bool,
}

/// What is known of another node's state.
#[derive(Clone, Debug, Default)]
struct Peer {
    points: BTreeMap<u64, u64>,
    last: u64,
    is_quarantined: bool,
    is_nearly_full: bool,
    age_ticks: u32,
    /// The last entry at which it was seen to agree with this node.
    agreed: u64,
}

/// Compares this node's state with others'.
#[derive(Debug)]
pub struct Watch {
    node: NodeId,
    history: History,
    peers: BTreeMap<NodeId, Peer>,
    /// Since when somebody is of another opinion.
    doubt_ticks: u32,
    is_quarantined: bool,
    is_nearly_full: bool,
}

impl Watch {
    /// The watch of a node whose state is as of `applied`; `is_quarantined` when that state was
    /// found to be wrong before.
    pub fn new(node: NodeId, applied: Point, is_quarantined: bool) -> Self {
        let history = History::from(applied);
        let (peers, doubt_ticks, is_nearly_full) = (BTreeMap::new(), 0, false);
        Self { node, history, peers, doubt_ticks, is_quarantined, is_nearly_full }
    }

    /// The state has applied an entry.
    pub fn applied(&mut self, id: LogId, digest: u64, changes: Changes) {
        self.history.push(id, digest, changes);
    }

    /// The state was replaced by one that is sound.
    pub fn replaced(&mut self, applied: Point) {
        let is_nearly_full = self.is_nearly_full;
        *self = Self { is_nearly_full, ..Self::new(self.node, applied, false) };
    }

    /// Whether this node's state is in quarantine.
    pub fn is_quarantined(&self) -> bool {
        self.is_quarantined
    }

    /// Whether reads and outcomes of this node's state may be told.
    pub fn may_serve(&self) -> bool {
        !self.is_quarantined || canary::is_planted(Canary::QuarantineIgnored)
    }

    /// Puts this node's state into quarantine, for a reason of its own.
    pub fn condemn(&mut self) {
        self.is_quarantined = true;
    }

    /// The last entry applied.
    pub fn last(&self) -> Point {
        self.history.last()
    }

    /// What an entry has changed, if that is still known.
    pub fn changes(&self, index: u64) -> Option<&(LogId, Changes)> {
        self.history.changes(index)
    }

    /// What to tell a node.
    pub fn report_for(&self, peer: NodeId) -> Report {
        let echo = self.peers.get(&peer).and_then(|peer| {
            let index = peer.last;
            self.history.get(index).map(|digest| Point { index, digest })
        });
        Report {
            last: self.last().index,
            digests: self.history.latest(REPORT_DIGESTS_MAX),
            echo,
            is_quarantined: self.is_quarantined,
            is_nearly_full: self.is_nearly_full,
        }
    }

    /// This node's disk is nearly full, or not any more.
    pub fn set_nearly_full(&mut self, is_nearly_full: bool) {
        self.is_nearly_full = is_nearly_full;
    }

    /// Whether a leader must not take what needs room: its own disk is nearly full, or those of so
    /// many of these voters that the others are no majority.
    pub fn lacks_room(&self, voters: &BTreeSet<NodeId>) -> bool {
        let is_full = |node: &&NodeId| self.peers.get(node).is_some_and(|peer| peer.is_nearly_full);
        let full = voters.iter().filter(is_full).count();
        self.is_nearly_full || full > 0 && (voters.len() - full) * 2 <= voters.len()
    }

    /// A node has told of its state.
    pub fn hear(&mut self, from: NodeId, report: &Report) {
        if from == self.node || report.digests.len() > REPORT_DIGESTS_MAX {
            return;
        }
        let peer = self.peers.entry(from).or_default();
        let newest_first = report.digests.iter().rev();
        peer.points = (0..=report.last).rev().zip(newest_first.copied()).collect();
        peer.points.extend(report.echo.map(|point| (point.index, point.digest)));
        (peer.last, peer.is_quarantined) = (report.last, report.is_quarantined);
        peer.is_nearly_full = report.is_nearly_full;
        peer.age_ticks = 0;
    }

    /// A tick of the clock has passed.
    pub fn tick(&mut self) {
        for peer in self.peers.values_mut() {
            peer.age_ticks = peer.age_ticks.saturating_add(1);
        }
        self.peers.retain(|_, peer| peer.age_ticks <= REPORT_STALE_TICKS);
        self.doubt_ticks = self.doubt_ticks.saturating_add(1);
    }

    /// Compares. Returns why, when this node has just found itself to be wrong. `nodes` is how many
    /// there are in all.
    pub fn judge(&mut self, leader: Option<NodeId>, nodes: usize) -> Option<Divergence> {
        let mut with = 1;
        let mut against = Vec::new();
        let mut heard = 1;
        for (node, peer) in &mut self.peers {
            let comparison = self.history.compare(peer);
            heard += usize::from(peer.is_quarantined || comparison.is_some());
            match comparison {
                _ if peer.is_quarantined => {}
                Some(true) => with += 1,
                Some(false) => against.push(*node),
                None => {}
            }
        }
        if against.is_empty() {
            self.doubt_ticks = 0;
        }
        if self.is_quarantined || against.is_empty() {
            return None;
        }
        let camp = self.largest_camp(&against);
        let has_waited = self.doubt_ticks >= TIE_TICKS;
        let silent = if has_waited { 0 } else { nodes.saturating_sub(heard) };
        let is_outvoted = camp.len() > with + silent;
        let is_tie = camp.len() == with && has_waited;
        let leader = leader.filter(|leader| against.contains(leader));
        let others = match leader {
            _ if is_outvoted => camp,
            Some(leader) if is_tie => vec![leader],
            Some(_) | None => return None,
        };
        self.is_quarantined = true;
        Some(self.divergence(&others, is_outvoted))
    }

    /// The most of these that are not known to differ from one of them.
    fn largest_camp(&self, nodes: &[NodeId]) -> Vec<NodeId> {
        let is_of_one = |one: &NodeId, other: &NodeId| {
            let (one, other) = (self.peers.get(one), self.peers.get(other));
            one.zip(other).is_none_or(|(one, other)| one.agrees(other))
        };
        let camp_of = |one: &NodeId| -> Vec<NodeId> {
            nodes.iter().filter(|other| is_of_one(one, other)).copied().collect()
        };
        nodes.iter().map(camp_of).max_by_key(Vec::len).unwrap_or_default()
    }

    fn divergence(&self, others: &[NodeId], is_outvoted: bool) -> Divergence {
        let peers = || others.iter().filter_map(|node| Some((*node, self.peers.get(node)?)));
        let differing = peers().filter_map(|(_, peer)| self.history.first_difference(peer));
        let mut entry = differing.min().unwrap_or_default();
        if canary::is_planted(Canary::EvidenceMisplaced) {
            entry += 1;
        }
        let agreed = peers().map(|(_, peer)| peer.agreed).filter(|agreed| *agreed < entry).max();
        let told = peers().filter_map(|(node, peer)| Some((node, *peer.points.get(&entry)?)));
        Divergence {
            entry,
            agreed: agreed.unwrap_or_default(),
            own: self.history.get(entry).unwrap_or_default(),
            others: told.collect(),
            is_outvoted,
        }
    }
}

impl Peer {
    /// False when the two are known to differ, at the last entry that both have told of.
    fn agrees(&self, other: &Self) -> bool {
        let common = self.points.iter().rev().find_map(|(index, own)| {
            let other = other.points.get(index)?;
            Some(own == other)
        });
        common.unwrap_or(true)
    }
}

#[cfg(test)]
mod tests;
