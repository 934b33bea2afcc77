//! A cluster in this process that goes on with another module, again and again.
//!
//! A module must never run entries that were decided by another one. So a reload ends all nodes,
//! takes the state that is furthest, and begins new nodes with it, whose logs begin behind the last
//! entry that it has applied. An answer is given after its entry was applied, so whatever was
//! answered is in that state; what was not is gone, and its callers were told that they do not
//! know. The clients' sockets stay: who calls meanwhile waits.
//!
//! In a data folder, what is to come is made in `next/` and named last; from then on the reload is
//! carried through, by the next start if need be. `module.wasm` is the module that made the state:
//! a start with another one lets it apply what its log still holds, before the other takes over.

use std::collections::BTreeMap;
use std::fs;
use std::io::BufReader;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use quorate_core::id::{LogId, NodeId};
use quorate_core::state::{StateStore as _, StateView};

use super::super::cluster;
use super::wait_for_leader;
use crate::durable::NewFile;
use crate::identity::{Identity, LogKind, Timing};
use crate::local;
use crate::node::{self, Node, Seed, Storage};
use crate::snapshot::{Content, Encoder, Header, Reader, restore};
use quorate_wasm::{Module, gate};

/// The module that made the state, and the folder of what is to take its place.
const MODULE: &str = "module.wasm";
const NEXT: &str = "next";
const NEXT_PART: &str = "next.part";
const STATE: &str = "state.snapshot";

/// What a cluster consists of, whatever its module.
pub(super) struct Plan {
    /// Where clients connect, one for each node.
    pub(super) listeners: Vec<TcpListener>,
    /// Where log and state are; in memory without.
    pub(super) data: Option<PathBuf>,
    pub(super) timing: Timing,
}

/// The running nodes of a plan.
pub(super) struct Generation {
    plan: Plan,
    nodes: Vec<Node>,
    module: Arc<Module>,
}

/// A state that a reload went on with, or dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Handover {
    /// The last entry that it has applied.
    pub(super) applied: LogId,
    /// Where a dropped one was saved.
    pub(super) saved: Option<PathBuf>,
    pub(super) took: Duration,
}

/// What is to become of the state when the module changes; asked with both modules.
pub(super) type Decide<'a> = dyn FnMut(&Module, &Module) -> bool + 'a;

impl Generation {
    /// Starts the nodes. A data folder of another module is handed over to this one, if `keep` says
    /// so, else begun anew.
    pub(super) fn start(
        plan: Plan,
        (module, wasm): (Arc<Module>, &[u8]),
        keep: &mut Decide<'_>,
    ) -> anyhow::Result<(Self, Option<Handover>)> {
        let Some(data) = plan.data.clone() else {
            let nodes = plan.nodes(&module, &|_| Storage::Volatile)?;
            return Ok((Self { plan, nodes, module }, None));
        };
        fs::create_dir_all(&data).with_context(|| format!("creating {}", data.display()))?;
        if data.join(NEXT).is_dir() {
            carry_through(&data, &plan)?;
        }
        let file = data.join(MODULE);
        if !file.exists() {
            // A folder that is not new is refused by its nodes, unless it was made by this module.
            write(&file, wasm)?;
        }
        let old = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        if gate::inspect(&old).digest == module.digest() {
            let nodes = plan.nodes(&module, &on_disk(&data))?;
            return Ok((Self { plan, nodes, module }, None));
        }
        let old = Module::load(&old).with_context(|| format!("loading {}", file.display()))?;
        let keeps = keep(&old, &module);
        // Nobody is to meet the old one again, so it listens elsewhere.
        let elsewhere: Result<Vec<_>, _> =
            plan.listeners.iter().map(|_| TcpListener::bind("127.0.0.1:0")).collect();
        let (listeners, timing) = (elsewhere.context("binding a port")?, plan.timing);
        let quiet = Plan { listeners, timing, data: plan.data.clone() };
        let nodes = quiet.nodes(&old, &on_disk(&data))?;
        let mut generation = Self { plan: quiet, nodes, module: old };
        generation.plan.listeners = plan.listeners;
        let handover = generation.reload((module, wasm), keeps)?;
        Ok((generation, Some(handover)))
    }

