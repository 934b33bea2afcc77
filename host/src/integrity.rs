//! Whether this node's state is what the other nodes have: asked each tick, judged by
//! [`quorate_core::integrity`], and carried out here.
//!
//! A state that is wrong, or of which a record is damaged, goes into quarantine: no reads, no
//! outcomes, no leadership. A mark in the folder of the state keeps it there over a restart; the
//! evidence is a file beside it, for a person. What was told before the quarantine cannot be
//! untold.
//!
//! What this deliberately does not do: judge the state that a leader sends: it comes through
//! the leader's quarantine.

mod evidence;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quorate_core::id::{LogId, NodeId};
use quorate_core::integrity::{Divergence, Point, Report, Watch};
use quorate_core::outcome::Fatal;
use quorate_core::replica::Status;
use quorate_core::state::{Changes, Meta};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::consensus::{Request, leader_of};
use crate::identity::Identity;
use crate::peers::Directory;

use evidence::Evidence;

/// Why the state is in quarantine, if it is.
pub type Quarantine = Option<Arc<str>>;

/// Where a node keeps what it must remember of a quarantine.
#[derive(Clone, Debug)]
pub struct Places {
    /// The node's folder, for evidence.
    pub data: PathBuf,
    /// The folder of the state; the mark goes with it.
    pub state: PathBuf,
}

/// What this node knows of the soundness of its state. Apply, queries and peers share it.
#[derive(Debug)]
pub struct Integrity {
    identity: Arc<Identity>,
    watch: Mutex<Watch>,
    quarantine: watch::Sender<Quarantine>,
    nearly_full: AtomicBool,
    /// Those whose disks count for whether there is room.
    voters: Mutex<BTreeSet<NodeId>>,
    /// Nowhere, for a state in memory.
    places: Mutex<Option<Places>>,
}

impl Integrity {
    /// Of a node whose state was opened with this meta.
    pub fn new(
        identity: Arc<Identity>,
        meta: &Meta,
        places: Option<Places>,
    ) -> anyhow::Result<Self> {
        let applied = Point { index: meta.applied.index, digest: meta.digest };
        let marked = places.as_ref().map(evidence::marked).transpose()?.flatten();
        let watch = Mutex::new(Watch::new(identity.node, applied, marked.is_some()));
        if let Some(why) = &marked {
            tracing::error!("the state is still in quarantine: {why}");
        }
        let quarantine = watch::Sender::new(marked.map(Arc::from));
        let (nearly_full, voters) = (AtomicBool::new(false), Mutex::default());
        let places = Mutex::new(places);
        Ok(Self { identity, watch, quarantine, nearly_full, voters, places })
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the state is in quarantine, if it is.
    pub fn quarantine(&self) -> Quarantine {
        self.quarantine.borrow().clone()
    }

    /// Whether reads and outcomes of the state may be told.
    pub fn may_serve(&self) -> bool {
        self.watch().may_serve()
    }

    /// The same, for those who wait for it.
    pub fn changes(&self) -> watch::Receiver<Quarantine> {
        self.quarantine.subscribe()
    }

    /// The state has applied an entry.
    pub fn applied(&self, id: LogId, digest: u64, changes: Changes) {
        self.watch().applied(id, digest, changes);
    }

    /// A snapshot's state has taken the place of the one before, and is sound.
    pub fn replaced(&self, id: LogId, digest: u64, folder: Option<PathBuf>) {
        self.watch().replaced(Point { index: id.index, digest });
        if let Some(places) = &mut *self.places.lock().unwrap_or_else(PoisonError::into_inner)
            && let Some(folder) = folder
        {
            places.state = folder;
        }
        if self.quarantine.send_replace(None).is_some() {
            tracing::info!(%id, "this node has a sound state again");
        }
    }

    /// Another node tells of its state; returns what to tell it.
    pub fn exchange(&self, from: NodeId, report: &Report) -> Report {
        let mut watch = self.watch();
        watch.hear(from, report);
        watch.report_for(from)
    }

    /// Where the node keeps its data, if on disk.
    pub fn folder(&self) -> Option<PathBuf> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.as_ref().map(|places| places.data.clone())
    }

    /// This node's disk is nearly full, or not any more.
    pub fn set_nearly_full(&self, is_nearly_full: bool) {
        self.watch().set_nearly_full(is_nearly_full);
        let changed = self.nearly_full.swap(is_nearly_full, Ordering::Relaxed) != is_nearly_full;
        if changed && is_nearly_full {
            tracing::warn!("the disk is nearly full: writes are refused until there is room");
        } else if changed {
            tracing::info!("there is room on the disk again");
        }
    }

