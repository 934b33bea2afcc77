//! Who is who, as this node sees it: what its folder says of itself, what the group has agreed on,
//! and which data folder each member came with. Decides who is listened to, and where others are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use quorate_core::id::{NodeId, RaftId};
use quorate_core::members::{Acquaintances, Meant, Meeting, Members, Standing, StoreId, meant};
use quorate_core::replica::{Contact, Contacts};
use quorate_proto::v1::{Hello, IntroduceReply};
use tokio::sync::watch;

use crate::durable::write_durably;
use crate::identity::{self, Identity};

/// Where a node remembers the folders of others, within its own.
pub(crate) const FILE: &str = "acquaintances.toml";

/// Why a node is not listened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// It does not fit.
    Refused(String),
    /// This node remembers it with another data folder.
    Impostor(String),
    /// It is that node, and remembers this one with another data folder.
    Doubts(NodeId, String),
    /// The group has agreed that it is not who it says: it must not run on.
    Expelled(String),
}

/// Who is who.
#[derive(Debug)]
pub struct Roster {
    /// This node, as its operator has set it up.
    pub identity: Arc<Identity>,
    /// The member that it is.
    pub member: RaftId,
    /// Its data folder.
    pub store: StoreId,
    /// Which of several histories of the cluster this one is; see `quorate recover`.
    pub lineage: u128,
    /// Where others are, as this node's operator says.
    pub addresses: BTreeMap<NodeId, String>,
    /// The same as it was told when it joined: until the group says it.
    told: BTreeMap<NodeId, String>,
    /// What the group has agreed on.
    pub members: watch::Receiver<Arc<Members>>,
    known: Mutex<Acquaintances>,
    /// Whoever makes `known` durable holds it meanwhile, and others still read.
    writing: Mutex<()>,
    /// Who has known this node with another data folder.
    doubts: Mutex<BTreeSet<NodeId>>,
    /// Where `known` is durable; `None` for a node that never starts again.
    file: Option<PathBuf>,
}

/// What a node is beside its settings.
#[derive(Debug)]
pub struct Own {
    /// The member that it is.
    pub member: RaftId,
    /// Its data folder.
    pub store: StoreId,
    /// Its history.
    pub lineage: u128,
    /// Where it remembers others.
    pub folder: Option<PathBuf>,
    /// Where others are, as it was told when it joined.
    pub told: BTreeMap<NodeId, String>,
}

impl Roster {
    /// The roster of a node that is about to start.
    pub fn new(
        identity: Identity,
        own: Own,
        addresses: BTreeMap<NodeId, String>,
        members: watch::Receiver<Arc<Members>>,
    ) -> anyhow::Result<Self> {
        let Own { member, store, lineage, folder, told } = own;
        let file = folder.map(|folder| folder.join(FILE));
        let known = file.as_deref().map_or_else(|| Ok(Acquaintances::default()), read)?;
        let known = Mutex::new(known);
        let identity = Arc::new(identity);
        Ok(Self {
            identity,
            member,
            store,
            lineage,
            addresses,
            told,
            members,
            known,
            writing: Mutex::default(),
            doubts: Mutex::default(),
            file,
        })
    }

    /// The members of late.
    pub fn members(&self) -> Arc<Members> {
        Arc::clone(&self.members.borrow())
    }

    /// How this node introduces itself to another.
    pub fn hello(&self, to: NodeId) -> Hello {
        let member = self.members().member_of(to);
        let known = member.and_then(|member| Some((member, self.store_of(member)?)));
        Hello {
            store: self.store.0.to_be_bytes().to_vec().into(),
            incarnation: self.member.incarnation(),
            lineage: self.lineage.to_be_bytes().to_vec().into(),
            to_store: known.map_or_else(Vec::new, expected_bytes).into(),
            ..self.identity.hello(to)
        }
    }

    /// The data folder of a member, as the group or this node knows it.
    pub fn store_of(&self, member: RaftId) -> Option<StoreId> {
        let members = self.members();
        let seat = members.seats.get(&member.node());
        let agreed = seat.filter(|seat| seat.incarnation == member.incarnation());
        agreed.and_then(|seat| seat.store).or_else(|| self.known().store_of(member))
    }

