//! What an operator asks for, on its way to the leader and back: a change of members, or of the
//! leader. It is tried again while that may help, and answered when it is done.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::id::NodeId;
use quorate_core::members::Members;
use quorate_core::replica::{Change, ChangeRefusal, Status};
use quorate_proto::v1::change_error::Kind;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::consensus::{Request, leader_of};
use crate::peers::Directory;

/// How long an operator waits for a change.
const CHANGE_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long the leader waits until one that it has proposed is done.
const DONE_WAIT_MAX: Duration = Duration::from_secs(4);
/// How long a node waits to hear of a leader that others know.
const HEARSAY_WAIT_MAX: Duration = Duration::from_secs(1);
/// Between two tries.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which kind.
    pub kind: Kind,
    /// For a person.
    pub message: String,
    /// By how many entries a node is behind, where that is the problem.
    pub behind: u64,
    /// The leader, where it is known.
    pub leader: Option<NodeId>,
}

impl Problem {
    /// A problem of that kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), behind: 0, leader: None }
    }

    /// Whether the same may go well a little later.
    fn may_pass(&self) -> bool {
        matches!(self.kind, Kind::NoLeader | Kind::UnderWay)
    }
}

impl From<ChangeRefusal> for Problem {
    fn from(refusal: ChangeRefusal) -> Self {
        let kind = match refusal {
            ChangeRefusal::NotLeader(_) | ChangeRefusal::HandingOver => Kind::NoLeader,
            ChangeRefusal::UnderWay => Kind::UnderWay,
            ChangeRefusal::Unknown(_) => Kind::UnknownMember,
            ChangeRefusal::AlreadyMember(_) => Kind::AlreadyMember,
            ChangeRefusal::AlreadyDone(_) => Kind::AlreadyDone,
            ChangeRefusal::NotVoter(_) => Kind::NotVoter,
            ChangeRefusal::TooFarBehind(..) => Kind::TooFarBehind,
            ChangeRefusal::NotHeard(_) => Kind::NotHeard,
            ChangeRefusal::LastVoter => Kind::LastVoter,
            ChangeRefusal::LosesQuorum { .. } => Kind::LosesQuorum,
            ChangeRefusal::TooMany(_) => Kind::TooManyMembers,
        };
        let behind = if let ChangeRefusal::TooFarBehind(_, behind) = refusal { behind } else { 0 };
        let leader = if let ChangeRefusal::NotLeader(leader) = refusal { leader } else { None };
        Self { behind, leader, ..Self::new(kind, refusal.to_string()) }
    }
}

/// Has changes made. Any node takes them; the leader makes them.
#[derive(Clone, Debug)]
pub struct Operator {
    /// This node.
    pub node: NodeId,
    /// Who leads.
    pub status: watch::Receiver<Status>,
    /// Who the members are.
    pub members: watch::Receiver<Arc<Members>>,
    /// To consensus.
    pub requests: mpsc::Sender<Request>,
    /// How to reach the others.
    pub directory: Arc<Directory>,
}

impl Operator {
    /// Has a change made, here or by the leader; the members afterwards.
    pub async fn change(&self, change: Change, is_forced: bool) -> Result<Arc<Members>, Problem> {
        let deadline = Instant::now() + CHANGE_WAIT_MAX;
        let mut has_tried = false;
        loop {
            let leader = leader_of(&self.status.borrow());
            let tried = match leader {
                Some(leader) if leader == self.node => self.change_here(&change, is_forced).await,
                Some(leader) => self.directory.change(leader, &change, is_forced).await,
                None => Err(Problem::from(ChangeRefusal::NotLeader(None))),
            };
            let problem = match tried {
                Ok(members) => {
                    self.hear_of_leader(&change).await;
                    return Ok(members);
                }
                Err(problem) => problem,
            };
            let members = Arc::clone(&self.members.borrow());
            let is_transfer = matches!(change, Change::Transfer(_));
            // An earlier try may have gone through, although it was not seen to.
            if has_tried && !is_transfer && change.is_done(&members) {
                return Ok(members);
            }
            if !problem.may_pass() || Instant::now() >= deadline {
                return Err(problem);
            }
            has_tried = true;
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// This node may be the last to hear who leads now.
    async fn hear_of_leader(&self, change: &Change) {
        let mut status = self.status.clone();
        let is_heard = |status: &Status| match (leader_of(status), change) {
            (Some(leader), Change::Transfer(Some(to))) => leader == *to,
            (leader, _) => leader.is_some(),
        };
        // If it does not hear in time, it says what it knows.
        let heard = tokio::time::timeout(HEARSAY_WAIT_MAX, status.wait_for(is_heard)).await;
        drop(heard);
    }

    /// Has a change made by this node, which must lead, and waits until it is done.
    pub async fn change_here(
        &self,
        change: &Change,
        is_forced: bool,
    ) -> Result<Arc<Members>, Problem> {
        let stopping = |()| Problem::new(Kind::NoLeader, "this node is stopping");
        let (reply, answer) = oneshot::channel();
        let request = Request::Change(change.clone(), is_forced, reply);
        self.requests.send(request).await.map_err(|_| stopping(()))?;
        answer.await.map_err(|_| stopping(()))?.map_err(Problem::from)?;
        let deadline = Instant::now() + DONE_WAIT_MAX;
        let undecided = || {
            Problem::new(
                Kind::Undecided,
                "it was not decided in time, and may still come to pass; look at quorate status",
            )
        };
        if let Change::Transfer(to) = change {
            let mut status = self.status.clone();
            let leads = |status: &Status| match (leader_of(status), to) {
                (Some(leader), Some(to)) => leader == *to,
                (Some(leader), None) => leader != self.node,
                (None, _) => false,
            };
            let led = timeout_at(deadline, status.wait_for(leads)).await;
            led.map_err(|_| undecided())?.map_err(|_| stopping(()))?;
            return Ok(Arc::clone(&self.members.borrow()));
        }
        let mut members = self.members.clone();
        let done = timeout_at(deadline, members.wait_for(|members| change.is_done(members))).await;
        let done = done.map_err(|_| undecided())?.map_err(|_| stopping(()))?;
        Ok(Arc::clone(&done))
    }
}
