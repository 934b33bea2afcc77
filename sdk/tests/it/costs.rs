//! How often a call crosses to the host, and with how many bytes.

use quorate_sdk::testing::{Costs, Machine};
use quorate_sdk::{
    Cell, Command, Counter, IndexedMap, Map, MultiIndex, Query, Queue, Set, Status, UniqueIndex,
};

/// What a command costs that succeeds.
fn cost<T>(machine: &mut Machine<()>, command: impl FnOnce(&mut Command<'_>) -> T) -> Costs {
    machine.command(|cx| Ok(command(cx))).expect("it never refuses");
    machine.last_costs()
}

fn costs(host_calls: u64, read_bytes: u64, written_bytes: u64) -> Costs {
    Costs { host_calls, read_bytes, written_bytes }
}

#[test]
fn each_import_counts_with_its_bytes() {
    let mut machine = Machine::new();
    assert_eq!(cost(&mut machine, |cx| cx.put(b"key", b"value")), costs(1, 0, 8));
    assert_eq!(cost(&mut machine, |cx| cx.get(b"key")), costs(1, 8, 0));
    assert_eq!(cost(&mut machine, |cx| cx.get(b"other")), costs(1, 5, 0));
    assert_eq!(cost(&mut machine, |cx| cx.scan(b"k", b"l").count()), costs(1, 10, 0));
    assert_eq!(cost(&mut machine, |cx| cx.scan(b"l", b"k").count()), costs(0, 0, 0));
    assert_eq!(cost(&mut machine, |cx| cx.delete(b"key")), costs(1, 0, 3));
    assert_eq!(cost(&mut machine, |cx| cx.delete_range(b"a", b"b")), costs(1, 0, 2));
    assert_eq!(cost(&mut machine, |_| ()), Costs::default());
}

#[test]
fn a_long_value_is_asked_for_twice() {
    let mut machine = Machine::new();
    cost(&mut machine, |cx| cx.put(b"fits", &[0; 512]));
    cost(&mut machine, |cx| cx.put(b"long", &[0; 513]));
    assert_eq!(cost(&mut machine, |cx| cx.get(b"fits")), costs(1, 516, 0));
    assert_eq!(cost(&mut machine, |cx| cx.get(b"long")), costs(2, 2 * 517, 0));
}

/// The room for pages is 4 KiB at first, then 32 KiB.
#[test]
fn a_scan_crosses_once_for_each_page() {
    let mut machine = Machine::new();
    cost(&mut machine, |cx| {
        for key in 0..40 {
            cx.put(&[b'a', key], &[0; 990]);
        }
        cx.put(b"b", &[0; 5_000]);
    });
    let pairs = |pairs: u64| (pairs * 992) + 2;
    // With its lengths a pair takes 1,000 bytes: 4 fit, and the fifth is looked at.
    let limited = cost(&mut machine, |cx| cx.scan(b"a", b"b").limit(3).count());
    assert_eq!(limited, costs(1, pairs(4), 0), "also one behind the limit is looked at");
    // Counting takes no values, but the host comes by them.
    assert_eq!(cost(&mut machine, |cx| cx.scan(b"a", b"b").count()), costs(1, pairs(40), 0));
    let all = cost(&mut machine, |cx| cx.scan(b"a", b"b").last());
    // The second page begins behind a key, which makes its bounds two bytes longer; so does the
    // third. 32 of the second page's pairs fit.
    assert_eq!(all, costs(3, pairs(5) + (pairs(33) + 2) + (pairs(4) + 2), 0));
    let too_long = cost(&mut machine, |cx| cx.scan(b"b", b"").last());
    assert_eq!(too_long, costs(2, 2 * 5_002, 0), "the first page had no room for one pair");
}

#[test]
fn costs_are_those_of_the_last_call() {
    let mut machine = Machine::<()>::new();
    let refused = machine.command(|cx| {
        cx.put(b"key", b"value");
        Err::<(), _>(Status::aborted("no"))
    });
    assert!(refused.is_err());
    assert_eq!(machine.last_costs(), costs(1, 0, 8), "also of one that is taken back");
    machine.query(|cx: &Query<'_>| (cx.get(b"key"), cx.get(b"key")));
    assert_eq!(machine.last_costs(), costs(2, 6, 0));
    assert!(machine.call("no.such/Method", &[]).is_err());
    assert_eq!(machine.last_costs(), Costs::default());
}

/// What the documentation of each method says.
#[test]
fn host_calls_of_each_method() {
    const CELL: Cell<u64> = Cell::new("cell");
    const COUNTER: Counter = Counter::new("counter");
    const MAP: Map<u64, Vec<u8>> = Map::new("map");
    const SET: Set<u64> = Set::new("set");
    const QUEUE: Queue<u64> = Queue::new("queue");

    type Step = fn(&mut Command<'_>);
    let steps: [(&str, u64, Step); 28] = [
        ("Cell::set", 1, |cx| CELL.set(cx, &1)),
        ("Cell::get", 1, |cx| assert_eq!(CELL.get(cx), Some(1))),
        ("Cell::clear", 1, |cx| assert!(CELL.clear(cx))),
        ("Counter::add", 2, |cx| assert_eq!(COUNTER.add(cx, 1), 1)),
        ("Counter::get", 1, |cx| assert_eq!(COUNTER.get(cx), 1)),
        ("Counter::set", 1, |cx| COUNTER.set(cx, 7)),
        ("Map::insert", 1, |cx| MAP.insert(cx, 1, &vec![7; 600])),
        ("Map::get of a long value", 2, |cx| assert!(MAP.get(cx, 1).is_some())),
        ("Map::contains", 1, |cx| assert!(MAP.contains(cx, 1))),
        ("Map::iter", 1, |cx| assert_eq!(MAP.iter(cx).count(), 1)),
        ("Map::keys_in", 1, |cx| assert_eq!(MAP.keys_in(cx, 1..2).count(), 1)),
        ("Map::remove", 1, |cx| assert!(MAP.remove(cx, 1))),
        ("Map::remove_range", 1, |cx| assert_eq!(MAP.remove_range(cx, 1..), 0)),
        ("Set::insert", 1, |cx| SET.insert(cx, 1)),
        ("Set::contains", 1, |cx| assert!(SET.contains(cx, 1))),
        ("Set::iter", 1, |cx| assert_eq!(SET.iter(cx).next(), Some(1))),
        ("Set::remove", 1, |cx| assert!(SET.remove(cx, 1))),
        ("Set::clear", 1, |cx| assert_eq!(SET.clear(cx), 0)),
        ("Queue::pop_front of none", 1, |cx| assert_eq!(QUEUE.pop_front(cx), None)),
        ("Queue::peek of none", 1, |cx| assert_eq!(QUEUE.peek(cx), None)),
        ("Queue::clear of none", 1, |cx| assert_eq!(QUEUE.clear(cx), 0)),
        ("Queue::push_back", 3, |cx| assert_eq!(QUEUE.push_back(cx, &5), 0)),
        ("Queue::peek", 2, |cx| assert_eq!(QUEUE.peek(cx), Some(5))),
        ("Queue::len", 1, |cx| assert_eq!(QUEUE.len(cx), 1)),
        ("Queue::get", 1, |cx| assert_eq!(QUEUE.get(cx, 0), Some(5))),
        ("Queue::iter", 2, |cx| assert_eq!(QUEUE.iter(cx).count(), 1)),
        ("Queue::pop_front", 4, |cx| assert_eq!(QUEUE.pop_front(cx), Some(5))),
        ("Queue::clear", 3 + 3, |cx| {
            QUEUE.push_back(cx, &6);
            assert_eq!(QUEUE.clear(cx), 1);
        }),
    ];
    let mut machine = Machine::new();
    for (name, host_calls, step) in steps {
        assert_eq!(cost(&mut machine, step).host_calls, host_calls, "{name}");
    }
}

/// The same for maps with indexes. A row is its key and, in its upper half, what it is indexed by.
#[test]
fn host_calls_of_an_indexed_map() {
    const ROWS: IndexedMap<u64, u64> = IndexedMap::new("rows", &[&UNIQUE, &MULTI]);
    const UNIQUE: UniqueIndex<u64, u64> = UniqueIndex::new("unique", |row| row & 0xff);
    const MULTI: MultiIndex<u64, u64> = MultiIndex::new("multi", |row| row >> 8);

    type Step = fn(&mut Command<'_>);
    let steps: [(&str, u64, Step); 14] = [
        ("insert a new one", 2 + 2 + 1, |cx| ROWS.insert(cx, 1, &0x301).unwrap()),
        ("insert with the same keys", 2, |cx| ROWS.insert(cx, 1, &0x301).unwrap()),
        ("insert with another one", 2 + 2, |cx| ROWS.insert(cx, 1, &0x401).unwrap()),
        ("insert with another unique one", 2 + 3, |cx| ROWS.insert(cx, 1, &0x402).unwrap()),
        ("insert a second one", 5, |cx| ROWS.insert(cx, 2, &0x403).unwrap()),
        ("a refused insert", 2, |cx| assert!(ROWS.insert(cx, 3, &0x402).is_err())),
        ("key_by", 1, |cx| assert_eq!(ROWS.key_by(cx, &UNIQUE, 2), Some(1))),
        ("get_by", 2, |cx| assert_eq!(ROWS.get_by(cx, &UNIQUE, 2), Some((1, 0x402)))),
        ("get_by of none", 1, |cx| assert_eq!(ROWS.get_by(cx, &UNIQUE, 7), None)),
        ("keys_by", 1, |cx| assert_eq!(ROWS.keys_by(cx, &MULTI, 4..).last(), Some((4, 2)))),
        ("all_by", 1 + 2, |cx| assert_eq!(ROWS.all_by(cx, &MULTI, 4).last(), Some((2, 0x403)))),
        ("counting", 1, |cx| assert_eq!(ROWS.range_by(cx, &MULTI, ..).count(), 2)),
        ("remove", 2 + 2, |cx| assert_eq!(ROWS.remove(cx, 2), Some(0x403))),
        ("clear", 1 + 2, |cx| assert_eq!(ROWS.clear(cx), 1)),
    ];
    let mut machine = Machine::new();
    for (name, host_calls, step) in steps {
        assert_eq!(cost(&mut machine, step).host_calls, host_calls, "{name}");
    }
}
