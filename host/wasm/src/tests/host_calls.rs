//! What guests may pass to the host: each wild pointer and each limit, import by import.

use super::*;
use quorate_abi::page;
use quorate_core::limits;

const NEXT: u32 = 0;
const GET: u32 = 1;
const PUT: u32 = 2;
const DELETE: u32 = 3;
const DELETE_RANGE: u32 = 4;
const SCAN: u32 = 5;
const LOG: u32 = 6;
const ABORT: u32 = 7;

/// The guest's memory at first.
const MEMORY: u32 = 2 * 65536;
/// Where there is room for what the host writes.
const BUF: u32 = 16384;

#[test]
fn wild_pointers_are_traps() {
    let mut bench = Bench::new();
    bench.one(method::PUT, b"\0value").unwrap();
    // For each import: arguments that are fine, and which of them are pointer and length.
    let imports: [(u32, &[u32], &[usize]); 8] = [
        (NEXT, &[1, 0, 0, BUF, 64], &[1, 3]),
        (GET, &[512, 1, BUF, 64], &[0, 2]),
        (PUT, &[512, 1, 513, 1], &[0, 2]),
        (DELETE, &[512, 1], &[0]),
        (DELETE_RANGE, &[512, 1, 512, 1], &[0, 2]),
        (SCAN, &[512, 1, 0, 0, 0, 0, BUF, 64], &[0, 2, 6]),
        (LOG, &[3, 512, 1], &[1]),
        (ABORT, &[512, 1, 1], &[0]),
    ];
    for (import, args, pointers) in imports {
        for &pointer in pointers {
            for (at, len) in [
                (MEMORY, 1),
                (MEMORY - 1, 2),
                (MEMORY + 1, 0),
                (u32::MAX, 1),
                (u32::MAX, u32::MAX),
                (1, u32::MAX),
            ] {
                let mut args = args.to_vec();
                args[pointer] = at;
                args[pointer + 1] = len;
                let outcome = bench.one(method::CALL, &call(import, &args));
                assert_trap(outcome, "pointer out of bounds");
            }
        }
    }
}

/// The very end of the memory is still inside.
#[test]
fn pointers_at_the_edge_are_fine() {
    let mut bench = Bench::new();
    bench.call(PUT, &[MEMORY - 1, 1, MEMORY, 0]).unwrap();
    assert_eq!(bench.call(GET, &[MEMORY - 1, 1, MEMORY, 0]), Ok(0));
}

/// Whatever the numbers are: an outcome, and never a panic.
#[test]
fn random_arguments_do_the_host_no_harm() {
    let mut bench = Bench::new();
    let mut random = 7_u64;
    let mut draw = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let word = u32::try_from(random >> 33).unwrap();
        // Small, near the end of the memory, or anything.
        match word % 4 {
            0 => word % 64,
            1 => MEMORY - word % 64,
            2 => word % 16_384,
            _ => word << 1,
        }
    };
    for _ in 0..4_000 {
        let args: Vec<u32> = (0..8).map(|_| draw()).collect();
        let payload = call(draw() % 8, &args);
        bench.apply(&[(method::CALL, &payload), (method::COUNTER, b"")]).remove(1).unwrap();
    }
}

#[test]
fn keys_and_values_have_their_limits() {
    let mut bench = Bench::new();
    let key = u32::try_from(limits::KEY_BYTES_MAX).unwrap();
    assert_eq!(bench.call(PUT, &[BUF, key, 0, 1]), Ok(0));
    let over = |what, limit| Rejection::check(what, limit + 1, limit).unwrap_err();
    let over_key = over("a key", limits::KEY_BYTES_MAX);
    for (import, args) in
        [(GET, &[BUF, key + 1, 0, 64][..]), (PUT, &[BUF, key + 1, 0, 1]), (DELETE, &[BUF, key + 1])]
    {
        assert_eq!(bench.call(import, args), Err(over_key.clone()), "import {import}");
    }
    // What follows a key of full length directly is a byte longer.
    assert_eq!(bench.call(DELETE_RANGE, &[BUF, key + 1, 0, 0]), Ok(0));
    let over_bound = over("the end of a range", limits::KEY_BYTES_MAX + 1);
    for (import, args) in [
        (DELETE_RANGE, &[BUF, key + 2, 0, 0][..]),
        (DELETE_RANGE, &[0, 0, BUF, key + 2]),
        (SCAN, &[BUF, key + 2, 0, 0, 0, 0, BUF, 64]),
    ] {
        assert_eq!(bench.call(import, args), Err(over_bound.clone()), "import {import}");
    }
}

#[test]
fn a_value_over_its_limit_is_refused() {
    let max = limits::VALUE_BYTES_MAX;
    let len = u32::try_from(max).unwrap();
    let wat = include_str!("hostile.wat").replace("\"memory\") 2", "\"memory\") 32");
    let mut bench = Bench::of(Module::load(&assemble(&wat)).unwrap());
    assert_eq!(bench.call(PUT, &[0, 1, 0, len]), Ok(0));
    let over = Rejection::check("a value", max + 1, max).unwrap_err();
    assert_eq!(bench.call(PUT, &[0, 1, 0, len + 1]), Err(over));
}

