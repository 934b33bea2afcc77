//! What common tools expect of any server: health and reflection by gRPC, and metrics by HTTP.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use quorate_e2e::kv::{Kv, channel};
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

/// What a plain HTTP/1.1 client gets: the head, and the body.
fn http_get(address: &str, path: &str) -> (String, String) {
    http(address, &format!("GET {path} HTTP/1.1\r\n"), b"")
}

fn http(address: &str, head: &str, body: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let head = format!("{head}Host: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn metrics_tell_prometheus_how_a_node_fares() {
    let _turn = turn().await;
    let (_dev, addresses) = dev::start(&["--nodes", "3", "--listen", "127.0.0.1:0"]);
    let kv = Kv::at(&addresses[0]);
    kv.put_eventually("key", "0").await;
    let put = kv.put("key", "1").await.unwrap();
    let leader = &addresses[usize::try_from(put.place.node).unwrap() - 1];
    let figure = |address: &str, name: &str| {
        let (head, body) = http_get(address, "/metrics");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        let line = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in\n{body}")).to_owned()
    };
    let count = |address: &str, name: &str| figure(address, name).parse::<u64>().unwrap();
    let puts = r#"quorate_stage_seconds_count{stage="total"}"#;
    let before = count(leader, puts);
    let mut last = put;
    for number in 2..22 {
        last = kv.put("key", format!("{number}")).await.unwrap();
    }
    assert_eq!(count(leader, puts), before + 20);
    let seconds = figure(leader, r#"quorate_stage_seconds_sum{stage="applied"}"#);
    assert!(seconds.parse::<f64>().unwrap() > 0.0, "{seconds}");
    assert!(count(leader, "quorate_applied_index") >= last.place.index);
    let leads = addresses.iter().map(|address| count(address, "quorate_is_leader"));
    assert_eq!(leads.sum::<u64>(), 1);
    for address in &addresses {
        for name in ["quorate_healthy", "quorate_has_leader"] {
            assert_eq!(count(address, name), 1, "{name} at {address}");
        }
    }
}

/// Any page that somebody looks at can have his browser send this.
#[tokio::test]
async fn what_a_browser_can_send_is_no_command() {
    let _turn = turn().await;
    let (_dev, addresses) = dev::start(&["--listen", "127.0.0.1:0"]);
    let kv = Kv::at(&addresses[0]);
    kv.put_eventually("key", "kept").await;
    let put = b"\x0a\x03key\x12\x04lost";
    let framed = [&[0, 0, 0, 0, u8::try_from(put.len()).unwrap()], &put[..]].concat();
    for path in ["/kv.v1.Kv/Put", "/quorate.v1.Admin/LeaderTransfer", "/"] {
        for kind in ["", "Content-Type: application/grpc\r\n"] {
            let length = framed.len();
            let head = format!("POST {path} HTTP/1.1\r\n{kind}Content-Length: {length}\r\n");
            let (head, _) = http(&addresses[0], &head, &framed);
            assert!(head.to_lowercase().contains("grpc-status: 12"), "{head}");
            assert!(head.contains("HTTP/2"), "{head}");
        }
    }
    assert_eq!(kv.get_eventually("key").await.unwrap(), "kept");
}
