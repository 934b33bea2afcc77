//! What an operator asks, on the port of the clients: who the members are, how each fares, and
//! changes of members.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_core::id::RaftId;
use quorate_core::replica::Change;
use quorate_proto::v1;
use quorate_proto::v1::admin_server::{Admin, AdminServer};
use quorate_proto::v1::change_request::Change as Proto;
use tokio::task::JoinSet;
use tonic::{Request, Response, Status};

use super::backup::Backups;
use super::status;
use super::stream::ReceiverStream;
use crate::consensus::leader_of;
use crate::operator::Operator;
use crate::peers::change_from_wire;
use crate::report::Reporter;
use crate::stages::Stages;

/// Answers operators.
pub struct AdminService {
    /// How this node fares.
    pub reporter: Reporter,
    /// Has changes made.
    pub operator: Operator,
    /// Its state, for those who keep copies of it.
    pub backups: Backups,
    /// Where the time of commands goes.
    pub stages: Arc<Stages>,
}

impl AdminService {
    /// As a service for a server.
    pub fn into_server(self) -> AdminServer<Self> {
        AdminServer::new(self)
    }

    /// Asks all other members how they fare, at the same time.
    async fn ask_others(&self) -> Vec<v1::NodeStatus> {
        let own = self.reporter.roster.member;
        let members = self.reporter.roster.members();
        let mut asked = JoinSet::new();
        for member in members.all().into_iter().filter(|member| *member != own) {
            let directory = Arc::clone(&self.operator.directory);
            let known = self.reporter.of(member);
            asked.spawn(async move {
                match directory.report(member.node()).await {
                    Ok(report) => report,
                    Err(unreachable) => v1::NodeStatus { unreachable, ..known },
                }
            });
        }
        let mut nodes = Vec::new();
        while let Some(Ok(report)) = asked.join_next().await {
            nodes.push(report);
        }
        nodes
    }

    async fn change(
        &self,
        change: Proto,
        is_forced: bool,
    ) -> Result<Response<v1::MemberReply>, Status> {
        let change: Change = change_from_wire(change).map_err(status::of_problem)?;
        tracing::info!(?change, is_forced, "an operator asks for a change");
        let members = self.operator.change(change, is_forced).await.map_err(status::of_problem)?;
        let ids = |members: &[RaftId]| {
            let ids = members.iter().map(|member| u64::from(member.node().get()));
            let mut ids: Vec<_> = ids.collect();
            ids.sort_unstable();
            ids
        };
        // One that was just removed leads no more.
        let leader = leader_of(&self.operator.status.borrow());
        let leader = leader.filter(|leader| members.member_of(*leader).is_some());
        Ok(Response::new(v1::MemberReply {
            leader: leader.map_or(0, |leader| leader.get().into()),
            voters: ids(&members.voters),
            learners: ids(&members.learners),
        }))
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusReply>, Status> {
        let own = self.reporter.own();
        let (node, leader) = (own.id, own.leader);
        let mut nodes = vec![own];
        if !request.into_inner().this_node_only {
            nodes.extend(self.ask_others().await);
        }
        let nodes: BTreeMap<u64, v1::NodeStatus> =
            nodes.into_iter().map(|node| (node.id, node)).collect();
        let mut nodes: Vec<_> = nodes.into_values().collect();
        let committed = nodes.iter().map(|node| node.committed).max().unwrap_or_default();
        for node in nodes.iter_mut().filter(|node| node.unreachable.is_empty()) {
            node.lag = committed.saturating_sub(node.applied);
        }
        let is_joint = self.reporter.roster.members().is_joint();
        let cluster = self.reporter.roster.identity.cluster.clone();
        Ok(Response::new(v1::StatusReply { cluster, node, leader, nodes, is_joint }))
    }

    async fn stages(
        &self,
        _request: Request<v1::StagesRequest>,
    ) -> Result<Response<v1::StagesReply>, Status> {
        let leader = leader_of(&self.operator.status.borrow());
        Ok(Response::new(v1::StagesReply {
            node: self.reporter.own().id,
            leader: leader.map_or(0, |leader| leader.get().into()),
            stages: self.stages.report(),
        }))
    }

    async fn member_add(
        &self,
        request: Request<v1::MemberAddRequest>,
    ) -> Result<Response<v1::MemberReply>, Status> {
        self.change(Proto::Add(request.into_inner()), false).await
    }

    async fn member_promote(
        &self,
        request: Request<v1::MemberPromoteRequest>,
    ) -> Result<Response<v1::MemberReply>, Status> {
        let request = request.into_inner();
        self.change(Proto::Promote(request), request.force).await
    }

    async fn member_remove(
        &self,
        request: Request<v1::MemberRemoveRequest>,
    ) -> Result<Response<v1::MemberReply>, Status> {
        let request = request.into_inner();
        self.change(Proto::Remove(request), request.force).await
    }

    async fn member_replace(
        &self,
        request: Request<v1::MemberReplaceRequest>,
    ) -> Result<Response<v1::MemberReply>, Status> {
        let request = request.into_inner();
        self.change(Proto::Replace(request), request.force).await
    }

    async fn leader_transfer(
        &self,
        request: Request<v1::LeaderTransferRequest>,
    ) -> Result<Response<v1::MemberReply>, Status> {
        self.change(Proto::Transfer(request.into_inner()), false).await
    }

    type SnapshotSaveStream = ReceiverStream<Result<v1::SnapshotFrame, Status>>;

    async fn snapshot_save(
        &self,
        _request: Request<v1::SnapshotSaveRequest>,
    ) -> Result<Response<Self::SnapshotSaveStream>, Status> {
        self.backups.save().await.map(Response::new)
    }
}
