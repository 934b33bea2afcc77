//! What is over a limit, or makes no sense, is refused and harms nobody.

use bytes::Bytes;
use quorate_e2e::kv::v1::PutReply;
use quorate_e2e::kv::{Kv, Place, channel};
use quorate_e2e::turn;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::dev;

const KEY_BYTES_MAX: usize = 4_000;
const VALUE_BYTES_MAX: usize = 1_000_000;
const REQUEST_BYTES_MAX: usize = 3 * 1024 * 1024 / 2;

/// On the wire, it has a number where a `PutRequest` has its key.
#[derive(Clone, PartialEq, prost::Message)]
struct NotAPut {
    #[prost(uint64, tag = "1")]
    key: u64,
}

async fn call_with_nonsense(address: &str, path: &'static str) -> Status {
    let mut grpc = Grpc::new(channel(address));
    grpc.ready().await.unwrap();
    let codec = ProstCodec::<NotAPut, PutReply>::default();
    let path = PathAndQuery::from_static(path);
    grpc.unary(Request::new(NotAPut { key: 7 }), path, codec).await.unwrap_err()
}

#[tokio::test]
async fn what_is_over_a_limit_or_makes_no_sense_is_refused_and_harms_nobody() {
    let _turn = turn().await;
    let (_dev, addresses) = dev::start(&["--nodes", "3", "--listen", "127.0.0.1:0"]);
    // Whether the node leads or hands commands on, the answer is the same.
    for (address, first) in addresses.iter().zip((1..).step_by(3)) {
        let kv = Kv::at(address);
        kv.put_eventually("key", "before").await;

        let refused = async |key: Bytes, value: Bytes| {
            let status = kv.put(key, value).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{status}");
            status
        };
        let zeros = |bytes: usize| Bytes::from(vec![0; bytes]);
        for bytes in [REQUEST_BYTES_MAX, 2 * REQUEST_BYTES_MAX, 10 * REQUEST_BYTES_MAX] {
            let status = refused("key".into(), zeros(bytes)).await;
            assert!(status.message().contains(&REQUEST_BYTES_MAX.to_string()), "{status}");
            assert_eq!(Place::of(status.metadata()), None, "it did not reach the log");
        }
        let status = refused(zeros(KEY_BYTES_MAX + 1), Bytes::new()).await;
        assert!(Place::of(status.metadata()).is_some(), "a plugin's answer has its place");
        refused("key".into(), zeros(VALUE_BYTES_MAX + 1)).await;
        refused(Bytes::new(), Bytes::new()).await;

        for path in ["/kv.v1.Kv/Put", "/kv.v1.Kv/Get"] {
            let status = call_with_nonsense(address, path).await;
            assert_eq!(status.code(), Code::InvalidArgument, "{path}: {status}");
        }
        for path in ["/kv.v1.Kv/Take", "/kv.v1.Other/Put", "/kv.v1.Kv", "/", "/a/b/c"] {
            let status = call_with_nonsense(address, path).await;
            assert_eq!(status.code(), Code::Unimplemented, "{path}: {status}");
        }

        // The same connection goes on, and what is right at the limit is taken.
        let reply = kv.put(zeros(KEY_BYTES_MAX), zeros(VALUE_BYTES_MAX)).await.unwrap();
        assert_eq!(reply.message.revision, first + 1, "nothing else has changed anything");
        let reply = kv.put("key", "after").await.unwrap();
        assert_eq!(reply.message.prev_kv.unwrap().value, "before");
    }
}
