//! What all clients saw, against the log that was decided and against each other.
//!
//! Four judges, none of which trusts what the others do:
//!
//! 1. The log is replayed on the reference model; every reply must be what the model says, every
//!    refused call must be absent, and no call may be there twice.
//! 2. Real time: a call that began after another had ended comes later in the log.
//! 3. The history of registers goes to the checker that trusts log indexes,
//! 4. and to the one that trusts nothing and searches.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_core::batch::{self, Payload};
use quorate_core::outcome::{Outcome as Decided, Rejection};
use quorate_core::state::{Space, StateStore as _};
use quorate_history::{Answer, Op, by_index, by_search};

use crate::calls::{Call, Outcome};
use crate::cluster::{Cluster, Verdict};
use crate::model::{Model, Place};
use crate::oracle::{Checked, Violation, ensure};
use crate::program;
use crate::request::{Reply, Request};
use crate::state::{self, SimState};

/// What was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    /// Calls whose reply, or whose absence, was explained.
    pub calls: u64,
    /// Of these, those that were answered.
    pub answered: u64,
    /// Those whose client does not know, and the log does.
    pub resolved: u64,
    /// Commands in the log.
    pub commands: u64,
}

/// What a node said of a command, even if its client did not hear it.
fn judge(number: u64, verdict: Option<&Verdict>, executed: Option<&Executed>) -> Checked {
    match (verdict, executed) {
        (Some(Verdict::Refused), Some(executed)) => Err(Violation::new(
            "what is refused is never executed",
            format!("call {number} is at entry {}, and nobody heard", executed.index),
        )),
        (Some(Verdict::Decided(id, _)), None) => Err(Violation::new(
            "what is decided is in the log",
            format!("call {number} at {id}, and nobody heard"),
        )),
        (Some(Verdict::Decided(id, _)), Some(executed)) => {
            ensure(id.index == executed.index, "a verdict names its place in the log", || {
                format!("call {number}: {} instead of {}", id.index, executed.index)
            })
        }
        (Some(Verdict::Refused) | None, None) | (None, Some(_)) => Ok(()),
    }
}

/// Where a command stands in the log, and what its client should have been told.
struct Executed {
    index: u64,
    agrees: bool,
    expected: String,
}

/// Checks all calls of a run that has settled, and the states of those that survived it.
pub fn audit(cluster: &Cluster, states: &[Arc<SimState>]) -> Checked<Audited> {
    let calls = &cluster.calls;
    let mut reads = reads_by_index(calls);
    let mut model = Model::default();
    let mut executed: BTreeMap<u64, Executed> = BTreeMap::new();
    let mut audited = Audited::default();
    check_reads(calls, &model, reads.remove(&0).unwrap_or_default())?;
    for entry in cluster.oracle.log() {
        let index = entry.id.index;
        if let Payload::Commands(bytes) = &entry.payload {
            let broken = |error| Violation::new("entries decode", format!("{index}: {error}"));
            let batch = batch::decode(bytes).map_err(broken)?;
            model.entry(batch.time_ms);
            for (position, command) in (0..).zip(&batch.commands) {
                audited.commands += 1;
                let foreign = || Violation::new("commands come from clients", format!("{index}"));
                let request = Request::decode(command).ok_or_else(foreign)?;
                let call = request.call().ok_or_else(foreign)?;
                let place = Place { index, position };
                let verdict = cluster.verdict(call);
                let outcome = replay((calls, verdict), &mut model, &request, call, place)?;
                let twice = executed.insert(call, outcome);
                ensure(twice.is_none(), "a call is executed once", || {
                    format!("call {call} at entry {index} again: {request:?}")
                })?;
            }
        }
        check_reads(calls, &model, reads.remove(&index).unwrap_or_default())?;
    }
    ensure(reads.is_empty(), "reads see what is committed", || format!("{:?}", reads.keys()))?;
    for (number, call) in (0..).zip(calls) {
        let executed = executed.get(&number);
        explain(number, call, executed, &mut audited)?;
        judge(number, cluster.verdict(number), executed)?;
    }
    real_time(calls)?;
    check_states(&model, states, cluster.plan.is_wasm)?;
    check_histories(calls)?;
    Ok(audited)
}

