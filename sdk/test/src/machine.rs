//! What a test holds in its hands: a deployed plugin, at some fidelity.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use prost::Message;
use quorate_abi::method_id;
use quorate_core::outcome::Rejection;
use quorate_sdk::{Caller, Code, MethodPath, Plugin, Status};

use crate::cluster::Cluster;
use crate::costs::Notes;
use crate::ground::{Broken, Call, Fidelity, Ground};
use crate::local::Local;
use crate::{Costs, Faults, Snapshot, code, seeds};

/// Where a machine's clock starts: 2025-01-01 in UTC.
const START_MS: u64 = 1_735_689_600_000;
/// What a machine remembers of what was done with it.
const STORY_LINES_MAX: usize = 60;

/// A deployed plugin. Its methods are called by the generated trait, `LedgerCalls` for a service
/// `Ledger`; where one of them has the name of a function below, as `LedgerCalls::restart(t, ..)`.
///
/// It is the same type at all fidelities, so a test is the same function.
pub struct Machine<P> {
    ground: Box<dyn Ground>,
    fidelity: Fidelity,
    seed: u64,
    faults: Faults,
    time_ms: u64,
    story: Vec<String>,
    /// What was done before the first line of the story.
    forgotten: usize,
    notes: Option<Notes>,
    /// It broke; there is no use in asking it any further.
    is_broken: bool,
    plugin: PhantomData<fn() -> P>,
}

impl<P: Plugin + 'static> Machine<P> {
    /// A plugin as a library of this process.
    pub fn native() -> Self {
        Self::new(Fidelity::Native, 0)
    }

    /// A plugin's module in the sandbox, compiled when it is asked for first.
    pub fn wasm() -> Self {
        Self::new(Fidelity::Wasm, 0)
    }

    /// A simulated cluster, in which this seed decides what goes wrong. It runs the plugin natively
    /// or, with `QUORATE_CLUSTER=wasm`, its module.
    pub fn cluster(seed: u64) -> Self {
        Self::new(Fidelity::Cluster, seed)
    }

    /// A machine with nothing in its state.
    pub(crate) fn new(fidelity: Fidelity, seed: u64) -> Self {
        let faults = Faults::default();
        let mut nothing = Snapshot::default();
        nothing.set_time_ms(START_MS);
        Self {
            ground: ground::<P>(fidelity, seed, faults, &nothing).unwrap_or_else(no_ground),
            fidelity,
            seed,
            faults,
            time_ms: START_MS,
            story: Vec::new(),
            forgotten: 0,
            notes: if fidelity == Fidelity::Wasm { Notes::asked_for() } else { None },
            is_broken: false,
            plugin: PhantomData,
        }
    }

    /// How much of the real thing this is.
    pub fn fidelity(&self) -> Fidelity {
        self.fidelity
    }

    /// The time that the next call sees: Unix time in milliseconds. It moves only by
    /// [`advance`](Self::advance).
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Moves the time on.
    pub fn advance(&mut self, by: Duration) {
        self.time_ms += u64::try_from(by.as_millis()).expect("no test lasts for ages");
        self.tell(format!("time moves by {by:?}"));
    }

    /// Ends whatever runs the plugin, and starts it again: what it had not stored is gone. In the
    /// cluster, all nodes, in order or not.
    pub fn restart(&mut self) {
        self.tell("restart".to_owned());
        let done = self.ground.restart();
        self.expect(done);
    }

    /// All that is stored.
    pub fn snapshot(&mut self) -> Snapshot {
        let state = self.ground.state();
        self.expect(state)
    }

    /// Goes on from a state, of whichever fidelity, in a machine that is new otherwise: in the
    /// cluster, with three new nodes. The time does not go back.
    pub fn restore(&mut self, from: &Snapshot) {
        self.tell(format!("a state of {} keys is restored", from.len()));
        let left = self.ground.finish();
        self.expect(left);
        let mut from = from.clone();
        from.set_time_ms(self.time_ms.max(from.time_ms()));
        self.time_ms = from.time_ms();
        self.seed = self.seed.wrapping_add(1 << 32);
        let ground = ground::<P>(self.fidelity, self.seed, self.faults, &from);
        self.ground = self.expect(ground);
    }

    /// How much goes wrong from here on, in the cluster.
    pub fn faults(&mut self, faults: Faults) {
        self.faults = faults;
        self.ground.set_faults(faults);
    }

    /// What the last call asked of its host; nothing in the cluster, where each node runs it.
    pub fn last_costs(&self) -> Option<Costs> {
        self.ground.last_costs()
    }

    /// The test is over; in the cluster, its nodes must now serve and agree.
    pub(crate) fn finish(&mut self) -> Result<(), String> {
        if self.is_broken {
            return Ok(());
        }
        self.ground.finish().map_err(|Broken(problem)| problem)
    }

    /// What was done, and the state, for people.
    pub(crate) fn describe(&mut self) -> String {
        let mut lines = Vec::new();
        if self.forgotten > 0 {
            lines.push(format!("      {} more before", self.forgotten));
        }
        let numbers = self.forgotten + 1..;
        lines.extend(numbers.zip(&self.story).map(|(number, line)| format!("{number:>4}  {line}")));
        let state = if self.is_broken { None } else { self.ground.state().ok() };
        let state = state.map_or_else(|| "not to be had\n".to_owned(), |state| state.to_string());
        if !self.ground.trace().is_empty() {
            lines.push("what its nodes did:".to_owned());
            lines.extend(self.ground.trace().iter().cloned());
        }
        lines.push("the state then:".to_owned());
        lines.extend(state.lines().map(|line| format!("      {line}")));
        format!("what it did:\n{}\n", lines.join("\n"))
    }

    fn tell(&mut self, line: String) {
        if self.story.len() == STORY_LINES_MAX {
            self.story.remove(0);
            self.forgotten += 1;
        }
        self.story.push(line);
    }

    /// What the ground says, or the end of the test.
    fn expect<T>(&mut self, result: Result<T, Broken>) -> T {
        result.unwrap_or_else(|Broken(problem)| {
            self.is_broken = true;
            panic!("{problem}")
        })
    }
}

