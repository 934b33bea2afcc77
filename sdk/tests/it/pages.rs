//! Ranges in both directions, at once and in pages.

use std::collections::BTreeSet;
use std::ops::Bound;

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use quorate_sdk::testing::Machine;
use quorate_sdk::{Code, Command, KeyRange, Map, Prefix, Query, Scan, Set};

type Name = (String, i8);

const NAMES: Set<Name> = Set::new("names");
const BYTES: Map<Vec<u8>, u64> = Map::new("bytes");
const SIZES: Map<u64, Vec<u8>> = Map::new("sizes");

fn name() -> impl Strategy<Value = Name> {
    let text = prop::sample::select(vec!["", "a", "a\0", "ab", "b"]).prop_map(str::to_owned);
    (text, -2..3_i8)
}

fn bound() -> impl Strategy<Value = Bound<Name>> {
    prop_oneof![
        name().prop_map(Bound::Included),
        name().prop_map(Bound::Excluded),
        Just(Bound::Unbounded)
    ]
}

/// A range, as the model sees it.
fn holds((start, end): &(Bound<Name>, Bound<Name>), name: &Name) -> bool {
    let behind_start = match start {
        Bound::Included(start) => start <= name,
        Bound::Excluded(start) => start < name,
        Bound::Unbounded => true,
    };
    behind_start
        && match end {
            Bound::Included(end) => name <= end,
            Bound::Excluded(end) => name < end,
            Bound::Unbounded => true,
        }
}

fn machine_with(names: &BTreeSet<Name>) -> Machine<()> {
    let mut machine = Machine::new();
    run(&mut machine, |cx| names.iter().for_each(|name| NAMES.insert(cx, name)));
    machine
}

