//! Sending: a leader's snapshots, one at a time for each member, and not many in all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_core::id::RaftId;
use quorate_core::limits;
use quorate_core::replica::{Status, Transfer};
use quorate_core::state::{StateStore, StateView};
use quorate_proto::v1;
use quorate_proto::v1::snapshot_answer::Answer;
use quorate_proto::v1::snapshot_part::Part;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tonic::{Status as Refused, Streaming};

use super::from_wire;
use crate::consensus::Request;
use crate::peers::{Directory, client};
use crate::rpc::stream::ReceiverStream;
use crate::snapshot::{Encoder, Header, Position};

/// Frames between the encoder and the connection.
const FRAMES_MAX: usize = 4;
/// Between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How long the other side may take for an answer, or for one frame.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(20);
/// Attempts in a row that got nowhere.
const ATTEMPTS_MAX: u32 = 10;

/// What it takes to send snapshots.
pub(in crate::peers) struct Sender {
    pub(in crate::peers) directory: Arc<Directory>,
    pub(in crate::peers) state: Arc<dyn StateStore>,
    pub(in crate::peers) requests: mpsc::Sender<Request>,
    pub(in crate::peers) status: watch::Receiver<Status>,
    /// At random, so that another process' snapshots are others.
    pub(in crate::peers) process: u64,
    /// Bytes of a snapshot that leave within a second.
    pub(in crate::peers) rate: u64,
}

/// Sends what it is told to until consensus ends.
pub(in crate::peers) async fn run(sender: Sender, mut transfers: mpsc::Receiver<Transfer>) {
    let sender = Arc::new(sender);
    let slots = Arc::new(Semaphore::new(limits::SNAPSHOTS_SENT_MAX));
    let mut tasks = JoinSet::new();
    let mut by_member: BTreeMap<RaftId, AbortHandle> = BTreeMap::new();
    while let Some(transfer) = transfers.recv().await {
        let (sender, slots) = (Arc::clone(&sender), Arc::clone(&slots));
        let to = transfer.to;
        let task = tasks.spawn(async move {
            let Ok(_slot) = slots.acquire().await else { return };
            let number = transfer.number;
            let is_ok = sender.send(transfer).await;
            // Raft sends that member nothing until it knows.
            drop(sender.requests.send(Request::SnapshotSent(number, is_ok)).await);
        });
        // The one before is void.
        if let Some(before) = by_member.insert(to, task) {
            before.abort();
        }
        while tasks.try_join_next().is_some() {}
    }
}

impl Sender {
    async fn send(&self, transfer: Transfer) -> bool {
        let view = self.state.snapshot();
        let header = Header::of(&self.directory.roster.identity, view.meta().clone());
        let (to, id) = (transfer.to, view.meta().applied);
        tracing::info!(%to, %id, "sends a snapshot");
        let mut attempts = 0;
        while attempts < ATTEMPTS_MAX && self.leads(&transfer) {
            let mut sent = 0;
            match self.attempt(&transfer, &header, Arc::clone(&view), &mut sent).await {
                Ok(()) => {
                    tracing::info!(%to, %id, "the snapshot has arrived");
                    return true;
                }
                Err(status) => tracing::info!(%to, "a snapshot broke off: {}", status.message()),
            }
            attempts = if sent > 0 { 1 } else { attempts + 1 };
            sleep(RETRY_PAUSE).await;
        }
        tracing::warn!(%to, %id, "a snapshot was given up");
        false
    }

    /// Not whether it leads for sure: a leader may need this very snapshot to get a majority.
    fn leads(&self, transfer: &Transfer) -> bool {
        self.status.borrow().term == transfer.term
    }

    /// One stream; counts the frames that the other side has taken.
    async fn attempt(
        &self,
        transfer: &Transfer,
        header: &Header,
        view: Arc<dyn StateView>,
        sent: &mut u64,
    ) -> Result<(), Refused> {
        let node = transfer.to.node();
        let nowhere = || Refused::unavailable("no address is known");
        let channel = self.directory.connect_anew(node).ok_or_else(nowhere)?;
        let (parts, stream) = mpsc::channel(FRAMES_MAX);
        let hello = Some(self.directory.roster.hello(node));
        let (process, number, message) = (self.process, transfer.number, transfer.message.clone());
        let begin = Part::Begin(v1::SnapshotBegin { hello, process, number, message });
        let gone = |_| Refused::unavailable("the connection is gone");
        parts.send(v1::SnapshotPart { part: Some(begin) }).await.map_err(gone)?;
        let mut client = client(channel);
        let answers = timeout(ANSWER_WAIT_MAX, client.snapshot(ReceiverStream(stream)));
        let mut answers = answers.await.map_err(|_| too_slow())??.into_inner();
        let from = match next(&mut answers).await? {
            Answer::GoOn(position) => from_wire(position),
            Answer::Done(_) => return Ok(()),
        };
        let mut frames = encode(header.clone(), view, from);
        let mut budget = Budget { rate: self.rate, ready_at: Instant::now() };
        while let Some(frame) = frames.recv().await {
            let frame = frame?;
            sleep_until(budget.ready_at).await;
            budget.spend(frame.len());
            let part = v1::SnapshotPart { part: Some(Part::Frame(frame)) };
            let taken = timeout(ANSWER_WAIT_MAX, parts.send(part));
            if taken.await.map_err(|_| too_slow())?.is_err() {
                // The other side has closed the stream, and says why.
                break;
            }
            *sent += 1;
            drop(self.requests.try_send(Request::SnapshotUnderWay(transfer.number)));
        }
        drop(parts);
        match next(&mut answers).await? {
            Answer::Done(_) => Ok(()),
            Answer::GoOn(_) => Err(Refused::internal("an answer that makes no sense")),
        }
    }
}

fn too_slow() -> Refused {
    Refused::deadline_exceeded("the other side is too slow")
}

async fn next(answers: &mut Streaming<v1::SnapshotAnswer>) -> Result<Answer, Refused> {
    let answer = timeout(ANSWER_WAIT_MAX, answers.message()).await.map_err(|_| too_slow())??;
    let answer = answer.and_then(|answer| answer.answer);
    answer.ok_or_else(|| Refused::unavailable("the stream ended without an answer"))
}

/// The frames behind a position, made on a thread of their own: that reads the disk.
fn encode(
    header: Header,
    view: Arc<dyn StateView>,
    from: Option<Position>,
) -> mpsc::Receiver<Result<Bytes, Refused>> {
    let (sender, frames) = mpsc::channel(FRAMES_MAX);
    tokio::task::spawn_blocking(move || {
        let encoder = match from {
            Some(position) => Encoder::resume(&header, view, position),
            None => Encoder::new(&header, view),
        };
        let fault = |fatal| Refused::internal(format!("{fatal}"));
        let mut encoder = match encoder {
            Ok(encoder) => encoder,
            Err(fatal) => return drop(sender.blocking_send(Err(fault(fatal)))),
        };
        loop {
            let frame = match encoder.next_frame() {
                Ok(Some(frame)) => Ok(frame),
                Ok(None) => return,
                Err(fatal) => Err(fault(fatal)),
            };
            if sender.blocking_send(frame).is_err() {
                return;
            }
        }
    });
    frames
}

/// What may be sent, so that clients and the disk keep their share.
struct Budget {
    rate: u64,
    ready_at: Instant,
}

impl Budget {
    fn spend(&mut self, bytes: usize) {
        let micros = bytes as u64 * 1_000_000 / self.rate;
        self.ready_at = self.ready_at.max(Instant::now()) + Duration::from_micros(micros);
    }
}
