//! The tutorial plugin: counters by name. The service is in `proto/counter/v1/counter.proto`; this
//! is all of its implementation.
//!
//! What this deliberately does not do: bound how many counters there are. The template `lock` does.

use quorate_sdk::{Command, Map, Query, Status};

quorate_sdk::plugin!(impl Counter for Counters);

/// The state machine. Its state is in `TOTALS`, not in here: Rust variables are gone with the call.
#[derive(Debug)]
pub struct Counters;

/// What each counter stands at. The host keeps, replicates and snapshots it.
const TOTALS: Map<String, u64> = Map::new("totals");

const NAME_BYTES_MAX: usize = 200;

impl Counter for Counters {
    // A command may write. When it returns an error, nothing was written.
    fn add(cx: &mut Command<'_>, request: AddRequest) -> Result<AddReply, Status> {
        // What clients send becomes a part of the state, so it has bounds.
        if !(1..=NAME_BYTES_MAX).contains(&request.name.len()) {
            let message = format!("a counter's name has 1 to {NAME_BYTES_MAX} bytes");
            return Err(Status::invalid_argument(message));
        }
        let total = TOTALS
            .get(cx, &request.name)
            .unwrap_or(0)
            .checked_add(request.by)
            .ok_or_else(|| Status::out_of_range("a counter ends at 2^64 - 1"))?;
        TOTALS.insert(cx, &request.name, &total);
        Ok(AddReply { total })
    }

    // A query reads: with a `Query`, the line that writes would not compile.
    fn get(cx: &Query<'_>, request: GetRequest) -> Result<GetReply, Status> {
        Ok(GetReply { total: TOTALS.get(cx, &request.name).unwrap_or(0) })
    }

    fn reset(cx: &mut Command<'_>, request: ResetRequest) -> Result<ResetReply, Status> {
        let total = TOTALS.get(cx, &request.name).unwrap_or(0);
        TOTALS.remove(cx, &request.name);
        Ok(ResetReply { total })
    }
}
