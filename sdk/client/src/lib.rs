//! A client for many commands at a time. All calls of a [`Client`] and of its clones share one
//! stream to the leader; what is called while the stream is busy travels together, and so do the
//! replies. That is many times as fast as a gRPC call for each, and as durable.
//!
//! ```no_run
//! use quorate_client::{CallError, Client};
//!
//! #[derive(Clone, PartialEq, prost::Message)]
//! struct IncrementRequest {
//!     #[prost(string, tag = "1")]
//!     name: String,
//!     #[prost(uint64, tag = "2")]
//!     by: u64,
//! }
//!
//! #[derive(Clone, PartialEq, prost::Message)]
//! struct IncrementReply {
//!     #[prost(uint64, tag = "1")]
//!     value: u64,
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let nodes = ["http://127.0.0.1:7001", "http://127.0.0.1:7002", "http://127.0.0.1:7003"];
//! let client = Client::builder().exactly_once().connect(nodes).await?;
//! let request = IncrementRequest { name: "visits".to_owned(), by: 1 };
//! let path = "/counter.v1.Counter/Increment";
//! match client.call::<_, IncrementReply>(path, &request).await {
//!     Ok(reply) => println!("{}", reply.value),
//!     Err(CallError::Rejected(rejected)) => println!("refused: {}", rejected.message),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **What a call means.** `Ok` and [`CallError::Rejected`] were decided by the plugin, once, in the
//! log. [`CallError::Unknown`] may have been executed, or may be later. Everything else was not
//! executed, and will not be. What was surely not executed, as its node did not lead or had too
//! much to do, is sent again until the call's time is over.
//!
//! **Exactly once.** With [`Builder::exactly_once`], calls have numbers in sessions that the
//! cluster keeps, and are sent again too where nobody knows what became of them, as after the
//! leader's death. Each is executed at most once, however often it is sent.
//!
//! **Order.** Calls are executed in the order in which they are sent, as long as none is sent
//! again. Who needs an order waits for one call before the next.
//!
//! What this deliberately does not do: queries, for which a connection of their own is as good;
//! use a client that is generated from the plugin's `.proto`.

mod call;
mod driver;
mod error;
mod flight;
mod link;
mod route;
mod sessions;

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use call::{All, Call, Calls, Reply};
use driver::Driver;

pub use call::{Decided, Method};
pub use error::{CallError, ConnectError, Refusal, Rejected};

/// How long a call waits for its outcome, unless told otherwise: longer than a node ever waits.
const CALL_WAIT: Duration = Duration::from_secs(10);
/// Calls under way at a time, unless told otherwise.
const CALLS_MAX: usize = 8192;

/// A client of one cluster. Clones are cheap, and share its stream. Its task ends some time after
/// the last clone is dropped, when all calls are decided.
#[derive(Clone, Debug)]
pub struct Client {
    calls: mpsc::Sender<Calls>,
    wait: Duration,
}

/// What a client should be like.
#[derive(Clone, Debug)]
pub struct Builder {
    wait: Duration,
    calls_max: usize,
    is_exactly_once: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self { wait: CALL_WAIT, calls_max: CALLS_MAX, is_exactly_once: false }
    }
}

impl Builder {
    /// Calls that nobody knows the fate of are sent again, and executed once all the same.
    #[must_use]
    pub fn exactly_once(mut self) -> Self {
        self.is_exactly_once = true;
        self
    }

    /// How long a call waits for its outcome; 10 s unless told otherwise.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// How many calls are under way at a time; 8,192 unless told otherwise. Further ones wait, but
    /// those of one [`Client::call_all`] begin together.
    #[must_use]
    pub fn calls_max(mut self, calls_max: usize) -> Self {
        self.calls_max = calls_max.max(1);
        self
    }

    /// Connects to a cluster by some of its nodes, each as in `http://host:port`. Must be called
    /// within a tokio runtime.
    pub async fn connect<N: Into<String>>(
        self,
        nodes: impl IntoIterator<Item = N>,
    ) -> Result<Client, ConnectError> {
        let route = route::Route::new(nodes.into_iter().map(Into::into).collect())?;
        // As many wait as may be under way: whoever had to wait for a place in the queue would be
        // woken up twice.
        let (calls, queue) = mpsc::channel(self.calls_max);
        let driver = Driver::connect(&self, route, queue).await?;
        tokio::spawn(driver.run());
        Ok(Client { calls, wait: self.wait })
    }
}

impl Client {
    /// A client that sends no call twice whose fate is unknown.
    pub async fn connect<N: Into<String>>(
        nodes: impl IntoIterator<Item = N>,
    ) -> Result<Self, ConnectError> {
        Self::builder().connect(nodes).await
    }

    /// For a client of another kind.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Calls a command by its path, such as `/kv.v1.Kv/Put`.
    pub async fn call<Q: Message, R: Message + Default>(
        &self,
        path: &str,
        request: &Q,
    ) -> Result<R, CallError> {
        let payload = request.encode_to_vec().into();
        let decided = self.call_bytes(Method::of(path), payload).await?;
        R::decode(decided.reply).map_err(CallError::Undecodable)
    }

    /// Calls a command with a request that is encoded, and gives the reply as it came, with its
    /// place in the log.
    pub async fn call_bytes(&self, method: Method, payload: Bytes) -> Result<Decided, CallError> {
        let (reply, answer) = oneshot::channel();
        let deadline = Instant::now() + self.wait;
        let call = Call::new(method, payload, Reply::One(reply), deadline);
        // The task ends before its clients only if it panics, or the runtime is shut down.
        self.calls.send(Calls::One(call)).await.map_err(|_| CallError::Ended)?;
        answer.await.map_err(|_| CallError::Unknown)?
    }

    /// Calls a command once for each of these requests, and gives the outcomes in their order. Each
    /// is a call of its own: some may fail, and others may come in between. For who has many at
    /// hand, this costs about half as much of a core as as many callers do.
    pub async fn call_all(
        &self,
        method: Method,
        payloads: Vec<Bytes>,
    ) -> Vec<Result<Decided, CallError>> {
        let count = payloads.len();
        if count == 0 {
            return Vec::new();
        }
        let (all, outcomes) = All::new(count);
        let deadline = Instant::now() + self.wait;
        let call =
            |(place, payload)| Call::new(method, payload, Reply::Part(all.part(place)), deadline);
        let calls = payloads.into_iter().enumerate().map(call).collect();
        if self.calls.send(Calls::Many(calls)).await.is_err() {
            return vec![Err(CallError::Ended); count];
        }
        outcomes.await.unwrap_or_else(|_| vec![Err(CallError::Unknown); count])
    }
}
