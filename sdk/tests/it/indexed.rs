//! `IndexedMap`: its indexes agree with its rows, whatever happens.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use quorate_sdk::testing::Machine;
use quorate_sdk::{
    Code, Command, IndexedMap, Map, MultiIndex, Prefix, Query, Set, Status, UniqueIndex, prost,
};

/// Someone with a name of their own, perhaps a seat of their own, and a city.
#[derive(Clone, PartialEq, prost::Message)]
struct Guest {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, optional, tag = "2")]
    seat: Option<u32>,
    #[prost(string, tag = "3")]
    city: String,
    #[prost(bool, tag = "4")]
    paid: bool,
}

const GUESTS: IndexedMap<i32, Guest> =
    IndexedMap::new("guests", &[&BY_NAME, &BY_SEAT, &BY_CITY, &DEBTORS]);
const BY_NAME: UniqueIndex<Guest, String> = UniqueIndex::new("guests_by_name", |g| g.name.clone());
const BY_SEAT: UniqueIndex<Guest, u32> = UniqueIndex::partial("guests_by_seat", |g| g.seat);
const BY_CITY: MultiIndex<Guest, (String, String)> =
    MultiIndex::new("guests_by_city", |g| (g.city.clone(), g.name.clone()));
const DEBTORS: MultiIndex<Guest, String> =
    MultiIndex::partial("debtors", |g| (!g.paid).then(|| g.city.clone()));

#[derive(Clone, Debug)]
enum Step {
    Insert(i32, Guest),
    Remove(i32),
    Clear,
}

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "a", "a\0", "ab"]).prop_map(str::to_owned)
}

fn step() -> impl Strategy<Value = Step> {
    let guest = (text(), prop::option::of(0..3_u32), text(), any::<bool>())
        .prop_map(|(name, seat, city, paid)| Guest { name, seat, city, paid });
    prop_oneof![
        20 => (-2..3, guest).prop_map(|(key, guest)| Step::Insert(key, guest)),
        8 => (-2..3).prop_map(Step::Remove),
        1 => Just(Step::Clear),
    ]
}

type Model = BTreeMap<i32, Guest>;

fn run_step(cx: &mut Command<'_>, model: &mut Model, step: Step) {
    match step {
        Step::Insert(key, guest) => {
            let others = || model.iter().filter(|(other, _)| **other != key).map(|(_, g)| g);
            let taken = if others().any(|other| other.name == guest.name) {
                Some("guests_by_name")
            } else if others().any(|other| other.seat == guest.seat && guest.seat.is_some()) {
                Some("guests_by_seat")
            } else {
                None
            };
            match (GUESTS.insert(cx, key, &guest), taken) {
                (Ok(()), None) => {
                    model.insert(key, guest);
                }
                (Err(status), Some(index)) => {
                    assert_eq!(status.code(), Code::AlreadyExists);
                    assert!(status.message().contains(index), "{status}");
                }
                (done, taken) => panic!("{done:?}, but {taken:?}"),
            }
        }
        Step::Remove(key) => assert_eq!(GUESTS.remove(cx, key), model.remove(&key)),
        Step::Clear => {
            assert_eq!(GUESTS.clear(cx), model.len() as u64);
            model.clear();
        }
    }
}

/// The model's rows by some key that not all of them have.
fn sorted<I: Ord>(model: &Model, by: impl Fn(&Guest) -> Option<I>) -> Vec<(i32, Guest)> {
    let mut rows: Vec<_> = model.iter().filter(|(_, guest)| by(guest).is_some()).collect();
    rows.sort_by_key(|(key, guest)| (by(guest), **key));
    rows.into_iter().map(|(key, guest)| (*key, guest.clone())).collect()
}

