//! `Set` and `Queue` beside the standard library's, in commands at random of which some are taken
//! back.

use std::collections::{BTreeSet, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;
use quorate_sdk::testing::Machine;
use quorate_sdk::{Command, Query, Queue, Set, Status};

/// Some steps, and whether the command then fails.
type Script<S> = Vec<(Vec<S>, bool)>;

fn scripts<S: Strategy>(step: S) -> impl Strategy<Value = Script<S::Value>> {
    vec((vec(step, 0..8), prop::bool::weighted(0.3)), 0..12)
}

/// Runs each command on a machine and on a model, which forgets what was taken back.
fn run<S, M: Clone + Default>(
    script: Script<S>,
    step: impl Fn(&mut Command<'_>, &mut M, S),
    check: impl Fn(&Query<'_>, &M),
) {
    let mut machine = Machine::<()>::new();
    let mut model = M::default();
    for (steps, fails) in script {
        let mut after = model.clone();
        let done = machine.command(|cx| {
            for one in steps {
                step(cx, &mut after, one);
                check(cx, &after);
            }
            if fails { Err(Status::aborted("no")) } else { Ok(()) }
        });
        if done.is_ok() {
            model = after;
        }
        machine.query(|cx| check(cx, &model));
    }
}

#[derive(Clone, Debug)]
enum OnSet {
    Insert(String, i8),
    Remove(String, i8),
    RemoveRange(i8, i8),
    Clear,
}

fn on_set() -> impl Strategy<Value = OnSet> {
    let name = prop::sample::select(vec!["", "a", "a\0", "b"]).prop_map(str::to_owned);
    let pair = (name, -2..3_i8);
    prop_oneof![
        6 => pair.clone().prop_map(|(name, n)| OnSet::Insert(name, n)),
        3 => pair.prop_map(|(name, n)| OnSet::Remove(name, n)),
        1 => (-2..3_i8, -2..3_i8).prop_map(|(lo, hi)| OnSet::RemoveRange(lo, hi)),
        1 => Just(OnSet::Clear),
    ]
}

const PAIRS: Set<(i8, String)> = Set::new("pairs");

fn set_step(cx: &mut Command<'_>, model: &mut BTreeSet<(i8, String)>, step: OnSet) {
    match step {
        OnSet::Insert(name, number) => {
            assert_eq!(
                PAIRS.contains(cx, (number, &name)),
                model.contains(&(number, name.clone()))
            );
            PAIRS.insert(cx, (number, &name));
            model.insert((number, name));
        }
        OnSet::Remove(name, number) => {
            assert_eq!(PAIRS.remove(cx, (number, &name)), model.remove(&(number, name)));
        }
        OnSet::RemoveRange(lo, hi) => {
            let removed = PAIRS.remove_range(cx, (lo, "")..(hi, ""));
            let before = model.len();
            model.retain(|(number, _)| !(lo..hi).contains(number));
            assert_eq!(removed, (before - model.len()) as u64);
        }
        OnSet::Clear => {
            assert_eq!(PAIRS.clear(cx), model.len() as u64);
            model.clear();
        }
    }
}

#[derive(Clone, Debug)]
enum OnQueue {
    Push(Vec<u8>),
    Pop,
    Clear,
}

fn on_queue() -> impl Strategy<Value = OnQueue> {
    // Values that are read at once, and others.
    let value = (any::<u8>(), prop::sample::select(vec![0, 1, 600]))
        .prop_map(|(byte, length)| vec![byte; length]);
    prop_oneof![
        5 => value.prop_map(OnQueue::Push),
        4 => Just(OnQueue::Pop),
        1 => Just(OnQueue::Clear),
    ]
}

const WAITING: Queue<Vec<u8>> = Queue::new("waiting");

/// How many have left, and who waits.
type Waiting = (u64, VecDeque<Vec<u8>>);

fn queue_step(cx: &mut Command<'_>, (gone, model): &mut Waiting, step: OnQueue) {
    match step {
        OnQueue::Push(value) => {
            assert_eq!(WAITING.push_back(cx, &value), *gone + model.len() as u64);
            model.push_back(value);
        }
        OnQueue::Pop => {
            let expected = model.pop_front();
            *gone += u64::from(expected.is_some());
            assert_eq!(WAITING.pop_front(cx), expected);
        }
        OnQueue::Clear => {
            assert_eq!(WAITING.clear(cx), model.len() as u64);
            *gone += model.len() as u64;
            model.clear();
        }
    }
}

proptest! {
    #[test]
    fn a_set_is_a_set(script in scripts(on_set())) {
        run(script, set_step, |cx, model| {
            assert!(PAIRS.iter(cx).eq(model.iter().cloned()));
            assert!(PAIRS.iter(cx).reverse().eq(model.iter().rev().cloned()));
        });
    }

    #[test]
    fn a_queue_is_a_queue(script in scripts(on_queue())) {
        run(script, queue_step, |cx, (gone, model): &Waiting| {
            assert!(WAITING.iter(cx).eq((*gone..).zip(model.iter().cloned())));
            assert_eq!(WAITING.len(cx), model.len() as u64);
            assert_eq!(WAITING.is_empty(cx), model.is_empty());
            assert_eq!(WAITING.peek(cx).as_ref(), model.front());
            assert_eq!(WAITING.get(cx, *gone).as_ref(), model.front());
            assert_eq!(WAITING.get(cx, gone.wrapping_sub(1)), None);
        });
    }
}