#[test]
fn get_says_how_much_room_it_needs() {
    let mut bench = Bench::new();
    bench.one(method::PUT, &[&[7][..], &[b'v'; 100]].concat()).unwrap();
    let key = [512, 1];
    let get = |cap| {
        // The key is the low byte of the word at 512, which is zero: so it is absent.
        call(GET, &[key[0], key[1], BUF, cap])
    };
    let absent = bench.one(method::CALL, &get(8)).unwrap();
    assert_eq!(absent[..], (-1_i64).to_le_bytes());
    // The payload's own first byte of arguments holds a 7.
    let needed = bench.one(method::CALL, &call(GET, &[1100, 1, BUF, 8, 0, 0, 0, 0, 7]));
    assert_eq!(needed.unwrap()[..], 100_i64.to_le_bytes());
}

#[test]
fn deletions_say_what_was_there() {
    let mut bench = Bench::new();
    for key in 0..5_u8 {
        bench.one(method::PUT, &[key, key]).unwrap();
    }
    assert_eq!(bench.call(DELETE, &[512, 1]), Ok(1), "the key 0");
    assert_eq!(bench.call(DELETE, &[512, 1]), Ok(0));
    assert_eq!(bench.call(DELETE_RANGE, &[512, 1, 0, 0]), Ok(4), "from key 0 without end");
}

#[test]
fn scans_are_paged() {
    let mut bench = Bench::new();
    for key in 0..5_u8 {
        bench.one(method::PUT, &[key, key, key]).unwrap();
    }
    let all = page_of(&mut bench, 0, 0, 4096);
    assert_eq!(all, (vec![0, 1, 2, 3, 4], false));
    assert_eq!(page_of(&mut bench, 1, 0, 4096), (vec![4, 3, 2, 1, 0], false));
    assert_eq!(page_of(&mut bench, 0, 2, 4096), (vec![0, 1], true));
    assert_eq!(page_of(&mut bench, 0, 5, 4096), (vec![0, 1, 2, 3, 4], false));
    let pair = u32::try_from(page::pair_bytes(1, 2)).unwrap();
    assert_eq!(page_of(&mut bench, 0, 0, 8 + 3 * pair), (vec![0, 1, 2], true));
    // Without values there is room for one more.
    assert_eq!(page_of(&mut bench, 2, 0, 8 + 3 * pair), (vec![0, 1, 2], true));
    assert_eq!(page_of(&mut bench, 2, 0, 8 + 4 * (pair - 2)), (vec![0, 1, 2, 3], true));
    // Not even one fits, and not even an empty page.
    assert_eq!(scan(&mut bench, 0, 0, 8), Ok(i64::from(8 + pair)));
    assert_eq!(bench.call(DELETE_RANGE, &[0, 0, 0, 0]), Ok(5));
    assert_eq!(scan(&mut bench, 0, 0, 7), Ok(8));
    assert_eq!(page_of(&mut bench, 0, 0, 8), (vec![], false));
    assert_trap(bench.one(method::CALL, &call(SCAN, &[0, 0, 0, 0, 4, 0, BUF, 64])), "flags 0x4");
}

fn scan(bench: &mut Bench, flags: u32, limit: u32, cap: u32) -> Result<i64, Rejection> {
    bench.call(SCAN, &[0, 0, 0, 0, flags, limit, BUF, cap])
}

/// The keys of a page of all pairs, and whether there are more.
fn page_of(bench: &mut Bench, flags: u32, limit: u32, cap: u32) -> (Vec<u8>, bool) {
    // Scan, put the page as a value, and read it back.
    let scan = call(SCAN, &[0, 0, 0, 0, flags, limit, BUF, cap]);
    let len = bench.one(method::CALL, &scan).unwrap();
    let len = u32::try_from(i64::from_le_bytes(len[..].try_into().unwrap())).unwrap();
    assert!(len <= cap, "the page fits");
    let before = bench.state.snapshot();
    let put = call(PUT, &[BUF, 0, BUF, len]);
    let (outcomes, writes) = bench.apply_and_show(&[(method::CALL, &scan), (method::CALL, &put)]);
    outcomes[1].as_ref().unwrap();
    let page = writes.values().next().unwrap().clone().unwrap();
    let (pairs, more) = page::decode(&page).unwrap();
    let keys = pairs
        .map(|(key, value)| {
            assert_eq!(value.is_empty(), flags & 2 != 0);
            key[0]
        })
        .collect();
    bench.call(DELETE, &[BUF, 0]).unwrap();
    assert_eq!(before.get(Space::Plugin, b"").unwrap(), None);
    (keys, more)
}

