//! The plugin's own service, by the descriptor in its module: path in, bytes through, bytes out.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::HttpBody;
use axum::http;
use bytes::Bytes;
use quorate_core::batch::Command;
use quorate_core::id::{LogId, NodeId};
use quorate_core::limits;
use quorate_proto::v1::Kind;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, StdError};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Response, Status};

use super::consistency::Consistency;
use super::pipeline::PipelineService;
use super::query::Queries;
use super::sessions::{self, SessionsService};
use super::{status, unary};
use crate::admission::Admission;
use crate::submit::Submitter;
use quorate_wasm::Module;

/// The log index that decided a call; for a query, of the state that it saw.
pub const INDEX_KEY: &str = "quorate-index";
/// The term of that entry.
pub const TERM_KEY: &str = "quorate-term";
/// The node that answered.
pub const NODE_KEY: &str = "quorate-node";

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

    /// Whether it has a method of this path.
    pub(super) fn has(&self, path: &str) -> bool {
        self.calls.methods.contains_key(path)
    }

    /// Room for its calls.
    pub(super) fn admission(&self) -> &Admission {
        &self.calls.submitter.admission
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

impl<B> tower_service::Service<http::Request<B>> for PluginService
where
    B: HttpBody<Data = Bytes, Error: Into<StdError>> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let calls = Arc::clone(&self.calls);
        Box::pin(async move {
            let answered = calls.answer(request).await;
            Ok(answered.map_or_else(Status::into_http, unary::response))
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
    async fn answer<B>(&self, request: http::Request<B>) -> Result<Response<Bytes>, Status>
    where
        B: HttpBody<Data = Bytes, Error: Into<StdError>>,
    {
        let path = request.uri().path();
        let &(method, kind) = self.methods.get(path).ok_or_else(|| self.unimplemented(path))?;
        let admitted = self.submitter.admission.enter();
        let mut admitted = admitted.ok_or_else(|| self.no_room())?;
        let (head, body) = request.into_parts();
        let message = unary::read(body).await.map_err(|status| self.with_node(status))?;
        if !admitted.weighs(message.len()) {
            return Err(self.no_room());
        }
        let metadata = MetadataMap::from_headers(head.headers);
        let command = Command::new(method, message);
        match kind {
            Kind::Command => {
                let session =
                    sessions::of_metadata(&metadata).map_err(|status| self.with_node(status))?;
                self::command(&self.submitter, Command { session, ..command }).await
            }
            // A query may always be sent again: it needs no session.
            Kind::Query => self.query(command, Consistency::of(&metadata)).await,
        }
    }

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
        let mut index = MetadataValue::from(id.index);
        // Another with each entry: not worth a place in a connection's table of headers.
        index.set_sensitive(true);
        metadata.insert(INDEX_KEY, index);
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
