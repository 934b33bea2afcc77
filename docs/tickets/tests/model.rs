//! The box office beside the simplest one that does the same.

use std::collections::BTreeMap;

use quorate_sdk::Status;
use quorate_test::Model;
use quorate_test::proptest::prelude::Strategy;
use quorate_test::proptest::prop_oneof;
use tickets::{
    BoxOffice, BuyReply, BuyRequest, HoldReply, HoldRequest, ListReply, ListRequest, OpenReply,
    OpenRequest, ReleaseReply, ReleaseRequest, Seat, TicketsCall, TicketsCalls,
};

/// What is known of each event: how many seats it has, and who has which.
#[derive(Default)]
struct Book {
    now_ms: u64,
    events: BTreeMap<String, (u32, BTreeMap<u32, Seat>)>,
}

impl Book {
    /// A seat that is not free.
    fn seat(&mut self, event: &str, number: u32) -> Option<&mut Seat> {
        let (_, known) = self.events.get_mut(event)?;
        known.get_mut(&number).filter(|seat| seat.sold || self.now_ms < seat.until_ms)
    }

    fn own(&mut self, event: &str, number: u32, customer: &str) -> Option<&mut Seat> {
        self.seat(event, number).filter(|seat| seat.customer == customer)
    }
}

impl TicketsCalls for Book {
    fn open(&mut self, request: OpenRequest) -> Result<OpenReply, Status> {
        if request.event.is_empty() || !(1..=1000).contains(&request.seats) {
            return Err(Status::invalid_argument(""));
        }
        let known = || (request.seats, BTreeMap::new());
        let (seats, _) = self.events.entry(request.event).or_insert_with(known);
        if *seats == request.seats { Ok(OpenReply {}) } else { Err(Status::already_exists("")) }
    }

    fn hold(&mut self, request: HoldRequest) -> Result<HoldReply, Status> {
        let HoldRequest { event, seat: number, customer } = request;
        if customer.is_empty() {
            return Err(Status::invalid_argument(""));
        }
        if self.events.get(&event).is_none_or(|(seats, _)| !(1..=*seats).contains(&number)) {
            return Err(Status::not_found(""));
        }
        if self.seat(&event, number).is_some_and(|seat| seat.sold || seat.customer != customer) {
            return Err(Status::failed_precondition(""));
        }
        let until_ms = self.now_ms + 300_000;
        let seat = Seat { number, customer, sold: false, until_ms };
        self.events.get_mut(&event).map(|(_, known)| known.insert(number, seat));
        Ok(HoldReply { until_ms })
    }

    fn buy(&mut self, request: BuyRequest) -> Result<BuyReply, Status> {
        let own = self.own(&request.event, request.seat, &request.customer);
        let seat = own.ok_or_else(|| Status::failed_precondition(""))?;
        (seat.sold, seat.until_ms) = (true, 0);
        Ok(BuyReply {})
    }

    fn release(&mut self, request: ReleaseRequest) -> Result<ReleaseReply, Status> {
        let own = self.own(&request.event, request.seat, &request.customer);
        let released = own.is_some_and(|seat| !seat.sold);
        if released {
            self.events.get_mut(&request.event).map(|(_, known)| known.remove(&request.seat));
        }
        Ok(ReleaseReply { released })
    }

    fn list(&mut self, request: ListRequest) -> Result<ListReply, Status> {
        let known = self.events.get(&request.event).map(|(_, known)| known.values().cloned());
        Ok(ListReply { seats: known.map_or(vec![], Iterator::collect) })
    }
}

#[quorate_test::model(native, wasm, cluster)]
impl Model for Book {
    type Plugin = BoxOffice;
    type Call = TicketsCall;

    fn at(&mut self, time_ms: u64) {
        self.now_ms = time_ms;
    }

    /// Few names and numbers, so that calls meet.
    fn calls() -> impl Strategy<Value = TicketsCall> {
        let seat = || ("[ab]", 0..4_u32, "[xy]?");
        prop_oneof![
            1 => ("[ab]?", 0..4_u32).prop_map(|(event, seats)| OpenRequest { event, seats })
                .prop_map(TicketsCall::Open),
            3 => seat().prop_map(|(event, seat, customer)| HoldRequest { event, seat, customer })
                .prop_map(TicketsCall::Hold),
            2 => seat().prop_map(|(event, seat, customer)| BuyRequest { event, seat, customer })
                .prop_map(TicketsCall::Buy),
            1 => seat().prop_map(|(event, seat, customer)| ReleaseRequest { event, seat, customer })
                .prop_map(TicketsCall::Release),
            1 => "[ab]".prop_map(|event| ListRequest { event }).prop_map(TicketsCall::List),
        ]
    }
}
