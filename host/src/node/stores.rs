//! The stores of a node: opened, and owned by whom they belong to.

use std::path::PathBuf;
use std::sync::Arc;

use quorate_core::id::RaftId;
use quorate_core::log::{LogStore, MemoryLog};
use quorate_core::replica::Recovered;
use quorate_core::state::{MemoryState, StateStore};

use crate::identity::{self, GROUP, Identity, LogKind};
use crate::rocks::{RocksLog, RocksState};

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
    pub(super) member: RaftId,
    pub(super) log: Box<dyn LogStore>,
    pub(super) state: Arc<dyn StateStore>,
    pub(super) recovered: Recovered,
}

impl Stores {
    pub(super) fn open(storage: &Storage, identity: &Identity) -> anyhow::Result<Self> {
        let (member, log, state): (_, Box<dyn LogStore>, Arc<dyn StateStore>) = match storage {
            Storage::Volatile => (
                RaftId::new(identity.node, 0),
                Box::new(MemoryLog::new()),
                Arc::new(MemoryState::new()),
            ),
            Storage::Folder(folder, kind) => {
                let member = identity::claim(folder, identity, *kind)?;
                match kind {
                    LogKind::Memory => {
                        (member, Box::new(MemoryLog::new()), Arc::new(MemoryState::new()))
                    }
                    LogKind::RocksDb => (
                        member,
                        Box::new(RocksLog::open(&folder.join("log"), GROUP)?),
                        Arc::new(RocksState::open(&folder.join("state"))?),
                    ),
                }
            }
        };
        let meta = state.snapshot().meta().clone();
        let recovered = Recovered { applied: meta.applied, conf: meta.conf };
        Ok(Self { member, log, state, recovered })
    }
}
