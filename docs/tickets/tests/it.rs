//! The box office as its customers know it.

use std::time::Duration;

use quorate_sdk::{Code, Status};
use quorate_test::Machine;
use tickets::{
    BoxOffice, BuyReply, BuyRequest, HoldReply, HoldRequest, ListRequest, OpenReply, OpenRequest,
    TicketsCalls as _,
};

const FIVE_MINUTES: Duration = Duration::from_mins(5);

fn open(t: &mut Machine<BoxOffice>) -> Result<OpenReply, Status> {
    t.open(OpenRequest { event: "gala".into(), seats: 3 })
}

fn hold(t: &mut Machine<BoxOffice>, seat: u32, customer: &str) -> Result<HoldReply, Status> {
    t.hold(HoldRequest { event: "gala".into(), seat, customer: customer.into() })
}

fn buy(t: &mut Machine<BoxOffice>, seat: u32, customer: &str) -> Result<BuyReply, Status> {
    t.buy(BuyRequest { event: "gala".into(), seat, customer: customer.into() })
}

#[quorate_test::test(native, wasm, cluster)]
fn a_seat_is_sold_once(t: &mut Machine<BoxOffice>) -> Result<(), Status> {
    open(t)?;
    hold(t, 2, "ada")?;
    let refused = hold(t, 2, "bob").expect_err("it is ada's");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(buy(t, 2, "bob").is_err());
    buy(t, 2, "ada")?;
    t.restart();
    buy(t, 2, "ada").expect("to send it again does no harm");
    let seats = t.list(ListRequest { event: "gala".into() })?.seats;
    assert_eq!(seats.len(), 1);
    assert!(seats[0].sold && seats[0].customer == "ada", "{seats:?}");
    Ok(())
}

#[quorate_test::test(native, wasm, cluster)]
fn a_hold_ends_by_itself(t: &mut Machine<BoxOffice>) -> Result<(), Status> {
    open(t)?;
    hold(t, 1, "ada")?;
    t.advance(FIVE_MINUTES);
    assert!(buy(t, 1, "ada").is_err(), "too late");
    hold(t, 1, "bob")?;
    Ok(())
}
