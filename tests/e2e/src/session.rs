//! A client whose calls are sent again until they are decided.

use std::sync::Mutex;
use std::time::Instant;

use tonic::{Code, Request, Status};

use self::v1::OpenSessionRequest;
use self::v1::sessions_client::SessionsClient;
use crate::kv::v1::{PutReply, PutRequest};
use crate::kv::{Kv, Reply, channel};
use crate::wait;

/// The messages and the client that are generated from the `.proto`.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod v1 {
    tonic::include_proto!("quorate.v1");
}

/// A session, and how to reach the nodes that may serve it.
#[derive(Debug)]
pub struct Session {
    id: String,
    nodes: Vec<Kv>,
    sent: Mutex<u64>,
}

impl Session {
    /// Opens a session at the first of these addresses, as soon as somebody leads.
    pub async fn open(addresses: &[String]) -> Self {
        let client = SessionsClient::new(channel(&addresses[0]));
        let opened = wait::eventually("a session", wait::LONG, async || {
            let opened = client.clone().open(OpenSessionRequest {}).await;
            opened.map_err(|status| status.to_string())
        });
        Self::named(opened.await.into_inner().session, addresses)
    }

    /// One that somebody says to have opened. Must be called within a runtime.
    pub fn named(id: String, addresses: &[String]) -> Self {
        let nodes = addresses.iter().map(|address| Kv::at(address)).collect();
        Self { id, nodes, sent: Mutex::new(0) }
    }

    /// How often calls were sent.
    pub fn sent(&self) -> u64 {
        *self.sent.lock().expect("nobody panics with it")
    }

    /// Sets `key` to the call's number, by a call that is sent until it is decided.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn put(&self, key: &str, seq: u64, floor: u64) -> Result<Reply<PutReply>, Status> {
        let begun = Instant::now();
        for node in self.nodes.iter().cycle().skip(usize::try_from(seq).unwrap_or_default()) {
            let decided = self.put_at(node, key, seq, floor).await;
            match &decided {
                Err(status) if is_open(status) => assert!(begun.elapsed() < wait::LONG, "{status}"),
                Ok(_) | Err(_) => return decided,
            }
            wait::back_off().await;
        }
        unreachable!("there are nodes")
    }

    /// The same, sent once to one node.
    pub async fn put_at(
        &self,
        node: &Kv,
        key: &str,
        seq: u64,
        floor: u64,
    ) -> Result<Reply<PutReply>, Status> {
        *self.sent.lock().expect("nobody panics with it") += 1;
        let (key, value) = (key.to_owned().into(), seq.to_string().into());
        let mut put = Request::new(PutRequest { key, value, prev_kv: true });
        let call = format!("{}/{seq}/{floor}", self.id).parse().expect("digits and slashes");
        put.metadata_mut().insert("quorate-session", call);
        node.put_request(put).await
    }
}

/// Whether the call may be decided yet.
fn is_open(status: &Status) -> bool {
    let metadata = status.metadata();
    let is_decided =
        metadata.contains_key("quorate-index") || metadata.contains_key("quorate-session");
    let open = [Code::Unavailable, Code::ResourceExhausted, Code::Cancelled];
    !is_decided && open.contains(&status.code())
}
