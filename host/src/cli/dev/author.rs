//! `quorate dev DIR`: builds a crate and serves it; builds it again when its sources change, and
//! goes on with the new module. What does not build changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::super::schema::{self, Break, Breaks};
use super::super::signals::Signals;
use super::super::{Failure, cluster, usage};
use super::build::{Builder, Built, NotBuilt};
use super::generation::{Generation, Plan};
use super::screen::Screen;
use super::watch::Watch;
use quorate_wasm::Module;

/// Editors write several files at once, and a file in several steps.
const QUIET: Duration = Duration::from_millis(80);
/// Whoever writes all the time must not put a build off for ever.
const QUIET_WAIT_MAX: Duration = Duration::from_secs(1);
/// How often the nodes are asked whether one of their stages has failed.
const FAILURE_POLL: Duration = Duration::from_millis(100);

/// What becomes of the state when the module changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WhenChanged {
    /// It is kept unless the `.proto` has changed in a way that may not fit it.
    KeepIfItFits,
    Keep,
    Drop,
}

impl WhenChanged {
    pub(super) fn of(keep: bool, fresh: bool) -> Self {
        match (keep, fresh) {
            (true, _) => Self::Keep,
            (_, true) => Self::Drop,
            _ => Self::KeepIfItFits,
        }
    }
}

/// What happens to an author's session.
enum Event {
    Changed(PathBuf),
    Built(anyhow::Result<Result<Built, NotBuilt>>),
    /// A signal came.
    Ended,
}

/// Runs until a signal or the fault of a node.
pub(super) fn run(
    dir: &Path,
    state: WhenChanged,
    plan: impl FnOnce() -> Result<Plan, Failure>,
) -> Result<(), Failure> {
    if !dir.join("Cargo.toml").is_file() {
        return Err(usage(format_args!("{}: there is no Cargo.toml", dir.display())));
    }
    let builder = Builder::new(dir)?;
    let plan = plan()?;
    let (sender, events) = mpsc::channel();
    let changes = sender.clone();
    // Whoever would hear of it may have ended.
    let watch = Watch::start(dir, move |path| drop(changes.send(Event::Changed(path))))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("starting a runtime for signals")?;
    let signals = runtime.block_on(async { Signals::listen() })?;
    spawn("signals", sender.clone(), move || {
        runtime.block_on(signals.first());
        Event::Ended
    })?;
    let screen = Screen::new(dir);
    let mut session = Session {
        screen,
        state,
        builder,
        sender,
        plan: Some(plan),
        served: None,
        is_building: false,
        changed: Vec::new(),
        quiet_from: None,
    };
    session.screen.building();
    session.build()?;
    let ended = session.run(&events);
    drop(watch);
    let served = session.served.take();
    let failure = served.as_ref().and_then(|served| served.generation.failure());
    if let Some(served) = served {
        served.generation.stop();
    }
    ended?;
    failure.map_or(Ok(()), |failure| Err(cluster::ended(failure)))
}

struct Session {
    screen: Screen,
    state: WhenChanged,
    builder: Builder,
    sender: Sender<Event>,
    /// Until the first build is served.
    plan: Option<Plan>,
    served: Option<Served>,
    is_building: bool,
    /// What has changed since the last build began, and since when.
    changed: Vec<PathBuf>,
    quiet_from: Option<(Instant, Instant)>,
}

/// The build that is served.
struct Served {
    number: u32,
    generation: Generation,
}

impl Session {
    /// Until a signal comes or a node has failed.
    fn run(&mut self, events: &Receiver<Event>) -> Result<(), Failure> {
        loop {
            match events.recv_timeout(self.pause()) {
                Ok(Event::Changed(path)) => self.note(path),
                Ok(Event::Built(built)) => self.take(built?)?,
                Ok(Event::Ended) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("the session has a sender"),
            }
            if self.is_due() && !self.is_building {
                self.screen.changed(&self.changed);
                self.build()?;
            }
            if let Some(served) = &self.served
                && let Some(failure) = served.generation.failure()
            {
                return Err(cluster::ended(failure));
            }
        }
    }

