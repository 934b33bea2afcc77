//! Who belongs to a group, and what is known of each node: part of the replicated state, and equal
//! on all members at the same place of the log.
//!
//! What this deliberately does not know: how members change. That is consensus' matter.

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::canary::{self, Canary};
use crate::id::{NodeId, RaftId};
use crate::limits;

/// A data folder, by the number that it was given at random when it was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoreId(pub u128);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// What an operator wants a node to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It votes, once it is admitted.
    Voter,
    /// It follows the log without a vote.
    Learner,
    /// It was removed, and does not come back by itself.
    Gone,
}

/// What is known of a node. It outlives its memberships.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// What an operator wants it to be.
    pub standing: Standing,
    /// The latest incarnation that was ever a member; an earlier one never is again.
    pub incarnation: u32,
    /// Where the others reach it; empty where only their own settings say it.
    pub address: String,
    /// The data folder of that incarnation, where it is known.
    pub store: Option<StoreId>,
}

/// The members of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Who votes.
    pub voters: Vec<RaftId>,
    /// Who follows.
    pub learners: Vec<RaftId>,
    /// Who voted before a change that is half done; a majority of these must agree as well.
    pub outgoing: Vec<RaftId>,
    /// Who will follow once the change is done.
    pub learners_next: Vec<RaftId>,
    /// What is known of each node that was ever a member.
    pub seats: BTreeMap<NodeId, Seat>,
}

/// What a change says of nodes, beside who votes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// What replaces earlier knowledge.
    pub seats: BTreeMap<NodeId, Seat>,
    /// From here on this member is the only one, whatever was agreed before: it was made so while
    /// it was stopped, since the others are lost.
    pub alone: Option<RaftId>,
}

/// What is wrong with encoded members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the group's members do not decode")
    }
}

impl std::error::Error for Damaged {}

const VERSION: u8 = 1;

impl Members {
    /// The members that a group begins with.
    pub fn founded(founders: &[RaftId]) -> Self {
        let seat = |member: &RaftId| {
            let incarnation = member.incarnation();
            let standing = Standing::Voter;
            (member.node(), Seat { standing, incarnation, address: String::new(), store: None })
        };
        let mut voters = founders.to_vec();
        voters.sort_unstable();
        Self { voters, seats: founders.iter().map(seat).collect(), ..Self::default() }
    }

    /// All who are sent entries.
    pub fn all(&self) -> Vec<RaftId> {
        let lists = [&self.voters, &self.outgoing, &self.learners, &self.learners_next];
        let mut all: Vec<_> = lists.into_iter().flatten().copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The member that a node is at present.
    pub fn member_of(&self, node: NodeId) -> Option<RaftId> {
        self.all().into_iter().rfind(|member| member.node() == node)
    }

    /// Whether a change is half done.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether a member was one once, and never is again.
    pub fn is_past(&self, member: RaftId) -> bool {
        let Some(seat) = self.seats.get(&member.node()) else { return false };
        let is_removed =
            seat.standing == Standing::Gone && member.incarnation() <= seat.incarnation;
        (is_removed || member.incarnation() < seat.incarnation) && !self.all().contains(&member)
    }

    /// In one order on all nodes: what is in the replicated state must be equal.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        for list in [&self.voters, &self.learners, &self.outgoing, &self.learners_next] {
            let mut list = list.clone();
            list.sort_unstable();
            put_len(&mut out, list.len());
            for member in list {
                out.extend_from_slice(&member.get().to_le_bytes());
            }
        }
        put_seats(&mut out, &self.seats);
        out.into()
    }

    /// What [`encode`](Self::encode) made.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut rest = version(bytes)?;
        let mut list = || -> Result<Vec<RaftId>, Damaged> {
            let len = len(&mut rest)?;
            (0..len)
                .map(|_| RaftId::from_u64(u64::from_le_bytes(*take(&mut rest)?)).ok_or(Damaged))
                .collect()
        };
        let (voters, learners, outgoing, learners_next) = (list()?, list()?, list()?, list()?);
        let seats = seats(&mut rest)?;
        if rest.is_empty() {
            Ok(Self { voters, learners, outgoing, learners_next, seats })
        } else {
            Err(Damaged)
        }
    }
}

impl Note {
    /// For the context of a change.
    pub fn encode(&self) -> Bytes {
        if *self == Self::default() {
            return Bytes::new();
        }
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.alone.map_or(0, RaftId::get).to_le_bytes());
        put_seats(&mut out, &self.seats);
        out.into()
    }

    /// What [`encode`](Self::encode) made.
    pub fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut rest = version(bytes)?;
        let alone = RaftId::from_u64(u64::from_le_bytes(*take(&mut rest)?));
        let seats = seats(&mut rest)?;
        if rest.is_empty() { Ok(Self { seats, alone }) } else { Err(Damaged) }
    }
}

