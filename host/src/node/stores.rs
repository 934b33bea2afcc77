//! The stores of a node: opened, and owned by whom they belong to.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use quorate_core::id::RaftId;
use quorate_core::log::{LogStore, MemoryLog};
use quorate_core::members::StoreId;
use quorate_core::replica::Recovered;
use quorate_core::state::{Meta, StateStore as _};

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
    /// A folder that knows its owner; the log is there, or in memory.
    Folder(PathBuf, LogKind),
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
            Storage::Volatile => None,
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
            Storage::Volatile | Storage::Folder(..) => None,
        };
        Ok(Self { own, log, state, recovered, places, meta, claim })
    }
}
