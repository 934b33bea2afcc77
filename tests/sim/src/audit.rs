//! What all clients saw, against the log that was decided and against each other.
//!
//! Four judges, none of which trusts what the others do:
//!
//! 1. The log is replayed on the reference model; every reply must be what the model says, every
//!    refused call must be absent, and no call may be executed twice: copies that have a session
//!    get the first reply.
//! 2. Real time: a call that began after another had ended comes later in the log.
//! 3. The history of registers goes to the checker that trusts log indexes,
//! 4. and to the one that trusts nothing and searches.

mod merge;

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_core::batch::{self, Command, Payload};
use quorate_core::id::LogId;
use quorate_core::outcome::{Outcome as Decided, Rejection};
use quorate_core::session::SessionError;
use quorate_core::state::{Space, StateStore as _};
use quorate_history::{Answer, Op, by_index, by_search};

use crate::calls::{Call, Outcome};
use crate::cluster::{Cluster, Verdict};
use crate::model::sessions::{Fate, Sessions};
use crate::model::{Model, Place};
use crate::oracle::{Checked, Violation, ensure};
use crate::program;
use crate::request::{Reply, Request};
use crate::state::{self, SimState};
use crate::tally::{self, SessionPath, Tally};

/// What was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    /// Calls whose reply, or whose absence, was explained.
    pub calls: u64,
    /// Of these, those that were answered.
    pub answered: u64,
    /// Those whose client does not know, and the log does.
    pub resolved: u64,
    /// Commands in the log.
    pub commands: u64,
    /// Of these, copies of calls that the log had before; none of them was executed.
    pub duplicates: u64,
    /// How often each rare path of sessions was taken.
    pub sessions: Tally,
}

type Calls = BTreeMap<u64, Call>;

/// Where a command was executed, and what it decided.
struct Executed {
    id: LogId,
    outcome: Decided,
}

/// What the log makes of all calls.
struct Replay<'a> {
    cluster: &'a Cluster,
    calls: &'a Calls,
    model: Model,
    sessions: Sessions,
    executed: BTreeMap<u64, Executed>,
    /// Why sessions did not have calls executed, by entry.
    refused: BTreeMap<(u64, u64), Vec<SessionError>>,
    /// The first copy of each call of a session, executed or not.
    met: BTreeMap<u64, LogId>,
    audited: Audited,
}

/// Checks all calls of a run that has settled, and the states of those that survived it.
pub fn audit(cluster: &Cluster, states: &[Arc<SimState>]) -> Checked<Audited> {
    let calls = merge::merge(&cluster.calls)?;
    let mut reads = reads_by_index(&calls);
    let mut replay = Replay {
        cluster,
        calls: &calls,
        model: Model::default(),
        sessions: Sessions::new(cluster.plan.sessions),
        executed: BTreeMap::new(),
        refused: BTreeMap::new(),
        met: BTreeMap::new(),
        audited: Audited::default(),
    };
    check_reads(&calls, &replay.model, reads.remove(&0).unwrap_or_default())?;
    for entry in cluster.oracle.log() {
        let index = entry.id.index;
        if let Payload::Commands(bytes) = &entry.payload {
            replay.entry(entry.id, bytes)?;
        }
        check_reads(&calls, &replay.model, reads.remove(&index).unwrap_or_default())?;
    }
    ensure(reads.is_empty(), "reads see what is committed", || format!("{:?}", reads.keys()))?;
    let Replay { model, executed, refused, mut audited, .. } = replay;
    for (number, call) in &calls {
        explain(*number, call, executed.get(number), &mut audited)?;
    }
    for (number, call) in (0..).zip(&cluster.calls) {
        for verdict in cluster.verdicts(number) {
            let errors = |index| refused.get(&(call.first, index)).map_or(&[][..], Vec::as_slice);
            judge((number, call), verdict, executed.get(&call.first), errors)?;
        }
    }
    real_time(&calls)?;
    check_states(&model, states, cluster.plan.is_wasm)?;
    check_histories(&calls)?;
    Ok(audited)
}

