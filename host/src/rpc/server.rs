//! The clients' server: the plugin, reflection in both versions, health by service, what operators
//! ask, and metrics.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use axum::http;
use axum::http::header::CONTENT_TYPE;
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
use super::metrics::{self, Metrics};
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
        // For metrics: all else that comes so is refused by the door.
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
        let path = request.uri().path();
        if path != metrics::PATH
            && let Some(refusal) = refusal(&request)
        {
            return Box::pin(async { Ok(refusal) });
        }
        if self.plugin.has(path) {
            return self.plugin.call(request);
        }
        Box::pin(self.others.call(request))
    }
}

/// Calls are HTTP/2, and say that they are gRPC. What any web page can have its reader's browser
/// send is neither, and must not become a command.
fn refusal(request: &http::Request<Body>) -> Option<http::Response<Body>> {
    if request.version() < http::Version::HTTP_2 {
        let status = tonic::Status::unimplemented("gRPC needs HTTP/2; this is HTTP/1");
        return Some(status.into_http());
    }
    let kind = request.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    let is_grpc = rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')));
    (!is_grpc).then(|| {
        let mut response = http::Response::new(Body::default());
        *response.status_mut() = http::StatusCode::UNSUPPORTED_MEDIA_TYPE;
        response
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(version: http::Version, kind: Option<&str>) -> Option<u16> {
        let mut request = http::Request::builder().version(version);
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        refusal(&request.body(Body::default()).unwrap()).map(|response| response.status().as_u16())
    }

    #[test]
    fn only_what_says_that_it_is_grpc_is_taken_as_that() {
        let grpc = ["application/grpc", "application/grpc+proto", "application/grpc;x=y"];
        for kind in grpc.map(Some) {
            assert_eq!(refused(http::Version::HTTP_2, kind), None, "{kind:?}");
            assert_eq!(refused(http::Version::HTTP_11, kind), Some(200), "with a gRPC status");
        }
        for kind in [None, Some("text/plain"), Some("application/grpc-web+proto")] {
            assert_eq!(refused(http::Version::HTTP_2, kind), Some(415), "{kind:?}");
        }
    }
}
