//! The box office as its customers know it.

use quorate_sdk::testing::Machine;
use quorate_sdk::{Code, Status};
use tickets::{BoxOffice, BuyRequest, HoldRequest, ListRequest, OpenRequest, TicketsCalls as _};

const HOLD_MS: u64 = 5 * 60 * 1000;

fn open(t: &mut Machine<BoxOffice>) {
    t.open(OpenRequest { event: "gala".into(), seats: 3 }).expect("it is a new event");
}

fn hold(t: &mut Machine<BoxOffice>, seat: u32, customer: &str) -> Result<u64, Status> {
    let request = HoldRequest { event: "gala".into(), seat, customer: customer.into() };
    t.hold(request).map(|reply| reply.until_ms)
}

fn buy(t: &mut Machine<BoxOffice>, seat: u32, customer: &str) -> Result<(), Status> {
    let request = BuyRequest { event: "gala".into(), seat, customer: customer.into() };
    t.buy(request).map(|_| ())
}

fn sold(t: &mut Machine<BoxOffice>) -> Vec<(u32, String)> {
    let reply = t.list(ListRequest { event: "gala".into() }).expect("never refused");
    let sold = reply.seats.into_iter().filter(|seat| seat.sold);
    sold.map(|seat| (seat.number, seat.customer)).collect()
}

#[test]
fn a_seat_is_sold_once() {
    let t = &mut Machine::new();
    open(t);
    assert!(hold(t, 2, "ada").is_ok());
    assert_eq!(hold(t, 2, "bob").unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(buy(t, 2, "bob").unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(buy(t, 2, "ada"), Ok(()));
    assert_eq!(buy(t, 2, "ada"), Ok(()), "as does a call that is sent again");
    assert_eq!(sold(t), [(2, "ada".to_owned())]);
}

#[test]
fn a_hold_ends_by_itself() {
    let t = &mut Machine::new();
    open(t);
    let until_ms = hold(t, 1, "ada").unwrap();
    assert_eq!(until_ms, t.time_ms() + HOLD_MS);
    t.set_time_ms(until_ms);
    assert!(buy(t, 1, "ada").is_err(), "too late");
    assert!(hold(t, 1, "bob").is_ok());
}
