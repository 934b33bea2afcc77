//! The stores of a node: opened, and owned by whom they belong to.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use quorate_core::id::{LogId, RaftId};
use quorate_core::log::{Base, HardState, LogStore, MemoryLog, Persist};
use quorate_core::members::StoreId;
use quorate_core::outcome::Fatal;
use quorate_core::replica::Recovered;
use quorate_core::state::{
    MemoryBuilder, Meta, Range, Space, StateBuilder as _, StateStore as _, StateView,
};

use super::NodeConfig;
use super::states::States;
use crate::identity::{self, Claim, GROUP, LogKind};
use crate::integrity::Places;
use crate::random;
use crate::rocks::RocksLog;
use crate::roster::Own;

/// Where a node keeps its log and state.
#[derive(Clone, Debug)]
pub enum Storage {
    /// In memory, for as long as this process lives. The node must never start again in the same
    /// cluster.
    Volatile,
    /// The same, but it begins with a state, and its log behind the last entry of that. All
    /// founders of the cluster must begin with the same one.
    Seeded(Seed),
    /// A folder that knows its owner; the log is there, or in memory.
    Folder(PathBuf, LogKind),
}

/// A state to begin with.
#[derive(Clone)]
pub struct Seed(pub Arc<dyn StateView>);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seed").field(self.0.meta()).finish()
    }
}

impl Seed {
    /// A log that begins behind the state, and a copy of the state. Its members are the founders.
    fn plant(&self) -> Result<(MemoryLog, States), Fatal> {
        let (mut log, mut builder) = (MemoryLog::new(), MemoryBuilder::new());
        for space in Space::ALL {
            let mut put = Ok(());
            self.0.scan(space, Range::ALL, &mut |key, value| {
                put = builder.put(space, key, value);
                if put.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            put?;
        }
        let meta = Meta { conf: Bytes::new(), ..self.0.meta().clone() };
        let LogId { term, index: commit } = meta.applied;
        let hard_state = HardState { term, commit, ..HardState::default() };
        let base = Some(Base { id: meta.applied, state: 0 });
        let hard_state = Some(&hard_state);
        log.persist(Persist { base, hard_state, entries: &[], must_sync: true })?;
        Ok((log, States::of_memory(builder.finish(meta)?)))
    }
}

/// The stores of a node, and what they remember.
pub(super) struct Stores {
    pub(super) own: Own,
    pub(super) log: Box<dyn LogStore>,
    pub(super) state: Arc<States>,
    pub(super) recovered: Recovered,
    /// Where a quarantine of the state is remembered.
    pub(super) places: Option<Places>,
    /// What the state knows of itself.
    pub(super) meta: Meta,
    /// On the folder where they are.
    pub(super) claim: Option<Claim>,
}

impl Stores {
    pub(super) fn open(config: &NodeConfig) -> anyhow::Result<Self> {
        let NodeConfig { storage, identity, birth, addresses, .. } = config;
        identity.timing.check()?;
        let claim = match storage {
            Storage::Volatile | Storage::Seeded(_) => None,
            Storage::Folder(folder, kind) => {
                Some(identity::claim(folder, identity, *kind, birth, addresses)?)
            }
        };
        let own = match (&claim, storage) {
            (Some(claim), Storage::Folder(folder, _)) => Own {
                member: claim.member,
                store: claim.store,
                lineage: claim.lineage,
                folder: Some(folder.clone()),
                told: birth.told.clone(),
            },
            // It never restarts.
            _ => Own {
                member: RaftId::new(identity.node, birth.incarnation),
                store: StoreId(random::bits_128()),
                lineage: birth.lineage,
                folder: None,
                told: BTreeMap::new(),
            },
        };
        let (log, state): (Box<dyn LogStore>, States) = match storage {
            Storage::Volatile | Storage::Folder(_, LogKind::Memory) => {
                (Box::new(MemoryLog::new()), States::in_memory())
            }
            Storage::Seeded(seed) => {
                let (log, states) = seed.plant()?;
                (Box::new(log), states)
            }
            Storage::Folder(folder, LogKind::RocksDb) => {
                let log = RocksLog::open(&folder.join(identity::LOG_FOLDER), GROUP)?;
                let states = States::open(folder, log.base())?;
                (Box::new(log), states)
            }
        };
        let state = Arc::new(state);
        let meta = state.snapshot().meta().clone();
        let recovered = Recovered { applied: meta.applied, conf: meta.conf.clone() };
        let places = match storage {
            Storage::Folder(data, LogKind::RocksDb) => {
                state.folder().map(|state| Places { data: data.clone(), state })
            }
            Storage::Volatile | Storage::Seeded(_) | Storage::Folder(..) => None,
        };
        Ok(Self { own, log, state, recovered, places, meta, claim })
    }
}