fn no_ground(Broken(problem): Broken) -> Box<dyn Ground> {
    panic!("the machine does not start: {problem}")
}

fn ground<P: Plugin + 'static>(
    fidelity: Fidelity,
    seed: u64,
    faults: Faults,
    from: &Snapshot,
) -> Result<Box<dyn Ground>, Broken> {
    Ok(match fidelity {
        Fidelity::Native => Box::new(Local::new(code::native::<P>(0), from)?),
        Fidelity::Wasm => Box::new(Local::new(code::wasm::<P>(), from)?),
        Fidelity::Cluster if seeds::cluster_runs_modules() => {
            Box::new(Cluster::new(code::wasm::<P>(), seed, faults, from)?)
        }
        Fidelity::Cluster => {
            Box::new(Cluster::new(code::native::<P>(from.index()), seed, faults, from)?)
        }
    })
}

impl<P: Plugin + 'static> Caller for Machine<P> {
    type Plugin = P;

    fn call<Q, R>(&mut self, method: MethodPath, request: &Q) -> Result<R, Status>
    where
        Q: Message + fmt::Debug,
        R: Message + Default + fmt::Debug,
    {
        let call = Call {
            method: method_id(method.path()),
            is_command: method.is_command(),
            payload: request.encode_to_vec().into(),
            time_ms: self.time_ms,
        };
        self.tell(format!("{}: {request:?}", method.name()));
        let outcome = self.ground.call(&call);
        let outcome = self.expect(outcome);
        if let (Some(notes), Some(costs)) = (&mut self.notes, self.ground.last_costs()) {
            notes.add(method.path(), costs);
        }
        let reply = outcome.map_err(|rejection| status_of(&rejection)).and_then(|reply| {
            R::decode(reply).map_err(|error| Status::internal(format!("no reply: {error}")))
        });
        if let Some(line) = self.story.last_mut() {
            *line = match &reply {
                Ok(reply) => format!("{line} -> {reply:?}"),
                Err(status) => format!("{line} -> {status}"),
            };
        }
        reply
    }
}

/// A rejection as a client sees it.
fn status_of(rejection: &Rejection) -> Status {
    let code = Code::from_number(rejection.code()).unwrap_or(Code::Unknown);
    let status = Status::new(code, rejection.to_string());
    match rejection {
        Rejection::Status { details, .. } => status.with_details(details.to_vec()),
        _ => status,
    }
}

impl<P> fmt::Debug for Machine<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fidelity, seed, time_ms, .. } = self;
        f.debug_struct("Machine")
            .field("fidelity", fidelity)
            .field("seed", seed)
            .field("time_ms", time_ms)
            .finish_non_exhaustive()
    }
}
