//! The counter as its clients know it.

use counter::{AddRequest, Counter as _, Counters, GetRequest, ResetRequest};
use quorate_sdk::testing::Machine;
use quorate_sdk::{Code, Status};

fn add(machine: &mut Machine<Counters>, name: &str, by: u64) -> Result<u64, Status> {
    let request = AddRequest { name: name.to_owned(), by };
    machine.command(|cx| Counters::add(cx, request)).map(|reply| reply.total)
}

fn get(machine: &Machine<Counters>, name: &str) -> u64 {
    let request = GetRequest { name: name.to_owned() };
    machine.query(|cx| Counters::get(cx, request)).expect("any name can be read").total
}

#[test]
fn counters_count_on_their_own() {
    let mut machine = Machine::new();
    assert_eq!(add(&mut machine, "a", 2), Ok(2));
    assert_eq!(add(&mut machine, "a", 3), Ok(5));
    assert_eq!(add(&mut machine, "b", 1), Ok(1));
    assert_eq!((get(&machine, "a"), get(&machine, "b"), get(&machine, "c")), (5, 1, 0));

    let request = ResetRequest { name: "a".to_owned() };
    assert_eq!(machine.command(|cx| Counters::reset(cx, request)).unwrap().total, 5);
    assert_eq!((get(&machine, "a"), get(&machine, "b")), (0, 1));
}

#[test]
fn what_cannot_be_added_is_refused() {
    let mut machine = Machine::new();
    assert_eq!(add(&mut machine, "", 1).unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(add(&mut machine, "a", u64::MAX), Ok(u64::MAX));
    assert_eq!(add(&mut machine, "a", 1).unwrap_err().code(), Code::OutOfRange);
    assert_eq!(get(&machine, "a"), u64::MAX);
}