fn run<T>(machine: &mut Machine<()>, command: impl FnOnce(&mut Command<'_>) -> T) -> T {
    machine.command(|cx| Ok(command(cx))).expect("it never refuses")
}

/// The whole scan, a page at a time; before each page but the first, `between` may write.
fn paged(
    machine: &mut Machine<()>,
    scan: impl for<'a> Fn(&'a Query<'_>) -> Scan<'a, Name>,
    limits: &[u32],
    mut between: impl FnMut(&mut Command<'_>, &[Name]),
) -> Vec<Name> {
    let (mut all, mut token) = (Vec::new(), String::new());
    for &limit in limits.iter().cycle() {
        let page = machine.query(|cx| scan(cx).page(limit, &token)).expect("the token is good");
        assert!(page.items.len() <= limit as usize);
        all.extend_from_slice(&page.items);
        if page.next_page_token.is_empty() {
            break;
        }
        assert_eq!(page.items.len(), limit as usize, "a page that is not the last is full");
        run(machine, |cx| between(cx, &page.items));
        token = page.next_page_token;
    }
    all
}

proptest! {
    #[test]
    fn ranges_are_those_of_the_standard_library(
        names in btree_set(name(), 0..20),
        range in (bound(), bound()),
        limits in vec(1..5_u32, 1..4),
    ) {
        let mut machine = machine_with(&names);
        let expected: Vec<_> = names.iter().filter(|name| holds(&range, name)).cloned().collect();
        let mut reversed = expected.clone();
        reversed.reverse();
        machine.query(|cx| {
            assert_eq!(NAMES.range(cx, range.clone()).collect::<Vec<_>>(), &expected[..]);
            assert_eq!(NAMES.range(cx, range.clone()).reverse().collect::<Vec<_>>(), &reversed[..]);
        });
        let forward = paged(&mut machine, |cx| NAMES.range(cx, range.clone()), &limits, |_, _| ());
        prop_assert_eq!(forward, expected);
        let back = paged(
            &mut machine, |cx| NAMES.range(cx, range.clone()).reverse(), &limits, |_, _| ()
        );
        prop_assert_eq!(back, reversed);
        let removed = run(&mut machine, |cx| NAMES.remove_range(cx, range.clone()));
        prop_assert_eq!(removed, names.iter().filter(|name| holds(&range, name)).count() as u64);
    }

    /// Pages go on behind what was seen, also when that is gone; what came since is seen if it is
    /// further on.
    #[test]
    fn pages_stand_changes(
        names in btree_set(name(), 0..20),
        more in vec(name(), 8),
        limit in 1..4_u32,
        reverse: bool,
    ) {
        let mut machine = machine_with(&names);
        let mut later = more.iter();
        let mut seen = paged(
            &mut machine,
            |cx| if reverse { NAMES.iter(cx).reverse() } else { NAMES.iter(cx) },
            &[limit],
            |cx, page| {
                for name in page {
                    NAMES.remove(cx, name);
                }
                if let Some(name) = later.next() {
                    NAMES.insert(cx, name);
                }
            },
        );
        if reverse {
            seen.reverse();
        }
        prop_assert!(seen.is_sorted_by(|a, b| a < b), "nothing comes twice: {:?}", seen);
        let missed = names.iter().find(|name| !seen.contains(name));
        prop_assert_eq!(missed, None);
    }

    #[test]
    fn a_damaged_token_is_refused(at: prop::sample::Index, digit in 0..16_u32) {
        let machine = machine_with(&BTreeSet::from(["a", "b", "c"].map(|s| (s.to_owned(), 0))));
        let token = machine.query(|cx| NAMES.iter(cx).page(2, "")).unwrap().next_page_token;
        let at = at.index(token.len());
        let mut damaged = token.clone();
        let digit = char::from_digit(digit, 16).unwrap();
        damaged.replace_range(at..=at, &digit.to_string());
        for wrong in [&damaged, &token[..at], &format!("{token}00"), &token.to_uppercase()] {
            let page = machine.query(|cx| NAMES.iter(cx).page(2, wrong));
            if wrong == token {
                prop_assert!(page.is_ok());
            } else if !wrong.is_empty() {
                prop_assert_eq!(page.unwrap_err().code(), Code::InvalidArgument, "{}", wrong);
            }
        }
    }
}

#[test]
fn a_token_of_something_else_is_refused() {
    const OTHERS: Set<Name> = Set::new("other");
    let machine = machine_with(&BTreeSet::from(["a", "b", "c"].map(|s| (s.to_owned(), 0))));
    let token = |scan: Scan<'_, Name>| scan.page(1, "").unwrap().next_page_token;
    machine.query(|cx| {
        let all = token(NAMES.iter(cx));
        let refused = |scan: Scan<'_, Name>, token: &str| {
            scan.page(1, token).is_err_and(|status| status.code() == Code::InvalidArgument)
        };
        assert!(!refused(NAMES.iter(cx), &all));
        assert!(!refused(NAMES.iter(cx).limit(7), &all), "the size of pages may change");
        assert!(refused(NAMES.iter(cx).reverse(), &all));
        assert!(refused(NAMES.range(cx, ("a", 0)..), &all));
        assert!(refused(NAMES.range(cx, Prefix(("a",))), &all));
        assert!(refused(OTHERS.iter(cx), &all));
        assert!(refused(NAMES.iter(cx), "what is this?"));
        assert!(refused(NAMES.iter(cx), "ä"));
        assert_eq!(NAMES.iter(cx).page(0, "").unwrap_err().code(), Code::InvalidArgument);
    });
}

/// A page may be larger than what one crossing brings.
#[test]
fn a_page_of_long_values() {
    let mut machine = Machine::<()>::new();
    run(&mut machine, |cx| (0..50).for_each(|key| SIZES.insert(cx, key, &vec![7; 5_000])));
    machine.query(|cx| {
        let first = SIZES.iter(cx).page(30, "").unwrap();
        assert!(first.items.iter().map(|(key, _)| *key).eq(0..30));
        let second = SIZES.iter(cx).page(30, &first.next_page_token).unwrap();
        assert!(second.items.iter().map(|(key, _)| *key).eq(30..50));
        assert_eq!(second.next_page_token, "");
        assert_eq!(second.map(|(key, _)| key).items.last(), Some(&49));
    });
}

#[test]
fn raw_keys_have_pages() {
    run(&mut Machine::new(), |cx| {
        for key in [b"".as_slice(), b"\0", b"a", b"\xff"] {
            cx.put(key, b"");
        }
        for reverse in [false, true] {
            let scan = || if reverse { cx.scan(b"", b"").reverse() } else { cx.scan(b"", b"") };
            let (mut keys, mut token) = (Vec::new(), String::new());
            loop {
                let page = scan().page(1, &token).unwrap();
                keys.extend(page.items.into_iter().map(|(key, _)| key));
                token = page.next_page_token;
                if token.is_empty() {
                    break;
                }
            }
            assert!(keys.iter().eq(&scan().map(|(key, _)| key).collect::<Vec<_>>()));
            assert_eq!(keys.len(), 4);
        }
    });
}

#[test]
fn prefixes_are_ranges() {
    fn found(cx: &Query<'_>, range: impl KeyRange<Name>) -> usize {
        NAMES.range(cx, range).count()
    }

    let names = [("", 0), ("a", i8::MIN), ("a", i8::MAX), ("a\0", 0), ("ab", 0)];
    let machine = machine_with(&names.iter().map(|&(s, n)| (s.to_owned(), n)).collect());
    machine.query(|cx| {
        assert_eq!(found(cx, Prefix(("a",))), 2);
        assert_eq!(found(cx, Prefix(("",))), 1);
        assert_eq!(found(cx, Prefix(("b".to_owned(),))), 0);
    });
    run(&mut Machine::new(), |cx| {
        for key in [b"\xff".as_slice(), b"\xff\0", b"\xff\xff", b"\xff\xff\xff", b"a"] {
            BYTES.insert(cx, key, &1);
        }
        assert_eq!(BYTES.range(cx, Prefix(b"\xff\xff")).count(), 2);
        assert_eq!(BYTES.range(cx, Prefix(b"")).count(), 5);
        assert_eq!(BYTES.remove_range(cx, Prefix(b"\xff")), 4);
    });
}