    /// Whether a node that introduces itself so may talk to this one as the member that it says it
    /// is. Whom nobody knew is remembered, durably, before it is listened to.
    pub fn check(&self, hello: &Hello) -> Result<RaftId, Stranger> {
        let (member, store) = self.check_cluster(hello)?;
        let members = self.members();
        let node = member.node();
        if members.is_past(member) {
            return Err(Stranger::Expelled(format!(
                "node {node} was removed from the cluster, or came back as another member \
                 meanwhile; to let it come back: give it an empty --data, and add it again"
            )));
        }
        match meant(meant_by(hello, self.member.node()), self.member, self.store) {
            Meant::This => {}
            Meant::Doubted(known) => {
                let problem = impostor(self.member.node(), self.store, known);
                return Err(Stranger::Doubts(node, problem));
            }
        }
        match self.meet(member, store, &members).map_err(|error| {
            Stranger::Refused(format!("node {} cannot remember others: {error:#}", self.member))
        })? {
            Meeting::Known | Meeting::New => Ok(member),
            Meeting::Impostor(known) => {
                let problem = impostor(node, store, known);
                let seat = members.seats.get(&node);
                let is_agreed = seat.is_some_and(|seat| seat.store == Some(known));
                let stranger = if is_agreed { Stranger::Expelled } else { Stranger::Impostor };
                Err(stranger(problem))
            }
        }
    }

    /// The same for who is not a member yet, and asks to become one.
    pub fn check_cluster(&self, hello: &Hello) -> Result<(RaftId, StoreId), Stranger> {
        self.identity.check(hello).map_err(Stranger::Refused)?;
        let from = u32::try_from(hello.from).ok().and_then(NodeId::new);
        let store = store_id(&hello.store);
        let (Some(from), Some(store)) = (from, store) else {
            return Err(Stranger::Refused("it does not say who it is".to_owned()));
        };
        if from == self.identity.node {
            return Err(Stranger::Refused(format!("two nodes run with --node {from}")));
        }
        let lineage = store_id(&hello.lineage).map_or(0, |lineage| lineage.0);
        if lineage != self.lineage {
            return Err(Stranger::Refused(format!(
                "node {from} and node {} belong to two histories of the cluster: one of them was \
                 recovered from a loss of its quorum (quorate recover) and the other has data from \
                 before: give the latter an empty --data, and add it again; or they were not both \
                 made from the same snapshot (quorate snapshot restore)",
                self.identity.node
            )));
        }
        Ok((RaftId::new(from, hello.incarnation), store))
    }

