//! How a state gets from node to node: in parts, apart from raft's messages, and asked for again
//! where they were lost or damaged. And how it takes its place, or is made durable where it is.
//!
//! What the host does with a stream and a folder happens here with packets and numbered states.

mod chunk;

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use quorate_core::id::{LogId, RaftId};
use quorate_core::outcome::Fatal;
use quorate_core::replica::{Event as ReplicaEvent, Staged, Transfer};
use quorate_core::state::{Changes, Meta, StateStore as _};

use self::chunk::{chunks, collect, is_sound, sealed};
use super::process::{Packet, Process};
use super::{Cluster, Event};
use crate::fault::{Kind, Unsynced};
use crate::oracle::{Checked, Violation, ensure};
use crate::state;
use crate::time::{MS, Time};

/// Ticks without an answer before a sender begins again where it was.
const PATIENCE_TICKS: u64 = 3;
/// How often it does so before it gives up.
const TRIES_MAX: u32 = 6;
/// One sender of so many dies without a word.
const DIES_ONE_IN: u32 = 8;

/// Which snapshot: that one of a life of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    from: u32,
    life: u32,
    pub(crate) number: u64,
}

/// What travels of a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) stream: Stream,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    /// A snapshot is due: which state, the message that comes with it, and how many chunks.
    Begin {
        to: RaftId,
        message: Bytes,
        meta: Bytes,
        chunks: usize,
    },
    /// The receiver has so many chunks.
    Has(usize),
    Chunk(usize, Bytes),
    /// The receiver has all, or wants none of it.
    End(bool),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stream { from, number, .. } = self.stream;
        write!(f, "snapshot {number} of node {from}: ")?;
        match &self.what {
            What::Begin { chunks, .. } => write!(f, "{chunks} chunks are due"),
            What::Has(chunks) => write!(f, "{chunks} chunks are there"),
            What::Chunk(index, _) => write!(f, "chunk {index}"),
            What::End(true) => f.write_str("it is there"),
            What::End(false) => f.write_str("it is not wanted"),
        }
    }
}

/// The snapshots of a process.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    outgoing: BTreeMap<u64, Outgoing>,
    incoming: Option<Incoming>,
    /// Staged, for the next round.
    arrived: Vec<(Bytes, Staged)>,
    /// The last one that came: it may come again, much later.
    last: Option<(Bytes, Meta, Changes)>,
    durable: Option<u64>,
    getting_on: Vec<u64>,
    /// What became of those that were sent.
    reports: Vec<(u64, bool)>,
}

#[derive(Debug)]
struct Outgoing {
    transfer: Transfer,
    meta: Bytes,
    chunks: Vec<Bytes>,
    heard_at: u64,
    tries: u32,
}

#[derive(Debug)]
struct Incoming {
    stream: Stream,
    message: Bytes,
    meta: Meta,
    count: usize,
    chunks: Vec<Bytes>,
}

