//! The way of a command to its leader: here, or on another node.
//!
//! A command that was surely not proposed is tried again until its deadline, so that callers do not
//! see an election. One whose fate is unknown is tried again if it has a session, which has it
//! executed once however often it is proposed; else never, as it may have been executed.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use quorate_core::batch::{Command, Proposal};
use quorate_core::id::{LogId, NodeId};
use quorate_core::limits;
use quorate_core::replica::{Refusal, Status};
use quorate_proto::v1;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::admission::Admission;
use crate::batcher::Submission;
use crate::consensus::leader_of;
use crate::disk::DiskGuard;
use crate::integrity::Integrity;
use crate::peers::{Directory, Forwarded};
use crate::rpc::status;
use crate::stages::Stages;
use crate::waiter::{self, Answer, Waiter};
use crate::watchdog;

/// How long a command waits for a leader, and for its outcome.
pub const COMMAND_WAIT_MAX: Duration = Duration::from_secs(5);
/// How much earlier a node gives up that was handed a command, so that its answer arrives.
const FORWARD_MARGIN: Duration = Duration::from_millis(500);
/// Between two tries when nothing tells that a try would fare better.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// What a command decided, and where.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Its place in the log.
    pub id: LogId,
    /// The node that answered.
    pub node: u64,
    /// The reply, or the rejection as a gRPC status.
    pub outcome: Result<bytes::Bytes, v1::Status>,
}

/// Why a caller has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecided {
    /// No leader was found. The command was not proposed.
    NoLeader,
    /// The leader has too much to do. The command was not proposed.
    Busy,
    /// A disk is nearly full, the leader's or a majority's. The command was not proposed.
    DiskFull,
    /// This node is stopping. The command was not proposed.
    Stopping,
    /// The command was proposed; whether it is executed is not known.
    Unknown,
}

impl Undecided {
    /// The same of a command that an earlier try may have proposed.
    fn after(self, was_proposed: bool) -> Self {
        if was_proposed { Self::Unknown } else { self }
    }
}

/// Resolves when another node leads than the one that was asked.
async fn another_leads(status: &mut watch::Receiver<Status>, asked: Option<NodeId>) {
    let led = status.wait_for(|status| {
        let leader = leader_of(status);
        leader.is_some() && leader != asked
    });
    if led.await.is_err() {
        // Consensus has ended; the try ends by itself.
        std::future::pending::<()>().await;
    }
}

/// Finds the leader for commands. Holds no strong sender of the submit channel: the node alone
/// does, so that dropping it stops the batcher however many callers there are.
#[derive(Clone, Debug)]
pub struct Submitter {
    /// This node.
    pub node: NodeId,
    /// To the batcher.
    pub submit: mpsc::WeakSender<Submission<Waiter>>,
    /// Who leads.
    pub status: watch::Receiver<Status>,
    /// How to reach the others.
    pub directory: Arc<Directory>,
    /// Closed when the node begins to stop.
    pub serving: watch::Receiver<()>,
    /// Whether consensus is stuck on this node.
    pub stalled: watch::Receiver<bool>,
    /// Room for calls.
    pub admission: Admission,
    /// Whether outcomes may be told here.
    pub integrity: Arc<Integrity>,
    /// Whether there is room for what commands write.
    pub disk: Arc<DiskGuard>,
    /// Where the time of commands goes.
    pub stages: Arc<Stages>,
}

/// One try.
enum Try {
    Decided(Decided),
    /// Not proposed; worth another try.
    Again(Undecided),
    Failed(Undecided),
}

impl Submitter {
    /// Has a command decided. It may still be handed on `hops_left` times.
    pub async fn submit(&self, command: Command, hops_left: u32) -> Result<Decided, Undecided> {
        // Only the node that the client called waits for a leader: one that was handed the command
        // says at once that it cannot help, and in time if it cannot tell.
        let was_handed_on = hops_left < limits::FORWARD_HOPS_MAX;
        let margin = if was_handed_on { FORWARD_MARGIN } else { Duration::ZERO };
        let deadline = Instant::now() + COMMAND_WAIT_MAX - margin;
        let mut status = self.status.clone();
        let mut serving = self.serving.clone();
        let is_repeatable = command.session.is_some();
        // What was proposed once may be executed, whatever becomes of later tries.
        let mut was_proposed = false;
        loop {
            let leader = leader_of(&status.borrow_and_update());
            let trying = self.try_once(leader, &command, hops_left, deadline);
            let tried = tokio::select! {
                biased;
                tried = trying => tried,
                // Nobody need wait for a leader that is gone, if it does no harm to ask the next.
                () = another_leads(&mut status, leader), if is_repeatable => {
                    Try::Failed(Undecided::Unknown)
                }
            };
            let undecided = match tried {
                Try::Decided(decided) => return Ok(decided),
                Try::Failed(Undecided::Unknown) if is_repeatable => {
                    was_proposed = true;
                    Undecided::Unknown
                }
                Try::Failed(undecided) => return Err(undecided.after(was_proposed)),
                Try::Again(undecided) => undecided,
            };
            if was_handed_on || Instant::now() >= deadline {
                return Err(undecided.after(was_proposed));
            }
            tokio::select! {
                Ok(()) = status.changed() => {}
                () = tokio::time::sleep(RETRY_PAUSE) => {}
                Err(_) = serving.changed() => {
                    return Err(Undecided::Stopping.after(was_proposed));
                }
            }
        }
    }

