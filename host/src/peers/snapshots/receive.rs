//! Receiving: a snapshot becomes a state of its own, beside the one in use. When all of it is
//! there, and durable, consensus hears of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_core::outcome::Fatal;
use quorate_core::replica::Staged;
use quorate_core::state::Meta;
use quorate_proto::v1;
use quorate_proto::v1::snapshot_answer::Answer;
use quorate_proto::v1::snapshot_part::Part;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};
use tokio::time::timeout;
use tonic::{Status, Streaming};

use super::to_wire;
use crate::consensus::Request;
use crate::identity::Identity;
use crate::node::{Builder, States};
use crate::snapshot::{Content, Decoder, Header};

/// How long the next frame may take.
const FRAME_WAIT_MAX: Duration = Duration::from_secs(10);

/// Takes the snapshots that come, one at a time.
#[derive(Clone)]
pub(in crate::peers) struct Receiver {
    identity: Arc<Identity>,
    states: Arc<States>,
    requests: mpsc::Sender<Request>,
    /// What is there of a snapshot whose stream broke off. Held while one comes.
    staging: Arc<Mutex<Option<Staging>>>,
}

/// Which snapshot: the node, the process and the number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key(u64, u64, u64);

struct Staging {
    key: Key,
    decoder: Decoder,
    state: u64,
    builder: Builder,
    meta: Meta,
}

impl Receiver {
    pub(in crate::peers) fn new(
        identity: Arc<Identity>,
        states: Arc<States>,
        requests: mpsc::Sender<Request>,
    ) -> Self {
        Self { identity, states, requests, staging: Arc::default() }
    }

    /// Takes a snapshot, of which the first part has come.
    pub(in crate::peers) async fn receive(
        self,
        begin: v1::SnapshotBegin,
        mut parts: Streaming<v1::SnapshotPart>,
        answers: &mpsc::Sender<Result<v1::SnapshotAnswer, Status>>,
    ) -> Result<(), Status> {
        let from = begin.hello.map_or(0, |hello| hello.from);
        let key = Key(from, begin.process, begin.number);
        // Another stream may not have noticed yet that it is broken.
        let staging = timeout(FRAME_WAIT_MAX, Arc::clone(&self.staging).lock_owned()).await;
        let mut slot = staging.map_err(|_| Status::resource_exhausted("another one is coming"))?;
        if let Some(other) = slot.take_if(|staging| staging.key != key) {
            self.abandon(other).await;
        }
        if slot.is_none() {
            *slot = Some(self.begin(key).await?);
        }
        let position = slot.as_ref().and_then(|staging| staging.decoder.position());
        say(answers, Answer::GoOn(to_wire(position))).await?;
        loop {
            let part = timeout(FRAME_WAIT_MAX, parts.message()).await;
            let part = part.map_err(|_| Status::deadline_exceeded("no frame came"))??;
            let Some(Part::Frame(frame)) = part.and_then(|part| part.part) else {
                return Err(Status::invalid_argument("it ended too early"));
            };
            let (back, is_whole) = self.take(slot, frame).await?;
            slot = back;
            if is_whole {
                break;
            }
        }
        let Some(staging) = slot.take() else { return Err(Status::internal("it is gone")) };
        let staged = self.finish(staging).await?;
        let request = Request::Snapshot(begin.message, staged);
        self.requests.send(request).await.map_err(|_| Status::unavailable("it is stopping"))?;
        say(answers, Answer::Done(v1::SnapshotDone {})).await
    }

    async fn begin(&self, key: Key) -> Result<Staging, Status> {
        let states = Arc::clone(&self.states);
        let (state, builder) = blocking(move || states.begin()).await?;
        let (decoder, meta) = (Decoder::new(), Meta::default());
        Ok(Staging { key, decoder, state, builder, meta })
    }

    /// Takes the next frame. A damaged one changes nothing; what cannot be written ends this
    /// snapshot, and not the node.
    async fn take(
        &self,
        mut slot: OwnedMutexGuard<Option<Staging>>,
        frame: Bytes,
    ) -> Result<(OwnedMutexGuard<Option<Staging>>, bool), Status> {
        let receiver = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let gone = || Status::internal("it is gone");
            let staging = slot.as_mut().ok_or_else(gone)?;
            let content = staging.decoder.take(&frame).map_err(|damage| {
                tracing::warn!("a snapshot came damaged: {damage}");
                Status::data_loss(damage.to_string())
            })?;
            let is_whole = matches!(content, Content::End);
            if let Err(status) = receiver.put(staging, content) {
                if let Some(staging) = slot.take() {
                    receiver.drop_staging(staging);
                }
                return Err(status);
            }
            Ok((slot, is_whole))
        });
        task.await.map_err(|error| Status::internal(error.to_string()))?
    }

    fn put(&self, staging: &mut Staging, content: Content) -> Result<(), Status> {
        match content {
            Content::Header(header) => {
                if header != Header::of(&self.identity, header.meta.clone()) {
                    return Err(Status::failed_precondition("a snapshot of another machine"));
                }
                staging.meta = header.meta;
            }
            Content::Records(records) => {
                for record in records {
                    let put = staging.builder.put(record.space, &record.key, &record.value);
                    put.map_err(|fatal| cannot_write(&fatal))?;
                }
            }
            Content::End => {}
        }
        Ok(())
    }

    async fn finish(&self, staging: Staging) -> Result<Staged, Status> {
        let receiver = self.clone();
        let task = move || {
            let Staging { state, builder, meta, .. } = staging;
            let (applied, conf) = (meta.applied, meta.conf.clone());
            if let Err(fatal) = receiver.states.finish(state, builder, meta) {
                receiver.states.discard(state);
                return Err(fatal);
            }
            Ok(Staged { state, applied, conf })
        };
        blocking(task).await
    }

    async fn abandon(&self, staging: Staging) {
        let receiver = self.clone();
        drop(tokio::task::spawn_blocking(move || receiver.drop_staging(staging)).await);
    }

    fn drop_staging(&self, staging: Staging) {
        let Staging { state, builder, .. } = staging;
        drop(builder);
        self.states.discard(state);
    }
}

async fn say(
    answers: &mpsc::Sender<Result<v1::SnapshotAnswer, Status>>,
    answer: Answer,
) -> Result<(), Status> {
    let answer = v1::SnapshotAnswer { answer: Some(answer) };
    answers.send(Ok(answer)).await.map_err(|_| Status::cancelled("nobody listens"))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fatal> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Status::internal(error.to_string()))?.map_err(|fatal| cannot_write(&fatal))
}

fn cannot_write(fatal: &Fatal) -> Status {
    tracing::error!("a snapshot cannot be stored: {fatal}");
    Status::internal("the snapshot cannot be stored there; its log says why")
}