impl Replay<'_> {
    fn entry(&mut self, id: LogId, bytes: &bytes::Bytes) -> Checked {
        let broken = |error| Violation::new("entries decode", format!("{id}: {error}"));
        let batch = batch::decode(bytes).map_err(broken)?;
        let decided = self.cluster.outcomes(id.index);
        ensure(decided.len() == batch.commands.len(), "every command has its outcome", || {
            format!("entry {id}: {} of {}", decided.len(), batch.commands.len())
        })?;
        self.model.entry(batch.time_ms);
        for ((position, command), decided) in (0..).zip(&batch.commands).zip(decided) {
            self.audited.commands += 1;
            self.command((id, position), command, decided)?;
        }
        self.sessions.end();
        Ok(())
    }

    fn command(
        &mut self,
        (id, position): (LogId, u64),
        command: &Command,
        decided: &(LogId, Decided),
    ) -> Checked {
        let foreign = || Violation::new("commands come from clients", format!("{id}"));
        let request = Request::decode(command).ok_or_else(foreign)?;
        let call = request.call().ok_or_else(foreign)?;
        let asked = self.calls.get(&call).ok_or_else(foreign)?;
        ensure(asked.request == request, "commands are not altered", || {
            format!("{request:?} was {:?}", asked.request)
        })?;
        let fate = self.sessions.meet(command, id.index);
        self.count((call, id), command, &fate);
        let expected = match fate {
            Fate::New => {
                let place = Place { index: id.index, position };
                let expected = self.model.command(&request, place);
                let told = told(&request, &decided.1)?;
                ensure(
                    self.model.agrees(&expected, &told),
                    "replies are what the log makes them",
                    || format!("call {call}, entry {id}: {told:?}, not {expected:?}"),
                )?;
                self.sessions.decided(command, id, &decided.1);
                self.executes(call, id, &decided.1)?;
                (id, decided.1.clone())
            }
            Fate::Opens(session) => {
                let reply = Ok(session.to_string().into());
                self.executes(call, id, &reply)?;
                (id, reply)
            }
            Fate::Told(first, outcome) => (first, outcome),
            Fate::Refused(error) => {
                self.refused.entry((call, id.index)).or_default().push(error);
                (id, Err(Rejection::Session(error)))
            }
        };
        ensure(*decided == expected, "a command of a session is executed once", || {
            format!("call {call}, entry {id}: {decided:?}, not {expected:?}")
        })
    }

    fn executes(&mut self, call: u64, id: LogId, outcome: &Decided) -> Checked {
        let executed = Executed { id, outcome: outcome.clone() };
        let twice = self.executed.insert(call, executed);
        ensure(twice.is_none(), "a call is executed once", || format!("call {call} at {id} again"))
    }

    /// Which of the rare paths this is.
    fn count(&mut self, (call, id): (u64, LogId), command: &Command, fate: &Fate) {
        let paths = &mut self.audited.sessions;
        let mut hit = |path: SessionPath| tally::hit(paths, path.name());
        match fate {
            Fate::Opens(_) => hit(SessionPath::Opened),
            Fate::Refused(SessionError::Expired) => hit(SessionPath::Expired),
            Fate::Refused(SessionError::Forgotten { .. }) => hit(SessionPath::Forgotten),
            Fate::Refused(SessionError::NeverOpened) => hit(SessionPath::NeverOpened),
            Fate::Refused(SessionError::Reused) => hit(SessionPath::Reused),
            Fate::Told(first, outcome) => {
                hit(SessionPath::Duplicate);
                let rare = [
                    (first.index == id.index, SessionPath::DuplicateInEntry),
                    (first.term < id.term, SessionPath::DuplicateInLaterTerm),
                    (outcome.is_err(), SessionPath::DuplicateOfRejection),
                    (first.index + LATE < id.index, SessionPath::DuplicateLate),
                ];
                rare.into_iter().filter(|(is_it, _)| *is_it).for_each(|(_, path)| hit(path));
            }
            Fate::New => {}
        }
        if command.session.is_some() && self.met.insert(call, id).is_some() {
            self.audited.duplicates += 1;
        }
    }
}

