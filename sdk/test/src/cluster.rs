//! Three nodes of the simulator in virtual time, driven by one caller. What goes wrong follows from
//! the seed, between calls and while they are under way.

use std::rc::Rc;
use std::sync::Arc;

use quorate_core::outcome::Outcome;
use quorate_sim::cluster;
use quorate_sim::plan::{Plan, stream};
use quorate_sim::program;

use crate::code::Code;
use crate::ground::{Broken, Call, Ground};
use crate::{Costs, Faults, Snapshot, seeds};

/// Of 100 calls of a cluster with faults, so many are preceded by a copy of an earlier command.
const COPIES_PERCENT: u32 = 10;

/// A simulated cluster.
pub(crate) struct Cluster {
    nodes: cluster::Cluster,
    faults: Faults,
    rng: fastrand::Rng,
    /// Before the first entry of the log, so many were applied elsewhere.
    index_base: u64,
    time_ms: u64,
}

impl Cluster {
    /// A cluster of that seed, whose nodes all begin with a state.
    pub(crate) fn new(
        code: Rc<dyn Code>,
        seed: u64,
        faults: Faults,
        from: &Snapshot,
    ) -> Result<Self, Broken> {
        let code = program::Code::Other(code.for_others());
        let genesis = Arc::new(from.changes());
        let is_traced = seeds::shows_traces();
        let nodes = cluster::Cluster::of(Plan::driven(seed), code, &genesis, is_traced)?;
        let rng = stream(seed, "test");
        Ok(Self { nodes, faults, rng, index_base: from.index(), time_ms: from.time_ms() })
    }

    fn disturb(&mut self) -> Result<(), Broken> {
        let percent = self.faults.percent();
        if percent == 0 {
            return Ok(());
        }
        if self.rng.u32(0..100) < percent {
            self.nodes.disturb()?;
        }
        if self.rng.u32(0..100) < COPIES_PERCENT {
            self.nodes.send_copy()?;
        }
        Ok(())
    }
}

impl Ground for Cluster {
    fn call(&mut self, call: &Call) -> Result<Outcome, Broken> {
        self.time_ms = call.time_ms;
        self.nodes.set_wall_clock(call.time_ms);
        self.disturb()?;
        let payload = call.payload.clone();
        let (_, outcome) = if call.is_command {
            self.nodes.command(call.method, payload)?
        } else {
            self.nodes.query_latest(call.method, payload)?
        };
        Ok(outcome)
    }

    fn restart(&mut self) -> Result<(), Broken> {
        Ok(self.nodes.restart_all()?)
    }

    fn state(&mut self) -> Result<Snapshot, Broken> {
        let view = self.nodes.latest_state()?;
        let index = self.index_base + view.meta().applied.index;
        Ok(Snapshot::of(&*view, index, self.time_ms)?)
    }

    fn last_costs(&self) -> Option<Costs> {
        None
    }

    fn trace(&self) -> &[String] {
        self.nodes.trace.lines()
    }

    fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    fn finish(&mut self) -> Result<(), Broken> {
        Ok(self.nodes.settle()?)
    }
}
