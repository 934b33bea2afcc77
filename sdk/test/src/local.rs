//! One machine of the core in this thread, on a state in memory: native and in the sandbox.

use std::rc::Rc;
use std::sync::Arc;

use quorate_core::batch::{self, Command, Payload};
use quorate_core::id::{GroupId, LogId};
use quorate_core::machine::{self, Program};
use quorate_core::outcome::{Fatal, Outcome};
use quorate_core::run::Run;
use quorate_core::state::{MemoryState, StateStore};

use crate::code::Code;
use crate::ground::{Broken, Call, Ground};
use crate::{Costs, Faults, Snapshot};

const GROUP: GroupId = GroupId(1);
/// There is one leader, for ever.
const TERM: u64 = 1;

/// A machine without a log.
pub(crate) struct Local {
    code: Rc<dyn Code>,
    state: Arc<MemoryState>,
    machine: machine::Machine<Box<dyn Program>>,
    time_ms: u64,
}

impl Local {
    /// A machine that goes on from a state.
    pub(crate) fn new(code: Rc<dyn Code>, from: &Snapshot) -> Result<Self, Broken> {
        let state = Arc::new(from.state()?);
        let machine = start(&*code, &state)?;
        Ok(Self { code, state, machine, time_ms: from.time_ms() })
    }
}

fn start(
    code: &dyn Code,
    state: &Arc<MemoryState>,
) -> Result<machine::Machine<Box<dyn Program>>, Fatal> {
    let state = Arc::clone(state) as Arc<dyn StateStore>;
    machine::Machine::new(GROUP, code.program(), state)
}

impl Ground for Local {
    fn call(&mut self, call: &Call) -> Result<Outcome, Broken> {
        self.time_ms = call.time_ms;
        let command = Command::new(call.method, call.payload.clone());
        if !call.is_command {
            let run = Run::query(self.state.snapshot(), GROUP, command);
            return Ok(self.code.query(run)?);
        }
        let id = LogId { term: TERM, index: self.machine.applied().index + 1 };
        let entry = batch::encode(call.time_ms, [&command].into_iter());
        let mut decided = self.machine.apply(id, Payload::Commands(entry))?;
        let none = || Broken("a command without an outcome".to_owned());
        decided.pop().map(|(_, outcome)| outcome).ok_or_else(none)
    }

    fn restart(&mut self) -> Result<(), Broken> {
        self.machine = start(&*self.code, &self.state)?;
        Ok(())
    }

    fn state(&mut self) -> Result<Snapshot, Broken> {
        let index = self.machine.applied().index;
        Ok(Snapshot::of(&*self.state.snapshot(), index, self.time_ms)?)
    }

    fn last_costs(&self) -> Option<Costs> {
        Some(self.code.last_costs())
    }

    fn set_faults(&mut self, _: Faults) {}

    fn finish(&mut self) -> Result<(), Broken> {
        Ok(())
    }
}
