//! Apply with a small native program: savepoints, time, and what belongs together.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::*;
use crate::batch::{Command, encode};
use crate::outcome::Rejection;
use crate::run::{Call, Stop};
use crate::state::{Key, MemoryState, Range, Space, StateView, Value, Writes, conformance};

/// Methods of the test program; the payload is a key, or a key range.
const PUT: u32 = 1;
const PUT_THEN_FAIL: u32 = 2;
const DELETE_RANGE: u32 = 3;
const COUNT: u32 = 4;
const PUT_TOO_LARGE: u32 = 5;
const SHOW_CALL: u32 = 6;
const PUT_LARGEST: u32 = 7;
const GET: u32 = 8;

struct Native;

impl Native {
    fn call(run: &mut Run, call: &Call) -> Result<Bytes, Stop> {
        let key = &call.payload;
        match call.method {
            PUT => run.put(key, b"v")?,
            PUT_THEN_FAIL => {
                run.put(key, b"first")?;
                run.put(key, b"second")?;
                run.delete(b"kept")?;
                return Err(Rejection::trap("on purpose").into());
            }
            DELETE_RANGE => {
                let count = run.delete_range(key, None)?;
                return Ok(Bytes::from(count.to_string()));
            }
            COUNT => {
                let mut keys = Vec::new();
                run.scan(Range { lo: key, hi: None, reverse: false }, &mut |key, _| {
                    keys.push(String::from_utf8_lossy(key).into_owned());
                    ControlFlow::Continue(())
                })?;
                return Ok(Bytes::from(keys.join(",")));
            }
            PUT_TOO_LARGE => {
                run.put(key, &vec![0; crate::limits::VALUE_BYTES_MAX + 1])?;
            }
            PUT_LARGEST => {
                run.put(key, &vec![0; crate::limits::VALUE_BYTES_MAX])?;
            }
            GET => return Ok(run.get(key)?.map_or_else(Bytes::new, Bytes::from_owner)),
            SHOW_CALL => {
                let text = format!("{} {} {}", call.index, call.time_ms, call.position);
                return Ok(Bytes::from(text));
            }
            _ => return Err(Rejection::trap("no such method").into()),
        }
        Ok(Bytes::new())
    }
}

impl Program for Native {
    fn run(&mut self, mut run: Run) -> Result<Run, Fatal> {
        while let Some(call) = run.next_call() {
            match Self::call(&mut run, &call) {
                Ok(reply) => run.finish(Ok(reply)),
                Err(Stop::Reject(rejection)) => run.finish(Err(rejection)),
                Err(Stop::Fatal(fatal)) => return Err(fatal),
            }
        }
        Ok(run)
    }
}

fn machine() -> (Machine<Native>, Arc<MemoryState>) {
    let state = Arc::new(MemoryState::new());
    let store = Arc::clone(&state) as Arc<dyn StateStore>;
    (Machine::new(GroupId(1), Native, store).unwrap(), state)
}

/// What an entry's commands decide, wherever that was.
fn applied(machine: &mut Machine<Native>, id: LogId, payload: Payload) -> Vec<Outcome> {
    machine.apply(id, payload).unwrap().into_iter().map(|(_, outcome)| outcome).collect()
}

