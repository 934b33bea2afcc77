//! What an operator asks, on the port of the clients: who the members are, how each fares, and
//! changes of members.

use std::net::SocketAddr;
use std::sync::Arc;

use quorate_core::id::RaftId;
use quorate_core::replica;
use quorate_proto::v1;
use quorate_proto::v1::admin_server::{Admin, AdminServer};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::backup::Backups;
use super::stream::ReceiverStream;
use crate::identity::Identity;

/// This version, as a status says it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Answers operators.
pub struct AdminService {
    /// This node.
    pub identity: Arc<Identity>,
    /// The member that it is.
    pub member: RaftId,
    /// Where its clients connect.
    pub client_address: SocketAddr,
    /// How far it has come.
    pub progress: Progress,
    /// Its state, for those who keep copies of it.
    pub backups: Backups,
}

/// How far the stages of a node have come.
#[derive(Clone, Debug)]
pub struct Progress {
    /// What consensus says of itself.
    pub status: watch::Receiver<replica::Status>,
    /// The last entry that apply has finished.
    pub applied: watch::Receiver<u64>,
    /// Whether consensus is stuck.
    pub stalled: watch::Receiver<bool>,
}

impl Progress {
    /// As these tell.
    pub fn of(
        status: &watch::Receiver<replica::Status>,
        applied: &watch::Receiver<u64>,
        stalled: &watch::Receiver<bool>,
    ) -> Self {
        Self { status: status.clone(), applied: applied.clone(), stalled: stalled.clone() }
    }
}

impl AdminService {
    /// As a service for a server.
    pub fn into_server(self) -> AdminServer<Self> {
        AdminServer::new(self)
    }

    /// What this node says of itself.
    fn own_status(&self) -> v1::NodeStatus {
        let status = *self.progress.status.borrow();
        let applied = *self.progress.applied.borrow();
        let is_stalled = *self.progress.stalled.borrow();
        let role = if status.leads {
            v1::Role::Leader
        } else if status.votes {
            v1::Role::Voter
        } else {
            v1::Role::None
        };
        v1::NodeStatus {
            id: self.identity.node.get().into(),
            incarnation: self.member.incarnation(),
            role: role.into(),
            term: status.term,
            committed: status.committed,
            applied,
            last: status.last,
            lag: status.committed.saturating_sub(applied),
            log_first: 1,
            health: if is_stalled { "its disk does not answer" } else { "ok" }.to_owned(),
            version: VERSION.to_owned(),
            client_address: self.client_address.to_string(),
            leader: status.leader.map_or(0, |leader| leader.node().get().into()),
            ..v1::NodeStatus::default()
        }
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn status(
        &self,
        _request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusReply>, Status> {
        let own = self.own_status();
        Ok(Response::new(v1::StatusReply {
            cluster: self.identity.cluster.clone(),
            node: own.id,
            leader: own.leader,
            nodes: vec![own],
            is_joint: false,
        }))
    }

    async fn member_add(
        &self,
        _request: Request<v1::MemberAddRequest>,
    ) -> Result<Response<v1::MemberReply>, Status> {
        Err(not_yet())
    }

    async fn member_promote(
        &self,
        _request: Request<v1::MemberPromoteRequest>,
    ) -> Result<Response<v1::MemberReply>, Status> {
        Err(not_yet())
    }

    async fn member_remove(
        &self,
        _request: Request<v1::MemberRemoveRequest>,
    ) -> Result<Response<v1::MemberReply>, Status> {
        Err(not_yet())
    }

    async fn member_replace(
        &self,
        _request: Request<v1::MemberReplaceRequest>,
    ) -> Result<Response<v1::MemberReply>, Status> {
        Err(not_yet())
    }

    async fn leader_transfer(
        &self,
        _request: Request<v1::LeaderTransferRequest>,
    ) -> Result<Response<v1::MemberReply>, Status> {
        Err(not_yet())
    }

    type SnapshotSaveStream = ReceiverStream<Result<v1::SnapshotFrame, Status>>;

    async fn snapshot_save(
        &self,
        _request: Request<v1::SnapshotSaveRequest>,
    ) -> Result<Response<Self::SnapshotSaveStream>, Status> {
        self.backups.save().await.map(Response::new)
    }
}

fn not_yet() -> Status {
    Status::unimplemented("this version does not change members")
}
