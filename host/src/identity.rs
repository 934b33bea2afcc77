//! Who a node is, in its own data folder and towards its peers.
//!
//! A folder that belongs to another node or cluster is refused: a node that votes with somebody
//! else's log breaks consensus. A node that keeps its log in memory is another member each time it
//! starts, since it no longer knows what it voted and acknowledged.

use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use anyhow::Context as _;
use quorate_core::id::{GroupId, NodeId, RaftId};
use quorate_core::limits;
use quorate_proto::v1::Hello;
use serde::{Deserialize, Serialize};

use crate::wasm;

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
            fuel: wasm::FUEL_VERSION,
            election_ms: self.timing.election_ms(),
            has_leases: self.timing.has_leases,
            // Consensus has no other way.
            checks_quorum: true,
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
    _lock: fs::File,
}

/// Claims a data folder for this node, creating it on the first start.
pub fn claim(folder: &Path, identity: &Identity, log: LogKind) -> anyhow::Result<Claim> {
    fs::create_dir_all(folder)
        .with_context(|| format!("creating the data folder {}", folder.display()))?;
    let lock = lock(folder)?;
    let file = folder.join(FILE);
    let owner = match fs::read_to_string(&file) {
        Ok(text) => {
            let found: Owner =
                toml::from_str(&text).with_context(|| format!("{} is damaged", file.display()))?;
            next_owner(folder, found, identity, log)?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            first_owner(folder, identity, log)?
        }
        Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
    };
    write_durably(&file, &toml::to_string(&owner)?)?;
    Ok(Claim { member: RaftId::new(identity.node, owner.incarnation), _lock: lock })
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

fn first_owner(folder: &Path, identity: &Identity, log: LogKind) -> anyhow::Result<Owner> {
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
        incarnation: 0,
        module: hex(&identity.module),
        fuel: wasm::FUEL_VERSION,
    })
}

fn next_owner(
    folder: &Path,
    found: Owner,
    identity: &Identity,
    log: LogKind,
) -> anyhow::Result<Owner> {
    let log_is_lost = log == LogKind::RocksDb && !folder.join(LOG_FOLDER).is_dir();
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
         acknowledged, and must not run again under its number; restore the folder, or leave it"
    );
    // A node that applies its log anew with other code would decide otherwise than it did.
    anyhow::ensure!(
        found.module == hex(&identity.module) && found.fuel == wasm::FUEL_VERSION,
        "the data folder {folder} was made by module {} with fuel version {}, not {} with {}; \
         replacing a module under its state is not possible yet: use the same --plugin and version",
        found.module,
        found.fuel,
        hex(&identity.module),
        wasm::FUEL_VERSION
    );
    // Alone, there is nobody to whom a node could have promised anything.
    let forgets = log == LogKind::Memory && founders.len() > 1;
    let incarnation = if forgets { found.incarnation + 1 } else { 0 };
    Ok(Owner { incarnation, ..found })
}

fn hex(digest: &[u8; 32]) -> String {
    wasm::Digest(*digest).to_string()
}

/// Replaces a file by way of another, so that a crash leaves the old or the new one, whole.
fn write_durably(file: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let next = file.with_extension("next");
    let write = || -> io::Result<()> {
        let mut out = fs::File::create(&next)?;
        out.write_all(text.as_bytes())?;
        out.sync_all()?;
        fs::rename(&next, file)?;
        let folder = file.parent().expect("the file was joined to its folder");
        fs::File::open(folder)?.sync_all()
    };
    write().with_context(|| format!("writing {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(cluster: &str, node: u32) -> Identity {
        Identity {
            cluster: cluster.to_owned(),
            node: NodeId::new(node).unwrap(),
            founders: (1..=3).map(|node| NodeId::new(node).unwrap()).collect(),
            module: [7; 32],
            timing: Timing::default(),
        }
    }

    #[test]
    fn a_folder_stays_with_its_node_and_cluster() {
        let folder = tempfile::tempdir().unwrap();
        let claim = |identity: &Identity, log| {
            let claim = claim(folder.path(), identity, log);
            claim.map(|claim| claim.member).map_err(|error| error.to_string())
        };
        let own = identity("a", 1);
        assert_eq!(claim(&own, LogKind::RocksDb), Ok(RaftId::new(own.node, 0)));
        assert_eq!(claim(&own, LogKind::RocksDb), Ok(RaftId::new(own.node, 0)));
        let of = |result: Result<RaftId, String>| result.unwrap_err();
        assert!(of(claim(&identity("b", 1), LogKind::RocksDb)).contains("cluster \"a\""));
        assert!(of(claim(&identity("a", 2), LogKind::RocksDb)).contains("belongs to node 1"));
        assert!(of(claim(&own, LogKind::Memory)).contains("another kind of log"));
        fs::rename(folder.path().join(LOG_FOLDER), folder.path().join("elsewhere")).unwrap();
        assert!(of(claim(&own, LogKind::RocksDb)).contains("is gone"));
        fs::rename(folder.path().join("elsewhere"), folder.path().join(LOG_FOLDER)).unwrap();
        let mut other_module = own.clone();
        other_module.module = [8; 32];
        assert!(of(claim(&other_module, LogKind::RocksDb)).contains("replacing a module"));
        let mut smaller = own.clone();
        smaller.founders.pop();
        assert!(of(claim(&smaller, LogKind::RocksDb)).contains("began with nodes"));
        fs::write(folder.path().join(FILE), "nonsense").unwrap();
        assert!(of(claim(&own, LogKind::RocksDb)).contains("is damaged"));
    }

    #[test]
    fn a_node_whose_log_was_in_memory_is_another_member_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let own = identity("a", 2);
        let incarnations: Vec<_> = (0..3)
            .map(|_| claim(folder.path(), &own, LogKind::Memory).unwrap().member.incarnation())
            .collect();
        assert_eq!(incarnations, [0, 1, 2]);
    }

    #[test]
    fn a_folder_is_claimed_by_one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let own = identity("a", 1);
        let claim = || claim(folder.path(), &own, LogKind::Memory);
        let first = claim().unwrap();
        assert!(claim().unwrap_err().to_string().contains("another process"));
        drop(first);
        assert_eq!(claim().unwrap().member.incarnation(), 1, "who was refused changed nothing");
    }

    #[test]
    fn peers_that_disagree_are_told_about_what() {
        let own = identity("a", 1);
        let other = identity("a", 2);
        assert_eq!(own.check(&other.hello(own.node)), Ok(()));
        let refused = |hello| own.check(&hello).unwrap_err();
        assert!(refused(identity("b", 2).hello(own.node)).contains("cluster \"b\""));
        assert!(refused(other.hello(NodeId::new(3).unwrap())).contains("looks for node 3"));
        let mut hello = other.hello(own.node);
        hello.founders.pop();
        assert!(refused(hello).contains("began with"));
        let mut hello = other.hello(own.node);
        hello.module = vec![8; 32].into();
        assert!(refused(hello).contains("another module"));
        let mut hello = other.hello(own.node);
        hello.fuel += 1;
        assert!(refused(hello).contains("its costs"));
        let mut hello = other.hello(own.node);
        hello.has_leases = true;
        assert!(refused(hello).contains("--lease-reads"));
        let mut hello = other.hello(own.node);
        hello.election_ms *= 2;
        assert!(refused(hello).contains("time out after 2000 ms"));
    }
}