fn check(cx: &Query<'_>, model: &Model) {
    GUESTS.check(cx).expect("the indexes agree");
    assert!(GUESTS.iter(cx).eq(model.iter().map(|(key, guest)| (*key, guest.clone()))));

    let by_name = sorted(model, |g| Some(g.name.clone()));
    assert!(GUESTS.range_by(cx, &BY_NAME, ..).eq(by_name.iter().cloned()));
    let by_seat = sorted(model, |g| g.seat);
    assert!(GUESTS.range_by(cx, &BY_SEAT, ..).reverse().eq(by_seat.iter().rev().cloned()));
    let by_city = sorted(model, |g| Some((g.city.clone(), g.name.clone())));
    assert!(GUESTS.range_by(cx, &BY_CITY, ..).eq(by_city.iter().cloned()));
    let debtors = sorted(model, |g| (!g.paid).then(|| g.city.clone()));
    assert!(GUESTS.range_by(cx, &DEBTORS, ..).reverse().eq(debtors.iter().rev().cloned()));

    for text in ["", "a", "a\0", "ab"] {
        let one = by_name.iter().find(|(_, guest)| guest.name == text).cloned();
        assert_eq!(GUESTS.key_by(cx, &BY_NAME, text), one.as_ref().map(|(key, _)| *key));
        assert_eq!(GUESTS.get_by(cx, &BY_NAME, text), one);
        let of = |rows: &[(i32, Guest)]| {
            rows.iter().filter(|(_, g)| g.city == text).cloned().collect::<Vec<_>>()
        };
        assert!(GUESTS.range_by(cx, &BY_CITY, Prefix((text,))).eq(of(&by_city)));
        assert!(GUESTS.all_by(cx, &DEBTORS, text).eq(of(&debtors)));
        let starting = debtors.iter().filter(|(_, g)| g.city.starts_with(text)).count();
        assert_eq!(GUESTS.range_by(cx, &DEBTORS, Prefix(text)).count(), starting);
        let up_to = debtors.iter().filter(|(_, g)| g.city.as_str() <= text).cloned();
        assert!(GUESTS.range_by(cx, &DEBTORS, ..=text).eq(up_to));
        let below = debtors.iter().filter(|(_, g)| g.city.as_str() < text).cloned();
        assert!(GUESTS.range_by(cx, &DEBTORS, ..text).eq(below));
    }
}

proptest! {
    #[test]
    fn indexes_agree_with_the_model(
        script in vec((vec(step(), 0..8), prop::bool::weighted(0.3)), 0..12),
    ) {
        let mut machine = Machine::<()>::new();
        let mut model = Model::new();
        for (steps, fails) in script {
            let mut after = model.clone();
            let done = machine.command(|cx| {
                for step in steps {
                    run_step(cx, &mut after, step);
                }
                check(cx, &after);
                if fails { Err(Status::aborted("no")) } else { Ok(()) }
            });
            if done.is_ok() {
                model = after;
            }
            machine.query(|cx| check(cx, &model));
        }
    }

    #[test]
    fn pages_of_an_index(paid in vec(any::<bool>(), 0..20), limit in 1..4_u32, reverse: bool) {
        let mut machine = Machine::<()>::new();
        machine.command(|cx| {
            for (key, paid) in (0..).zip(&paid) {
                GUESTS.insert(cx, key, &guest(&key.to_string(), *paid))?;
            }
            Ok(())
        }).unwrap();
        let mut expected: Vec<i32> =
            (0..).zip(paid).filter(|(_, paid)| !paid).map(|(key, _)| key).collect();
        if reverse {
            expected.reverse();
        }
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let page = machine.command(|cx| {
                let debtors = GUESTS.range_by(cx, &DEBTORS, "a"..);
                let page = if reverse { debtors.reverse() } else { debtors }.page(limit, &token)?;
                // They pay, and are gone from the index before the next page.
                for (key, _) in &page.items {
                    GUESTS.insert(cx, key, &guest(&key.to_string(), true))?;
                }
                Ok(page)
            }).unwrap();
            found.extend(page.items.into_iter().map(|(key, _)| key));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        prop_assert_eq!(found, expected);
        machine.query(|cx| GUESTS.check(cx)).unwrap();
    }
}

fn guest(name: &str, paid: bool) -> Guest {
    Guest { name: name.to_owned(), seat: None, city: "a".to_owned(), paid }
}

/// A machine with guests 1 and 2.
fn two() -> Machine<()> {
    let mut machine = Machine::new();
    machine
        .command(|cx| {
            GUESTS.insert(cx, 1, &guest("ada", false))?;
            GUESTS.insert(cx, 2, &guest("bob", false))
        })
        .expect("they differ");
    machine
}

