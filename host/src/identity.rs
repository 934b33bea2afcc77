//! Who a node is, in its own data folder and towards its peers.
//!
//! A folder that belongs to another node or cluster is refused: a node that votes with somebody
//! else's log breaks consensus. A node that keeps its log in memory is another member each time it
//! starts, since it no longer knows what it voted and acknowledged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use anyhow::Context as _;
use quorate_core::id::{GroupId, NodeId, RaftId};
use quorate_core::limits;
use quorate_core::members::StoreId;
use quorate_core::outcome::Fatal;
use quorate_proto::v1::Hello;
use serde::{Deserialize, Serialize};

use crate::durable::write_durably;
use crate::{random, roster};

/// The one machine of a node, for now.
pub const GROUP: GroupId = GroupId(1);

/// Where a node keeps its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogKind {
    /// On disk: it survives the process.
    #[value(name = "rocksdb")]
    RocksDb,
    /// In memory: it is gone with the process, and the node then joins anew.
    Memory,
}

/// With leases, a tick must be much longer than the 5 ms by which tokio may have one come early.
const LEASE_TICK_MIN: Duration = Duration::from_millis(50);

/// How time is counted, the same on all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Raft's tick: a heartbeat each, an election after 10 to 20 without one.
    pub tick: Duration,
    /// Whether the leader may answer reads by a lease.
    pub has_leases: bool,
}

impl Default for Timing {
    fn default() -> Self {
        Self { tick: Duration::from_millis(100), has_leases: false }
    }
}

impl Timing {
    /// How long a lease lasts, if there are any.
    pub fn lease(&self) -> Option<Duration> {
        self.has_leases.then_some(self.tick * limits::LEASE_TICKS)
    }

    /// Whether such a timing is possible.
    pub fn check(&self) -> anyhow::Result<()> {
        let is_possible = !self.has_leases || self.tick >= LEASE_TICK_MIN;
        anyhow::ensure!(is_possible, "lease reads take ticks of {LEASE_TICK_MIN:?} at least");
        Ok(())
    }

    fn election_ms(&self) -> u64 {
        let election = self.tick * limits::ELECTION_TICKS;
        u64::try_from(election.as_millis()).unwrap_or(u64::MAX)
    }
}

/// What all nodes of a cluster agree on, and which of them this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's name.
    pub cluster: String,
    /// This node.
    pub node: NodeId,
    /// The nodes that the cluster began with, ascending.
    pub founders: Vec<NodeId>,
    /// The digest of the module.
    pub module: [u8; 32],
    /// How time is counted.
    pub timing: Timing,
}

impl Identity {
    /// How this node introduces itself to another.
    pub fn hello(&self, to: NodeId) -> Hello {
        Hello {
            cluster: self.cluster.clone(),
            group: GROUP.0,
            from: self.node.get().into(),
            to: to.get().into(),
            founders: self.founders.iter().map(|node| node.get().into()).collect(),
            module: self.module.to_vec().into(),
            fuel: quorate_wasm::FUEL_VERSION,
            election_ms: self.timing.election_ms(),
            has_leases: self.timing.has_leases,
            // Consensus has no other way.
            checks_quorum: true,
            ..Hello::default()
        }
    }

    /// Whether a node that introduces itself so may talk to this one; else why not.
    pub fn check(&self, hello: &Hello) -> Result<(), String> {
        let own = self.hello(self.node);
        let from = hello.from;
        let problem = if hello.cluster != own.cluster {
            format!("it is of cluster \"{}\", this is \"{}\"", hello.cluster, own.cluster)
        } else if hello.to != own.to {
            format!("it looks for node {}, this is node {}", hello.to, own.to)
        } else if hello.group != own.group {
            format!("it speaks for group {}, this is group {}", hello.group, own.group)
        } else if hello.founders != own.founders {
            format!("its cluster began with {:?}, this one with {:?}", hello.founders, own.founders)
        } else if hello.module != own.module {
            "it runs another module: start all nodes with the same --plugin".to_owned()
        } else if hello.fuel != own.fuel {
            format!("its costs have version {}, this one's {}", hello.fuel, own.fuel)
        } else if hello.has_leases != own.has_leases {
            let on_or_off = |is_on: bool| if is_on { "on" } else { "off" };
            let (its, ours) = (on_or_off(hello.has_leases), on_or_off(own.has_leases));
            format!(
                "its lease reads are {its}, this one's {ours}: start all nodes with --lease-reads, \
                 or none"
            )
        } else if hello.election_ms != own.election_ms {
            let (its, ours) = (hello.election_ms, own.election_ms);
            format!("its elections time out after {its} ms, this one's after {ours}")
        } else if own.has_leases && !hello.checks_quorum {
            "it leads without a majority, which lease reads do not allow".to_owned()
        } else {
            return Ok(());
        };
        Err(format!("node {from} may not talk to node {}: {problem}", self.node))
    }
}

