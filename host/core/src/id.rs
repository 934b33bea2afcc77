//! Names of things: nodes, groups, places in the log.

use std::fmt;

/// A node of the cluster, as its operator numbers it, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// The node of that number; `None` for 0, which raft keeps for "nobody".
    pub const fn new(number: u32) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A member of a raft group: a node in one of its incarnations. A node that lost its log comes back
/// as another member, since it no longer knows what it voted and acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RaftId(u64);

impl RaftId {
    /// The member that is `node` in its `incarnation`; the first is 0.
    pub const fn new(node: NodeId, incarnation: u32) -> Self {
        Self(((incarnation as u64) << 32) | node.0 as u64)
    }

    /// The member of that number; `None` when no node is in it.
    pub const fn from_u64(number: u64) -> Option<Self> {
        if number.trailing_zeros() >= 32 { None } else { Some(Self(number)) }
    }

    /// The number that raft knows it by.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The node it lives on.
    pub const fn node(self) -> NodeId {
        NodeId((self.0 & 0xffff_ffff) as u32)
    }

    /// How often the node had lost its log before.
    pub const fn incarnation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Display for RaftId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.incarnation() {
            0 => write!(f, "{}", self.node()),
            incarnation => write!(f, "{}.{incarnation}", self.node()),
        }
    }
}

/// A raft group. One machine has one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupId(pub u64);

/// A place in the log of a group, with the term that wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogId {
    /// The leader's term.
    pub term: u64,
    /// The entry's index, from 1; 0 is before the first.
    pub index: u64,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}