fn version(bytes: &[u8]) -> Result<&[u8], Damaged> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => Ok(rest),
        _ => Err(Damaged),
    }
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], Damaged> {
    let (head, tail) = rest.split_first_chunk().ok_or(Damaged)?;
    *rest = tail;
    Ok(head)
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    let len = u16::try_from(len).expect("members and addresses are bounded");
    out.extend_from_slice(&len.to_le_bytes());
}

fn len(rest: &mut &[u8]) -> Result<usize, Damaged> {
    Ok(u16::from_le_bytes(*take(rest)?).into())
}

fn put_seats(out: &mut Vec<u8>, seats: &BTreeMap<NodeId, Seat>) {
    put_len(out, seats.len());
    for (node, seat) in seats {
        out.extend_from_slice(&node.get().to_le_bytes());
        out.push(match seat.standing {
            Standing::Voter => 0,
            Standing::Learner => 1,
            Standing::Gone => 2,
        });
        out.extend_from_slice(&seat.incarnation.to_le_bytes());
        out.push(seat.store.is_some().into());
        out.extend_from_slice(&seat.store.map_or(0, |store| store.0).to_le_bytes());
        put_len(out, seat.address.len());
        out.extend_from_slice(seat.address.as_bytes());
    }
}

fn seats(rest: &mut &[u8]) -> Result<BTreeMap<NodeId, Seat>, Damaged> {
    let len = len(rest)?;
    (0..len).map(|_| seat(rest)).collect()
}

fn seat(rest: &mut &[u8]) -> Result<(NodeId, Seat), Damaged> {
    let node = NodeId::new(u32::from_le_bytes(*take(rest)?)).ok_or(Damaged)?;
    let standing = match take(rest)? {
        [0] => Standing::Voter,
        [1] => Standing::Learner,
        [2] => Standing::Gone,
        _ => return Err(Damaged),
    };
    let incarnation = u32::from_le_bytes(*take(rest)?);
    let [has_store] = *take(rest)?;
    let store = StoreId(u128::from_le_bytes(*take(rest)?));
    let bytes = len(rest)?;
    let (address, tail) = rest.split_at_checked(bytes).ok_or(Damaged)?;
    *rest = tail;
    let address = String::from_utf8(address.to_vec()).map_err(|_| Damaged)?;
    let store = (has_store == 1).then_some(store);
    Ok((node, Seat { standing, incarnation, address, store }))
}

/// Which data folder each member has spoken from. A member that comes with another one has lost
/// what it voted and acknowledged, or is two processes: nobody may listen to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acquaintances {
    stores: BTreeMap<RaftId, StoreId>,
}

/// Who is to be listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// It is who it was.
    Known,
    /// Nobody knew it. This must be durable before it is listened to.
    New,
    /// The member has another data folder, this one.
    Impostor(StoreId),
}

/// Whom a speaker believes to speak to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meant {
    /// This member, as far as it knows; or another incarnation of its node, since it is behind. It
    /// must be heard all the same, or it would never catch up: what it says has an address.
    This,
    /// This member, with another data folder.
    Doubted(StoreId),
}

/// Whether a speaker means this member, and knows it with this data folder, if with any.
pub fn meant(expected: Option<(RaftId, StoreId)>, own: RaftId, store: StoreId) -> Meant {
    match expected {
        _ if canary::is_planted(Canary::WipedTrusted) => Meant::This,
        Some((member, known)) if member == own && known != store => Meant::Doubted(known),
        Some(_) | None => Meant::This,
    }
}

impl Acquaintances {
    /// A member introduces itself. What the group knows counts before what this node knows.
    pub fn meet(&mut self, member: RaftId, store: StoreId, members: &Members) -> Meeting {
        let seat = members.seats.get(&member.node());
        let agreed = seat
            .filter(|seat| seat.incarnation == member.incarnation())
            .and_then(|seat| seat.store);
        match agreed.or_else(|| self.stores.get(&member).copied()) {
            Some(known) if known == store => Meeting::Known,
            Some(_) if canary::is_planted(Canary::WipedTrusted) => Meeting::Known,
            Some(known) => Meeting::Impostor(known),
            None => {
                if self.stores.len() >= limits::ACQUAINTANCES_MAX {
                    self.stores.retain(|known, _| !members.is_past(*known));
                }
                if self.stores.len() >= limits::ACQUAINTANCES_MAX {
                    // Those that never became members: the latest incarnations.
                    self.stores.pop_last();
                }
                self.stores.insert(member, store);
                Meeting::New
            }
        }
    }