    /// Whether commands may be proposed here: this node leads, as far as it knows, and is well.
    pub fn may_propose(&self) -> bool {
        let leads = leader_of(&self.status.borrow()) == Some(self.node);
        leads && !*self.stalled.borrow() && self.integrity.may_serve()
    }

    /// Hands commands to the batcher together. Each is told what became of it, also where there is
    /// no room for them, or nobody who takes them any more.
    pub async fn hand_over(&self, proposals: Vec<Proposal<Waiter>>) {
        let refusal = match self.submit.upgrade() {
            Some(submit) => {
                let patience = Duration::from_millis(limits::SUBMIT_WAIT_MS_MAX);
                match timeout(patience, submit.reserve()).await {
                    Ok(Ok(slot)) => return slot.send(Submission::Many(proposals)),
                    Ok(Err(_)) => Refusal::NotLeader(None),
                    Err(_) => Refusal::Busy,
                }
            }
            None => Refusal::NotLeader(None),
        };
        let waiters = proposals.into_iter().map(|proposal| proposal.waiter);
        waiter::tell(waiters.map(|waiter| (waiter, Answer::Refused(refusal))));
    }

    async fn try_once(
        &self,
        leader: Option<NodeId>,
        command: &Command,
        hops_left: u32,
        deadline: Instant,
    ) -> Try {
        if *self.stalled.borrow() {
            return self.try_anywhere(command, hops_left, deadline).await;
        }
        match leader {
            Some(leader) if leader == self.node => self.try_here(command.clone(), deadline).await,
            Some(leader) if hops_left > 0 => {
                self.try_there(leader, command, hops_left - 1, deadline).await
            }
            Some(_) | None => Try::Again(Undecided::NoLeader),
        }
    }

    /// While consensus is stuck here, another node knows who leads.
    async fn try_anywhere(&self, command: &Command, hops_left: u32, deadline: Instant) -> Try {
        for node in self.directory.nodes().into_iter().take_while(|_| hops_left > 0) {
            match self.try_there(node, command, hops_left - 1, deadline).await {
                Try::Again(_) => {}
                tried @ (Try::Decided(_) | Try::Failed(_)) => return tried,
            }
        }
        Try::Again(Undecided::NoLeader)
    }

    async fn try_here(&self, command: Command, deadline: Instant) -> Try {
        if !self.integrity.may_serve() {
            // It is about to hand leadership over.
            return Try::Again(Undecided::NoLeader);
        }
        if !self.disk.admits(&command) {
            return Try::Failed(Undecided::DiskFull);
        }
        let (waiter, answer) = Waiter::call();
        let Some(submit) = self.submit.upgrade() else { return Try::Failed(Undecided::Stopping) };
        let patience = Instant::now() + Duration::from_millis(limits::SUBMIT_WAIT_MS_MAX);
        let proposal = Submission::One(Proposal { command, waiter });
        match timeout_at(patience.min(deadline), submit.send(proposal)).await {
            Ok(Ok(())) => drop(submit),
            Ok(Err(_)) => return Try::Failed(Undecided::Stopping),
            Err(_) => return Try::Failed(Undecided::Busy),
        }
        let answered = tokio::select! {
            answered = timeout_at(deadline, answer) => answered,
            // It may have been proposed, or may be when the disk is back.
            () = watchdog::stalls(self.stalled.clone()) => return Try::Failed(Undecided::Unknown),
        };
        match answered {
            Ok(Ok(Answer::Decided(id, outcome, span))) => {
                self.stages.replied(iter::once(span));
                Try::Decided(Decided {
                    id,
                    node: self.node.get().into(),
                    outcome: outcome.map_err(|rejection| status::of_rejection(&rejection)),
                })
            }
            Ok(Ok(Answer::Refused(Refusal::Busy))) => Try::Failed(Undecided::Busy),
            Ok(Ok(Answer::Refused(Refusal::NotLeader(_) | Refusal::Overwritten))) => {
                Try::Again(Undecided::NoLeader)
            }
            Ok(Err(_)) | Err(_) => Try::Failed(Undecided::Unknown),
        }
    }

    async fn try_there(
        &self,
        leader: NodeId,
        command: &Command,
        hops_left: u32,
        deadline: Instant,
    ) -> Try {
        let forward = self.directory.submit(leader, command, hops_left);
        match timeout_at(deadline, forward).await {
            Ok(Forwarded::Decided(decided)) => Try::Decided(decided),
            Ok(Forwarded::NotProposed) => Try::Again(Undecided::NoLeader),
            Ok(Forwarded::Busy) => Try::Failed(Undecided::Busy),
            Ok(Forwarded::DiskFull) => Try::Failed(Undecided::DiskFull),
            Ok(Forwarded::Unknown) | Err(_) => Try::Failed(Undecided::Unknown),
        }
    }
}
