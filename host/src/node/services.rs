//! What a node serves, made of the ends of its channels: to clients, operators and peers.

use std::net::SocketAddr;
use std::sync::{Arc, mpsc as std_mpsc};

use bytes::Bytes;
use quorate_core::members::Members;
use quorate_core::replica::Lease;
use quorate_core::state::StateStore;
use tokio::sync::{mpsc, watch};

use super::{Failure, States};
use crate::consensus::{Reader, Request};
use crate::disk::Room;
use crate::operator::Operator;
use crate::peers::PeerService;
use crate::queue;
use crate::report::{Progress, Reporter};
use crate::roster::Roster;
use crate::rpc::admin::AdminService;
use crate::rpc::backup::Backups;
use crate::rpc::metrics::Metrics;
use crate::rpc::query::{Latest, Queries};
use crate::rpc::service::PluginService;
use crate::submit::Submitter;
use quorate_wasm::Module;

/// What services are made of.
pub(super) struct Ends {
    pub(super) roster: Arc<Roster>,
    pub(super) module: Arc<Module>,
    pub(super) state: Arc<States>,
    pub(super) client_address: SocketAddr,
    pub(super) submitter: Submitter,
    pub(super) progress: Progress,
    pub(super) members: watch::Receiver<Arc<Members>>,
    pub(super) inbox: queue::Sender<Bytes>,
    pub(super) reads: mpsc::Sender<Reader>,
    pub(super) lease: watch::Receiver<Lease>,
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) expelled: std_mpsc::Sender<Failure>,
    pub(super) room: Room,
}

/// All services of a node.
pub(super) struct Services {
    pub(super) plugin: PluginService,
    pub(super) admin: AdminService,
    pub(super) metrics: Metrics,
    pub(super) peers: PeerService,
}

impl Ends {
    pub(super) fn into_services(self) -> Services {
        let Self { roster, module, state, client_address, submitter, progress, .. } = self;
        let operator = Operator {
            node: submitter.node,
            status: progress.status.clone(),
            members: self.members,
            requests: self.requests,
            directory: Arc::clone(&submitter.directory),
        };
        let latest = Latest {
            reads: self.reads,
            lease: self.lease,
            has_leases: roster.identity.timing.lease().is_some(),
            applied: progress.applied.clone(),
            stalled: progress.stalled.clone(),
        };
        let store = Arc::clone(&state) as Arc<dyn StateStore>;
        let integrity = Arc::clone(&submitter.integrity);
        let queries = Queries::new(latest, store, Arc::clone(&module), integrity);
        let backups = Backups::new(Arc::clone(&roster.identity), queries.clone());
        let reporter = Reporter { roster, client_address, progress };
        let (submits, operates, reports) = (submitter.clone(), operator.clone(), reporter.clone());
        let ends = (self.expelled, state, self.room);
        let peers = PeerService::new(self.inbox, submits, operates, reports, ends);
        let stages = Arc::clone(&submitter.stages);
        let metrics = Metrics { reporter: reporter.clone(), stages: Arc::clone(&stages) };
        let admin = AdminService { reporter, operator, backups, stages };
        let plugin = PluginService::new(&module, submitter, queries);
        Services { plugin, admin, metrics, peers }
    }
}
