//! What must hold between nodes, checked after every event. It sees all nodes at once, which no
//! node does, and believes none of them.

use std::collections::BTreeMap;
use std::fmt;

use quorate_core::batch::Payload;
use quorate_core::id::{LogId, RaftId};
use quorate_core::members::Members;

use crate::disk::{Chains, Known, Written};
use crate::trace::{mix, mix_bytes};

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which rule.
    pub rule: &'static str,
    /// What was seen.
    pub detail: String,
}

impl Violation {
    /// A violation of that rule.
    pub fn new(rule: &'static str, detail: impl Into<String>) -> Self {
        Self { rule, detail: detail.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.detail)
    }
}

impl std::error::Error for Violation {}

/// Nothing, or what is wrong.
pub type Checked<T = ()> = Result<T, Violation>;

/// Fails unless `holds`.
pub fn ensure(holds: bool, rule: &'static str, detail: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation::new(rule, detail())) }
}

/// An entry that some node handed out as committed.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place.
    pub id: LogId,
    /// What it carries.
    pub payload: Payload,
}

/// What is known of the group as a whole.
#[derive(Debug, Default)]
pub struct Oracle {
    leaders: BTreeMap<u64, RaftId>,
    /// The hash of the log up to each entry that some node wrote.
    pub chains: Known,
    committed: Vec<Entry>,
    /// What applying each entry has done.
    applied: Vec<u64>,
    /// The members, and since which entry; empty for the founders.
    members: Vec<(u64, Members)>,
}

impl Oracle {
    /// Two logs with an entry of one index and term are equal up to it.
    pub fn written(&mut self, node: RaftId, written: Written) -> Checked {
        let known = self.chains.first(written.id, written.chain);
        ensure(known == written.chain, "logs match", || {
            format!("member {node} wrote another entry {}", written.id)
        })
    }

    /// A group of one asks nobody for a vote: a term that it began and did not make durable begins
    /// again after a crash, with other entries.
    pub fn written_alone(&mut self, written: Written) {
        self.chains.replace(written.id, written.chain);
    }

    /// One leader in a term, and it has all that was committed in earlier terms. True if it is new.
    pub fn leads(&mut self, member: RaftId, term: u64, chains: &Chains) -> Checked<bool> {
        if let Some(known) = self.leaders.get(&term) {
            ensure(*known == member, "one leader in a term", || {
                format!("{known} and {member} in term {term}")
            })?;
            return Ok(false);
        }
        self.leaders.insert(term, member);
        let earlier = self.committed.partition_point(|entry| entry.id.term < term);
        let Some(last) = earlier.checked_sub(1).map(|at| self.committed[at].id) else {
            return Ok(true);
        };
        let has = chains.covers(last.index) || chains.get(last.index) == self.chain_of(last);
        ensure(has, "a leader has all that is committed", || {
            format!("{member} leads term {term} without entry {last}")
        })?;
        Ok(true)
    }

    /// The hash of the log up to an entry that was written somewhere.
    pub fn chain_of(&self, id: LogId) -> Option<u64> {
        self.chains.get(id)
    }

    /// What is committed stays, in its order, and is the same everywhere. True when it is new.
    pub fn committed(&mut self, member: RaftId, id: LogId, payload: &Payload) -> Checked<bool> {
        let position = usize::try_from(id.index - 1).unwrap_or(usize::MAX);
        let Some(known) = self.committed.get(position) else {
            ensure(position == self.committed.len(), "commits have no holes", || {
                format!("{member} handed out {id} as the first of all")
            })?;
            self.committed.push(Entry { id, payload: payload.clone() });
            if let Payload::Members(conf) = payload {
                self.members.push((id.index, decode_members(conf)?));
            }
            return Ok(true);
        };
        ensure(known.id == id && known.payload == *payload, "what is committed stays", || {
            format!("{member} has {id} where {} was committed", known.id)
        })?;
        Ok(false)
    }

    /// Applying an entry does the same on every node.
    pub fn applied(&mut self, member: RaftId, index: u64, digest: u64) -> Checked {
        let position = usize::try_from(index - 1).unwrap_or(usize::MAX);
        if let Some(known) = self.applied.get(position) {
            return ensure(*known == digest, "replicas decide the same", || {
                format!("{member} decided otherwise than others at entry {index}")
            });
        }
        self.applied.push(digest);
        ensure(self.applied.len() as u64 == index, "entries are applied in order", || {
            format!("{member} applied entry {index} as the first of all")
        })
    }

    /// All entries that are committed, from index 1.
    pub fn log(&self) -> &[Entry] {
        &self.committed
    }

    /// The members of late, the latest last; `founders` if they never changed.
    pub fn recent_members(&self, founders: &[RaftId]) -> Vec<Members> {
        let mut all = vec![Members::founded(founders)];
        all.extend(self.members.iter().map(|(_, members)| members.clone()));
        all.split_off(all.len().saturating_sub(3))
    }

    /// The members as of the last entry that is committed.
    pub fn members(&self, founders: &[RaftId]) -> Members {
        self.members.last().map_or_else(|| Members::founded(founders), |(_, last)| last.clone())
    }

    /// The entry since when the voters are what they are; 0 for the founders.
    pub fn voters_since(&self) -> u64 {
        self.members.last().map_or(0, |(index, _)| *index)
    }

    /// How many terms had a leader.
    pub fn terms_led(&self) -> usize {
        self.leaders.len()
    }

    /// A number that stands for all that was decided.
    pub fn digest(&self) -> u64 {
        self.applied.iter().fold(0, |digest, applied| mix(digest, *applied))
    }
}

fn decode_members(conf: &[u8]) -> Checked<Members> {
    let broken = |_| Violation::new("members decode", format!("{conf:?}"));
    let members = Members::decode(conf).map_err(broken)?;
    ensure(!members.voters.is_empty(), "a group has voters", || format!("{members:?}"))?;
    Ok(members)
}

/// The digest of what a node decided for an entry, and of where it was decided first.
pub fn digest_of(state: u64, decided: &[(LogId, quorate_core::outcome::Outcome)]) -> u64 {
    decided.iter().fold(state, |digest, (id, outcome)| {
        let digest = mix(digest, id.index);
        match outcome {
            Ok(reply) => mix_bytes(mix(digest, 1), reply),
            Err(rejection) => mix_bytes(mix(digest, 2), rejection.to_string().as_bytes()),
        }
    })
}