/// What a data folder says of its owner.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    format: u32,
    cluster: String,
    node: u32,
    founders: Vec<u32>,
    log: LogKind,
    /// How often a node without a durable log was started here, less one.
    incarnation: u32,
    /// The digest of the module that made the state.
    module: String,
    /// The version of the costs that it was run with.
    fuel: u32,
    /// The folder's own number, drawn when it was made.
    #[serde(default)]
    store: String,
    /// Which history of the cluster the data belongs to; none, unless it was recovered or restored.
    #[serde(default)]
    lineage: String,
    /// Where others are, as it was last told.
    #[serde(default)]
    addresses: BTreeMap<String, String>,
}

const FORMAT: u32 = 1;
const FILE: &str = "identity.toml";
/// Where the log is, within the data folder.
pub const LOG_FOLDER: &str = "log";

/// A data folder that is this node's, and nobody else's as long as this lives.
#[derive(Debug)]
pub struct Claim {
    /// The member of the group that the node now is.
    pub member: RaftId,
    /// The folder's own number.
    pub store: StoreId,
    /// Which history of the cluster the data belongs to.
    pub lineage: u128,
    _lock: fs::File,
}

/// What a node begins with that joins a cluster, in a new folder. The default is a founder's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Birth {
    /// As which of its incarnations.
    pub incarnation: u32,
    /// Which history of the cluster it joins.
    pub lineage: u128,
    /// Where others are, as it was told; of an old folder, as it remembers.
    pub told: BTreeMap<NodeId, String>,
}

/// What a folder remembers of its cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The nodes that the cluster began with.
    pub founders: Vec<NodeId>,
    /// Where others are, as it was last told.
    pub addresses: BTreeMap<NodeId, String>,
}

/// What a folder remembers; `None` for a new one.
pub fn remember(folder: &Path) -> anyhow::Result<Option<Memory>> {
    let Some(owner) = read_owner(&folder.join(FILE))? else { return Ok(None) };
    let node = |number: &u32| NodeId::new(*number);
    let address =
        |(number, address): (String, String)| Some((node(&number.parse().ok()?)?, address));
    Ok(Some(Memory {
        founders: owner.founders.iter().filter_map(node).collect(),
        addresses: owner.addresses.into_iter().filter_map(address).collect(),
    }))
}

