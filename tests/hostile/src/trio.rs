//! Three machines that are fed one log, in circumstances that differ as those of nodes do: the one
//! has time to get ready between entries, another never has, the third begins anew before each
//! entry. What they decide and what they hold must not differ.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::ControlFlow;
use std::sync::Arc;

use quorate_core::batch::Payload;
use quorate_core::id::{GroupId, LogId};
use quorate_core::machine::{Machine, Program};
use quorate_core::outcome::{Fatal, Outcome, Rejection};
use quorate_core::run::Run;
use quorate_core::state::{MemoryState, Meta, Range, Space, StateStore, StateView};

use crate::abi::COUNTS_KEY;
use crate::workload::Entry;

/// The group of all machines.
pub const GROUP: GroupId = GroupId(7);

/// Commands of one log that may run out of fuel: each takes a tenth of a second, three times over.
const OUT_OF_FUEL_MAX: usize = 2;

/// A program of any kind.
pub struct Boxed(pub Box<dyn Program>);

impl Program for Boxed {
    fn run(&mut self, run: Run) -> Result<Run, Fatal> {
        self.0.run(run)
    }

    fn prepare(&mut self) -> Result<(), Fatal> {
        self.0.prepare()
    }
}

/// Makes the program of a machine, as often as that machine begins.
pub type Maker<'a> = &'a dyn Fn() -> Boxed;

/// What three machines agreed upon.
pub struct Agreed {
    /// The outcomes of all commands that were run, by entry.
    pub outcomes: Vec<Vec<Outcome>>,
    /// The state after the last entry.
    pub state: Arc<dyn StateView>,
    /// What a guest counted of its own calls, after each entry; see [`COUNTS_KEY`].
    pub counts: Vec<Vec<u8>>,
    /// Of all outcomes and of each state on the way.
    pub hash: u64,
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// How they failed to agree.
#[derive(Debug)]
pub enum Disagreement {
    /// A machine stopped, which a guest must not be able to bring about.
    Stopped {
        /// Which one.
        machine: usize,
        /// Where in the log.
        at: LogId,
        /// What it said.
        why: Fatal,
    },
    /// Two machines differ.
    Differ {
        /// The one that differs from the first.
        machine: usize,
        /// Where in the log.
        at: LogId,
        /// In what, and how.
        what: String,
    },
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped { machine, at, why } => {
                write!(f, "machine {machine} stopped at {at}: {why}")
            }
            Self::Differ { machine, at, what } => {
                write!(f, "machine {machine} differs from machine 0 at {at}: {what}")
            }
        }
    }
}

/// One of the three.
struct Member<'a> {
    maker: Maker<'a>,
    machine: Machine<Boxed>,
    state: Arc<MemoryState>,
    prepares: bool,
    restarts: bool,
}

impl<'a> Member<'a> {
    fn new(maker: Maker<'a>, prepares: bool, restarts: bool) -> Self {
        let state = Arc::new(MemoryState::new());
        let machine = machine(maker, &state).expect("an empty state is sound");
        Self { maker, machine, state, prepares, restarts }
    }

    fn apply(&mut self, (id, payload): &Entry) -> Result<Vec<Outcome>, Fatal> {
        if self.restarts {
            self.machine = machine(self.maker, &self.state)?;
        }
        if self.prepares {
            self.machine.prepare()?;
        }
        let decided = self.machine.apply(*id, payload.clone())?;
        Ok(decided.into_iter().map(|(_, outcome)| outcome).collect())
    }
}

fn machine(maker: Maker<'_>, state: &Arc<MemoryState>) -> Result<Machine<Boxed>, Fatal> {
    let state = Arc::clone(state) as Arc<dyn StateStore>;
    Machine::new(GROUP, maker(), state)
}

