//! Commands: what one does to itself, and does not do to its neighbours.

use super::*;
use quorate_abi::status;
use quorate_core::limits;

const KEY: &[u8] = b"k";

#[test]
fn a_command_writes_and_replies() {
    let mut bench = Bench::new();
    assert_eq!(bench.one(method::PUT, b"kvalue").unwrap(), "kvalue");
    assert_eq!(bench.one(method::GET, KEY).unwrap(), "value");
}

#[test]
fn traps_are_outcomes() {
    let mut bench = Bench::new();
    assert_trap(bench.one(method::UNREACHABLE, b""), "unreachable");
    assert_trap(bench.one(method::DIVIDE_BY_ZERO, b""), "divided by zero");
    assert_trap(bench.one(method::OUT_OF_BOUNDS, b""), "memory access is out of bounds");
    assert_trap(bench.one(method::INDIRECT_NULL, b""), "indirect call has no target");
    assert_trap(bench.one(method::RECURSION, b""), "call stack is exhausted");
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    assert_eq!(Bench::new().one(method::LOOP, b""), Err(Rejection::OutOfFuel));
}

#[test]
fn a_memory_bomb_runs_out_of_memory() {
    let mut bench = Bench::new();
    assert_eq!(bench.one(method::MEMORY_BOMB, b""), Err(Rejection::OutOfMemory));
    assert_eq!(bench.one(method::IMPOSSIBLE_MEMORY, b""), Err(Rejection::OutOfMemory));
    assert_eq!(bench.one(method::TABLE_BOMB, b""), Err(Rejection::OutOfMemory));
}

/// A maximum that the module itself declares is its own affair: it gets WebAssembly's -1.
#[test]
fn growth_beyond_the_modules_own_maximum_is_no_trap() {
    let mut bench = with_apply(
        "(drop (call $next (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 64)))
         (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then (unreachable)))
         (drop (call $next (i32.const 1) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 64)))",
    );
    assert_eq!(bench.one(1, b""), Ok(Bytes::new()));
}

#[test]
fn a_reply_over_its_limit_is_refused_and_one_at_it_is_not() {
    let mut bench = Bench::new();
    let max = limits::REPLY_BYTES_MAX;
    let len = u32::try_from(max).unwrap();
    assert_eq!(bench.one(method::REPLY_OF, &len.to_le_bytes()).unwrap().len(), max);
    let over = Rejection::check("a reply", max + 1, max);
    assert_eq!(bench.one(method::REPLY_OF, &(len + 1).to_le_bytes()).map(drop), over);
}

/// The promise of the batch: what a neighbour does is its own affair.
#[test]
fn neighbours_keep_their_effects() {
    let breakers: [(u32, &[u8]); 10] = [
        (method::PUT_AND_TRAP, b"x"),
        (method::UNREACHABLE, b""),
        (method::LOOP, b""),
        (method::MEMORY_BOMB, b""),
        (method::RECURSION, b""),
        (method::REPLY_OF, &u32::MAX.to_le_bytes()),
        (method::REFUSE, b""),
        (method::RETURN, b""),
        (method::VERDICT, &[9, 0, 0, 0]),
        (method::VERDICT, &[0, 0, 0, 0]),
    ];
    for breaker in breakers {
        let mut bench = Bench::new();
        let (outcomes, writes) = bench.apply_and_show(&[
            (method::PUT, b"abefore"),
            breaker,
            (method::GET, b"a"),
            breaker,
            (method::PUT, b"bafter"),
        ]);
        assert_eq!(outcomes[0].as_ref().unwrap(), "abefore");
        assert!(outcomes[1].is_err(), "{breaker:?}");
        assert_eq!(outcomes[2].as_ref().unwrap(), "before", "{breaker:?}");
        assert!(outcomes[3].is_err());
        assert_eq!(outcomes[4].as_ref().unwrap(), "bafter");
        let written: Vec<_> = writes.keys().map(|key| &**key).collect();
        assert_eq!(written, [b"a", b"b"], "{breaker:?} leaves nothing behind");
    }
}

