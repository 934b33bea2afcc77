//! A plugin's code, native or in the sandbox, for machines of the core and for the simulator.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use quorate_core::machine::Program;
use quorate_core::outcome::{Fatal, Outcome};
use quorate_core::run::Run;
use quorate_sdk::Plugin;
use quorate_sim::program::OtherCode;
use quorate_wasm::{Module, WasmProgram};

use crate::native::NativeProgram;
use crate::{Costs, module};

/// A plugin's code, and what its last call has cost.
pub(crate) trait Code: OtherCode {
    /// What the last call has cost, of all that run this code.
    fn last_costs(&self) -> Costs;
    /// The same code, as the simulator takes it.
    fn for_others(self: Rc<Self>) -> Rc<dyn OtherCode>;
}

/// The plugin's functions, called directly. The log begins behind `index_base`.
pub(crate) fn native<P: Plugin + 'static>(index_base: u64) -> Rc<dyn Code> {
    Rc::new(Native::<P> { index_base, costs: Arc::default(), plugin: PhantomData })
}

/// The plugin's module.
pub(crate) fn wasm<P: Plugin>() -> Rc<dyn Code> {
    Rc::new(Wasm { module: module::of(P::CRATE_DIR), costs: Arc::default() })
}

fn look(costs: &Mutex<Costs>) -> Costs {
    *costs.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(costs: &Mutex<Costs>, last: Costs) {
    *costs.lock().unwrap_or_else(PoisonError::into_inner) = last;
}

struct Native<P> {
    index_base: u64,
    costs: Arc<Mutex<Costs>>,
    plugin: PhantomData<fn() -> P>,
}

impl<P: Plugin> Native<P> {
    fn make(&self) -> NativeProgram<P> {
        let (index_base, costs) = (self.index_base, Arc::clone(&self.costs));
        NativeProgram { index_base, costs, plugin: PhantomData }
    }
}

impl<P: Plugin + 'static> OtherCode for Native<P> {
    fn program(&self) -> Box<dyn Program> {
        Box::new(self.make())
    }

    fn query(&self, run: Run) -> Result<Outcome, Fatal> {
        let (mut outcomes, _) = self.make().run(run)?.into_parts();
        outcomes.pop().ok_or_else(|| Fatal::msg("a query without an outcome"))
    }
}

impl<P: Plugin + 'static> Code for Native<P> {
    fn last_costs(&self) -> Costs {
        look(&self.costs)
    }

    fn for_others(self: Rc<Self>) -> Rc<dyn OtherCode> {
        self
    }
}

struct Wasm {
    module: Arc<Module>,
    costs: Arc<Mutex<Costs>>,
}

impl OtherCode for Wasm {
    fn program(&self) -> Box<dyn Program> {
        Box::new(Metered { program: self.module.program(), costs: Arc::clone(&self.costs) })
    }

    fn query(&self, run: Run) -> Result<Outcome, Fatal> {
        let (outcome, costs) = self.module.query_and_costs(run)?;
        note(&self.costs, costs.into());
        Ok(outcome)
    }
}

impl Code for Wasm {
    fn last_costs(&self) -> Costs {
        look(&self.costs)
    }

    fn for_others(self: Rc<Self>) -> Rc<dyn OtherCode> {
        self
    }
}

/// A program that says what it has cost.
struct Metered {
    program: WasmProgram,
    costs: Arc<Mutex<Costs>>,
}

impl Program for Metered {
    fn run(&mut self, run: Run) -> Result<Run, Fatal> {
        let run = self.program.run(run)?;
        note(&self.costs, self.program.last_costs().into());
        Ok(run)
    }

    fn prepare(&mut self) -> Result<(), Fatal> {
        self.program.prepare()
    }
}