    fn note(&mut self, path: PathBuf) {
        if !self.changed.contains(&path) {
            self.changed.push(path);
        }
        let now = Instant::now();
        let (first, _) = self.quiet_from.unwrap_or((now, now));
        self.quiet_from = Some((first, now));
    }

    fn is_due(&self) -> bool {
        self.quiet_from.is_some_and(|(first, last)| {
            last.elapsed() >= QUIET || first.elapsed() >= QUIET_WAIT_MAX
        })
    }

    fn pause(&self) -> Duration {
        if self.quiet_from.is_some() && !self.is_building { QUIET } else { FAILURE_POLL }
    }

    /// Begins a build of the sources as they are now.
    fn build(&mut self) -> Result<(), Failure> {
        self.changed.clear();
        self.quiet_from = None;
        self.is_building = true;
        let builder = self.builder.clone();
        spawn("build", self.sender.clone(), move || Event::Built(builder.build()))?;
        Ok(())
    }

    /// A build has ended.
    fn take(&mut self, built: Result<Built, NotBuilt>) -> Result<(), Failure> {
        self.is_building = false;
        let number = self.served.as_ref().map(|served| served.number);
        match built {
            Err(NotBuilt::Said) => self.screen.failed("the build failed", &[], number),
            Err(NotBuilt::Refused(refusals)) => {
                self.screen.failed("no node takes this build", &refusals, number);
            }
            Ok(built) => match self.served.take() {
                None => self.first(&built)?,
                Some(served) => self.served = Some(self.next(served, &built)?),
            },
        }
        Ok(())
    }

    /// Serves the first build.
    fn first(&mut self, built: &Built) -> Result<(), Failure> {
        let Built { wasm, module, took } = built;
        let plan = self.plan.take().expect("nothing was served yet");
        let is_kept = plan.data.is_some();
        self.screen.built(1, module, wasm.len(), *took);
        let mut keeps = false;
        let (generation, handover) =
            Generation::start(plan, (Arc::clone(module), wasm), &mut |old, new| {
                keeps = self.keeps(&schema::compare(old.manifest(), new.manifest()));
                keeps
            })?;
        if let Some(handover) = handover {
            self.screen.reloaded(1, *took, &handover, keeps);
        }
        Screen::ready(module, generation.nodes(), is_kept);
        self.served = Some(Served { number: 1, generation });
        Ok(())
    }

    /// Serves a later build in the place of the one before, if it is another.
    fn next(&self, mut served: Served, built: &Built) -> Result<Served, Failure> {
        let Built { wasm, module, took } = built;
        let old: &Module = served.generation.module();
        if old.digest() == module.digest() {
            self.screen.same(served.number);
            return Ok(served);
        }
        let breaks = schema::compare(old.manifest(), module.manifest());
        let keeps = self.keeps(&breaks);
        let handover = served
            .generation
            .reload((Arc::clone(module), wasm), keeps)
            .context("going on with the new build")?;
        served.number += 1;
        self.screen.reloaded(served.number, *took, &handover, keeps);
        Ok(served)
    }

    /// Whether the state is kept over such changes; says why not.
    fn keeps(&self, breaks: &[Break]) -> bool {
        let split = breaks.partition_point(|one| one.breaks == Breaks::State);
        let (of_state, of_clients) = breaks.split_at(split);
        let keeps = match self.state {
            WhenChanged::KeepIfItFits => of_state.is_empty(),
            WhenChanged::Keep => true,
            WhenChanged::Drop => false,
        };
        let screen = &self.screen;
        if keeps {
            screen.broken("kept as it is (--keep), though it may not be readable", of_state, "");
        } else {
            let advice = "start with --keep to keep it nevertheless";
            screen.broken("the state is dropped, since it may not be readable", of_state, advice);
        }
        screen.broken("clients of the build before may fail", of_clients, "");
        keeps
    }
}

/// Sends what `work` makes, from a thread of its own.
fn spawn(
    name: &str,
    sender: Sender<Event>,
    work: impl FnOnce() -> Event + Send + 'static,
) -> anyhow::Result<()> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    // A thread that waits for a signal, or for cargo, ends with the process.
    thread.spawn(move || drop(sender.send(work()))).context("starting a thread")?;
    Ok(())
}
