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
use tokio::time::{Instant, timeout};
use tonic::{Status, Streaming};

use super::to_wire;
use crate::consensus::Request;
use crate::disk::Room;
use crate::identity::Identity;
use crate::node::{Builder, States};
use crate::snapshot::{Content, Decoder, Header};

/// How long the next frame may take.
const FRAME_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long the first part of a snapshot waits for its sender to come back with the rest.
const KEPT_MAX: Duration = Duration::from_mins(1);
/// So much of what was taken may be in memory still, and needs its room on the disk.
const UNWRITTEN_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// After a snapshot for which there was no room, none is begun for so long.
const NO_ROOM_PAUSE: Duration = Duration::from_secs(10);

/// Takes the snapshots that come, one at a time.
#[derive(Clone)]
pub(in crate::peers) struct Receiver {
    identity: Arc<Identity>,
    states: Arc<States>,
    room: Room,
    requests: mpsc::Sender<Request>,
    /// Held while a snapshot comes.
    desk: Arc<Mutex<Desk>>,
}

/// What is remembered between two streams.
#[derive(Default)]
struct Desk {
    /// What is there of a snapshot whose stream broke off.
    staging: Option<Staging>,
    /// When something was added to it last.
    touched_at: Option<Instant>,
    /// The last one that came as a whole: its sender may not have heard of that.
    done: Option<Key>,
    /// When there was no room for one.
    lacked_room_at: Option<Instant>,
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
        (states, room): (Arc<States>, Room),
        requests: mpsc::Sender<Request>,
    ) -> Self {
        Self { identity, states, room, requests, desk: Arc::default() }
    }

    /// Takes a snapshot, of which the first part has come.
    pub(in crate::peers) async fn receive(
        self,
        begin: v1::SnapshotBegin,
        parts: Streaming<v1::SnapshotPart>,
        answers: &mpsc::Sender<Result<v1::SnapshotAnswer, Status>>,
    ) -> Result<(), Status> {
        let received = self.take_all(begin, parts, answers).await;
        if received.is_err() {
            tokio::spawn(async move {
                tokio::time::sleep(KEPT_MAX).await;
                self.give_up_stale(Instant::now()).await;
            });
        }
        received
    }

    async fn take_all(
        &self,
        begin: v1::SnapshotBegin,
        mut parts: Streaming<v1::SnapshotPart>,
        answers: &mpsc::Sender<Result<v1::SnapshotAnswer, Status>>,
    ) -> Result<(), Status> {
        let from = begin.hello.map_or(0, |hello| hello.from);
        let key = Key(from, begin.process, begin.number);
        // Another stream may not have noticed yet that it is broken.
        let desk = timeout(FRAME_WAIT_MAX, Arc::clone(&self.desk).lock_owned()).await;
        let mut desk = desk.map_err(|_| Status::resource_exhausted("another one is coming"))?;
        if desk.done == Some(key) {
            return say(answers, Answer::Done(v1::SnapshotDone {})).await;
        }
        if let Some(other) = desk.staging.take_if(|staging| staging.key != key) {
            self.abandon(other).await;
        }
        if desk.staging.is_none() {
            desk.staging = Some(self.begin(key, desk.lacked_room_at).await?);
        }
        let position = desk.staging.as_ref().and_then(|staging| staging.decoder.position());
        if let Some(position) = position {
            tracing::info!(records = position.records, "goes on with a snapshot that broke off");
        }
        say(answers, Answer::GoOn(to_wire(position))).await?;
        loop {
            let part = timeout(FRAME_WAIT_MAX, parts.message()).await;
            let part = part.map_err(|_| Status::deadline_exceeded("no frame came"))??;
            let Some(Part::Frame(frame)) = part.and_then(|part| part.part) else {
                return Err(Status::invalid_argument("it ended too early"));
            };
            let (back, is_whole) = self.take(desk, frame).await?;
            desk = back;
            if is_whole {
                break;
            }
        }
        let Some(staging) = desk.staging.take() else { return Err(Status::internal("it is gone")) };
        let staged = self.finish(staging).await?;
        let request = Request::Snapshot(begin.message, staged);
        self.requests.send(request).await.map_err(|_| Status::unavailable("it is stopping"))?;
        desk.done = Some(key);
        say(answers, Answer::Done(v1::SnapshotDone {})).await
    }

    async fn begin(&self, key: Key, lacked_room_at: Option<Instant>) -> Result<Staging, Status> {
        let has_lacked = lacked_room_at.is_some_and(|at| at.elapsed() < NO_ROOM_PAUSE);
        if has_lacked || self.room.bytes() == 0 {
            return Err(no_room());
        }
        let states = Arc::clone(&self.states);
        let (state, builder) = blocking(move || states.begin()).await?;
        let (decoder, meta) = (Decoder::new(), Meta::default());
        Ok(Staging { key, decoder, state, builder, meta })
    }

    /// What nobody has added to for long takes up room in vain.
    async fn give_up_stale(&self, now: Instant) {
        let mut desk = self.desk.lock().await;
        let is_stale = desk.touched_at.is_none_or(|at| now.duration_since(at) >= KEPT_MAX);
        if let Some(staging) = desk.staging.take_if(|_| is_stale) {
            tracing::warn!("what there is of a snapshot is given up: its sender did not come back");
            self.abandon(staging).await;
        }
    }

    /// Takes the next frame. A damaged one changes nothing; what cannot be written ends this
    /// snapshot, and not the node.
    async fn take(
        &self,
        mut desk: OwnedMutexGuard<Desk>,
        frame: Bytes,
    ) -> Result<(OwnedMutexGuard<Desk>, bool), Status> {
        let receiver = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let gone = || Status::internal("it is gone");
            desk.touched_at = Some(Instant::now());
            let staging = desk.staging.as_mut().ok_or_else(gone)?;
            let content = staging.decoder.take(&frame).map_err(|damage| {
                tracing::warn!("a snapshot came damaged: {damage}");
                Status::data_loss(damage.to_string())
            })?;
            let is_whole = matches!(content, Content::End);
            let has_room = receiver.has_room(staging);
            let put = if has_room { receiver.put(staging, content) } else { Err(no_room()) };
            if let Err(status) = put {
                if let Some(staging) = desk.staging.take() {
                    receiver.drop_staging(staging);
                }
                if !has_room {
                    tracing::error!("the disk has no room for a snapshot; it is asked for again");
                    desk.lacked_room_at = Some(Instant::now());
                }
                return Err(status);
            }
            Ok((desk, is_whole))
        });
        task.await.map_err(|error| Status::internal(error.to_string()))?
    }

    /// Whether the log, which no node can do without, keeps its room beside this snapshot.
    fn has_room(&self, staging: &Staging) -> bool {
        let taken = staging.decoder.position().map_or(0, |position| position.bytes);
        self.room.bytes() > taken.min(UNWRITTEN_BYTES_MAX)
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
                receiver.states.sweep();
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
        self.states.sweep();
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

fn no_room() -> Status {
    Status::resource_exhausted("the disk there has no room for a snapshot")
}

fn cannot_write(fatal: &Fatal) -> Status {
    tracing::error!("a snapshot cannot be stored: {fatal}");
    Status::internal("the snapshot cannot be stored there; its log says why")
}

#[cfg(test)]
mod tests {
    use quorate_core::id::NodeId;
    use quorate_core::log::Base;

    use super::*;
    use crate::identity::Timing;

    fn receiver(folder: &std::path::Path, reserve: u64) -> Receiver {
        let node = NodeId::new(1).unwrap();
        let identity = Identity {
            cluster: "test".to_owned(),
            node,
            founders: vec![node],
            module: [0; 32],
            timing: Timing::default(),
        };
        let states = Arc::new(States::open(folder, Base::default()).unwrap());
        let room = Room::new(Some(folder.to_owned()), Some(reserve));
        Receiver::new(Arc::new(identity), (states, room), mpsc::channel(1).0)
    }

    #[tokio::test]
    async fn what_nobody_goes_on_with_is_given_up_after_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let receiver = receiver(folder.path(), 0);
        let now = Instant::now();
        let mut desk = receiver.desk.lock().await;
        desk.staging = Some(receiver.begin(Key(2, 1, 1), None).await.unwrap());
        desk.touched_at = Some(now);
        drop(desk);
        let staged = folder.path().join("state-1");
        receiver.give_up_stale(now + KEPT_MAX / 2).await;
        assert!(staged.exists(), "its sender may come back");
        receiver.give_up_stale(now + KEPT_MAX).await;
        assert!(!staged.exists(), "the disk is free again");
        assert!(receiver.desk.lock().await.staging.is_none());
    }

    #[tokio::test]
    async fn a_snapshot_is_not_begun_where_there_is_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let full = receiver(folder.path(), u64::MAX);
        let refused = full.begin(Key(2, 1, 1), None).await.err().unwrap();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        drop(full);
        let roomy = receiver(folder.path(), 0);
        // There was none a moment ago.
        assert!(roomy.begin(Key(2, 1, 1), Some(Instant::now())).await.is_err());
        assert!(roomy.begin(Key(2, 1, 1), None).await.is_ok());
    }
}