    /// The data folder of a member, if it was met.
    pub fn store_of(&self, member: RaftId) -> Option<StoreId> {
        self.stores.get(&member).copied()
    }

    /// The latest incarnation of a node that was met.
    pub fn latest_of(&self, node: NodeId) -> Option<u32> {
        let members = self.stores.keys().filter(|member| member.node() == node);
        members.map(|member| member.incarnation()).max()
    }

    /// All that were met.
    pub fn iter(&self) -> impl Iterator<Item = (RaftId, StoreId)> {
        self.stores.iter().map(|(member, store)| (*member, *store))
    }
}

impl FromIterator<(RaftId, StoreId)> for Acquaintances {
    fn from_iter<T: IntoIterator<Item = (RaftId, StoreId)>>(met: T) -> Self {
        Self { stores: met.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: u32, incarnation: u32) -> RaftId {
        RaftId::new(NodeId::new(node).unwrap(), incarnation)
    }

    fn example() -> Members {
        let mut members = Members::founded(&[member(2, 0), member(1, 0)]);
        members.learners = vec![member(9, 0), member(4, 1)];
        members.outgoing = vec![member(3, 0)];
        let (address, store) = ("host:1".to_owned(), Some(StoreId(7)));
        let seat = Seat { standing: Standing::Learner, incarnation: 1, address, store };
        members.seats.insert(NodeId::new(4).unwrap(), seat);
        members
    }

    /// Found by the simulator: a member that had restarted wrote the same members in another order.
    #[test]
    fn members_are_encoded_in_one_order_and_decoded_again() {
        let members = example();
        let mut turned = members.clone();
        turned.voters.reverse();
        turned.learners.reverse();
        assert_eq!(members.encode(), turned.encode());
        let decoded = Members::decode(&members.encode()).unwrap();
        assert_eq!(decoded.encode(), members.encode());
        assert_eq!(decoded.seats, members.seats);
        let note = Note { seats: members.seats, alone: Some(member(1, 0)) };
        assert_eq!(Note::decode(&note.encode()), Ok(note));
        assert_eq!(Note::decode(&[]), Ok(Note::default()));
    }

    #[test]
    fn what_is_cut_off_or_longer_does_not_decode() {
        let bytes = example().encode();
        for end in 0..bytes.len() {
            assert_eq!(Members::decode(&bytes[..end]), Err(Damaged), "{end}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert_eq!(Members::decode(&longer), Err(Damaged));
    }

    #[test]
    fn an_earlier_incarnation_and_a_removed_node_are_past() {
        let mut members = example();
        assert!(members.is_past(member(4, 0)), "there was a later one");
        assert!(!members.is_past(member(4, 1)));
        assert!(!members.is_past(member(7, 0)), "nobody knows it yet");
        members.learners.clear();
        members.seats.get_mut(&NodeId::new(4).unwrap()).unwrap().standing = Standing::Gone;
        assert!(members.is_past(member(4, 1)), "it was removed");
        assert!(!members.is_past(member(4, 2)), "it may be added again as another");
    }

    #[test]
    fn a_member_that_comes_with_another_folder_is_an_impostor() {
        let mut known = Acquaintances::default();
        let members = example();
        assert_eq!(known.meet(member(1, 0), StoreId(1), &members), Meeting::New);
        assert_eq!(known.meet(member(1, 0), StoreId(1), &members), Meeting::Known);
        assert_eq!(known.meet(member(1, 0), StoreId(2), &members), Meeting::Impostor(StoreId(1)),);
        assert_eq!(known.meet(member(1, 1), StoreId(2), &members), Meeting::New, "as another");
        let (own, store) = (member(1, 1), StoreId(2));
        assert_eq!(meant(None, own, store), Meant::This);
        assert_eq!(meant(Some((own, store)), own, store), Meant::This);
        assert_eq!(meant(Some((own, StoreId(1))), own, store), Meant::Doubted(StoreId(1)));
        assert_eq!(known.latest_of(NodeId::new(1).unwrap()), Some(1));
        assert_eq!(known.latest_of(NodeId::new(9).unwrap()), None);
        let earlier = Some((member(1, 0), StoreId(1)));
        assert_eq!(meant(earlier, own, store), Meant::This, "it has not heard of this one yet");
        // What the group has agreed on, this node need not have seen.
        let meets = Acquaintances::default().meet(member(4, 1), StoreId(8), &members);
        assert_eq!(meets, Meeting::Impostor(StoreId(7)));
    }
}