    fn meet(&self, member: RaftId, store: StoreId, members: &Members) -> anyhow::Result<Meeting> {
        let met = self.known().clone().meet(member, store, members);
        if met != Meeting::New {
            return Ok(met);
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        // Two may have met at the same time.
        let mut next = self.known().clone();
        let meeting = next.meet(member, store, members);
        if meeting == Meeting::New {
            if let Some(file) = &self.file {
                write(file, &next)?;
            }
            *self.known() = next;
        }
        Ok(meeting)
    }

    /// Whether a check of this would have to be remembered, which takes the disk.
    pub fn would_remember(&self, hello: &Hello) -> bool {
        let Ok((member, store)) = self.check_cluster(hello) else { return false };
        self.known().clone().meet(member, store, &self.members()) == Meeting::New
    }

    /// A node knows this one with another data folder. True when a majority of the others does:
    /// then this one must not go on as the member that it believes to be.
    pub fn is_doubted_by(&self, node: NodeId) -> bool {
        let mut doubts = self.doubts.lock().unwrap_or_else(PoisonError::into_inner);
        doubts.insert(node);
        let members = self.members();
        let voters = members.voters.iter().map(|voter| voter.node());
        let others: BTreeSet<NodeId> =
            voters.filter(|voter| *voter != self.identity.node).collect();
        doubts.intersection(&others).count() > others.len() / 2
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Acquaintances> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the other members are. What this node's operator says counts before what the group
    /// has agreed on: there may be a way between two nodes that others do not have.
    pub fn others(&self) -> BTreeMap<NodeId, String> {
        let members = self.members();
        let nodes: BTreeSet<NodeId> = members.all().into_iter().map(RaftId::node).collect();
        let own = self.identity.node;
        // While this node is not admitted yet, it asks all whom it was told of.
        let told = self.addresses.keys().chain(self.told.keys());
        let told = told.copied().filter(|_| !nodes.contains(&own));
        let address = |node: NodeId| {
            let address = self.address_in(node, &members);
            (!address.is_empty()).then_some((node, address))
        };
        let all: BTreeSet<NodeId> = nodes.iter().copied().chain(told).collect();
        all.into_iter().filter(|node| *node != own).filter_map(address).collect()
    }

    /// The address of a node, this one included.
    pub fn address_of(&self, node: NodeId) -> String {
        self.address_in(node, &self.members())
    }

    fn address_in(&self, node: NodeId, members: &Members) -> String {
        let agreed = members.seats.get(&node).map(|seat| &seat.address);
        let agreed = agreed.filter(|address| !address.is_empty());
        let address = self.addresses.get(&node).or(agreed).or_else(|| self.told.get(&node));
        address.cloned().unwrap_or_default()
    }

    /// Who is who, for a node that is to join.
    pub fn introduce(&self, node: NodeId) -> IntroduceReply {
        let members = self.members();
        let seat = members.seats.get(&node);
        // One that came back, and lost its data before it was admitted, must not come back as the
        // same once more: here it is known with what it has lost.
        let met = self.known().latest_of(node).unwrap_or_default();
        let incarnation = seat.map_or(0, |seat| seat.incarnation).max(met);
        let store = self.store_of(RaftId::new(node, incarnation));
        let addresses = members
            .all()
            .into_iter()
            .map(|member| (u64::from(member.node().get()), self.address_of(member.node())));
        IntroduceReply {
            founders: self.identity.founders.iter().map(|node| node.get().into()).collect(),
            lineage: self.lineage.to_be_bytes().to_vec().into(),
            addresses: addresses.filter(|(_, address)| !address.is_empty()).collect(),
            is_known: seat.is_some(),
            is_expected: seat.is_some_and(|seat| seat.standing != Standing::Gone),
            incarnation,
            store: store.map_or_else(Vec::new, |store| store.0.to_be_bytes().to_vec()).into(),
        }
    }

    /// What the group may not have agreed on yet: of its members, and of whom this node has met.
    pub fn contacts(&self) -> Contacts {
        let mut contacts: Contacts =
            self.known().iter().map(|(member, _)| (member, Contact::default())).collect();
        let contact = |member: RaftId| {
            let address = self.address_of(member.node());
            let own = (member == self.member).then_some(self.store);
            (member, Contact { address, store: own.or_else(|| self.store_of(member)) })
        };
        contacts.extend(self.members().all().into_iter().map(contact));
        contacts
    }
}

fn impostor(node: NodeId, store: StoreId, known: StoreId) -> String {
    format!(
        "node {node} comes with data folder {store}, but was known with {known}: what it voted and \
         acknowledged before is not there. If its data was lost: start it once with --rejoin and \
         an empty --data, and it comes back as a new member. If two processes run with --node \
         {node}: stop this one"
    )
}

/// The member and its folder that a node believes to speak to, as it travels: the folder's number,
/// then the incarnation.
fn expected_bytes((member, store): (RaftId, StoreId)) -> Vec<u8> {
    let mut bytes = store.0.to_be_bytes().to_vec();
    bytes.extend_from_slice(&member.incarnation().to_be_bytes());
    bytes
}

fn meant_by(hello: &Hello, own: NodeId) -> Option<(RaftId, StoreId)> {
    let (store, incarnation) = hello.to_store.split_first_chunk::<16>()?;
    let incarnation = u32::from_be_bytes(incarnation.try_into().ok()?);
    Some((RaftId::new(own, incarnation), StoreId(u128::from_be_bytes(*store))))
}

/// A number as it travels; `None` when there is none.
pub fn store_id(bytes: &[u8]) -> Option<StoreId> {
    Some(StoreId(u128::from_be_bytes(bytes.try_into().ok()?)))
}

fn read(file: &Path) -> anyhow::Result<Acquaintances> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Acquaintances::default());
        }
        Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
    };
    let damaged = || identity::damaged(file);
    let table: BTreeMap<String, String> = toml::from_str(&text).with_context(damaged)?;
    let pair = |(member, store): (String, String)| {
        let member = RaftId::from_u64(member.parse().ok()?)?;
        Some((member, StoreId(u128::from_str_radix(&store, 16).ok()?)))
    };
    table.into_iter().map(|entry| pair(entry).with_context(damaged)).collect()
}

fn write(file: &Path, known: &Acquaintances) -> anyhow::Result<()> {
    let pairs = known.iter().map(|(member, store)| (member.get().to_string(), store.to_string()));
    let table: BTreeMap<String, String> = pairs.collect();
    write_durably(file, &toml::to_string(&table)?)
}
