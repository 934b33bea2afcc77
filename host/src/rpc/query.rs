//! Queries: on any node, on a snapshot of the state, in parallel with apply. They differ in what
//! they wait for before the snapshot is taken.

mod pool;

use std::sync::Arc;
use std::time::Duration;

use quorate_core::batch::Command;
use quorate_core::id::LogId;
use quorate_core::limits;
use quorate_core::outcome::{Fatal, Outcome};
use quorate_core::replica::Lease;
use quorate_core::state::{StateStore, StateView};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::consistency::{Consistency, READ_KEY};
use super::status;
use crate::clock;
use crate::consensus::Reader;
use crate::integrity::Integrity;
use crate::submit::COMMAND_WAIT_MAX;
use crate::watchdog;
use pool::Pool;
use quorate_wasm::Module;

/// How long a query waits until the state has all that was committed before: as long as a command
/// waits for its outcome, so that a client needs one time-out for both.
const QUERY_WAIT_MAX: Duration = COMMAND_WAIT_MAX;

/// Answers queries. A read index says what was committed when the query came; the state is read as
/// soon as it has applied that much.
#[derive(Clone)]
pub struct Queries {
    latest: Latest,
    state: Arc<dyn StateStore>,
    pool: Pool,
    integrity: Arc<Integrity>,
}

/// How a node gets to know the latest state.
#[derive(Clone, Debug)]
pub struct Latest {
    /// Asks consensus for a read index.
    pub reads: mpsc::Sender<Reader>,
    /// What may be read without asking.
    pub lease: watch::Receiver<Lease>,
    /// Whether there are leases, beyond that of a node that votes alone.
    pub has_leases: bool,
    /// The last index that the state has.
    pub applied: watch::Receiver<u64>,
    /// Whether consensus is stuck.
    pub stalled: watch::Receiver<bool>,
}

impl Queries {
    /// Queries of `state` by `module`.
    pub fn new(
        latest: Latest,
        state: Arc<dyn StateStore>,
        module: Arc<Module>,
        integrity: Arc<Integrity>,
    ) -> Self {
        let told = Arc::clone(&integrity);
        let faulty = move |fatal: &Fatal| {
            tracing::error!("a query met a fault of this node: {fatal}");
            // A want of memory, or of file handles, says nothing of the state.
            if fatal.is_damage() {
                told.damaged(fatal);
            }
        };
        let pool = Pool::new(Arc::clone(&state), module, faulty);
        Self { latest, state, pool, integrity }
    }

    /// Runs a query; returns the place in the log whose state it saw, and what it found.
    pub async fn query(
        &self,
        query: Command,
        consistency: Consistency,
    ) -> Result<(LogId, Outcome), Status> {
        self.check_sound()?;
        match consistency {
            Consistency::Linearizable => self.latest.by_read_index().await?,
            Consistency::Lease => self.latest.by_lease().await?,
            Consistency::Stale => {}
        }
        self.run(query).await
    }

    /// The state, with all that was committed when this was called.
    pub async fn latest(&self) -> Result<Arc<dyn StateView>, Status> {
        self.latest.by_read_index().await?;
        self.check_sound()?;
        Ok(self.state.snapshot())
    }

    async fn run(&self, query: Command) -> Result<(LogId, Outcome), Status> {
        // Also where any state will do: on one node, what is seen does not go back in time.
        let applied = *self.latest.applied.borrow();
        let found = self.pool.query(query, applied).await;
        // Also when it was found out only now.
        self.check_sound()?;
        found.ok_or_else(|| Status::internal("this node could not run the query; its log says why"))
    }

    fn check_sound(&self) -> Result<(), Status> {
        if self.integrity.may_serve() {
            return Ok(());
        }
        Err(Status::unavailable(
            "this node's state is in quarantine, since it is not what the other nodes have; ask \
             another node",
        ))
    }
}

