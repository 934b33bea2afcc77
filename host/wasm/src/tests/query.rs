//! Queries: they cannot write, they end, they run beside each other.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use quorate_core::limits;
use quorate_core::run::QuerySource;

#[test]
fn a_query_reads() {
    let mut bench = Bench::new();
    bench.one(method::PUT, b"kvalue").unwrap();
    assert_eq!(bench.query(method::GET, b"k").unwrap(), "value");
}

#[test]
fn a_query_that_writes_is_a_trap() {
    let bench = Bench::new();
    let refused = "tried to change the state";
    assert_trap(bench.query(method::PUT, b"kvalue"), refused);
    // kv_put, kv_delete and kv_delete_range, of what is there and of what is not.
    for (import, args) in [(2, [0, 1, 0, 1]), (3, [0, 1, 0, 0]), (4, [0, 1, 0, 0])] {
        assert_trap(bench.query(method::CALL, &call(import, &args)), refused);
    }
}

#[test]
fn an_endless_query_ends_by_its_deadline() {
    let began = Instant::now();
    assert_eq!(Bench::new().query(method::LOOP, b""), Err(Rejection::Deadline));
    let took = began.elapsed();
    let deadline = Duration::from_millis(limits::QUERY_MS_MAX);
    assert!(took + Duration::from_millis(100) >= deadline, "too early: {took:?}");
    assert!(took < deadline * 3, "too late: {took:?}");
}

#[test]
fn a_query_is_bounded_as_a_command_is() {
    let bench = Bench::new();
    assert_eq!(bench.query(method::MEMORY_BOMB, b""), Err(Rejection::OutOfMemory));
    assert_trap(bench.query(method::RECURSION, b""), "call stack is exhausted");
    assert_trap(bench.query(method::RETURN, b""), "returned before");
    assert_trap(bench.query(method::VERDICT, &[7, 0, 0, 0]), "verdict 7");
}

/// Queries one after the other, and what they found.
struct Listed {
    queries: VecDeque<Command>,
    found: Arc<Mutex<Vec<Outcome>>>,
}

impl QuerySource for Listed {
    fn next(&mut self) -> Option<Command> {
        self.queries.pop_front()
    }

    fn answer(&mut self, outcome: Outcome) {
        self.found.lock().unwrap().push(outcome);
    }
}

#[test]
fn queries_that_share_a_run_each_have_their_own_end() {
    let mut bench = Bench::new();
    bench.one(method::PUT, b"kvalue").unwrap();
    let get: (u32, &[u8]) = (method::GET, b"k");
    let calls: [(u32, &[u8]); 7] = [
        get,
        (method::UNREACHABLE, b""),
        get,
        (method::PUT, b"kother"),
        (method::MEMORY_BOMB, b""),
        (method::LOOP, b""),
        get,
    ];
    let found = Arc::<Mutex<Vec<Outcome>>>::default();
    let source = Listed { queries: calls.iter().map(of).collect(), found: Arc::clone(&found) };
    let run = Run::queries(bench.state.snapshot(), GroupId(1), Box::new(source));
    bench.module.queries(run).expect("no fault of this node");
    let found = std::mem::take(&mut *found.lock().unwrap());
    let [first, trap, second, write, bomb, endless, last] = found.try_into().unwrap();
    for get in [first, second, last] {
        assert_eq!(get.unwrap(), "value");
    }
    assert_trap(trap, "unreachable");
    assert_trap(write, "tried to change the state");
    assert_eq!(bomb, Err(Rejection::OutOfMemory));
    assert_eq!(endless, Err(Rejection::Deadline));
}

#[test]
fn as_many_queries_as_are_allowed_run_beside_each_other() {
    let mut bench = Bench::new();
    bench.one(method::PUT, b"kvalue").unwrap();
    let bench = &bench;
    thread::scope(|scope| {
        for _ in 0..limits::QUERIES_RUNNING_MAX {
            scope.spawn(move || {
                for _ in 0..50 {
                    assert_eq!(bench.query(method::GET, b"k").unwrap(), "value");
                    assert_trap(bench.query(method::UNREACHABLE, b""), "unreachable");
                }
            });
        }
    });
}