impl Process {
    /// Gives the replica what is new; false when nothing is.
    pub(super) fn take_snapshot_news(&mut self) -> bool {
        let snapshots = &mut self.snapshots;
        let mut events = Vec::new();
        events.extend(snapshots.durable.take().map(ReplicaEvent::Durable));
        events.extend(snapshots.getting_on.drain(..).map(ReplicaEvent::SnapshotUnderWay));
        let report = |(number, is_ok)| ReplicaEvent::SnapshotSent { number, is_ok };
        events.extend(snapshots.reports.drain(..).map(report));
        let arrived = std::mem::take(&mut snapshots.arrived);
        let arrive = |(message, staged)| ReplicaEvent::Snapshot { message, staged };
        events.extend(arrived.into_iter().map(arrive));
        let any = !events.is_empty();
        for event in events {
            self.replica.handle(event);
        }
        any
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
fn goes_on(fatal: Fatal) -> Violation {
    Violation::new("the simulated state goes on", fatal.to_string())
}

impl Cluster {
    /// A leader is told to send a snapshot.
    pub(super) fn send_snapshot(&mut self, number: u32, transfer: Transfer) -> Checked {
        let node = self.node(number);
        let view = node.state.snapshot();
        let dies = node.rng.u32(0..DIES_ONE_IN) == 0;
        let meta = view.meta().clone();
        let digest = state::digest(&*view).map_err(goes_on)?;
        let chunks = chunks(&state::all(&*view).map_err(goes_on)?);
        let Some(process) = &mut node.process else { return Ok(()) };
        // The one before to the same member is over.
        process.snapshots.outgoing.retain(|_, outgoing| outgoing.transfer.to != transfer.to);
        let stream = transfer.number;
        let heard_at = process.ticks;
        let meta_bytes = meta.encode();
        let outgoing = Outgoing { transfer, meta: meta_bytes, chunks, heard_at, tries: 0 };
        if !dies {
            process.snapshots.outgoing.insert(stream, outgoing);
        }
        let index = meta.applied.index;
        let known = *self.snapshots.entry(index).or_insert(digest);
        ensure(known == digest, "a snapshot is what its log makes it", || {
            format!("that of node {number} at {index} is another one's")
        })?;
        self.trace.note((self.now, number), "snapshot", [index, digest], || {
            format!("{stream} of entry {}", meta.applied)
        });
        self.begin_stream(number, stream);
        Ok(())
    }

    fn begin_stream(&mut self, number: u32, snapshot: u64) {
        let node = self.node(number);
        let stream = Stream { from: number, life: node.life, number: snapshot };
        let Some(process) = &node.process else { return };
        let Some(outgoing) = process.snapshots.outgoing.get(&snapshot) else { return };
        let (to, message) = (outgoing.transfer.to, outgoing.transfer.message.clone());
        let (meta, chunks) = (outgoing.meta.clone(), outgoing.chunks.len());
        self.send_part(number, to.node().get(), stream, What::Begin { to, message, meta, chunks });
    }

    fn send_part(&mut self, from: u32, to: u32, stream: Stream, what: What) {
        let mut what = what;
        if let What::Chunk(_, bytes) = &mut what
            && self.rng.u8(0..100) < self.damaged_percent
        {
            let mut damaged = bytes.to_vec();
            let at = self.rng.usize(0..damaged.len());
            if self.rng.bool() {
                damaged[at] ^= 1 << self.rng.u32(0..8);
            } else {
                damaged.truncate(at);
            }
            *bytes = damaged.into();
            self.ledger.fire(Kind::ChunkDamaged, to);
        }
        self.transmit(from, to, Packet::Snapshot(Box::new(Part { stream, what })));
    }

    /// What has come of snapshots, apart from what consensus hears.
    pub(super) fn take_snapshots(&mut self, number: u32) -> bool {
        let Some(process) = &mut self.node(number).process else { return false };
        let mut parts = Vec::new();
        process.inbox.retain(|packet| match packet {
            Packet::Snapshot(part) => {
                parts.push(Part::clone(part));
                false
            }
            _ => true,
        });
        let moved = !parts.is_empty();
        for part in parts {
            if self.crashes_in_snapshot(number) {
                return true;
            }
            self.take_part(number, part);
        }
        moved
    }

    fn take_part(&mut self, number: u32, Part { stream, what }: Part) {
        match what {
            What::Begin { to, message, meta, chunks } => {
                let meta = Meta::decode(&meta);
                let node = self.node(number);
                let is_ours = node.member() == to;
                let Some(process) = &mut node.process else { return };
                let (Some(meta), true) = (meta, is_ours) else {
                    self.send_part(number, stream.from, stream, What::End(false));
                    return;
                };
                let incoming = &mut process.snapshots.incoming;
                if incoming.as_ref().is_none_or(|incoming| incoming.stream != stream) {
                    let (count, chunks) = (chunks, Vec::new());
                    *incoming = Some(Incoming { stream, message, meta, count, chunks });
                }
                self.tell_what_is_there(number, stream);
            }
            What::Chunk(index, bytes) => {
                let Some(process) = &mut self.node(number).process else { return };
                let Some(incoming) = &mut process.snapshots.incoming else { return };
                let is_sound = incoming.stream == stream && is_sound(stream, index, &bytes);
                if is_sound && index == incoming.chunks.len() {
                    incoming.chunks.push(bytes);
                }
                self.tell_what_is_there(number, stream);
            }
            What::Has(next) => self.send_chunk(number, stream, next),
            What::End(is_ok) => {
                let Some(process) = &mut self.node(number).process else { return };
                if process.snapshots.outgoing.remove(&stream.number).is_some() {
                    process.snapshots.reports.push((stream.number, is_ok));
                }
            }
        }
    }

    fn send_chunk(&mut self, number: u32, stream: Stream, next: usize) {
        let life = self.node(number).life;
        let Some(process) = &mut self.node(number).process else { return };
        let ticks = process.ticks;
        let Some(outgoing) = process.snapshots.outgoing.get_mut(&stream.number) else { return };
        if stream.life != life {
            return;
        }
        (outgoing.heard_at, outgoing.tries) = (ticks, 0);
        let to = outgoing.transfer.to.node().get();
        let chunk = outgoing.chunks.get(next).map(|chunk| sealed(stream, next, chunk));
        process.snapshots.getting_on.push(stream.number);
        if let Some(chunk) = chunk {
            self.send_part(number, to, stream, What::Chunk(next, chunk));
        }
    }

    /// Tells the sender how much is there; all of it is staged.
    fn tell_what_is_there(&mut self, number: u32, stream: Stream) {
        let now = self.now;
        let node = self.node(number);
        let life = node.life;
        let Some(process) = &node.process else { return };
        let Some(incoming) = &process.snapshots.incoming else { return };
        if incoming.stream != stream {
            return;
        }
        let (has, count) = (incoming.chunks.len(), incoming.count);
        if has == count {
            let at = now + node.rng.u64(MS..20 * MS);
            self.schedule(at, Event::Staged(number, life, Box::new(stream)));
        }
        self.send_part(number, stream.from, stream, What::Has(has));
    }

    /// All of a snapshot has come, and is durable as a state of its own.
    pub(super) fn staged(&mut self, number: u32, stream: &Stream) -> Checked {
        if self.crashes_in_snapshot(number) {
            return Ok(());
        }
        let node = self.node(number);
        let Some(process) = &mut node.process else { return Ok(()) };
        let is_this = |incoming: &mut Incoming| incoming.stream == *stream;
        let Some(incoming) = process.snapshots.incoming.take_if(is_this) else { return Ok(()) };
        let Incoming { stream, message, meta, chunks, .. } = incoming;
        let changes = collect(&chunks);
        process.snapshots.last = Some((message.clone(), meta.clone(), changes.clone()));
        let (applied, conf) = (meta.applied, meta.conf.clone());
        let state = node.state.stage(&changes, meta).map_err(goes_on)?;
        let staged = Staged { state, applied, conf };
        process.snapshots.arrived.push((message, staged));
        self.trace.note((self.now, number), "stages", [applied.index, state], || {
            format!("snapshot {} of node {}, as state {state}", stream.number, stream.from)
        });
        self.send_part(number, stream.from, stream, What::End(true));
        self.pump(number)
    }

    /// The last snapshot comes once more, as old as it is by now.
    pub(super) fn repeat_snapshot(&mut self, number: u32) -> Checked {
        let node = self.node(number);
        let Some(process) = &mut node.process else { return Ok(()) };
        let Some((message, meta, changes)) = process.snapshots.last.clone() else { return Ok(()) };
        let (applied, conf) = (meta.applied, meta.conf.clone());
        let state = node.state.stage(&changes, meta).map_err(goes_on)?;
        process.snapshots.arrived.push((message, Staged { state, applied, conf }));
        process.wants_round = true;
        self.ledger.fire(Kind::SnapshotRepeated, number);
        Ok(())
    }

    /// Senders that hear nothing begin again where they were, and give up in the end.
    pub(super) fn tick_snapshots(&mut self, number: u32) {
        let Some(process) = &mut self.node(number).process else { return };
        let (ticks, term) = (process.ticks, process.replica.status().term);
        let mut again = Vec::new();
        let snapshots = &mut process.snapshots;
        snapshots.outgoing.retain(|stream, outgoing| {
            let is_late = ticks.saturating_sub(outgoing.heard_at) > PATIENCE_TICKS;
            if is_late && outgoing.tries < TRIES_MAX {
                (outgoing.heard_at, outgoing.tries) = (ticks, outgoing.tries + 1);
                again.push(*stream);
            }
            let is_over = outgoing.transfer.term != term || is_late && outgoing.tries == TRIES_MAX;
            if is_over {
                snapshots.reports.push((*stream, false));
            }
            !is_over
        });
        for stream in again {
            self.ledger.fire(Kind::StreamBroken, number);
            self.begin_stream(number, stream);
        }
    }

    /// A node wants its state anew, from the leader.
    pub(super) fn resync(&mut self, number: u32) -> Checked {
        if let Some(process) = &mut self.node(number).process
            && process.replica.status().leader != Some(process.member)
        {
            process.replica.resync();
            process.wants_round = true;
            self.ledger.fire(Kind::Resync, number);
            // At another member than the one that asked, too: what is old may come at any time.
            for node in 1..=self.plan.nodes {
                self.repeat_snapshot(node)?;
            }
        }
        self.pump(number)
    }

    /// Apply comes to a snapshot.
    pub(super) fn install(&mut self, number: u32, staged: &Staged) -> Checked<bool> {
        if self.crashes_in_snapshot(number) {
            return Ok(true);
        }
        self.put_in_place(number, staged)?;
        let (now, node) = (self.now, self.node(number));
        let (at, life) = (now + node.rng.u64(5..5 * MS) + node.slow_apply_us, node.life);
        self.schedule(at, Event::Installed(number, life, staged.applied));
        Ok(true)
    }

    /// The staged state takes the place of the one in use.
    pub(super) fn put_in_place(&mut self, number: u32, staged: &Staged) -> Checked {
        let node = &mut self.nodes[number as usize - 1];
        node.state.install(staged.state).map_err(goes_on)?;
        let digest = state::digest(&*node.state.snapshot()).map_err(goes_on)?;
        let Some(process) = &mut node.process else { return Ok(()) };
        let applied = process.machine.state_replaced().map_err(goes_on)?;
        let known = self.snapshots.get(&applied.index).copied();
        let is_right = applied == staged.applied && known == Some(digest);
        ensure(is_right, "what is installed is what was sent", || {
            format!("node {number}, {staged:?}")
        })?;
        self.trace.note((self.now, number), "installs", [applied.index, digest], || {
            format!("state {} of entry {applied}", staged.state)
        });
        self.has_another_state(number);
        Ok(())
    }

    pub(super) fn installed(&mut self, number: u32, id: LogId) -> Checked {
        let node = self.node(number);
        let is_new = id.index > node.applied_max;
        node.applied_max = node.applied_max.max(id.index);
        let Some(process) = &mut node.process else { return Ok(()) };
        (process.applied, process.applies) = (id.index, false);
        if is_new {
            self.ledger.progress(number);
        }
        self.pump(number)
    }

    /// The state is made durable as it is now, while apply goes on.
    pub(super) fn flush_state(&mut self, number: u32) {
        let now = self.now;
        let node = self.node(number);
        let index = node.state.snapshot().meta().applied.index;
        let (at, life): (Time, u32) = (now + node.rng.u64(MS..300 * MS), node.life);
        self.schedule(at, Event::Flushed(number, life, index));
    }

    pub(super) fn flushed(&mut self, number: u32, index: u64) -> Checked {
        let node = self.node(number);
        node.state.flush_up_to(index).map_err(goes_on)?;
        if let Some(process) = &mut node.process {
            process.snapshots.durable = Some(index);
        }
        self.pump(number)
    }

    /// Whether the process ends here, by a fault that waits for this.
    fn crashes_in_snapshot(&mut self, number: u32) -> bool {
        let (now, node) = (self.now, self.node(number));
        let life = node.life;
        let Some(left) = &mut node.armed_in_snapshot else { return false };
        if *left > 0 {
            *left -= 1;
            return false;
        }
        node.armed_in_snapshot = None;
        if let Some(process) = &mut node.process {
            process.desk.borrow_mut().is_closed = true;
            // Until then, nothing else happens.
            (process.is_syncing, process.applies) = (true, true);
        }
        self.ledger.fire(Kind::CrashInSnapshot, number);
        self.schedule(now, Event::Crash(number, life, Unsynced::Lost));
        true
    }
}