impl Latest {
    /// Waits until the state has all that was committed by now. A node that votes alone need not
    /// ask its raft thread, which may be busy with its disk.
    async fn by_read_index(&self) -> Result<(), Status> {
        let deadline = Instant::now() + QUERY_WAIT_MAX;
        let endless = self.lease.borrow().endless();
        if let Some(index) = endless {
            return applied_in_time(&self.applied, index, deadline).await;
        }
        let index = tokio::select! {
            index = timeout_at(deadline, self.read_index()) => index.map_err(|_| no_leader())??,
            () = watchdog::stalls(self.stalled.clone()) => return Err(stalled()),
        };
        applied_in_time(&self.applied, index, deadline).await
    }

    /// The same, by the lease. Where there is none, as on a follower, a read index will do; for a
    /// leader, that is also what renews its lease.
    async fn by_lease(&self) -> Result<(), Status> {
        if !self.has_leases {
            return Err(no_leases());
        }
        let lease = *self.lease.borrow();
        // The clock comes last: if the lease lasts now, it did when it was looked up.
        match lease.covers(clock::now()) {
            Some(index) => {
                let deadline = Instant::now() + QUERY_WAIT_MAX;
                applied_in_time(&self.applied, index, deadline).await
            }
            None => self.by_read_index().await,
        }
    }

    async fn read_index(&self) -> Result<u64, Status> {
        let (reader, index) = oneshot::channel();
        self.reads.send(reader).await.map_err(stopping)?;
        index.await.map_err(stopping)?.map_err(|refusal| {
            use quorate_core::replica::Refusal;
            match refusal {
                Refusal::Busy => {
                    let after = Duration::from_millis(limits::RETRY_AFTER_MS_MIN);
                    status::busy("too many reads wait; try later", after)
                }
                Refusal::NotLeader(_) | Refusal::Overwritten => no_leader(),
            }
        })
    }
}

/// Waits until the state has all up to an index: not for long on a node that keeps up, for minutes
/// on one that has a long log to catch up with.
async fn applied_in_time(
    applied: &watch::Receiver<u64>,
    index: u64,
    deadline: Instant,
) -> Result<(), Status> {
    // Mostly.
    if *applied.borrow() >= index {
        return Ok(());
    }
    let mut applied = applied.clone();
    let reached = timeout_at(deadline, applied.wait_for(|applied| *applied >= index)).await;
    reached.map_err(|_| behind())?.map_err(stopping)?;
    Ok(())
}

/// A lease holds only if all nodes keep it, so it cannot be had from one of them alone.
fn no_leases() -> Status {
    Status::failed_precondition(format!(
        "this cluster has no lease reads: leave out {READ_KEY}, or start all of its nodes with \
         --lease-reads"
    ))
}

fn no_leader() -> Status {
    Status::unavailable("no leader was found in time, so the latest state is not known; try again")
}

fn stalled() -> Status {
    Status::unavailable(
        "the disk of this node does not answer, so the latest state is not known; ask another node",
    )
}

fn behind() -> Status {
    Status::unavailable(
        "this node is behind, and did not have the latest state in time; ask another node, or try \
         again when it has caught up",
    )
}

/// Whoever answers is gone.
fn stopping<E>(_: E) -> Status {
    Status::unavailable("this node is stopping")
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn a_query_does_not_outlast_its_deadline_on_a_node_that_is_behind() {
        let (sender, applied) = watch::channel(4);
        let now = Instant::now();
        let late = applied_in_time(&applied, 5, now).await.unwrap_err();
        assert_eq!(late.code(), Code::Unavailable);
        assert!(late.message().contains("ask another node"), "{late}");
        applied_in_time(&applied, 4, now).await.unwrap();

        let waiting = applied_in_time(&applied, 5, now + QUERY_WAIT_MAX);
        let came = async { sender.send_replace(5) };
        tokio::join!(waiting, came).0.unwrap();
        drop(sender);
        let stopped = applied_in_time(&applied, 6, now + QUERY_WAIT_MAX).await.unwrap_err();
        assert!(stopped.message().contains("stopping"), "{stopped}");
    }
}