    /// Whether this node's disk is nearly full.
    pub fn is_nearly_full(&self) -> bool {
        self.nearly_full.load(Ordering::Relaxed)
    }

    /// Whether, if this node leads, there is no room for what commands write.
    pub fn lacks_room(&self) -> bool {
        let voters = self.voters.lock().unwrap_or_else(PoisonError::into_inner);
        self.watch().lacks_room(&voters)
    }

    /// A record of the state is not what was written: nothing of it is served any more.
    pub fn damaged(&self, fatal: &Fatal) {
        let what = fatal.to_string();
        self.condemn(&format!("a record of its state is damaged: {what}"), |point| {
            Evidence::of_damage(point, &what)
        });
    }

    /// Finds out whether the state has become wrong.
    fn judge(&self, leader: Option<NodeId>, nodes: usize) {
        let (divergence, changes) = {
            let mut watch = self.watch();
            let Some(divergence) = watch.judge(leader, nodes) else { return };
            let changes = watch.changes(divergence.entry).cloned();
            (divergence, changes)
        };
        let Divergence { entry, agreed, is_outvoted, .. } = divergence;
        let by = if is_outvoted { "more nodes have another" } else { "the leader has another" };
        let why = format!(
            "its state is not what the other nodes have, from entry {entry} on (they agree at \
             {agreed}): {by}"
        );
        self.condemn(&why, |point| Evidence::of_divergence(point, divergence, changes));
    }

    fn condemn(&self, why: &str, evidence: impl FnOnce(Point) -> Evidence) {
        let point = {
            let mut watch = self.watch();
            watch.condemn();
            watch.last()
        };
        let is_new = self.quarantine.send_if_modified(|quarantine| {
            let is_new = quarantine.is_none();
            quarantine.get_or_insert_with(|| why.into());
            is_new
        });
        if !is_new {
            return;
        }
        tracing::error!("this node's state is in quarantine: {why}");
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(places) = places else { return };
        match evidence::keep(&places, &self.identity, why, &evidence(point)) {
            Ok(file) => tracing::error!("the evidence is in {}", file.display()),
            // It stays in quarantine for as long as this process lives.
            Err(error) => tracing::error!("the evidence could not be kept: {error:#}"),
        }
    }
}

/// How to reach the other nodes, who leads, and the way to consensus.
pub type Reached = (Arc<Directory>, watch::Receiver<Status>, mpsc::Sender<Request>);

/// The exchange with other nodes.
#[derive(Debug)]
pub struct Exchange {
    integrity: Arc<Integrity>,
    directory: Arc<Directory>,
    status: watch::Receiver<Status>,
    requests: mpsc::Sender<Request>,
    tick: Duration,
}

impl Exchange {
    /// Compares `integrity` with what others have.
    pub fn new(integrity: Arc<Integrity>, reached: Reached, tick: Duration) -> Self {
        let (directory, status, requests) = reached;
        Self { integrity, directory, status, requests, tick }
    }

    /// Compares with all other nodes each tick, until `stop` resolves.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut ticks = tokio::time::interval(self.tick);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut calls: JoinSet<(NodeId, Option<Report>)> = JoinSet::new();
        let mut asked: Vec<NodeId> = Vec::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    self.integrity.watch().tick();
                    let nodes = self.directory.nodes();
                    for node in nodes.iter().filter(|node| !asked.contains(node)) {
                        calls.spawn(self.ask(*node));
                    }
                    asked = nodes;
                }
                Some(Ok((node, report))) = calls.join_next() => {
                    asked.retain(|other| *other != node);
                    if let Some(report) = report {
                        self.integrity.watch().hear(node, &report);
                    }
                }
                () = &mut stop => return,
            }
            self.look();
        }
    }

    /// Asks a node. One that does not answer is asked again when the question is given up.
    fn ask(&self, node: NodeId) -> impl Future<Output = (NodeId, Option<Report>)> + Send + 'static {
        let report = self.integrity.watch().report_for(node);
        let directory = Arc::clone(&self.directory);
        let wait_max = self.tick * ASK_TICKS_MAX;
        async move {
            let answer = tokio::time::timeout(wait_max, directory.compare(node, report)).await;
            (node, answer.ok().flatten())
        }
    }

    fn look(&self) {
        let leader = leader_of(&self.status.borrow());
        let nodes = self.directory.nodes().len() + 1;
        let voters = self.directory.voters();
        *self.integrity.voters.lock().unwrap_or_else(PoisonError::into_inner) = voters;
        self.integrity.judge(leader, nodes);
        if self.integrity.quarantine().is_some() {
            // A full queue: it is said again next time.
            drop(self.requests.try_send(Request::Resync));
        }
    }
}

/// Ticks that a node has to answer.
const ASK_TICKS_MAX: u32 = 3;