    /// The module that they run.
    pub(super) fn module(&self) -> &Arc<Module> {
        &self.module
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The fault of a node.
    pub(super) fn failure(&self) -> Option<node::Failure> {
        self.nodes.iter().find_map(Node::failure)
    }

    /// Goes on with another module, and with the state or without it.
    pub(super) fn reload(
        &mut self,
        (module, wasm): (Arc<Module>, &[u8]),
        keeps: bool,
    ) -> anyhow::Result<Handover> {
        let begun = Instant::now();
        // Who leads has all that was ever answered, and applies it before it ends.
        wait_for_leader(&self.nodes)?;
        let nodes = std::mem::take(&mut self.nodes);
        let states: Vec<_> = nodes.iter().map(Node::states).collect();
        cluster::stop(nodes);
        let views = states.iter().map(|states| states.snapshot());
        let view = views.max_by_key(|view| view.meta().applied).context("there are no nodes")?;
        drop(states);
        let applied = view.meta().applied;
        let mut saved = None;
        let nodes = if let Some(data) = &self.plan.data {
            let header = Header::of(&self.identity(), view.meta().clone());
            if !keeps {
                let file = data.join(format!("dropped-{}.snapshot", applied.index));
                save(&file, &header, &view)?;
                saved = Some(file);
            }
            stage(data, wasm, keeps.then_some((&header, &view)))?;
            drop(view);
            carry_through(data, &self.plan)?;
            self.plan.nodes(&module, &on_disk(data))?
        } else if keeps {
            self.plan.nodes(&module, &|_| Storage::Seeded(Seed(Arc::clone(&view))))?
        } else {
            self.plan.nodes(&module, &|_| Storage::Volatile)?
        };
        self.nodes = nodes;
        self.module = module;
        Ok(Handover { applied, saved, took: begun.elapsed() })
    }

    pub(super) fn stop(self) {
        cluster::stop(self.nodes);
    }

    /// Who the first node is.
    fn identity(&self) -> Identity {
        let Plan { listeners, timing, .. } = &self.plan;
        let (count, module) = (listeners.len(), self.module.digest());
        let first = local::founders(count).into_iter().next().expect("a cluster has a node");
        local::identity(first, count, module, *timing)
    }
}

impl Plan {
    /// Starts all nodes, and waits until they have a leader.
    fn nodes(
        &self,
        module: &Arc<Module>,
        storage: &dyn Fn(NodeId) -> Storage,
    ) -> anyhow::Result<Vec<Node>> {
        // The sockets stay open in here while nodes come and go.
        let listeners: Result<Vec<_>, _> =
            self.listeners.iter().map(TcpListener::try_clone).collect();
        let listeners = listeners.context("sharing a socket")?;
        let nodes = local::start_stored(module, listeners, storage, self.timing)?;
        wait_for_leader(&nodes)?;
        Ok(nodes)
    }
}

fn on_disk(data: &Path) -> impl Fn(NodeId) -> Storage {
    move |node| Storage::Folder(local::folder_of(data, node), LogKind::RocksDb)
}

fn save(file: &Path, header: &Header, view: &Arc<dyn StateView>) -> anyhow::Result<()> {
    let writing = || format!("writing {}", file.display());
    let mut out = NewFile::create(file, true).with_context(writing)?;
    let mut encoder = Encoder::new(header, Arc::clone(view))?;
    while let Some(frame) = encoder.next_frame()? {
        out.write(&frame).with_context(writing)?;
    }
    out.finish().with_context(writing)
}

/// Makes what is to come, and then gives it its name.
fn stage(
    data: &Path,
    wasm: &[u8],
    state: Option<(&Header, &Arc<dyn StateView>)>,
) -> anyhow::Result<()> {
    let part = data.join(NEXT_PART);
    if part.exists() {
        fs::remove_dir_all(&part).with_context(|| format!("removing {}", part.display()))?;
    }
    fs::create_dir(&part).with_context(|| format!("creating {}", part.display()))?;
    write(&part.join(MODULE), wasm)?;
    if let Some((header, view)) = state {
        save(&part.join(STATE), header, view)?;
    }
    fs::rename(&part, data.join(NEXT)).context("naming what is to come")?;
    sync(data)
}

/// Makes the nodes' folders of what was staged. May be broken off and begun again at any point.
fn carry_through(data: &Path, plan: &Plan) -> anyhow::Result<()> {
    let next = data.join(NEXT);
    if let Ok(wasm) = fs::read(next.join(MODULE)) {
        for entry in fs::read_dir(data)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("node-") {
                fs::remove_dir_all(&path)
                    .with_context(|| format!("removing {}", path.display()))?;
            }
        }
        let state = next.join(STATE);
        let count = plan.listeners.len();
        let founders = if state.exists() { local::founders(count) } else { Vec::new() };
        for node in founders {
            let digest = gate::inspect(&wasm).digest;
            let file = fs::File::open(&state)?;
            let mut reader = Reader::new(BufReader::new(file));
            let Some(Content::Header(header)) = reader.next_content()? else {
                anyhow::bail!("{} has no header", state.display());
            };
            let identity = local::identity(node, count, digest, plan.timing);
            let folder = local::folder_of(data, node);
            restore(&header, &mut reader, &folder, &identity, &BTreeMap::new())?;
        }
        fs::rename(next.join(MODULE), data.join(MODULE)).context("naming the module")?;
        sync(data)?;
    }
    fs::remove_dir_all(&next).with_context(|| format!("removing {}", next.display()))
}

fn write(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let writing = || format!("writing {}", file.display());
    let mut out = NewFile::create(file, true).with_context(writing)?;
    out.write(bytes).and_then(|()| out.finish()).with_context(writing)
}

fn sync(folder: &Path) -> anyhow::Result<()> {
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("syncing {}", folder.display()))
}