/// Entries after which a copy comes late.
const LATE: u64 = 100;

/// What a node said of a command, even if its client did not hear it.
fn judge<'a>(
    (number, call): (u64, &Call),
    verdict: &Verdict,
    executed: Option<&Executed>,
    refused: impl Fn(u64) -> &'a [SessionError],
) -> Checked {
    match verdict {
        // Another copy of it may be executed.
        Verdict::Refused if call.session.is_some() => Ok(()),
        Verdict::Refused => ensure(executed.is_none(), "what is refused is never executed", || {
            format!("call {number} is in the log, and nobody heard")
        }),
        Verdict::Decided(id, Err(Rejection::Session(error))) => {
            ensure(refused(id.index).contains(error), "a verdict is what the log makes it", || {
                format!("call {number} at {id}: {error}")
            })
        }
        Verdict::Decided(id, outcome) => {
            let is_it = executed.is_some_and(|own| own.id == *id && own.outcome == *outcome);
            ensure(is_it, "a verdict names its place in the log", || {
                format!("call {number} at {id}: {outcome:?}")
            })
        }
    }
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

/// What a client was told of a command, against what became of it.
fn explain(
    number: u64,
    call: &Call,
    executed: Option<&Executed>,
    audited: &mut Audited,
) -> Checked {
    audited.calls += 1;
    if !call.request.is_command() {
        audited.answered += u64::from(matches!(call.outcome, Outcome::Answered(..)));
        return Ok(());
    }
    match (&call.outcome, executed) {
        (Outcome::Answered(id, heard), Some(executed)) => {
            audited.answered += 1;
            ensure(*id == executed.id, "a reply names its place in the log", || {
                format!("call {number}: {id} instead of {}", executed.id)
            })?;
            let told = told(&call.request, &executed.outcome)?;
            ensure(*heard == told, "what is heard is what was decided", || {
                format!("call {number}: {heard:?} instead of {told:?}")
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
                format!("call {number} is at entry {}", executed.id),
            ));
        }
        // Where it is pending, its node is cut off for good: the log is all there will ever be.
        (Outcome::Unknown | Outcome::Pending, _) => audited.resolved += 1,
        (Outcome::Refused, None) => {}
    }
    Ok(())
}

fn reads_by_index(calls: &Calls) -> BTreeMap<u64, Vec<u64>> {
    let mut reads: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (number, call) in calls {
        if let Outcome::Answered(id, _) = &call.outcome
            && !call.request.is_command()
        {
            reads.entry(id.index).or_default().push(*number);
        }
    }
    reads
}

fn check_reads(calls: &Calls, model: &Model, reads: Vec<u64>) -> Checked {
    for number in reads {
        let call = &calls[&number];
        let Outcome::Answered(id, told) = &call.outcome else { continue };
        let expected = model.query(&call.request, id.index);
        ensure(Model::agrees_query(&expected, told), "reads see the state at their index", || {
            format!("call {number} at {id}: {told:?} instead of {expected:?}")
        })?;
    }
    Ok(())
}

/// A call that began after another had ended has a later place: reads may share it, commands not.
fn real_time(calls: &Calls) -> Checked {
    let answered = calls.iter().filter_map(|(number, call)| match &call.outcome {
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
                (latest, witness) = (index, *other);
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
            && scripts
                .zip(model.pairs())
                .all(|((key, value), (k, v))| **key == **k && **value == **v);
        ensure(is_equal, "states are what the log makes them", || format!("{pairs:?}"))?;
        let first = first.get_or_insert_with(|| pairs.clone());
        ensure(*first == pairs, "survivors have one state", || format!("{first:?}, {pairs:?}"))?;
    }
    Ok(())
}

fn check_histories(calls: &Calls) -> Checked {
    let history: Vec<Op> = calls.values().filter(|call| !call.is_stale()).filter_map(op).collect();
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
        Request::Script(_) | Request::Look(_) | Request::Open(_) | Request::Other(..) => {
            return None;
        }
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
