//! The clients' server: the plugin, reflection in both versions, health by service, what operators
//! ask, and metrics.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use axum::http;
use quorate_core::replica::Status;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::codegen::tokio_stream::StreamExt as _;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::server::HealthReporter;
use tower_service::Service;

use super::admin::AdminService;
use super::gather::Gathering;
use super::metrics::Metrics;
use super::service::PluginService;
use crate::integrity::Quarantine;
use quorate_wasm::Module;

/// Streams of one connection: hyper would allow 200, tonic no limit at all.
const STREAMS_MAX: u32 = 1024;
/// Streams reset by the client before they were accepted: a flood of them ends the connection.
const PENDING_RESETS_MAX: usize = 20;
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_WAIT_MAX: Duration = Duration::from_secs(5);

/// What clients and operators find, and where.
pub struct Clients {
    /// Where they connect.
    pub listener: TcpListener,
    /// What the plugin says of itself.
    pub module: Arc<Module>,
    /// The plugin's service.
    pub plugin: PluginService,
    /// What operators ask.
    pub admin: AdminService,
    /// What monitoring asks.
    pub metrics: Metrics,
    /// Who leads.
    pub status: watch::Receiver<Status>,
    /// Whether the state is in quarantine.
    pub quarantine: watch::Receiver<Quarantine>,
}

/// Serves clients until `stop` resolves, and then what they have already asked.
pub async fn serve(clients: Clients, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let Clients { listener, module, plugin, admin, metrics, status, quarantine } = clients;
    let (health, health_service) = tonic_health::server::health_reporter();
    let services: Vec<String> = module.manifest().service_names().map(str::to_owned).collect();
    let mut routes = Routes::builder();
    routes.add_service(health_service);
    routes.add_service(admin.into_server());
    routes.add_service(plugin.sessions().into_server());
    routes.add_service(plugin.pipeline().into_server());
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(&module.manifest().descriptors)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(quorate_proto::PUBLIC_DESCRIPTORS)
    };
    routes.add_service(reflection().build_v1().context("building reflection v1")?);
    routes.add_service(reflection().build_v1alpha().context("building reflection v1alpha")?);
    let routes = routes.routes().into_axum_router().merge(metrics.into_route());
    let others = routes.fallback_service(plugin.clone());
    let admission = plugin.admission().clone();
    let door = Door { plugin, others: Routes::from(others).prepare() };
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let incoming = incoming.map(move |connection| {
        connection.map(|connection| Gathering::new(connection, admission.clone()))
    });
    let serve = Server::builder()
        // For /metrics: what else is asked that way is answered as gRPC answers.
        .accept_http1(true)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_max_pending_accept_reset_streams(Some(PENDING_RESETS_MAX))
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_WAIT_MAX))
        .serve_with_incoming_shutdown(door, incoming, stop);
    tokio::select! {
        served = serve => served.context("serving clients"),
        never = report_health(health, services, (status, quarantine)) => never,
    }
}

/// Where calls come in. Those of the plugin's methods, which most are, go past the routes of all
/// other services.
#[derive(Clone)]
struct Door {
    plugin: PluginService,
    others: Routes,
}

impl Service<http::Request<Body>> for Door {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if self.plugin.has(request.uri().path()) {
            return self.plugin.call(request);
        }
        Box::pin(self.others.call(request))
    }
}

/// A service is healthy while there is a leader to decide its commands, and a state to answer from.
async fn report_health(
    health: HealthReporter,
    services: Vec<String>,
    (mut status, mut quarantine): (watch::Receiver<Status>, watch::Receiver<Quarantine>),
) -> anyhow::Result<()> {
    loop {
        let has_leader = status.borrow_and_update().leader.is_some();
        let serves = has_leader && quarantine.borrow_and_update().is_none();
        let health_status = if serves {
            tonic_health::ServingStatus::Serving
        } else {
            tonic_health::ServingStatus::NotServing
        };
        for service in services.iter().map(String::as_str).chain([""]) {
            health.set_service_status(service, health_status).await;
        }
        let changed = tokio::select! {
            changed = status.changed() => changed,
            changed = quarantine.changed() => changed,
        };
        if changed.is_err() {
            // Consensus has ended; the server ends by its own signal.
            std::future::pending::<()>().await;
        }
    }
}
