//! Seats of events, held for some minutes and then bought, or free again.

use quorate_sdk::{Command, Map, Prefix, Query, Status};

quorate_sdk::plugin!(impl Tickets for BoxOffice);

/// The state machine. Its state is in the collections below.
#[derive(Debug)]
pub struct BoxOffice;

/// How many seats an event has.
const EVENTS: Map<String, u32> = Map::new("events");
/// Who holds a seat, or has bought it.
const SEATS: Map<(String, u32), Seat> = Map::new("seats");

const HOLD_MS: u64 = 5 * 60 * 1000;
const SEATS_MAX: u32 = 1000;

impl Tickets for BoxOffice {
    fn open(cx: &mut Command<'_>, request: OpenRequest) -> Result<OpenReply, Status> {
        let OpenRequest { event, seats } = request;
        if event.is_empty() || !(1..=SEATS_MAX).contains(&seats) {
            let message = format!("an event has a name, and 1 to {SEATS_MAX} seats");
            return Err(Status::invalid_argument(message));
        }
        let before = EVENTS.get(cx, &event).unwrap_or(seats);
        if before != seats {
            let message = format!("{event} is open, with {before} seats");
            return Err(Status::already_exists(message));
        }
        EVENTS.insert(cx, &event, &seats);
        Ok(OpenReply {})
    }

    fn hold(cx: &mut Command<'_>, request: HoldRequest) -> Result<HoldReply, Status> {
        let HoldRequest { event, seat: number, customer } = request;
        if customer.is_empty() {
            return Err(Status::invalid_argument("a customer has a name"));
        }
        let seats = EVENTS.get(cx, &event).unwrap_or(0);
        if !(1..=seats).contains(&number) {
            return Err(Status::not_found(format!("{event} has no seat {number} for sale")));
        }
        if seat(cx, &event, number).is_some_and(|seat| seat.sold || seat.customer != customer) {
            return Err(Status::failed_precondition(format!("seat {number} is taken")));
        }
        let until_ms = cx.time_ms() + HOLD_MS;
        SEATS.insert(cx, (&event, number), &Seat { number, customer, sold: false, until_ms });
        Ok(HoldReply { until_ms })
    }

    fn buy(cx: &mut Command<'_>, request: BuyRequest) -> Result<BuyReply, Status> {
        let BuyRequest { event, seat: number, customer } = request;
        let own = seat(cx, &event, number).filter(|seat| seat.customer == customer);
        let Some(mut seat) = own else {
            let message = format!("{customer} does not hold seat {number}");
            return Err(Status::failed_precondition(message));
        };
        seat.sold = true;
        seat.until_ms = 0;
        SEATS.insert(cx, (&event, number), &seat);
        Ok(BuyReply {})
    }

    fn release(cx: &mut Command<'_>, request: ReleaseRequest) -> Result<ReleaseReply, Status> {
        let ReleaseRequest { event, seat: number, customer } = request;
        let held = seat(cx, &event, number);
        let released = held.is_some_and(|seat| !seat.sold && seat.customer == customer);
        if released {
            SEATS.remove(cx, (&event, number));
        }
        Ok(ReleaseReply { released })
    }

    fn list(cx: &Query<'_>, request: ListRequest) -> Result<ListReply, Status> {
        let seats = SEATS.range(cx, Prefix((&request.event,)));
        Ok(ListReply { seats: seats.map(|(_, seat)| seat).collect() })
    }
}

/// What is known of a seat, unless it is free. A hold ends by itself: nobody has to clean up.
fn seat(cx: &Query<'_>, event: &str, number: u32) -> Option<Seat> {
    SEATS.get(cx, (event, number)).filter(|seat| seat.sold || cx.time_ms() < seat.until_ms)
}
