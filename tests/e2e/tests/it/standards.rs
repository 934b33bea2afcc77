//! What gRPC's own tools expect of any server: health and reflection.

use quorate_e2e::kv::channel;
use quorate_e2e::turn;
use tonic::codegen::tokio_stream;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};

use crate::dev;

/// A client of a node's health service.
pub(crate) struct Health(HealthClient<Channel>);

impl Health {
    pub(crate) fn at(address: &str) -> Self {
        Self(HealthClient::new(channel(address)))
    }

    async fn check(&self, service: &str) -> Result<ServingStatus, Status> {
        let request = HealthCheckRequest { service: service.to_owned() };
        Ok(self.0.clone().check(request).await?.into_inner().status())
    }

    /// Whether a service is as healthy as is wanted.
    pub(crate) async fn serves(&self, service: &str, wanted: bool) -> Result<(), String> {
        let wanted = if wanted { ServingStatus::Serving } else { ServingStatus::NotServing };
        match self.check(service).await {
            Ok(status) if status == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }
}

#[tokio::test]
async fn health_is_by_service_and_overall() {
    let _turn = turn().await;
    let (_dev, addresses) = dev::start(&["--nodes", "3", "--listen", "127.0.0.1:0"]);
    for address in &addresses {
        let health = Health::at(address);
        for service in ["", "kv.v1.Kv"] {
            assert_eq!(health.check(service).await.unwrap(), ServingStatus::Serving);
        }
        assert_eq!(health.check("nobody.v1.Nothing").await.unwrap_err().code(), Code::NotFound);
    }
}

/// The services that reflection lists, in one of its two versions, which have the same shape.
macro_rules! services {
    ($version:ident, $address:expr) => {{
        use $version::server_reflection_request::MessageRequest;
        use $version::server_reflection_response::MessageResponse;
        let message_request = Some(MessageRequest::ListServices(String::new()));
        let request = $version::ServerReflectionRequest { host: String::new(), message_request };
        let mut client =
            $version::server_reflection_client::ServerReflectionClient::new(channel($address));
        let replies = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
        let reply = replies.into_inner().message().await.unwrap().unwrap();
        let Some(MessageResponse::ListServicesResponse(list)) = reply.message_response else {
            panic!("{reply:?}");
        };
        list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
    }};
}

#[tokio::test]
async fn reflection_lists_the_services_in_both_versions() {
    let _turn = turn().await;
    let (_dev, addresses) = dev::start(&["--listen", "127.0.0.1:0"]);
    for services in [services!(v1, &addresses[0]), services!(v1alpha, &addresses[0])] {
        for service in ["kv.v1.Kv", "grpc.health.v1.Health", "quorate.v1.Sessions"] {
            assert!(services.iter().any(|listed| listed == service), "{services:?}");
        }
    }
}
