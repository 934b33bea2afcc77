//! Linearizable queries: on any node, on a snapshot of the state, in parallel with apply.

use std::sync::Arc;

use quorate_core::batch::Command;
use quorate_core::id::LogId;
use quorate_core::outcome::Outcome;
use quorate_core::run::Run;
use quorate_core::state::StateStore;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::Status;

use crate::consensus::Reader;
use crate::identity::GROUP;
use crate::wasm::Module;

/// Answers queries. A read index says what was committed when the query came; the state is read as
/// soon as it has applied that much.
#[derive(Clone)]
pub struct Queries {
    reads: mpsc::Sender<Reader>,
    applied: watch::Receiver<u64>,
    state: Arc<dyn StateStore>,
    module: Arc<Module>,
}

impl Queries {
    /// Queries of `state` by `module`; `reads` asks consensus for a read index, and `applied` is
    /// the last index that the state has.
    pub fn new(
        reads: mpsc::Sender<Reader>,
        applied: watch::Receiver<u64>,
        state: Arc<dyn StateStore>,
        module: Arc<Module>,
    ) -> Self {
        Self { reads, applied, state, module }
    }

    /// Runs a query; returns the place in the log whose state it saw, and what it found.
    pub async fn query(&self, query: Command) -> Result<(LogId, Outcome), Status> {
        let index = self.read_index().await?;
        let stopping = || Status::unavailable("this node is stopping");
        let mut applied = self.applied.clone();
        applied.wait_for(|applied| *applied >= index).await.map_err(|_| stopping())?;
        let permit = self.module.query_slots().acquire_owned().await.map_err(|_| stopping())?;
        let (state, module) = (Arc::clone(&self.state), Arc::clone(&self.module));
        let run = tokio::task::spawn_blocking(move || {
            let view = state.snapshot();
            let seen = view.meta().applied;
            let outcome = module.query(Run::query(view, GROUP, query));
            drop(permit);
            outcome.map(|outcome| (seen, outcome))
        });
        run.await.map_err(|_| stopping())?.map_err(|fatal| {
            tracing::error!("a query met a fault of this node: {fatal}");
            Status::internal("this node could not run the query; its log says why")
        })
    }

    async fn read_index(&self) -> Result<u64, Status> {
        let stopping = || Status::unavailable("this node is stopping");
        let (reader, index) = oneshot::channel();
        self.reads.send(reader).await.map_err(|_| stopping())?;
        index.await.map_err(|_| stopping())?.map_err(|refusal| {
            use quorate_core::replica::Refusal;
            match refusal {
                Refusal::Busy => Status::resource_exhausted("too many reads wait; try later"),
                Refusal::NotLeader(_) | Refusal::Overwritten => Status::unavailable(
                    "no leader was found in time, so the latest state is not known; try again",
                ),
            }
        })
    }
}
