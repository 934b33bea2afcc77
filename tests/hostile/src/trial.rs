//! One module on trial: through the gate, and when admitted, through apply and a few queries.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_core::outcome::{Outcome, Rejection};
use quorate_core::run::Run;
use quorate_wasm::{LoadError, Module, Refusal, Report, WasmProgram, gate};

use crate::abi::IMPORTS;
use crate::family::Family;
use crate::random::Random;
use crate::trio::{self, Agreed, Boxed, GROUP};
use crate::workload;

/// Compiling a module twice is most of the work; a larger one is compiled once.
const COMPILED_TWICE_BYTES_MAX: usize = 32 * 1024;

/// What makes the program of a machine, by its number, out of the module's. Tests plant faults
/// with it.
pub type Wrap = dyn Fn(usize, WasmProgram) -> Boxed + Sync;

/// The module's own program, on each machine.
pub fn faithful(_: usize, program: WasmProgram) -> Boxed {
    Boxed(Box::new(program))
}

/// What became of a module.
#[derive(Debug)]
pub struct Trial {
    /// Its number.
    pub seed: u64,
    /// The attack.
    pub family: Family,
    /// How long it all took.
    pub took: Duration,
    /// Of the module and of all that it brought about.
    pub hash: u64,
    /// How it ended.
    pub verdict: Verdict,
}

/// How a trial ended.
#[derive(Debug)]
pub enum Verdict {
    /// The gate refused it, for these reasons.
    Refused(Vec<Refusal>),
    /// It passed the gate and could not be set up.
    Unusable,
    /// It ran.
    Ran(Ran),
    /// The host did wrong.
    Finding(String),
}

/// What a module did.
#[derive(Debug, Default)]
pub struct Ran {
    /// Of its commands.
    pub outcomes: Vec<Outcome>,
    /// Of its queries.
    pub answers: Vec<Outcome>,
    /// Whether each import was seen to come back.
    pub returned: [bool; IMPORTS.len()],
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, family, .. } = self;
        let what = match &self.verdict {
            Verdict::Refused(refusals) => format!("refused: {refusals:?}"),
            Verdict::Unusable => "unusable".to_owned(),
            Verdict::Ran(ran) => {
                format!("ran: {} commands, {} queries", ran.outcomes.len(), ran.answers.len())
            }
            Verdict::Finding(what) => format!("FINDING: {what}"),
        };
        write!(f, "{family} {seed}: {what}")
    }
}

/// Tries the module of a number. A panic is a finding, be it the host's or the generator's.
pub fn run(seed: u64, wrap: &Wrap) -> Trial {
    let began = Instant::now();
    let family = Family::of(seed);
    let mut hasher = DefaultHasher::new();
    // Nothing that is shared with other trials can be left half done.
    let tried = catch_unwind(AssertUnwindSafe(|| {
        let wasm = family.module(seed);
        wasm.hash(&mut hasher);
        let (verdict, hash) = attempt(seed, &wasm, wrap)?;
        hash.hash(&mut hasher);
        Ok(verdict)
    }));
    let verdict = match tried {
        Ok(Ok(verdict)) => verdict,
        Ok(Err(Wrong(what))) => Verdict::Finding(what),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            Verdict::Finding(format!("a panic: {}", text.unwrap_or("without words")))
        }
    };
    Trial { seed, family, took: began.elapsed(), hash: hasher.finish(), verdict }
}

/// What the host did wrong.
struct Wrong(String);

fn wrong<T>(what: impl fmt::Display) -> Result<T, Wrong> {
    Err(Wrong(what.to_string()))
}

