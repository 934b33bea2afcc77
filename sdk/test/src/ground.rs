//! What a machine of a test stands on, whichever fidelity it has.

use std::fmt;

use bytes::Bytes;
use quorate_core::outcome::{Fatal, Outcome};
use quorate_sim::oracle::Violation;

use crate::{Costs, Faults, Snapshot};

/// How much of the real thing a test has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fidelity {
    /// The plugin as a library of this process.
    Native,
    /// Its module, in the sandbox.
    Wasm,
    /// A simulated cluster of three nodes.
    Cluster,
}

impl Fidelity {
    /// The fidelity of that name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        [Self::Native, Self::Wasm, Self::Cluster].into_iter().find(|it| it.to_string() == name)
    }
}

impl fmt::Display for Fidelity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Wasm => "wasm",
            Self::Cluster => "cluster",
        })
    }
}

/// One call of a plugin.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: u32,
    pub(crate) is_command: bool,
    pub(crate) payload: Bytes,
    pub(crate) time_ms: u64,
}

/// What went wrong with what the machine stands on: nothing that a plugin decides.
#[derive(Debug)]
pub(crate) struct Broken(pub(crate) String);

impl From<Fatal> for Broken {
    fn from(fatal: Fatal) -> Self {
        Self(format!("a node with this plugin would stop: {fatal}"))
    }
}

impl From<Violation> for Broken {
    fn from(violation: Violation) -> Self {
        Self(format!("the cluster broke a rule: {violation}"))
    }
}

/// Runs a plugin, and keeps its state.
pub(crate) trait Ground {
    /// Calls a method; a command is a log entry of its own.
    fn call(&mut self, call: &Call) -> Result<Outcome, Broken>;
    /// Ends all that runs, and starts it from what was kept.
    fn restart(&mut self) -> Result<(), Broken>;
    /// The state after the last call.
    fn state(&mut self) -> Result<Snapshot, Broken>;
    /// What the last call has cost, where that can be said.
    fn last_costs(&self) -> Option<Costs>;
    /// What went on below, where somebody wants to know.
    fn trace(&self) -> &[String] {
        &[]
    }
    /// How much is to go wrong from here on.
    fn set_faults(&mut self, faults: Faults);
    /// The test is over: what is left to come to pass must do so, and be right.
    fn finish(&mut self) -> Result<(), Broken>;
}
