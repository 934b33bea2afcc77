//! Instances of a module: made, run, thrown away.

use quorate_core::limits;
use quorate_core::outcome::{Fatal, Rejection};
use quorate_core::run::{Run, Stop};
use wasmtime::{Engine, InstancePre, Memory, Module, ModuleExport, Store, TypedFunc};

use crate::costs::Costs;
use crate::guest::Guest;
use crate::trap::{fatal, judge};
use crate::{engine, imports};

/// A module compiled for one engine, linked, and ready to be instantiated quickly.
pub(super) struct Compiled {
    engine: Engine,
    linked: InstancePre<Guest>,
    memory: ModuleExport,
    entry: ModuleExport,
    /// Whether its engine counts fuel; the other one has a deadline.
    metered: bool,
}

impl Compiled {
    /// Compiles a module that the gate has let through; `entry` is the export that runs it.
    pub(super) fn new(
        engine: Engine,
        wasm: &[u8],
        entry: &str,
        metered: bool,
    ) -> wasmtime::Result<Self> {
        let module = Module::from_binary(&engine, wasm)?;
        let export = |name| {
            let missing = || wasmtime::Error::msg(format!("the export {name} is missing"));
            module.get_export_index(name).ok_or_else(missing)
        };
        let memory = export(quorate_abi::export::MEMORY)?;
        let entry = export(entry)?;
        let linked = imports::linker(&engine)?.instantiate_pre(&module)?;
        Ok(Self { engine, linked, memory, entry, metered })
    }

    /// A fresh instance, with the fuel or the time of one call.
    pub(super) fn instantiate(&self) -> Result<Instance, Fatal> {
        self.try_instantiate().map_err(|error| fatal("instantiating a plugin", &error))
    }

    /// The same, with the reason as wasmtime tells it.
    pub(super) fn try_instantiate(&self) -> wasmtime::Result<Instance> {
        let mut store = Store::new(&self.engine, Guest::new(self.metered));
        store.limiter(|guest| guest);
        if self.metered {
            store.set_fuel(limits::COMMAND_FUEL_MAX)?;
        } else {
            store.set_epoch_deadline(engine::QUERY_TICKS_MAX);
        }
        let instance = self.linked.instantiate(&mut store)?;
        let missing = || wasmtime::Error::msg("an export is of another kind");
        let export = instance.get_module_export(&mut store, &self.memory);
        let memory = export.and_then(wasmtime::Extern::into_memory).ok_or_else(missing)?;
        let export = instance.get_module_export(&mut store, &self.entry);
        let entry = export.and_then(wasmtime::Extern::into_func).ok_or_else(missing)?;
        let entry = entry.typed(&store)?;
        store.data_mut().set_memory(memory);
        Ok(Instance { store, entry, memory, metered: self.metered })
    }
}

/// A guest that has not run yet, or that has run.
pub(super) struct Instance {
    store: Store<Guest>,
    entry: TypedFunc<(), ()>,
    memory: Memory,
    metered: bool,
}

impl Instance {
    /// Makes the memory larger, so that the guest's allocator begins elsewhere.
    pub(super) fn move_heap(&mut self, pages: u64) -> Result<(), Fatal> {
        let grown = self.memory.grow(&mut self.store, pages);
        grown.map(|_| ()).map_err(|error| fatal("growing a plugin's memory", &error))
    }

    /// Lets the guest serve a run. When it breaks off, the call that it was in is finished with the
    /// rejection, or the next call when it was in none: each round makes progress. True when calls
    /// may be left; they need a fresh instance.
    pub(super) fn serve(&mut self, run: Run) -> Result<(Run, bool), Fatal> {
        self.store.data_mut().begin_run(run);
        let ended = self.entry.call(&mut self.store, ());
        let fuel_left = self.fuel_left();
        let (mut run, done) = self.store.data_mut().end_run();
        let rejection = match ended {
            Ok(()) if done => return Ok((run, false)),
            Ok(()) => Rejection::trap("it returned before it finished its calls"),
            Err(error) => {
                let report = format!("{error:?}");
                match judge(error, self.metered) {
                    Stop::Fatal(fatal) => return Err(fatal),
                    Stop::Reject(rejection) => {
                        tracing::warn!(%rejection, report, "a plugin broke off");
                        rejection
                    }
                }
            }
        };
        // A guest that breaks off on its way out has nothing left to spoil, and what has come since
        // is not its business.
        let left = run.is_running() || !done && run.next_call().is_some();
        if left {
            self.store.data_mut().meter().end(fuel_left);
            run.finish(Err(rejection));
        }
        Ok((run, left))
    }

    /// What the last call has cost, if there was one.
    pub(super) fn last_costs(&mut self) -> Option<Costs> {
        self.store.data_mut().meter().last()
    }

    fn fuel_left(&self) -> Option<u64> {
        if self.metered { self.store.get_fuel().ok() } else { None }
    }
}