/// A reply as its client would read it.
fn told(request: &Request, outcome: &Decided) -> Checked<Result<Reply, Rejection>> {
    outcome.as_ref().map_or_else(
        |rejection| Ok(Err(rejection.clone())),
        |bytes| {
            let unreadable = || Violation::new("replies decode", format!("{request:?}"));
            request.decode_reply(bytes).map(Ok).ok_or_else(unreadable)
        },
    )
}

fn replay(
    (calls, verdict): (&[Call], Option<&Verdict>),
    model: &mut Model,
    request: &Request,
    call: u64,
    place: Place,
) -> Checked<Executed> {
    let expected = model.command(request, place);
    let unheard = || Violation::new("commands come from clients", format!("call {call}"));
    let asked = calls.get(call as usize).ok_or_else(unheard)?;
    ensure(asked.request == *request, "commands are not altered", || {
        format!("{request:?} was {:?}", asked.request)
    })?;
    // What was decided, as the node that answered has it: its client may not have heard it.
    let decided = match verdict {
        Some(Verdict::Decided(_, outcome)) => Some(told(request, outcome)?),
        Some(Verdict::Refused) | None => None,
    };
    let agrees = decided.is_none_or(|told| model.agrees(&expected, &told));
    Ok(Executed { index: place.index, agrees, expected: format!("{expected:?}") })
}

/// What a client was told of a command, against what became of it.
fn explain(
    number: u64,
    call: &Call,
    executed: Option<&Executed>,
    audited: &mut Audited,
) -> Checked {
    if !call.request.is_command() {
        audited.calls += 1;
        audited.answered += u64::from(matches!(call.outcome, Outcome::Answered(..)));
        return Ok(());
    }
    if let Some(executed) = executed {
        ensure(executed.agrees, "replies are what the log makes them", || {
            let outcome = &call.outcome;
            format!("call {number}, entry {}: {outcome}, not {}", executed.index, executed.expected)
        })?;
    }
    match (&call.outcome, executed) {
        (Outcome::Answered(id, _), Some(executed)) => {
            audited.answered += 1;
            ensure(id.index == executed.index, "a reply names its place in the log", || {
                format!("call {number}: {} instead of {}", id.index, executed.index)
            })?;
        }
        (Outcome::Answered(id, _), None) => {
            return Err(Violation::new(
                "what is acknowledged is in the log",
                format!("call {number} was answered at entry {id}"),
            ));
        }
        (Outcome::Refused, Some(executed)) => {
            return Err(Violation::new(
                "what is refused is never executed",
                format!("call {number} is at entry {}", executed.index),
            ));
        }
        // Where it is pending, its node is cut off for good: the log is all there will ever be.
        (Outcome::Unknown | Outcome::Pending, _) => audited.resolved += 1,
        (Outcome::Refused, None) => {}
    }
    audited.calls += 1;
    Ok(())
}

fn reads_by_index(calls: &[Call]) -> BTreeMap<u64, Vec<u64>> {
    let mut reads: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (number, call) in (0..).zip(calls) {
        if let Outcome::Answered(id, _) = &call.outcome
            && !call.request.is_command()
        {
            reads.entry(id.index).or_default().push(number);
        }
    }
    reads
}

fn check_reads(calls: &[Call], model: &Model, reads: Vec<u64>) -> Checked {
    for number in reads {
        let call = &calls[number as usize];
        let Outcome::Answered(id, told) = &call.outcome else { continue };
        let expected = model.query(&call.request, id.index);
        ensure(Model::agrees_query(&expected, told), "reads see the state at their index", || {
            format!("call {number} at {id}: {told:?} instead of {expected:?}")
        })?;
    }
    Ok(())
}

