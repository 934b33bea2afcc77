//! Collections: what is in them, in what order, and that they keep apart.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};

use quorate_sdk::testing::Machine;
use quorate_sdk::{Cell, Command, Counter, KeyRange, Map, Query, Status};

const NUMBERS: Map<u64, Vec<u8>> = Map::new("numbers");
const NAMES: Map<String, u64> = Map::new("names");

/// Runs a command that succeeds.
fn run<T>(machine: &mut Machine<()>, command: impl FnOnce(&mut Command<'_>) -> T) -> T {
    machine.command(|cx| Ok(command(cx))).expect("it never refuses")
}

/// A machine with numbers 0 to `count`, each with that many bytes.
fn numbers(count: u64, bytes: usize) -> Machine<()> {
    let mut machine = Machine::new();
    run(&mut machine, |cx| {
        for number in 0..count {
            NUMBERS.insert(cx, number, &vec![7; bytes]);
        }
    });
    machine
}

#[test]
fn a_map_inserts_gets_and_removes() {
    let mut machine = Machine::new();
    run(&mut machine, |cx| {
        assert!(!NAMES.contains(cx, "a"));
        NAMES.insert(cx, "a", &1);
        NAMES.insert(cx, "a", &2);
        assert_eq!(NAMES.get(cx, "a"), Some(2));
        assert!(NAMES.contains(cx, "a".to_owned()));
        assert!(NAMES.remove(cx, "a"));
        assert!(!NAMES.remove(cx, "a"));
        assert_eq!(NAMES.get(cx, "a"), None);
    });
}

#[test]
fn bounds_are_kept_in_both_directions() {
    fn keys(cx: &Query<'_>, range: impl KeyRange<u64>) -> Vec<u64> {
        NUMBERS.keys_in(cx, range).collect()
    }

    let machine = numbers(10, 0);
    machine.query(|cx| {
        assert_eq!(keys(cx, 3..6), [3, 4, 5]);
        assert_eq!(keys(cx, 3..=6), [3, 4, 5, 6]);
        assert_eq!(keys(cx, (Bound::Excluded(3), Bound::Included(6))), [4, 5, 6]);
        assert_eq!(keys(cx, ..2), [0, 1]);
        assert_eq!(keys(cx, ..=2), [0, 1, 2]);
        assert_eq!(keys(cx, 8..), [8, 9]);
        assert_eq!(keys(cx, ..).len(), 10);
        assert!(keys(cx, (Bound::Included(6), Bound::Excluded(3))).is_empty(), "inverted");

        let reverse: Vec<_> = NUMBERS.keys_in(cx, 3..6).reverse().collect();
        assert_eq!(reverse, [5, 4, 3]);
        let last: Vec<_> = NUMBERS.keys(cx).reverse().limit(2).collect();
        assert_eq!(last, [9, 8]);
        assert_eq!(NUMBERS.iter(cx).limit(0).next(), None);
    });
}

#[test]
fn a_scan_goes_on_from_page_to_page() {
    // Values of less, about and more than a page.
    for bytes in [10, 3_000, 40_000] {
        let machine = numbers(300, bytes);
        machine.query(|cx| {
            let forward: Vec<_> = NUMBERS.iter(cx).map(|(key, _)| key).collect();
            assert!(forward.iter().copied().eq(0..300));
            let reverse: Vec<_> = NUMBERS.iter(cx).reverse().map(|(key, _)| key).collect();
            assert!(reverse.iter().copied().eq((0..300).rev()));
            assert!(NUMBERS.iter(cx).all(|(_, value)| value == vec![7; bytes]));

            assert_eq!(NUMBERS.iter(cx).count(), 300);
            assert_eq!(NUMBERS.iter(cx).limit(200).count(), 200);
            assert_eq!(NUMBERS.range(cx, 5..250).limit(200).map(|(key, _)| key).last(), Some(204));
            let mut begun = NUMBERS.keys(cx);
            assert_eq!(begun.next(), Some(0));
            assert_eq!(begun.count(), 299);
        });
    }
}

#[test]
fn strings_have_ranges() {
    let mut machine = Machine::new();
    run(&mut machine, |cx| {
        for (name, value) in [("a", 1), ("ab", 2), ("b", 3)] {
            NAMES.insert(cx, name, &value);
        }
        assert_eq!(NAMES.keys_in(cx, "a".."b").collect::<Vec<_>>(), ["a", "ab"]);
        let (from, to) = ("aa".to_owned(), "b".to_owned());
        assert_eq!(NAMES.range(cx, &from..=&to).map(|(_, value)| value).sum::<u64>(), 5);
    });
}

#[test]
fn removing_a_range_counts() {
    let mut machine = numbers(10, 1);
    run(&mut machine, |cx| {
        assert_eq!(NUMBERS.remove_range(cx, 2..5), 3);
        assert_eq!(NUMBERS.remove_range(cx, 2..5), 0);
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
        let removed = NUMBERS.remove_range(cx, 5..2);
        assert_eq!(removed, 0);
        assert_eq!(NUMBERS.clear(cx), 7);
        assert_eq!(NUMBERS.iter(cx).next(), None);
    });
}

#[test]
fn collections_keep_apart() {
    const A: Map<Vec<u8>, u64> = Map::new("a");
    const AB: Map<Vec<u8>, u64> = Map::new("ab");
    const CELL: Cell<u64> = Cell::new("b");
    let keys = [vec![], vec![0], vec![0, 0xff], vec![b'b'], vec![b'b', 0], vec![0xff, 0xff]];

    let mut machine = Machine::new();
    run(&mut machine, |cx| {
        for key in &keys {
            A.insert(cx, key, &1);
            AB.insert(cx, key, &2);
        }
        CELL.set(cx, &3);
        assert!(A.iter(cx).map(|(key, _)| key).eq(keys.iter().cloned()));
        assert!(A.iter(cx).all(|(_, value)| value == 1));
        assert_eq!(AB.clear(cx), keys.len() as u64);
        assert_eq!(A.iter(cx).count(), keys.len());
        assert_eq!(CELL.get(cx), Some(3));
    });
}

#[test]
fn an_error_or_a_panic_takes_all_back() {
    const CELL: Cell<String> = Cell::new("cell");
    let mut machine = numbers(3, 1);
    run(&mut machine, |cx| CELL.set(cx, &"before".to_owned()));

    let write = |cx: &mut Command<'_>| {
        CELL.set(cx, &"after".to_owned());
        CELL.clear(cx);
        NUMBERS.remove(cx, 1);
        NUMBERS.insert(cx, 1, &vec![8]);
        NUMBERS.insert(cx, 9, &vec![9]);
        NUMBERS.clear(cx);
    };
    let refused = machine.command(|cx| {
        write(cx);
        Err::<(), _>(Status::aborted("no"))
    });
    assert_eq!(refused, Err(Status::aborted("no")));
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        machine.command(|cx| -> Result<(), _> {
            write(cx);
            panic!("a bug");
        })
    }));
    assert!(panicked.is_err());

    machine.query(|cx| {
        assert_eq!(CELL.get(cx).as_deref(), Some("before"));
        let numbers: Vec<_> = NUMBERS.iter(cx).collect();
        assert_eq!(numbers, [(0, vec![7]), (1, vec![7]), (2, vec![7])]);
    });
}

