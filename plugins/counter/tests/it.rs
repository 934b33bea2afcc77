//! The counters as their clients know them.

use counter::{AddRequest, CounterCalls, Counters, GetRequest, ResetRequest};
use quorate_sdk::testing::Machine;
use quorate_sdk::{Code, Status};

fn add(t: &mut impl CounterCalls, name: &str, by: u64) -> Result<u64, Status> {
    Ok(t.add(AddRequest { name: name.into(), by })?.total)
}

fn get(t: &mut impl CounterCalls, name: &str) -> u64 {
    t.get(GetRequest { name: name.into() }).expect("any name can be read").total
}

#[test]
fn counters_count_on_their_own() {
    let mut t = Machine::<Counters>::new();
    assert_eq!(add(&mut t, "a", 2), Ok(2));
    assert_eq!(add(&mut t, "a", 3), Ok(5));
    assert_eq!(add(&mut t, "b", 1), Ok(1));
    assert_eq!(["a", "b", "c"].map(|name| get(&mut t, name)), [5, 1, 0]);

    assert_eq!(t.reset(ResetRequest { name: "a".into() }).unwrap().total, 5);
    assert_eq!(["a", "b", "c"].map(|name| get(&mut t, name)), [0, 1, 0]);
}

#[test]
fn what_cannot_be_added_is_refused() {
    let mut t = Machine::<Counters>::new();
    for name in ["", &"a".repeat(201)] {
        assert_eq!(add(&mut t, name, 1).unwrap_err().code(), Code::InvalidArgument);
    }
    assert_eq!(add(&mut t, "a", u64::MAX), Ok(u64::MAX));
    assert_eq!(add(&mut t, "a", 1).unwrap_err().code(), Code::OutOfRange);
    assert_eq!(get(&mut t, "a"), u64::MAX);
}