/// A call that began after another had ended has a later place: reads may share it, commands not.
fn real_time(calls: &[Call]) -> Checked {
    let answered = calls.iter().enumerate().filter_map(|(number, call)| match &call.outcome {
        // The past is all that it asked for.
        Outcome::Answered(..) if call.is_stale() => None,
        Outcome::Answered(id, _) => Some((number, call, id.index)),
        Outcome::Pending | Outcome::Refused | Outcome::Unknown => None,
    });
    let answered: Vec<_> = answered.collect();
    let mut by_end = answered.clone();
    by_end.sort_by_key(|(_, call, _)| call.ended);
    let mut ended = by_end.into_iter().peekable();
    let mut by_begin = answered;
    by_begin.sort_by_key(|(_, call, _)| call.begun);
    let (mut latest, mut witness) = (0, 0);
    for (number, call, index) in by_begin {
        while let Some((other, _, index)) = ended.next_if(|(_, other, _)| other.ended < call.begun)
        {
            if index > latest {
                (latest, witness) = (index, other);
            }
        }
        let is_later = if call.request.is_command() { index > latest } else { index >= latest };
        ensure(is_later, "the log agrees with real time", || {
            format!("call {number} at entry {index} began after call {witness} at {latest}")
        })?;
    }
    Ok(())
}

/// Survivors hold what the model holds.
fn check_states(model: &Model, states: &[Arc<SimState>], is_wasm: bool) -> Checked {
    let broken = |error: quorate_core::outcome::Fatal| {
        Violation::new("states can be read", error.to_string())
    };
    let mut first = None;
    for state in states {
        let pairs = state::pairs(&*state.snapshot(), Space::Plugin).map_err(broken)?;
        // The plugin's own encoding is its own matter; what it replies was compared.
        let registers = pairs.iter().filter_map(|(key, value)| program::register(key, value));
        let is_equal = is_wasm || registers.eq(model.registers());
        ensure(is_equal, "registers are what the log makes them", || format!("{pairs:?}"))?;
        let scripts = pairs.iter().filter(|(key, _)| key.starts_with(b"s"));
        let is_equal = scripts.clone().count() == model.pairs().len()
            && scripts.zip(model.pairs()).all(|((key, value), (k, v))| *key == *k && *value == *v);
        ensure(is_equal, "states are what the log makes them", || format!("{pairs:?}"))?;
        let first = first.get_or_insert_with(|| pairs.clone());
        ensure(*first == pairs, "survivors have one state", || format!("{first:?}, {pairs:?}"))?;
    }
    Ok(())
}

fn check_histories(calls: &[Call]) -> Checked {
    let history: Vec<Op> = calls.iter().filter(|call| !call.is_stale()).filter_map(op).collect();
    by_index::check(&history).map_err(|wrong| {
        Violation::new("the history is right by its indexes", wrong.to_string())
    })?;
    by_search::check(&history)
        .map_err(|wrong| Violation::new("the history has one order", wrong.to_string()))?;
    Ok(())
}

/// A call on a register, as the checkers of histories see it.
fn op(call: &Call) -> Option<Op> {
    use quorate_history::Call as Asked;
    let (key, asked) = match call.request {
        Request::Put(key, value, _) => (key, Asked::Put(value)),
        Request::Cas(key, wanted, value) => (key, Asked::Cas(wanted, value)),
        Request::Get(key) => (key, Asked::Get),
        Request::Script(_) | Request::Look(_) => return None,
    };
    let outcome = match &call.outcome {
        Outcome::Answered(id, Ok(Reply::Register { revision, wrote, found })) => {
            quorate_history::Outcome::Answered(Answer {
                index: id.index,
                term: id.term,
                revision: *revision,
                wrote: *wrote,
                found: found.clone(),
            })
        }
        Outcome::Answered(..) => return None,
        // A read that was not answered says nothing.
        Outcome::Refused | Outcome::Unknown if asked == Asked::Get => return None,
        Outcome::Refused => quorate_history::Outcome::Refused,
        Outcome::Unknown | Outcome::Pending => quorate_history::Outcome::Unknown,
    };
    Some(Op { begun: call.begun, ended: call.ended, key, call: asked, outcome })
}