#[test]
fn an_index_that_rots_is_found() {
    // As they are stored.
    const NAMES: Map<String, Vec<u8>> = Map::new("guests_by_name");
    const CITIES: Set<(String, String, i32)> = Set::new("guests_by_city");
    const ROWS: Map<i32, Guest> = Map::new("guests");
    type Damage = fn(&mut Command<'_>);
    let damages: [(&str, Damage); 6] = [
        ("guests_by_name", |cx| assert!(cx.delete(b"guests_by_name\0ada"))),
        ("guests_by_name", |cx| NAMES.insert(cx, "cleo", &vec![1])),
        ("guests_by_name", |cx| cx.put(b"guests_by_name\0ada", &[0x80, 0, 0, 2])),
        ("guests_by_city", |cx| assert!(CITIES.remove(cx, ("a", "ada", 1)))),
        ("guests_by_city", |cx| CITIES.insert(cx, ("a", "ada", 3))),
        ("guests_by_name", |cx| assert!(ROWS.remove(cx, 1))),
    ];
    for (index, damage) in damages {
        let mut machine = two();
        assert_eq!(machine.query(|cx| GUESTS.check(cx)), Ok(()));
        let done = machine.command(|cx| {
            damage(cx);
            Ok(())
        });
        assert_eq!(done, Ok(()));
        let found = machine.query(|cx| GUESTS.check(cx)).unwrap_err();
        assert_eq!(found.code(), Code::DataLoss);
        assert!(found.message().contains(index), "{found}");
    }
}

#[test]
fn a_violation_changes_nothing() {
    let mut machine = two();
    let rows = |cx: &Query<'_>| cx.scan(b"", b"").collect::<Vec<_>>();
    let before = machine.query(rows);
    machine
        .command(|cx| {
            // The index by name comes first, and has room for it.
            let taken = Guest { seat: Some(7), ..guest("cleo", true) };
            GUESTS.insert(cx, 1, &taken)?;
            let refused = GUESTS.insert(cx, 2, &Guest { name: "dan".to_owned(), ..taken });
            assert_eq!(refused.unwrap_err().code(), Code::AlreadyExists);
            // The command goes on nevertheless.
            GUESTS.insert(cx, 1, &guest("ada", false))
        })
        .unwrap();
    assert_eq!(machine.query(rows), before);
}

/// The same rows, with an index less than [`GUESTS`]: how the map was before.
const BEFORE: IndexedMap<i32, Guest> = IndexedMap::new("guests", &[&BY_NAME, &BY_SEAT, &BY_CITY]);

#[test]
fn an_index_that_comes_later_is_filled_a_page_at_a_time() {
    let mut machine = Machine::<()>::new();
    let filled = machine.command(|cx| {
        (0..10).try_for_each(|key| BEFORE.insert(cx, key, &guest(&key.to_string(), key % 2 == 0)))
    });
    assert_eq!(filled, Ok(()));
    let rotten = machine.query(|cx| GUESTS.check(cx)).unwrap_err();
    assert!(rotten.message().contains("debtors"), "{rotten}");
    // As if it had been there with another function.
    let stale = machine.command(|cx| {
        cx.put(b"debtors\0stale", b"");
        Ok(GUESTS.clear_index(cx, &DEBTORS))
    });
    assert_eq!(stale, Ok(1));

    let mut token = String::new();
    loop {
        let next = machine.command(|cx| {
            let page = GUESTS.keys(cx).page(3, &token)?;
            for key in page.items {
                let guest = GUESTS.remove(cx, key).expect("it is on the page");
                GUESTS.insert(cx, key, &guest)?;
            }
            Ok(page.next_page_token)
        });
        token = next.expect("nothing is in the way");
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(machine.query(|cx| GUESTS.check(cx)), Ok(()));
    assert_eq!(machine.query(|cx| GUESTS.all_by(cx, &DEBTORS, "a").count()), 5);
}

#[test]
#[should_panic(expected = "`stray` is not among the indexes of `guests`")]
fn an_index_that_nobody_keeps() {
    const STRAY: MultiIndex<Guest, u32> = MultiIndex::partial("stray", |g| g.seat);
    two().query(|cx| GUESTS.range_by(cx, &STRAY, ..).count());
}