#[test]
#[should_panic(expected = "`clash` holds another type")]
fn a_value_of_another_type_panics() {
    const NUMBER: Counter = Counter::new("clash");
    const TEXT: Cell<String> = Cell::new("clash");
    run(&mut Machine::new(), |cx| {
        NUMBER.add(cx, 7);
        TEXT.get(cx);
    });
}

#[test]
fn raw_keys_are_ordered_bytes() {
    run(&mut Machine::new(), |cx| {
        for key in [b"".as_slice(), b"a", b"a\0", b"b", b"\xff"] {
            cx.put(key, b"value");
        }
        assert_eq!(cx.get(b"a").as_deref(), Some(b"value".as_slice()));
        let keys = |cx: &Query<'_>, lo: &[u8], hi: &[u8]| {
            cx.scan(lo, hi).reverse().map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(keys(cx, b"a", b"b"), [b"a\0".as_slice(), b"a"]);
        assert_eq!(keys(cx, b"b", b""), [b"\xff", b"b"], "an empty end is no bound");
        assert!(cx.delete(b"a"));
        assert!(!cx.delete(b"a"));
        assert_eq!(cx.delete_range(b"", b""), 4);
    });
}

#[test]
fn a_call_knows_its_place_in_the_log() {
    let mut machine = Machine::<()>::new();
    let first = run(&mut machine, |cx| (cx.index(), cx.position(), cx.seed()));
    let second = run(&mut machine, |cx| (cx.index(), cx.position(), cx.seed()));
    assert_eq!((first.0, first.1, second.0, second.1), (1, 0, 2, 0));
    assert_ne!(first.2, second.2);

    let time = machine.time_ms() + 1_000;
    machine.set_time_ms(time);
    assert_eq!(run(&mut machine, |cx| cx.time_ms()), time);
    assert_eq!(machine.query(|cx| (cx.index(), cx.time_ms())), (machine.index(), time));
}