#[test]
fn a_refusal_carries_its_status_and_undoes_its_writes() {
    let mut bench = Bench::new();
    let bytes = [&status::header(5, "no")[..], b"no", b"why"].concat();
    let (outcomes, writes) = bench.apply_and_show(&[(method::REFUSE, &bytes)]);
    let expected =
        Rejection::Status { code: 5, message: "no".into(), details: Bytes::from_static(b"why") };
    assert_eq!(outcomes, [Err(expected)]);
    assert!(writes.is_empty());
}

#[test]
fn a_status_is_checked_and_its_message_cut() {
    let mut bench = Bench::new();
    assert_trap(bench.one(method::REFUSE, b"abc"), "malformed status");
    assert_trap(bench.one(method::REFUSE, &status::header(0, "")), "malformed status");

    // A character lies across the limit.
    let text = format!("x{}", "é".repeat(limits::STATUS_MESSAGE_BYTES_MAX));
    let bytes = [&status::header(3, &text)[..], text.as_bytes()].concat();
    let Err(Rejection::Status { message, .. }) = bench.one(method::REFUSE, &bytes) else {
        panic!("a long message is still a status");
    };
    assert_eq!(message.len(), limits::STATUS_MESSAGE_BYTES_MAX - 1);

    let details = vec![0; limits::STATUS_DETAILS_BYTES_MAX + 1];
    let bytes = [&status::header(3, "")[..], &details].concat();
    let outcome = bench.one(method::REFUSE, &bytes);
    assert!(matches!(outcome, Err(Rejection::OverLimit { .. })), "{outcome:?}");
}

#[test]
fn broken_rules_of_next_are_traps() {
    let mut bench = Bench::new();
    assert_trap(bench.one(method::VERDICT, &[9, 0, 0, 0]), "verdict 9");
    assert_trap(bench.one(method::VERDICT, &[0, 0, 0, 0]), "before it finished");
    assert_trap(bench.one(method::RETURN, b""), "returned before");
    // The first `next` of an instance has nothing to finish.
    let early = "(drop (call $next (i32.const 1) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 64)))";
    assert_trap(with_apply(early).one(1, b""), "did not have");
}

/// A frame that did not fit is a call that the guest has not seen: it cannot finish it.
#[test]
fn a_call_that_was_not_delivered_cannot_be_finished() {
    let mut bench = with_apply(
        "(drop (call $next (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 4)))
         (drop (call $next (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 4)))",
    );
    assert_trap(bench.one(1, b""), "did not have");
}

#[test]
fn a_frame_that_does_not_fit_is_asked_for_again() {
    let long = [b"k", &[b'v'; 10_000][..]].concat();
    assert_eq!(Bench::new().one(method::PUT, &long).unwrap(), long);
}

#[test]
fn an_entry_gets_a_fresh_instance_and_so_does_what_follows_a_trap() {
    let mut bench = Bench::new();
    let count = |n: u8| Ok(Bytes::from(vec![n, 0, 0, 0, n, 0, 0, 0]));
    let counter = (method::COUNTER, &b""[..]);
    // Twice: without an instance prepared, and with one that takes over the memory of the first.
    for _ in 0..2 {
        let outcomes = bench.apply(&[counter, counter, (method::UNREACHABLE, b""), counter]);
        assert_eq!([&outcomes[..2], &outcomes[3..]].concat(), [count(1), count(2), count(1)]);
        bench.program.prepare().unwrap();
    }
}

#[test]
fn fuel_is_each_calls_own() {
    let mut bench = Bench::new();
    // About 7 units a turn: two of these do not fit one call's fuel.
    let turns = 8_000_000_u32.to_le_bytes();
    let outcomes = bench.apply(&[(method::COUNT_TO, &turns), (method::COUNT_TO, &turns)]);
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let twice = 20_000_000_u32.to_le_bytes();
    assert_eq!(bench.one(method::COUNT_TO, &twice), Err(Rejection::OutOfFuel));
}

