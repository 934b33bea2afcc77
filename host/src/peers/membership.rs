//! What nodes say to each other on behalf of operators: changes of members, how they fare, and who
//! is who.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use prost::Message as _;
use quorate_core::id::NodeId;
use quorate_core::limits;
use quorate_core::members::Members;
use quorate_core::replica::Change;
use quorate_proto::v1;
use quorate_proto::v1::change_error::Kind;
use tonic::Code;

use super::{Directory, client, endpoint};
use crate::operator::Problem;

/// How long another node may take to say how it fares.
const REPORT_WAIT_MAX: Duration = Duration::from_millis(800);

impl Directory {
    /// Has the leader change members.
    pub async fn change(
        &self,
        to: NodeId,
        change: &Change,
        is_forced: bool,
    ) -> Result<Arc<Members>, Problem> {
        let unknown = || Problem::new(Kind::NoLeader, "the leader's address is not known yet");
        let channel = self.channel(to).ok_or_else(unknown)?;
        let hello = Some(self.roster.hello(to));
        let change = Some(change_to_wire(change));
        let request = v1::ChangeRequest { hello, change, is_forced };
        let reply = client(channel).change(request).await.map_err(|status| problem(&status))?;
        let members = Members::decode(&reply.into_inner().members);
        members.map(Arc::new).map_err(|error| Problem::new(Kind::Other, error.to_string()))
    }

    /// How another node fares, as it says.
    pub async fn report(&self, to: NodeId) -> Result<v1::NodeStatus, String> {
        let channel = self.channel(to).ok_or("its address is not known")?;
        let request = v1::ReportRequest { hello: Some(self.roster.hello(to)) };
        let mut client = client(channel);
        let report = client.report(request);
        match tokio::time::timeout(REPORT_WAIT_MAX, report).await {
            Ok(Ok(reply)) => reply.into_inner().status.ok_or_else(|| "it says nothing".to_owned()),
            Ok(Err(status)) => Err(said(&status)),
            Err(_) => Err("it did not answer in time".to_owned()),
        }
    }
}

/// Asks a member who is who, before this node is one.
pub async fn introduce(
    address: &str,
    cluster: &str,
    node: NodeId,
) -> anyhow::Result<v1::IntroduceReply> {
    let endpoint = endpoint(address).with_context(|| format!("\"{address}\" is no address"))?;
    let request = v1::IntroduceRequest { cluster: cluster.to_owned(), node: node.get().into() };
    let mut client = client(endpoint.connect_lazy());
    let reply = client.introduce(request);
    match tokio::time::timeout(REPORT_WAIT_MAX, reply).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => anyhow::bail!("{address}: {}", said(&status)),
        Err(_) => anyhow::bail!("{address} did not answer in time"),
    }
}

/// A status with what caused it.
fn said(status: &tonic::Status) -> String {
    use std::error::Error;
    let mut cause = status.source();
    let mut said = status.message().to_owned();
    while let Some(error) = cause {
        said = error.to_string();
        cause = error.source();
    }
    said
}

fn problem(status: &tonic::Status) -> Problem {
    let details = v1::ChangeError::decode(status.details()).unwrap_or_default();
    let kind = match details.kind() {
        // The leader is down, and nobody has noticed yet.
        Kind::Other if status.code() == Code::Unavailable => Kind::NoLeader,
        kind => kind,
    };
    let leader = u32::try_from(details.leader).ok().and_then(NodeId::new);
    Problem { kind, message: said(status), behind: details.behind, leader }
}

fn change_to_wire(change: &Change) -> v1::change_request::Change {
    use v1::change_request::Change as Proto;
    let id = |node: &NodeId| u64::from(node.get());
    match change {
        Change::Add { node, address } => {
            Proto::Add(v1::MemberAddRequest { id: id(node), address: address.clone() })
        }
        Change::Promote(node) => {
            Proto::Promote(v1::MemberPromoteRequest { id: id(node), force: false })
        }
        Change::Remove(node) => {
            Proto::Remove(v1::MemberRemoveRequest { id: id(node), force: false })
        }
        Change::Replace { old, new } => Proto::Replace(v1::MemberReplaceRequest {
            old_id: id(old),
            new_id: id(new),
            force: false,
        }),
        Change::Transfer(to) => {
            Proto::Transfer(v1::LeaderTransferRequest { id: to.as_ref().map_or(0, id) })
        }
    }
}

/// What `change_to_wire` made, or an operator.
pub fn change_from_wire(change: v1::change_request::Change) -> Result<Change, Problem> {
    use v1::change_request::Change as Proto;
    let node = |id: u64| {
        let node = u32::try_from(id).ok().and_then(NodeId::new);
        let what = || format!("{id} is no node: they are numbered from 1");
        node.ok_or_else(|| Problem::new(Kind::Invalid, what()))
    };
    Ok(match change {
        Proto::Add(v1::MemberAddRequest { id, address }) => {
            let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            let is_address =
                address.len() <= limits::ADDRESS_BYTES_MAX && endpoint(&address).is_ok();
            if port.is_none_or(|port| port == 0) || !is_address {
                let what = format!("\"{address}\" is not HOST:PORT");
                return Err(Problem::new(Kind::Invalid, what));
            }
            Change::Add { node: node(id)?, address }
        }
        Proto::Promote(v1::MemberPromoteRequest { id, .. }) => Change::Promote(node(id)?),
        Proto::Remove(v1::MemberRemoveRequest { id, .. }) => Change::Remove(node(id)?),
        Proto::Replace(v1::MemberReplaceRequest { old_id, new_id, .. }) => {
            Change::Replace { old: node(old_id)?, new: node(new_id)? }
        }
        Proto::Transfer(v1::LeaderTransferRequest { id: 0 }) => Change::Transfer(None),
        Proto::Transfer(v1::LeaderTransferRequest { id }) => Change::Transfer(Some(node(id)?)),
    })
}
