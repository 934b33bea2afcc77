//! A reference of a plugin, random scripts that both are asked, and the shortest one that tells
//! them apart.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use quorate_sdk::{Call, CallOn, Plugin, Status};
use quorate_sim::plan::stream;

use crate::Machine;
use crate::ground::Fidelity;
use crate::report::said;
use crate::script::{Step, scripts};

/// How long a script is made shorter, at most.
const SHRINK_FOR: Duration = Duration::from_secs(20);

/// A model of a plugin: it does the same, in the simplest way that its author can think of.
///
/// ```ignore
/// #[derive(Default)]
/// struct Bank(BTreeMap<String, u64>);
///
/// impl LedgerCalls for Bank {
///     fn open(&mut self, request: OpenRequest) -> Result<OpenReply, Status> { .. }
/// }
///
/// #[quorate_test::model(native, wasm, cluster)]
/// impl Model for Bank {
///     type Plugin = Accounts;
///     type Call = LedgerCall;
///
///     fn calls() -> impl Strategy<Value = LedgerCall> {
///         prop_oneof![ .. ]
///     }
/// }
/// ```
///
/// Each script is run with a new model and a new machine. Time passes in it, the machine restarts,
/// and its state goes on in another one.
pub trait Model: Default {
    /// What it is a model of.
    type Plugin: Plugin + 'static;
    /// Calls as values: `LedgerCall`, or one's own where there are several services.
    type Call: CallOn<Self> + CallOn<Machine<Self::Plugin>> + 'static;

    /// Random calls. Names are best few, so that calls meet.
    fn calls() -> impl Strategy<Value = Self::Call> + 'static;

    /// The time that the next call sees.
    fn at(&mut self, _time_ms: u64) {}

    /// Whether the plugin has done what the model expects. By default: the same reply, or refused
    /// with the same code; messages are for people.
    fn agrees(&mut self, _call: &Self::Call, expected: &Told<Self>, found: &Told<Self>) -> bool {
        match (expected, found) {
            (Ok(expected), Ok(found)) => expected == found,
            (Err(expected), Err(found)) => expected.code() == found.code(),
            _ => false,
        }
    }

    /// What must hold after each step; panics where it does not.
    fn check(&self, _machine: &mut Machine<Self::Plugin>) {}
}

/// What a call of a model or of its plugin is told.
pub type Told<M> = Result<<<M as Model>::Call as Call>::Answer, Status>;

/// A script that tells a plugin and its model apart.
pub(crate) struct Found {
    fidelity: Fidelity,
    /// What is wrong at the last step.
    pub(crate) problem: String,
    steps: Vec<String>,
    steps_before: usize,
    /// What the machine did, and its state.
    described: String,
}

impl Found {
    /// How many steps it has.
    pub(crate) fn steps(&self) -> usize {
        self.steps.len()
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fidelity, steps, steps_before, .. } = self;
        let count = steps.len();
        writeln!(
            f,
            "{count} of {steps_before} steps tell the plugin from its model ({fidelity}):"
        )?;
        for (number, step) in (1..).zip(steps) {
            writeln!(f, "{number:>4}  {step}")?;
        }
        writeln!(f, "{}\n{}", self.problem, self.described)
    }
}

/// Runs the script of a seed; what was found, if they differ.
pub(crate) fn run<M: Model>(fidelity: Fidelity, seed: u64) -> Option<Found> {
    let seeds = Seeds { seed, fidelity };
    let mut tree = seeds.script::<M>();
    let script = tree.current();
    attempt::<M>(fidelity, seed, &script).err()?;
    // What the cluster finds is found natively as well, most of the time, and then much sooner.
    let natively =
        fidelity != Fidelity::Native && attempt::<M>(Fidelity::Native, seed, &script).is_err();
    let fidelity = if natively { Fidelity::Native } else { fidelity };
    let until = Instant::now() + SHRINK_FOR;
    let mut shortest = script.clone();
    let mut goes_on = tree.simplify();
    while goes_on && Instant::now() < until {
        let candidate = tree.current();
        if attempt::<M>(fidelity, seed, &candidate).is_err() {
            shortest = candidate;
            goes_on = tree.simplify();
        } else {
            goes_on = tree.complicate();
        }
    }
    let mut failure = attempt::<M>(fidelity, seed, &shortest).err()?;
    shortest.truncate(failure.steps);
    failure.problem = format!("at step {}: {}", failure.steps, failure.problem);
    Some(Found {
        fidelity,
        problem: failure.problem,
        steps: shortest.iter().map(ToString::to_string).collect(),
        steps_before: script.len(),
        described: failure.described,
    })
}

/// What a seed stands for.
struct Seeds {
    seed: u64,
    fidelity: Fidelity,
}

impl Seeds {
    /// Its script. A cluster's are shorter: each call takes as long as some hundred natively.
    fn script<M: Model>(&self) -> impl ValueTree<Value = Vec<Step<M::Call>>> + use<M> {
        let steps = if self.fidelity == Fidelity::Cluster { 1..=40 } else { 1..=80 };
        let mut rng = stream(self.seed, "script");
        let bytes: [u8; 32] = std::array::from_fn(|_| rng.u8(..));
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let config = Config { failure_persistence: None, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, rng);
        let made = scripts(M::calls(), steps).new_tree(&mut runner);
        made.expect("a strategy that filters finds something")
    }
}

/// Where a script told them apart.
struct Failure {
    /// After so many steps.
    steps: usize,
    problem: String,
    described: String,
}

fn attempt<M: Model>(
    fidelity: Fidelity,
    seed: u64,
    script: &[Step<M::Call>],
) -> Result<(), Failure> {
    let mut machine = Machine::<M::Plugin>::new(fidelity, seed);
    let mut model = M::default();
    for (steps, step) in (1..).zip(script) {
        let taken = quietly(|| take(&mut model, &mut machine, step));
        taken.map_err(|problem| failure(steps, problem, &mut machine))?;
    }
    let finished = quietly(|| machine.finish());
    finished.map_err(|problem| failure(script.len(), problem, &mut machine))
}

fn failure<P: Plugin + 'static>(
    steps: usize,
    problem: String,
    machine: &mut Machine<P>,
) -> Failure {
    let described = quietly(|| Ok(machine.describe())).unwrap_or_else(|problem| problem);
    Failure { steps, problem, described }
}

/// A panic is a problem like others.
fn quietly<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let ended = crate::native::without_a_report(AssertUnwindSafe(run));
    ended.unwrap_or_else(|panic| Err(said(&*panic)))
}

/// Takes a step with both, and compares.
fn take<M: Model>(
    model: &mut M,
    machine: &mut Machine<M::Plugin>,
    step: &Step<M::Call>,
) -> Result<(), String> {
    match step {
        Step::Call(call) => {
            model.at(machine.time_ms());
            let expected = call.clone().call_on(model);
            let found = call.clone().call_on(machine);
            if !model.agrees(call, &expected, &found) {
                let [found, expected] = [found, expected].map(|told| match told {
                    Ok(answer) => format!("{answer:?}"),
                    Err(status) => status.to_string(),
                });
                return Err(format!("the plugin says {found}, the model {expected}"));
            }
        }
        Step::Advance(by) => machine.advance(*by),
        Step::Restart => machine.restart(),
        Step::Restore => {
            let state = machine.snapshot();
            machine.restore(&state);
        }
    }
    model.check(machine);
    Ok(())
}