fn read_owner(file: &Path) -> anyhow::Result<Option<Owner>> {
    match fs::read_to_string(file) {
        Ok(text) => {
            let owner = toml::from_str(&text);
            Ok(Some(owner.with_context(|| damaged(file))?))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
    }
}

/// Nobody has asked wrongly: the file is not what was written.
pub(crate) fn damaged(file: &Path) -> Fatal {
    Fatal::damage(format!("{} is damaged", file.display()))
}

/// Claims a data folder for this node, creating it on the first start.
pub fn claim(
    folder: &Path,
    identity: &Identity,
    log: LogKind,
    birth: &Birth,
    addresses: &BTreeMap<NodeId, String>,
) -> anyhow::Result<Claim> {
    fs::create_dir_all(folder)
        .with_context(|| format!("creating the data folder {}", folder.display()))?;
    let lock = lock(folder)?;
    let file = folder.join(FILE);
    let mut owner = match read_owner(&file)? {
        Some(found) => next_owner(folder, found, identity, log)?,
        None => first_owner(folder, identity, log, birth)?,
    };
    // What the operator says now counts before what was said then.
    let known = birth.told.iter().chain(addresses);
    owner.addresses = known.map(|(node, address)| (node.to_string(), address.clone())).collect();
    if owner.store.is_empty() {
        owner.store = StoreId(random::bits_128()).to_string();
    }
    write_durably(&file, &toml::to_string(&owner)?)?;
    let number = |text: &str| u128::from_str_radix(text, 16).with_context(|| damaged(&file));
    let store = StoreId(number(&owner.store)?);
    let lineage = if owner.lineage.is_empty() { 0 } else { number(&owner.lineage)? };
    let member = RaftId::new(identity.node, owner.incarnation);
    Ok(Claim { member, store, lineage, _lock: lock })
}

/// Two processes with one folder could become the same member, and vote twice. The lock ends with
/// the process, however that ends.
fn lock(folder: &Path) -> anyhow::Result<fs::File> {
    let file = folder.join("lock");
    let lock = fs::File::create(&file).with_context(|| format!("creating {}", file.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => {
            anyhow::bail!("another process has the data folder {} open", folder.display())
        }
        Err(fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking {}", file.display()))
        }
    }
}

fn first_owner(
    folder: &Path,
    identity: &Identity,
    log: LogKind,
    birth: &Birth,
) -> anyhow::Result<Owner> {
    if log == LogKind::RocksDb {
        // Before the file that claims the folder: from then on, a log that is not there was lost.
        let log = folder.join(LOG_FOLDER);
        fs::create_dir_all(&log).with_context(|| format!("creating {}", log.display()))?;
    }
    Ok(Owner {
        format: FORMAT,
        cluster: identity.cluster.clone(),
        node: identity.node.get(),
        founders: identity.founders.iter().map(|node| node.get()).collect(),
        log,
        incarnation: birth.incarnation,
        module: hex(&identity.module),
        fuel: quorate_wasm::FUEL_VERSION,
        store: StoreId(random::bits_128()).to_string(),
        lineage: StoreId(birth.lineage).to_string(),
        addresses: BTreeMap::new(),
    })
}

fn next_owner(
    folder: &Path,
    found: Owner,
    identity: &Identity,
    log: LogKind,
) -> anyhow::Result<Owner> {
    let log_is_lost = log == LogKind::RocksDb && !folder.join(LOG_FOLDER).is_dir();
    // Alone, there is nobody to whom a node could have promised anything.
    let has_met_others = identity.founders.len() > 1
        || found.node != identity.founders.first().map_or(0, |founder| founder.get())
        || folder.join(roster::FILE).exists();
    let folder = folder.display();
    let founders: Vec<_> = identity.founders.iter().map(|node| node.get()).collect();
    anyhow::ensure!(
        found.format == FORMAT,
        "the data folder {folder} has format {}, this version knows {FORMAT}",
        found.format
    );
    anyhow::ensure!(
        found.cluster == identity.cluster,
        "the data folder {folder} belongs to cluster \"{}\", not \"{}\"",
        found.cluster,
        identity.cluster
    );
    anyhow::ensure!(
        found.node == identity.node.get(),
        "the data folder {folder} belongs to node {}, not {}",
        found.node,
        identity.node
    );
    anyhow::ensure!(
        found.founders == founders,
        "the data folder {folder} is of a cluster that began with nodes {:?}, not {founders:?}",
        found.founders
    );
    anyhow::ensure!(
        found.log == log,
        "the data folder {folder} was used with another kind of log; use --log as before"
    );
    anyhow::ensure!(
        !log_is_lost,
        "the log in the data folder {folder} is gone: this node no longer knows what it voted and \
         acknowledged, and must not run again under its number; restore the folder, or start it \
         once with --rejoin and an empty --data, as a new member"
    );
    // A node that applies its log anew with other code would decide otherwise than it did.
    anyhow::ensure!(
        found.module == hex(&identity.module) && found.fuel == quorate_wasm::FUEL_VERSION,
        "the data folder {folder} was made by module {} with fuel version {}, not {} with {}; \
         replacing a module under its state is not possible yet: use the same --plugin and version",
        found.module,
        found.fuel,
        hex(&identity.module),
        quorate_wasm::FUEL_VERSION
    );
    let forgets = log == LogKind::Memory && has_met_others;
    let incarnation = found.incarnation + u32::from(forgets);
    Ok(Owner { incarnation, ..found })
}

/// The folder of a node that does not run, for an operator who changes what it is.
#[derive(Debug)]
pub struct Heritage {
    /// The member that the node is.
    pub member: RaftId,
    file: PathBuf,
    owner: Owner,
    _lock: fs::File,
}

/// Opens the folder of a node that does not run, and that has a log.
pub fn inherit(folder: &Path) -> anyhow::Result<Heritage> {
    let file = folder.join(FILE);
    let name = folder.display();
    anyhow::ensure!(file.exists(), "{name} is no data folder: it has no {FILE}");
    let lock = lock(folder)?;
    let owner = read_owner(&file)?.with_context(|| format!("{name} has no {FILE}"))?;
    let has_log = owner.log == LogKind::RocksDb && folder.join(LOG_FOLDER).is_dir();
    anyhow::ensure!(has_log, "the data folder {name} has no log: there is nothing to go on with");
    let node = NodeId::new(owner.node).with_context(|| damaged(&file))?;
    let member = RaftId::new(node, owner.incarnation);
    Ok(Heritage { member, file, owner, _lock: lock })
}

impl Heritage {
    /// Makes the folder begin a history of its own: nobody of the old one is listened to from here
    /// on, nor listens.
    pub fn begin_lineage(&mut self) -> anyhow::Result<u128> {
        let lineage = random::bits_128();
        self.owner.lineage = StoreId(lineage).to_string();
        write_durably(&self.file, &toml::to_string(&self.owner)?)?;
        Ok(lineage)
    }
}

fn hex(digest: &[u8; 32]) -> String {
    quorate_wasm::Digest(*digest).to_string()
}

#[cfg(test)]
mod tests;