fn entry(time_ms: u64, commands: &[(u32, &'static str)]) -> Payload {
    let commands: Vec<_> = commands
        .iter()
        .map(|(method, payload)| Command::new(*method, Bytes::from(*payload)))
        .collect();
    Payload::Commands(encode(time_ms, commands.iter()))
}

const fn at(index: u64) -> LogId {
    LogId { term: 1, index }
}

fn text(outcome: &Outcome) -> &str {
    std::str::from_utf8(outcome.as_ref().unwrap()).unwrap()
}

#[test]
fn a_call_that_fails_leaves_nothing_behind_and_its_neighbours_go_on() {
    let (mut machine, state) = machine();
    let outcomes = applied(
        &mut machine,
        at(1),
        entry(5, &[(PUT, "kept"), (PUT_THEN_FAIL, "kept"), (PUT_THEN_FAIL, "new"), (PUT, "after")]),
    );
    assert!(outcomes[0].is_ok() && outcomes[3].is_ok());
    assert_eq!(outcomes[1], Err(Rejection::trap("on purpose")));
    let view = state.snapshot();
    assert_eq!(view.get(Space::Plugin, b"kept").unwrap().as_deref(), Some(b"v".as_slice()));
    assert_eq!(view.get(Space::Plugin, b"new").unwrap(), None);
    assert_eq!(view.get(Space::Plugin, b"after").unwrap().as_deref(), Some(b"v".as_slice()));
}

#[test]
fn calls_see_the_writes_of_those_before_them() {
    let (mut machine, _) = machine();
    machine.apply(at(1), entry(5, &[(PUT, "b"), (PUT, "d")])).unwrap();
    let outcomes = applied(
        &mut machine,
        at(2),
        entry(
            5,
            &[
                (PUT, "a"),
                (PUT, "c"),
                (PUT, "e"),
                (COUNT, ""),
                (DELETE_RANGE, "b"),
                (COUNT, ""),
                (PUT, "d"),
                (COUNT, ""),
            ],
        ),
    );
    assert_eq!(text(&outcomes[3]), "a,b,c,d,e");
    assert_eq!(text(&outcomes[4]), "4");
    assert_eq!(text(&outcomes[5]), "a");
    assert_eq!(text(&outcomes[7]), "a,d");
}

#[test]
fn what_is_over_a_limit_is_rejected_and_named() {
    let (mut machine, state) = machine();
    let outcomes = applied(&mut machine, at(1), entry(5, &[(PUT_TOO_LARGE, "k")]));
    let error = outcomes[0].as_ref().unwrap_err().to_string();
    assert_eq!(error, "a value of 1048577 bytes is over the limit of 1048576 bytes");
    assert_eq!(state.snapshot().get(Space::Plugin, b"k").unwrap(), None);
}

/// Each command is within its limits; all of them together would fill the memory of every replica,
/// and again whenever the entry is replayed.
#[test]
fn an_entry_is_bounded_as_a_whole() {
    let (mut machine, _) = machine();
    let names: Vec<&'static str> =
        (0..80).map(|i| Box::leak(format!("{i}").into_boxed_str()) as &'static str).collect();
    let puts: Vec<_> = names.iter().map(|name| (PUT_LARGEST, *name)).collect();
    let outcomes = applied(&mut machine, at(1), entry(5, &puts));
    let kept = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(kept, 63, "64 MiB, less the keys");
    let error = outcomes[63].as_ref().unwrap_err().to_string();
    assert!(error.starts_with("what a batch writes"), "{error}");
    let gets: Vec<_> = (0..80).map(|_| (GET, "0")).collect();
    let outcomes = applied(&mut machine, at(2), entry(5, &gets));
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 64);
    let error = outcomes[64].as_ref().unwrap_err().to_string();
    assert!(error.starts_with("what a batch replies"), "{error}");
}

#[test]
fn time_never_falls() {
    let (mut machine, state) = machine();
    machine.apply(at(1), entry(500, &[(SHOW_CALL, "")])).unwrap();
    let outcomes = applied(&mut machine, at(2), entry(400, &[(PUT, "x"), (SHOW_CALL, "")]));
    assert_eq!(text(&outcomes[1]), "2 500 1");
    assert_eq!(state.snapshot().meta().time_ms, 500);
}

#[test]
fn every_entry_moves_the_applied_index_also_without_commands() {
    let (mut machine, state) = machine();
    machine.apply(at(1), Payload::Empty).unwrap();
    machine.apply(at(2), Payload::Members(Bytes::from_static(b"conf"))).unwrap();
    machine.apply(at(3), Payload::Empty).unwrap();
    let view = state.snapshot();
    assert_eq!(view.meta().applied, at(3));
    assert_eq!(view.meta().conf, b"conf".as_slice());
}

#[test]
#[should_panic(expected = "skipped or applied twice")]
fn an_entry_applied_twice_is_a_broken_invariant() {
    let (mut machine, _) = machine();
    machine.apply(at(1), Payload::Empty).unwrap();
    machine.apply(at(1), Payload::Empty).unwrap();
}

#[test]
fn a_damaged_entry_stops_the_node_and_is_no_outcome() {
    let (mut machine, state) = machine();
    let damaged = Payload::Commands(Bytes::from_static(b"damaged"));
    assert!(machine.apply(at(1), damaged).is_err());
    assert_eq!(state.snapshot().meta().applied.index, 0);
}

#[test]
fn a_query_cannot_write() {
    let (mut machine, state) = machine();
    machine.apply(at(1), entry(5, &[(PUT, "a")])).unwrap();
    for method in [PUT, DELETE_RANGE] {
        let query = Command::new(method, Bytes::from_static(b"a"));
        let run = Run::query(state.snapshot(), GroupId(1), query);
        let (outcomes, writes) = Native.run(run).unwrap().into_parts();
        assert_eq!(outcomes, [Err(Rejection::trap("a query tried to change the state"))]);
        assert!(writes.is_empty());
    }
}

#[test]
fn commands_have_seeds_of_their_own() {
    let commands = || (0..100).map(|n| (n, Command::new(1, Bytes::new()))).collect();
    let seeds = |index| {
        let view: Arc<dyn StateView> = MemoryState::new().snapshot();
        let place = Place { group: GroupId(1), id: at(index), time_ms: 0 };
        let mut run = Run::commands(view, place, commands());
        let mut out = Vec::new();
        while let Some(call) = run.next_call() {
            out.push(call.seed);
            run.finish(Ok(Bytes::new()));
        }
        out
    };
    assert_eq!(seeds(1), seeds(1), "the same on every replica");
    let mut all = [seeds(1), seeds(2)].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 200);
}

/// A scan over both the state and a run's own writes must be what a scan of their union is.
#[test]
fn a_scan_through_the_overlay_equals_one_of_the_result() {
    let mut random = 1_u64;
    let mut next = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % bound
    };
    for _ in 0..300 {
        let state = MemoryState::new();
        let key = |n: u64| Key::from_slice(&[u8::try_from(n).unwrap()]);
        let base = (0..next(8)).map(|_| (key(next(12)), Some(Value::from(*b"base"))));
        state.commit(&base.collect::<Writes>().into(), conformance::meta(1)).unwrap();
        let place = Place { group: GroupId(1), id: at(2), time_ms: 0 };
        let command = Command::new(1, Bytes::new());
        let mut run = Run::commands(state.snapshot(), place, vec![(0, command)]);
        run.next_call().unwrap();
        for _ in 0..next(8) {
            if next(2) == 0 {
                run.put(&key(next(12)), b"own").unwrap();
            } else {
                run.delete(&key(next(12))).unwrap();
            }
        }
        let (lo, hi) = (key(next(12)), key(next(12)));
        let limit = next(6) + 1;
        for (hi, reverse) in [(None, false), (None, true), (Some(&*hi), false), (Some(&*hi), true)]
        {
            let range = Range { lo: &lo, hi, reverse };
            let mut seen = Vec::new();
            run.scan(range, &mut |key, value| {
                seen.push((key.to_vec(), value.to_vec()));
                if seen.len() as u64 == limit {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })
            .unwrap();
            let merged = MemoryState::new();
            merged.commit(&base_of(&state).into(), conformance::meta(1)).unwrap();
            merged.commit(&run.writes().clone().into(), conformance::meta(2)).unwrap();
            let mut expected = conformance::pairs(&*merged.snapshot(), range);
            expected.truncate(usize::try_from(limit).unwrap());
            assert_eq!(seen, expected, "{range:?}");
        }
    }
}

fn base_of(state: &MemoryState) -> Writes {
    let pairs = conformance::pairs(&*state.snapshot(), Range::ALL);
    pairs.into_iter().map(|(key, value)| (key.into(), Some(value.into()))).collect()
}
