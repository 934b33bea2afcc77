//! The sandbox: runs plugins, which may be hostile, so that all nodes decide the same and none is
//! harmed. The only crate that knows wasmtime.
//!
//! 1. [`gate`]: what a module must look like; decided from its bytes, before anything is compiled
//! 2. `engine`, `fuel`: where it runs, and what that costs
//! 3. `imports`, `guest`: what it may call, and what is known of it while it runs
//! 4. `trap`: how it breaks off, and whose fault that was
//! 5. `costs`: what calls have asked of the host, for authors
//! 6. `instance`: one life of it. Commands of one log entry share an instance and the next entry
//!    gets a fresh one, as does whatever follows a trap; nothing but state outlives an entry. So do
//!    queries that wait at the same time
//!
//! What this deliberately does not have: a cache of compiled code, and calls between plugins.

mod costs;
mod engine;
mod fuel;
pub mod gate;
mod guest;
mod imports;
mod instance;
mod manifest;
mod refusal;
mod ticker;
mod trap;

use std::fmt;
use std::sync::Arc;

use quorate_abi::export;
use quorate_core::machine::Program;
use quorate_core::outcome::{Fatal, Outcome};
use quorate_core::run::Run;

pub use self::costs::Costs;
pub use self::fuel::VERSION as FUEL_VERSION;
pub use self::gate::{Digest, Report};
use self::instance::{Compiled, Instance};
pub use self::manifest::{Manifest, Method, Service};
pub use self::refusal::Refusal;
use self::ticker::Ticker;

/// A plugin's module: checked, compiled, and ready to run.
pub struct Module {
    digest: Digest,
    manifest: Manifest,
    apply: Compiled,
    query: Compiled,
    _ticker: Ticker,
}

impl Module {
    /// Checks a module and compiles it. Takes a while: not for a thread that others wait for.
    pub fn load(wasm: &[u8]) -> Result<Arc<Self>, LoadError> {
        let Report { digest, manifest, refusals, .. } = gate::inspect(wasm);
        let Some(manifest) = manifest.filter(|_| refusals.is_empty()) else {
            return Err(LoadError::Refused(refusals));
        };
        let failed = |error: wasmtime::Error| LoadError::Failed(trap::fatal("compiling", &error));
        let query_engine = engine::query().map_err(failed)?;
        let ticker = Ticker::start(&query_engine, engine::TICK)
            .map_err(|error| LoadError::Failed(Fatal::new("starting a thread", error.into())))?;
        let apply = Compiled::new(engine::apply().map_err(failed)?, wasm, export::APPLY, true);
        let query = Compiled::new(query_engine, wasm, export::QUERY, false);
        let module = Self {
            digest,
            manifest,
            apply: apply.map_err(failed)?,
            query: query.map_err(failed)?,
            _ticker: ticker,
        };
        // What shows only now, such as data beyond the memory, must not show in the log.
        for compiled in [&module.apply, &module.query] {
            compiled
                .try_instantiate()
                .map_err(|error| LoadError::Unusable { reason: format!("{error:#}") })?;
        }
        Ok(Arc::new(module))
    }

    /// What the plugin says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its name.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The plugin as a program that applies commands.
    pub fn program(self: &Arc<Self>) -> WasmProgram {
        self.program_with(Instances::Fresh)
    }

    /// The same, with instances that no node would use: for a comparison.
    pub fn program_with(self: &Arc<Self>, instances: Instances) -> WasmProgram {
        WasmProgram {
            module: Arc::clone(self),
            instances,
            prepared: None,
            spent: None,
            last_costs: Costs::default(),
        }
    }

    /// Answers a query, on the thread of the caller, who sees to it that no more than
    /// [`quorate_core::limits::QUERIES_RUNNING_MAX`] run at the same time.
    pub fn query(&self, run: Run) -> Result<Outcome, Fatal> {
        self.query_and_costs(run).map(|(outcome, _)| outcome)
    }

    /// Answers the queries of a run as they come, with the same bound. They share an instance, as
    /// the commands of an entry do; what follows a trap gets a fresh one.
    pub fn queries(&self, mut run: Run) -> Result<(), Fatal> {
        assert!(!run.is_writable(), "queries have a run that cannot write");
        let mut is_left = true;
        while is_left {
            (run, is_left) = self.query.instantiate()?.serve(run)?;
        }
        Ok(())
    }

    /// Answers a query, and says what it has cost.
    pub fn query_and_costs(&self, run: Run) -> Result<(Outcome, Costs), Fatal> {
        assert!(!run.is_writable(), "a query has a run that cannot write");
        let mut instance = self.query.instantiate()?;
        let (run, _) = instance.serve(run)?;
        let (mut outcomes, _) = run.into_parts();
        let outcome = outcomes.pop().ok_or_else(|| Fatal::msg("a query without an outcome"))?;
        Ok((outcome, instance.last_costs().unwrap_or_default()))
    }
}

/// Which instances a program runs its entries in. What a plugin decides must not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instances {
    /// A fresh one for each entry, as nodes do.
    Fresh,
    /// The same, but its heap begins elsewhere.
    Moved,
    /// One for all entries, until it breaks off.
    Warm,
}

/// How far a heap is moved.
const MOVED_PAGES: u64 = 3;

/// A plugin that applies commands. Keeps one instance prepared, so that no command waits for it.
pub struct WasmProgram {
    module: Arc<Module>,
    instances: Instances,
    prepared: Option<Instance>,
    /// The last one, whose memory is reset when nobody waits.
    spent: Option<Instance>,
    last_costs: Costs,
}

impl WasmProgram {
    /// What the last command has cost.
    pub fn last_costs(&self) -> Costs {
        self.last_costs
    }
}

impl Program for WasmProgram {
    fn run(&mut self, mut run: Run) -> Result<Run, Fatal> {
        loop {
            drop(self.spent.take());
            let mut instance = match self.prepared.take() {
                Some(prepared) => prepared,
                None => self.instantiate()?,
            };
            let left;
            (run, left) = instance.serve(run)?;
            self.last_costs = instance.last_costs().unwrap_or(self.last_costs);
            // One that broke off is of no use any more.
            let stays = self.instances == Instances::Warm && !left;
            *if stays { &mut self.prepared } else { &mut self.spent } = Some(instance);
            if !left {
                return Ok(run);
            }
        }
    }

    fn prepare(&mut self) -> Result<(), Fatal> {
        drop(self.spent.take());
        if self.prepared.is_none() {
            self.prepared = Some(self.instantiate()?);
        }
        Ok(())
    }
}

impl WasmProgram {
    fn instantiate(&self) -> Result<Instance, Fatal> {
        let mut instance = self.module.apply.instantiate()?;
        if self.instances == Instances::Moved {
            instance.move_heap(MOVED_PAGES)?;
        }
        Ok(instance)
    }
}

/// Why a module cannot be used.
#[derive(Debug)]
pub enum LoadError {
    /// The gate refuses it, for these reasons.
    Refused(Vec<Refusal>),
    /// It passed the gate, but cannot even be set up.
    Unusable {
        /// What went wrong.
        reason: String,
    },
    /// This node could not load it.
    Failed(Fatal),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusals) => {
                let lines: Vec<_> = refusals.iter().map(ToString::to_string).collect();
                write!(f, "the module is refused: {}", lines.join("; "))
            }
            Self::Unusable { reason } => write!(f, "the module cannot be set up: {reason}"),
            Self::Failed(fatal) => write!(f, "the module could not be loaded: {fatal}"),
        }
    }
}

impl std::error::Error for LoadError {}

#[cfg(test)]
mod tests;