#[test]
fn a_guest_that_never_pulls_still_ends() {
    for body in ["", "unreachable", "(loop $l (br $l))", "(drop (memory.grow (i32.const 9999)))"] {
        let mut bench = with_apply(body);
        let outcomes = bench.apply(&[(1, b""), (2, b""), (3, b"")]);
        assert!(outcomes.iter().all(Result::is_err), "{body}: {outcomes:?}");
    }
}

/// Each answer costs fuel, also the one that there is nothing, and too little room is no new call.
#[test]
fn a_guest_that_pulls_forever_runs_out_of_fuel() {
    for cap in [0, 4096] {
        let mut bench = with_apply(&format!(
            "(loop $l (drop (call $next (i32.const 0) (i32.const 0) (i32.const 0)
                (i32.const 0) (i32.const {cap}))) (br $l))"
        ));
        let outcome = bench.one(1, b"");
        assert!(outcome.is_err(), "{outcome:?}");
        assert_eq!(bench.apply(&[]), []);
    }
}

#[test]
fn a_trap_on_the_way_out_spoils_nothing() {
    let mut bench = Bench::new();
    let outcomes = bench.apply(&[(method::PUT, b"kvalue"), (method::TRAP_ON_EXIT, b"")]);
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(bench.one(method::GET, KEY).unwrap(), "value");
}

/// Without canonicalization x86 gives the sign bit to this one, and ARM does not.
#[test]
fn not_a_number_has_one_form() {
    let bits = Bench::new().one(method::NAN, b"").unwrap();
    assert_eq!(bits[..], 0x7fc0_0000_u32.to_le_bytes());
}

#[test]
fn fixed_simd_runs_on_the_oldest_cpu() {
    let reply = Bench::new().one(method::SIMD, b"").unwrap();
    let ceilings = [1.0_f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat();
    let ones: Vec<u8> = ceilings.iter().map(|b| u8::try_from(b.count_ones()).unwrap()).collect();
    assert_eq!(reply[..], ones[..]);
}

/// A bench of a module whose `quorate_apply` is this.
fn with_apply(body: &str) -> Bench {
    let wat = format!(
        r#"(module
            (import "quorate_v1" "next"
                (func $next (param i32 i32 i32 i32 i32) (result i64)))
            (memory (export "memory") 1 1)
            (func (export "quorate_abi_v1"))
            (func (export "quorate_apply") {body})
            (func (export "quorate_query") {body})
            (@custom "quorate_v1" "MANIFEST"))"#
    );
    Bench::of(Module::load(&assemble(&wat)).unwrap())
}

#[test]
fn a_call_tells_what_it_has_cost() {
    let mut bench = Bench::new();
    bench.one(method::PUT, b"kvalue").unwrap();
    let put = bench.program.last_costs();
    assert_eq!((put.host_calls, put.read_bytes, put.written_bytes), (1, 0, 6));
    assert!((500..5_000).contains(&put.fuel), "{put:?}");

    bench.apply(&[(method::GET, b"k"), (method::PUT, b"kvalue")]);
    assert_eq!(bench.program.last_costs(), put, "each call has its own bill");

    bench.one(method::LOOP, b"").unwrap_err();
    let looped = bench.program.last_costs();
    assert_eq!((looped.host_calls, looped.fuel), (0, limits::COMMAND_FUEL_MAX));

    let run = Run::query(bench.state.snapshot(), GroupId(1), of(&(method::GET, b"k")));
    let (_, get) = bench.module.query_and_costs(run).unwrap();
    assert_eq!((get.host_calls, get.read_bytes, get.written_bytes, get.fuel), (1, 6, 0, 0));
}