/// What a call of the host costs, from both sides: so many fit a command, and so many do not.
#[test]
fn host_calls_cost_fuel() {
    const PAIRS: u32 = 1_000;
    const VALUE: u32 = 100;
    let mut bench = Bench::new();
    let writes = (0..PAIRS).map(|n| {
        let value = Value::from([0; VALUE as usize]);
        (Key::from_slice(&n.to_be_bytes()), Some(value))
    });
    bench.state.commit(&writes.collect::<Writes>().into(), Meta::default()).unwrap();
    bench.one(method::PUT, &[b"\0", &[0; 3_000][..]].concat()).unwrap();
    let all_pairs = PAIRS * (100 + 4 + VALUE) + 100 + 1 + 3_000;
    for (import, args, cost) in [
        (GET, &[512, 2, BUF, 0][..], 500 + 2),
        (GET, &[512, 1, BUF, 0], 500 + 1 + 3_000),
        (SCAN, &[0, 0, 0, 0, 2, 0, BUF, 65_536], 500 + all_pairs),
        (DELETE, &[512, 3], 500 + 3),
        (DELETE_RANGE, &[512, 1, 512, 1], 500 + 2),
        (LOG, &[5, 512, 0], 10_000),
    ] {
        let mut turn = |turns: u64| {
            let args = [args, &[0; 8][args.len()..], &[u32::try_from(turns).unwrap()]].concat();
            bench.one(method::REPEAT, &call(import, &args))
        };
        // What the guest itself does in a turn is less than this.
        let fit = limits::COMMAND_FUEL_MAX / (u64::from(cost) + 200);
        turn(fit).unwrap_or_else(|rejection| panic!("import {import}: {rejection}"));
        let too_many = limits::COMMAND_FUEL_MAX / u64::from(cost) + 1;
        assert_eq!(turn(too_many), Err(Rejection::OutOfFuel), "import {import}");
    }
}

#[test]
fn a_range_deletion_pays_for_each_pair() {
    let mut bench = Bench::new();
    let writes =
        (0..1_000_001_u32).map(|n| (Key::from_slice(&n.to_be_bytes()), Some(Value::default())));
    bench.state.commit(&writes.collect::<Writes>().into(), Meta::default()).unwrap();
    assert_eq!(bench.call(DELETE_RANGE, &[0, 0, 0, 0]), Err(Rejection::OutOfFuel));
    assert!(bench.state.snapshot().get(Space::Plugin, &[0; 4]).unwrap().is_some(), "it is undone");
}

#[test]
fn an_abort_carries_its_message_and_line() {
    let mut bench = Bench::new();
    // The text is in the payload, behind the arguments.
    let payload = [&call(ABORT, &[1080, 4, 7])[..], b"boom"].concat();
    assert_trap(bench.one(method::CALL, &payload), "panicked at line 7: boom");
    let broken = [&call(ABORT, &[1080, 4, 7])[..], &[0xff, b'o', 0xff, b'm']].concat();
    assert_trap(bench.one(method::CALL, &broken), "panicked at line 7: \u{fffd}o\u{fffd}m");
    let Err(Rejection::Trap { reason }) = bench.one(method::CALL, &call(ABORT, &[0, 65_536, 1]))
    else {
        panic!("an abort is a trap");
    };
    assert!(reason.len() < limits::STATUS_MESSAGE_BYTES_MAX + 64, "cut: {}", reason.len());
}

#[test]
fn log_lines_have_a_level() {
    let mut bench = Bench::new();
    for level in 1..=5 {
        assert_eq!(bench.call(LOG, &[level, 512, 65_536]), Ok(0));
    }
    for level in [0, 6] {
        assert_trap(bench.one(method::CALL, &call(LOG, &[level, 512, 1])), "level");
    }
}

/// The gate lets through what the linker offers, and nothing else.
#[test]
fn the_gate_and_the_linker_know_the_same_imports() {
    use crate::{engine, guest::Guest, imports};
    let engine = engine::apply().unwrap();
    let linker = imports::linker(&engine).unwrap();
    let mut store = wasmtime::Store::new(&engine, Guest::new(true));
    let mut offered: Vec<_> = linker
        .iter(&mut store)
        .map(|(module, name, item)| {
            assert_eq!(module, quorate_abi::IMPORT_MODULE);
            (name.to_owned(), item.into_func().unwrap())
        })
        .collect();
    offered.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut known = quorate_abi::import::SIGNATURES.to_vec();
    known.sort_unstable();
    assert_eq!(offered.len(), known.len());
    for ((name, params, returns), (offered, func)) in known.iter().zip(offered) {
        let ty = func.ty(&store);
        assert_eq!((*name, *params), (offered.as_str(), ty.params().len()));
        assert!(ty.params().all(|ty| ty.is_i32()));
        assert_eq!(ty.results().len(), usize::from(*returns));
        assert!(ty.results().all(|ty| ty.is_i64()));
    }
}