/// Feeds the log to three machines and compares them after each entry. Each has its own maker.
/// Ends early when the guest has computed for long enough.
pub fn feed(makers: [Maker<'_>; 3], log: &[Entry]) -> Result<Agreed, Disagreement> {
    let [prepared, cold, restarted] = makers;
    let mut members = [
        Member::new(prepared, true, false),
        Member::new(cold, false, false),
        Member::new(restarted, false, true),
    ];
    let mut agreed = Agreed {
        outcomes: Vec::new(),
        state: members[0].state.snapshot(),
        counts: Vec::new(),
        hash: 0,
    };
    // With fixed keys: the same in each process.
    let mut hasher = DefaultHasher::new();
    let mut out_of_fuel = 0;
    for entry in log {
        let (outcomes, pairs, state) = step(&mut members, entry)?;
        out_of_fuel += outcomes.iter().filter(|one| **one == Err(Rejection::OutOfFuel)).count();
        format!("{outcomes:?}").hash(&mut hasher);
        pairs.hash(&mut hasher);
        agreed.counts.extend(pairs.into_iter().find(|(key, _)| key == COUNTS_KEY).map(|(_, v)| v));
        agreed.outcomes.push(outcomes);
        agreed.state = state;
        if out_of_fuel > OUT_OF_FUEL_MAX {
            break;
        }
    }
    agreed.hash = hasher.finish();
    Ok(agreed)
}

type Step = (Vec<Outcome>, Vec<Pair>, Arc<dyn StateView>);

/// Feeds them one entry.
fn step(members: &mut [Member<'_>; 3], entry: &Entry) -> Result<Step, Disagreement> {
    let (at, payload) = (entry.0, &entry.1);
    let mut first: Option<Step> = None;
    for (machine, member) in members.iter_mut().enumerate() {
        let outcomes =
            member.apply(entry).map_err(|why| Disagreement::Stopped { machine, at, why })?;
        let state = member.state.snapshot();
        let differ = |what| Err(Disagreement::Differ { machine, at, what });
        let mine: Vec<Pair> =
            pairs(&*state).map_err(|why| Disagreement::Stopped { machine, at, why })?;
        let Some((outcomes_0, pairs_0, state_0)) = &first else {
            if let Some(what) = wrong(at, payload, &outcomes, state.meta()) {
                return differ(what);
            }
            first = Some((outcomes, mine, state));
            continue;
        };
        if let Some(position) = different(outcomes_0, &outcomes) {
            let (one, other) = (outcomes_0.get(position), outcomes.get(position));
            return differ(format!("command {position}: {} and {}", short(&one), short(&other)));
        }
        if let Some(place) = different(pairs_0, &mine) {
            let (one, other) = (pairs_0.get(place), mine.get(place));
            return differ(format!("pair {place}: {} and {}", short(&one), short(&other)));
        }
        if state_0.meta() != state.meta() {
            return differ(format!("{:?} and {:?}", state_0.meta(), state.meta()));
        }
    }
    Ok(first.expect("there are three machines"))
}

/// What no machine may decide, even when all agree.
fn wrong(at: LogId, payload: &Payload, outcomes: &[Outcome], meta: &Meta) -> Option<String> {
    if outcomes.contains(&Err(Rejection::Deadline)) {
        return Some("a deadline is the outcome of a command".to_owned());
    }
    if !matches!(payload, Payload::Commands(_)) && !outcomes.is_empty() {
        return Some("outcomes without commands".to_owned());
    }
    (meta.applied != at).then(|| format!("the state is that of {}", meta.applied))
}

/// The first place where two lists differ.
fn different<T: PartialEq>(one: &[T], other: &[T]) -> Option<usize> {
    let len = one.len().max(other.len());
    (0..len).find(|&place| one.get(place) != other.get(place))
}

/// What something looks like, in one line of bounded length.
fn short(what: &dyn fmt::Debug) -> String {
    let text = format!("{what:?}");
    text.get(..text.floor_char_boundary(300)).unwrap_or(&text).to_owned()
}

/// All pairs of a state.
pub fn pairs(view: &dyn StateView) -> Result<Vec<Pair>, Fatal> {
    let mut pairs = Vec::new();
    view.scan(Space::Plugin, Range::ALL, &mut |key, value| {
        pairs.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    })?;
    Ok(pairs)
}
