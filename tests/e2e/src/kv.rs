//! A client of the key-value plugin.

use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use self::v1::kv_client::KvClient;
use self::v1::{
    DeleteReply, DeleteRequest, GetReply, GetRequest, PutReply, PutRequest, RangeReply,
    RangeRequest, TxnReply, TxnRequest,
};
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
    tonic::include_proto!("kv.v1");
}

/// Longer than a node ever lets a caller wait: who waits so long was forgotten.
pub const CALL_WAIT_MAX: Duration = Duration::from_secs(10);

/// A client of one node, which connects when it has something to say, and again after a break.
#[derive(Clone, Debug)]
pub struct Kv(KvClient<Channel>);

/// A reply, and where in the log it was decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply<T> {
    /// What the metadata say.
    pub place: Place,
    /// The reply itself.
    pub message: T,
}

/// Where in the log something was decided, as the metadata say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The log's index; for a query, of the state that it saw.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// The node that answered: for a command, the leader.
    pub node: u64,
}

impl Place {
    /// Reads the metadata of a reply, or of a rejection.
    pub fn of(metadata: &MetadataMap) -> Option<Self> {
        let number = |key| metadata.get(key)?.to_str().ok()?.parse().ok();
        Some(Self {
            index: number("quorate-index")?,
            term: number("quorate-term")?,
            node: number("quorate-node")?,
        })
    }
}

/// A connection to an address, made when it is used.
pub fn channel(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    endpoint.timeout(CALL_WAIT_MAX).connect_lazy()
}

impl Kv {
    /// The client of the node at this address. Must be called within a runtime.
    pub fn at(address: &str) -> Self {
        Self(KvClient::new(channel(address)))
    }

    /// Sets a value.
    pub async fn put(
        &self,
        key: impl Into<Bytes>,
        value: impl Into<Bytes>,
    ) -> Result<Reply<PutReply>, Status> {
        let request = PutRequest { key: key.into(), value: value.into(), prev_kv: true };
        reply(self.0.clone().put(request).await)
    }

    /// Sets a value, with metadata.
    pub async fn put_request(
        &self,
        request: Request<PutRequest>,
    ) -> Result<Reply<PutReply>, Status> {
        reply(self.0.clone().put(request).await)
    }

    /// Reads a key.
    pub async fn get(&self, key: impl Into<Bytes>) -> Result<Reply<GetReply>, Status> {
        reply(self.0.clone().get(GetRequest { key: key.into() }).await)
    }

    /// Reads a key, in the way that the metadata `quorate-read` names.
    pub async fn get_as(
        &self,
        how: &str,
        key: impl Into<Bytes>,
    ) -> Result<Reply<GetReply>, Status> {
        let mut request = Request::new(GetRequest { key: key.into() });
        request.metadata_mut().insert("quorate-read", how.parse().expect("it is ASCII"));
        reply(self.0.clone().get(request).await)
    }

    /// Deletes.
    pub async fn delete(&self, request: DeleteRequest) -> Result<Reply<DeleteReply>, Status> {
        reply(self.0.clone().delete(request).await)
    }

    /// Reads a range.
    pub async fn range(&self, request: RangeRequest) -> Result<Reply<RangeReply>, Status> {
        reply(self.0.clone().range(Request::new(request)).await)
    }

    /// Runs a transaction.
    pub async fn txn(&self, request: TxnRequest) -> Result<Reply<TxnReply>, Status> {
        reply(self.0.clone().txn(request).await)
    }

    /// Sets a value, as soon as there is a leader to decide it.
    pub async fn put_eventually(&self, key: &str, value: &str) -> Reply<PutReply> {
        wait::eventually("a Put", wait::LONG, async || {
            self.put(key.to_owned(), value.to_owned()).await.map_err(|status| unavailable(&status))
        })
        .await
    }

    /// Reads a value, as soon as there is a leader to say that it is the latest.
    pub async fn get_eventually(&self, key: &str) -> Option<Bytes> {
        let read = wait::eventually("a Get", wait::LONG, async || {
            self.get(key.to_owned()).await.map_err(|status| unavailable(&status))
        });
        read.await.message.kv.map(|kv| kv.value)
    }

    /// How often a key was put, as soon as there is a leader to say so.
    pub async fn get_version(&self, key: &str) -> u64 {
        let read = wait::eventually("a Get", wait::LONG, async || {
            self.get(key.to_owned()).await.map_err(|status| unavailable(&status))
        });
        read.await.message.kv.map_or(0, |kv| kv.version)
    }

    /// The node that leads. It is asked by a command that the plugin refuses, so that nothing
    /// changes.
    pub async fn leader(&self) -> u64 {
        wait::eventually("a leader", wait::LONG, async || {
            let refused = self.put("", "").await.expect_err("a key must not be empty");
            match Place::of(refused.metadata()) {
                Some(place) if refused.code() == Code::InvalidArgument => Ok(place.node),
                _ => Err(unavailable(&refused)),
            }
        })
        .await
    }
}

fn reply<T>(response: Result<Response<T>, Status>) -> Result<Reply<T>, Status> {
    let response = response.map_err(as_elsewhere)?;
    let place = Place::of(response.metadata());
    let place = place.expect("each reply says where in the log it was decided");
    Ok(Reply { place, message: response.into_inner() })
}

/// What a status says of a call that had no effect, and never will.
pub const NOT_EXECUTED: &str = "the call was not executed";

/// Whether a status says so, be it a node's or the client's own.
pub fn was_not_executed(status: &Status) -> bool {
    status.code() == Code::Unavailable && status.message().contains("was not executed")
}

/// How the messages begin of a status that no node sent.
pub const BROKEN: &str = "broken connection: ";

/// A broken connection is UNAVAILABLE in other languages; tonic says UNKNOWN.
fn as_elsewhere(status: Status) -> Status {
    if cause::<tonic::ConnectError>(&status).is_some() {
        Status::unavailable(format!("{BROKEN}there is none; {NOT_EXECUTED}"))
    } else if was_never_taken(&status) {
        Status::unavailable(format!("{BROKEN}it ended before it took the call; {NOT_EXECUTED}"))
    } else if cause::<tonic::transport::Error>(&status).is_some() {
        Status::unavailable(format!("{BROKEN}{status}"))
    } else {
        status
    }
}

/// Whether a connection that was ending did not take the call. Either it was still in the client's
/// own queue, or the server's GOAWAY says that it is none of those it took (RFC 9113, 6.8): h2
/// gives this error to such streams alone, and a broken pipe to those that were under way. Other
/// clients send such a call again by themselves.
fn was_never_taken(status: &Status) -> bool {
    let is_queued = cause::<hyper::Error>(status).is_some_and(hyper::Error::is_canceled);
    let is_gone = cause::<h2::Error>(status).is_some_and(|error| {
        error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
    });
    is_queued || is_gone
}

fn cause<E: Error + 'static>(status: &Status) -> Option<&E> {
    let mut cause = status.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

/// The only status after which it helps to try again.
///
/// # Panics
/// On any other.
pub fn unavailable(status: &Status) -> String {
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    status.to_string()
}
