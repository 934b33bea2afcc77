//! What a node says of itself when an operator, or another node on his behalf, asks how it fares.

use std::net::SocketAddr;
use std::sync::Arc;

use quorate_core::id::{NodeId, RaftId};
use quorate_core::members::Members;
use quorate_core::replica::Status;
use quorate_proto::v1;
use tokio::sync::watch;

use crate::consensus::leader_of;
use crate::integrity::Integrity;
use crate::roster::Roster;

/// This version, as a status says it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How far the stages of a node have come.
#[derive(Clone, Debug)]
pub struct Progress {
    /// What consensus says of itself.
    pub status: watch::Receiver<Status>,
    /// The last entry that apply has finished.
    pub applied: watch::Receiver<u64>,
    /// Whether consensus is stuck.
    pub stalled: watch::Receiver<bool>,
    /// Whether the state is sound.
    pub integrity: Arc<Integrity>,
}

impl Progress {
    fn health(&self) -> String {
        match self.integrity.quarantine() {
            Some(why) => format!("quarantined: {why}"),
            None if *self.stalled.borrow() => "its disk does not answer".to_owned(),
            None if self.integrity.is_nearly_full() => "its disk is nearly full".to_owned(),
            None => "ok".to_owned(),
        }
    }
}

/// Reports on this node.
#[derive(Clone, Debug)]
pub struct Reporter {
    /// Who is who.
    pub roster: Arc<Roster>,
    /// Where its clients connect.
    pub client_address: SocketAddr,
    /// How far it has come.
    pub progress: Progress,
}

impl Reporter {
    /// How this node fares.
    pub fn own(&self) -> v1::NodeStatus {
        let status = *self.progress.status.borrow();
        let applied = *self.progress.applied.borrow();
        let leader = leader_of(&status);
        let member = self.roster.member;
        v1::NodeStatus {
            role: role(member, leader, &self.roster.members()).into(),
            term: status.term,
            committed: status.committed,
            applied,
            last: status.last,
            log_first: status.base + 1,
            log_bytes: status.log_bytes,
            health: self.progress.health(),
            version: VERSION.to_owned(),
            store: self.roster.store.to_string(),
            client_address: self.client_address.to_string(),
            leader: leader.map_or(0, |leader| leader.get().into()),
            ..self.of(member)
        }
    }

    /// What is known of a member without asking it.
    pub fn of(&self, member: RaftId) -> v1::NodeStatus {
        let leader = leader_of(&self.progress.status.borrow());
        let store = self.roster.store_of(member);
        v1::NodeStatus {
            id: member.node().get().into(),
            incarnation: member.incarnation(),
            address: self.roster.address_of(member.node()),
            role: role(member, leader, &self.roster.members()).into(),
            store: store.map_or_else(String::new, |store| store.to_string()),
            ..v1::NodeStatus::default()
        }
    }
}

fn role(member: RaftId, leader: Option<NodeId>, members: &Members) -> v1::Role {
    if members.voters.contains(&member) || members.outgoing.contains(&member) {
        if leader == Some(member.node()) { v1::Role::Leader } else { v1::Role::Voter }
    } else if members.all().contains(&member) {
        v1::Role::Learner
    } else {
        v1::Role::None
    }
}