fn attempt(seed: u64, wasm: &[u8], wrap: &Wrap) -> Result<(Verdict, u64), Wrong> {
    let report = gate::inspect(wasm);
    let module = match load(wasm, &report)? {
        Ok(module) => module,
        Err(verdict) => return Ok((verdict, 0)),
    };
    let second = if wasm.len() <= COMPILED_TWICE_BYTES_MAX {
        match load(wasm, &report)? {
            Ok(module) => module,
            Err(verdict) => return wrong(format_args!("loaded once, then {verdict:?}")),
        }
    } else {
        Arc::clone(&module)
    };
    let methods: Vec<_> = module.manifest().methods().map(|method| method.id).collect();
    let log = workload::log(seed, &methods);
    let makers = [&module, &module, &second];
    let maker = |machine: usize| move || wrap(machine, makers[machine].program());
    let agreed = trio::feed([&maker(0), &maker(1), &maker(2)], &log)
        .map_err(|disagreement| Wrong(disagreement.to_string()))?;
    let answers = queries(seed, &methods, [&module, &second], &agreed)?;
    let mut ran = Ran { answers, ..Ran::default() };
    for counts in &agreed.counts {
        for (returned, count) in ran.returned.iter_mut().zip(counts.chunks_exact(4)) {
            *returned |= count != [0; 4];
        }
    }
    ran.outcomes = agreed.outcomes.into_iter().flatten().collect();
    Ok((Verdict::Ran(ran), agreed.hash))
}

/// Loads a module, which must go as the gate has said.
fn load(wasm: &[u8], report: &Report) -> Result<Result<Arc<Module>, Verdict>, Wrong> {
    match Module::load(wasm) {
        Ok(_) if !report.refusals.is_empty() => wrong("what the gate refuses was loaded"),
        Ok(module) if report.manifest.as_ref() != Some(module.manifest()) => {
            wrong("the gate reads another manifest each time")
        }
        Ok(module) => Ok(Ok(module)),
        Err(LoadError::Refused(refusals)) if refusals.is_empty() => wrong("refused for no reason"),
        Err(LoadError::Refused(refusals)) if refusals == report.refusals => {
            Ok(Err(Verdict::Refused(refusals)))
        }
        Err(LoadError::Refused(refusals)) => {
            wrong(format_args!("refused for {:?}, then for {refusals:?}", report.refusals))
        }
        Err(LoadError::Unusable { .. }) => Ok(Err(Verdict::Unusable)),
        Err(LoadError::Failed(fatal)) => wrong(format_args!("this node could not load: {fatal}")),
    }
}

/// Asks a few queries of the last state, which must stay as it is. Each is answered by two modules
/// of the same bytes, alike unless time ran out.
fn queries(
    seed: u64,
    methods: &[u32],
    modules: [&Arc<Module>; 2],
    agreed: &Agreed,
) -> Result<Vec<Outcome>, Wrong> {
    // A query that never ends takes two seconds: rarely from those that are known for it.
    let is_slow = agreed.outcomes.iter().flatten().any(|one| *one == Err(Rejection::OutOfFuel));
    if is_slow && !Random::new(seed, "slow").one_in(20) {
        return Ok(Vec::new());
    }
    let pairs = || trio::pairs(&*agreed.state).map_err(|fatal| Wrong(fatal.to_string()));
    let before = pairs()?;
    let mut answers: Vec<Outcome> = Vec::new();
    for query in workload::queries(seed, methods) {
        if answers.contains(&Err(Rejection::Deadline)) {
            break;
        }
        let ask = |module: &Arc<Module>| {
            let run = Run::query(Arc::clone(&agreed.state), GROUP, query.clone());
            module.query(run).map_err(|fatal| Wrong(format!("a query stopped the node: {fatal}")))
        };
        let [one, other] = modules;
        let answer = ask(one)?;
        if answer != Err(Rejection::Deadline) {
            let again = ask(other)?;
            if answer != again && again != Err(Rejection::Deadline) {
                return wrong(format_args!("a query has two answers: {answer:?} and {again:?}"));
            }
        }
        answers.push(answer);
    }
    if pairs()? != before {
        return wrong("a query changed the state");
    }
    Ok(answers)
}
