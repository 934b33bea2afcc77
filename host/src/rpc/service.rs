//! The plugin's own service, by the descriptor in its module: path in, bytes through, bytes out.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http;
use bytes::Bytes;
use quorate_core::batch::Command;
use quorate_core::id::{LogId, NodeId};
use quorate_core::limits;
use quorate_proto::v1::Kind;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};

use super::codec::BytesCodec;
use super::consistency::Consistency;
use super::pipeline::PipelineService;
use super::query::Queries;
use super::sessions::{self, SessionsService};
use super::status;
use crate::admission::Admitted;
use crate::submit::Submitter;
use quorate_wasm::Module;

/// The log index that decided a call; for a query, of the state that it saw.
pub const INDEX_KEY: &str = "quorate-index";
/// The term of that entry.
pub const TERM_KEY: &str = "quorate-term";
/// The node that answered.
pub const NODE_KEY: &str = "quorate-node";

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Serves every method of the module, and `UNIMPLEMENTED` for every other path.
#[derive(Clone)]
pub struct PluginService {
    calls: Arc<Calls>,
}

struct Calls {
    node: NodeId,
    /// By path.
    methods: BTreeMap<String, (u32, Kind)>,
    submitter: Submitter,
    queries: Queries,
}

impl PluginService {
    /// The service of `module` on this node.
    pub fn new(module: &Module, submitter: Submitter, queries: Queries) -> Self {
        let node = submitter.node;
        let methods = module.manifest().methods();
        let methods =
            methods.map(|method| (method.path.clone(), (method.id, method.kind))).collect();
        Self { calls: Arc::new(Calls { node, methods, submitter, queries }) }
    }

    /// What takes its commands by the stream.
    pub(super) fn pipeline(&self) -> PipelineService {
        let methods = self.calls.methods.values().copied().collect();
        PipelineService::new(methods, self.calls.submitter.clone())
    }

    /// What opens sessions for its commands.
    pub(super) fn sessions(&self) -> SessionsService {
        SessionsService { submitter: self.calls.submitter.clone() }
    }
}

impl tower_service::Service<http::Request<Body>> for PluginService {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let calls = Arc::clone(&self.calls);
        Box::pin(async move {
            let path = request.uri().path();
            let Some(&method) = calls.methods.get(path) else {
                return Ok(calls.unimplemented(path).into_http());
            };
            let Some(admitted) = calls.submitter.admission.enter() else {
                return Ok(calls.no_room().into_http());
            };
            let unary = Unary { method, calls, admitted: Some(admitted) };
            let response = Grpc::new(BytesCodec)
                .apply_max_message_size_config(
                    Some(limits::REQUEST_BYTES_MAX),
                    Some(limits::REPLY_BYTES_MAX),
                )
                .unary(unary, request)
                .await;
            Ok(with_typed_size_error(response))
        })
    }
}

/// tonic refuses a large request with `OUT_OF_RANGE`, before it reaches a handler. It is a bad
/// argument; a plugin's own `OUT_OF_RANGE` has the node's metadata beside it and stays.
fn with_typed_size_error(
    response: http::Response<tonic::body::Body>,
) -> http::Response<tonic::body::Body> {
    let headers = response.headers();
    let out_of_range = (tonic::Code::OutOfRange as i32).to_string();
    let is_refused = headers.get("grpc-status").is_some_and(|code| *code == *out_of_range);
    if is_refused && !headers.contains_key(NODE_KEY) {
        return status::request_too_large().into_http();
    }
    response
}

struct Unary {
    method: (u32, Kind),
    calls: Arc<Calls>,
    /// Until the call.
    admitted: Option<Admitted>,
}

impl UnaryService<Bytes> for Unary {
    type Response = Bytes;
    type Future = BoxFuture<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let calls = Arc::clone(&self.calls);
        let (metadata, _, payload) = request.into_parts();
        let admitted = self.admitted.take();
        let (method, kind) = self.method;
        let command = Command::new(method, payload);
        Box::pin(async move {
            let mut admitted = admitted.ok_or_else(|| calls.no_room())?;
            if !admitted.weighs(command.payload.len()) {
                return Err(calls.no_room());
            }
            match kind {
                Kind::Command => {
                    let session = sessions::of_metadata(&metadata)
                        .map_err(|status| calls.with_node(status))?;
                    self::command(&calls.submitter, Command { session, ..command }).await
                }
                // A query may always be sent again: it needs no session.
                Kind::Query => calls.query(command, Consistency::of(&metadata)).await,
            }
        })
    }
}

/// Has a command decided, wherever its leader is.
pub(super) async fn command(
    submitter: &Submitter,
    command: Command,
) -> Result<Response<Bytes>, Status> {
    let result = submitter.submit(command, limits::FORWARD_HOPS_MAX).await;
    let decided = result.map_err(|undecided| {
        let retry_after = || submitter.admission.retry_after();
        with_node(submitter.node, status::of_undecided(undecided, retry_after))
    })?;
    let outcome = decided.outcome.map_err(status::to_tonic);
    with_place(outcome, decided.id, decided.node)
}

fn with_node(node: NodeId, mut status: Status) -> Status {
    status.metadata_mut().insert(NODE_KEY, MetadataValue::from(node.get()));
    status
}

impl Calls {
    async fn query(
        &self,
        query: Command,
        consistency: Result<Consistency, Status>,
    ) -> Result<Response<Bytes>, Status> {
        let consistency = consistency.map_err(|status| self.with_node(status))?;
        let (id, outcome) = self
            .queries
            .query(query, consistency)
            .await
            .map_err(|status| self.with_node(status))?;
        let outcome =
            outcome.map_err(|rejection| status::to_tonic(status::of_rejection(&rejection)));
        with_place(outcome, id, self.node.get().into())
    }

    fn with_node(&self, status: Status) -> Status {
        with_node(self.node, status)
    }

    fn no_room(&self) -> Status {
        self.with_node(status::no_room(self.submitter.admission.retry_after()))
    }

    fn unimplemented(&self, path: &str) -> Status {
        let known: Vec<_> = self.methods.keys().map(String::as_str).collect();
        self.with_node(Status::unimplemented(format!(
            "there is no method {path}; this node serves {}",
            known.join(", ")
        )))
    }
}

/// Replies and rejections alike say where in the log they were decided.
fn with_place(
    outcome: Result<Bytes, Status>,
    id: LogId,
    node: u64,
) -> Result<Response<Bytes>, Status> {
    let add = |metadata: &mut MetadataMap| {
        metadata.insert(INDEX_KEY, MetadataValue::from(id.index));
        metadata.insert(TERM_KEY, MetadataValue::from(id.term));
        metadata.insert(NODE_KEY, MetadataValue::from(node));
    };
    match outcome {
        Ok(reply) => {
            let mut response = Response::new(reply);
            add(response.metadata_mut());
            Ok(response)
        }
        Err(mut status) => {
            add(status.metadata_mut());
            Err(status)
        }
    }
}
