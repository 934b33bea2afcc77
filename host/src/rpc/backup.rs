//! The state of the machine for an operator who keeps a copy: the frames of a snapshot, as they are
//! taken. Apply goes on meanwhile; a snapshot is of the moment when it was asked for.

use std::sync::Arc;
use std::time::Duration;

use quorate_core::limits;
use quorate_core::outcome::Fatal;
use quorate_proto::v1;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tonic::Status;

use super::query::Queries;
use super::stream::ReceiverStream;
use crate::identity::Identity;
use crate::snapshot::{Encoder, Header};

/// Frames that are ready before they are taken.
const FRAMES_MAX: usize = 2;
const STALL_MAX: Duration = Duration::from_millis(limits::SNAPSHOT_SAVE_STALL_MS_MAX);

/// Makes snapshots for operators.
pub struct Backups {
    identity: Arc<Identity>,
    queries: Queries,
    /// A view pins what it shows on disk: there must not be many.
    slots: Arc<Semaphore>,
}

impl Backups {
    /// Of the state that `queries` read.
    pub fn new(identity: Arc<Identity>, queries: Queries) -> Self {
        let slots = Arc::new(Semaphore::new(limits::SNAPSHOT_SAVES_MAX));
        Self { identity, queries, slots }
    }

    /// The frames of a snapshot that has all that was committed when this was called.
    pub async fn save(&self) -> Result<ReceiverStream<Result<v1::SnapshotFrame, Status>>, Status> {
        let slot = Arc::clone(&self.slots).try_acquire_owned().map_err(|_| {
            let max = limits::SNAPSHOT_SAVES_MAX;
            Status::resource_exhausted(format!("{max} snapshots are being saved already; wait"))
        })?;
        let view = self.queries.latest().await?;
        let header = Header::of(&self.identity, view.meta().clone());
        let encoder = Encoder::new(&header, view).map_err(broken)?;
        let (frames, stream) = mpsc::channel(FRAMES_MAX);
        tokio::spawn(send(encoder, frames, slot));
        Ok(ReceiverStream(stream))
    }
}

/// Sends all frames; ends early when nobody takes them any more.
async fn send(
    mut encoder: Encoder,
    frames: mpsc::Sender<Result<v1::SnapshotFrame, Status>>,
    _slot: OwnedSemaphorePermit,
) {
    loop {
        let begun = Instant::now();
        // Reads the disk and compresses: not on a thread that serves calls.
        let made = tokio::task::spawn_blocking(move || {
            let frame = encoder.next_frame();
            (encoder, frame)
        });
        let Ok((same, frame)) = made.await else { return };
        encoder = same;
        let worked = begun.elapsed();
        let (frame, is_last) = match frame {
            Ok(Some(frame)) => (Ok(v1::SnapshotFrame { frame }), false),
            Ok(None) => return,
            Err(fatal) => (Err(broken(fatal)), true),
        };
        let taken = timeout(STALL_MAX, frames.send(frame)).await;
        if is_last || !matches!(taken, Ok(Ok(()))) {
            return;
        }
        // It rests as long as it has worked, and so has half a core at most, less where cores are
        // scarce: calls come first.
        tokio::time::sleep(worked).await;
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it goes no further than here")]
fn broken(fatal: Fatal) -> Status {
    tracing::error!("a snapshot met a fault of this node: {fatal}");
    Status::internal("this node could not read its state; its log says why")
}
