//! The tutorial plugin: counters by name. The service is in `proto/counter/v1/counter.proto`; this
//! is all of its implementation.

use quorate_sdk::{Command, Map, Query, Status};

quorate_sdk::plugin!(impl Counter for Counters);

/// The state machine. Its state is in `TOTALS`, not in here.
#[derive(Debug)]
pub struct Counters;

const TOTALS: Map<String, u64> = Map::new("totals");

impl Counter for Counters {
    fn add(cx: &mut Command<'_>, request: AddRequest) -> Result<AddReply, Status> {
        if request.name.is_empty() {
            return Err(Status::invalid_argument("a counter needs a name"));
        }
        let total = TOTALS
            .get(cx, &request.name)
            .unwrap_or(0)
            .checked_add(request.by)
            .ok_or_else(|| Status::out_of_range("a counter ends at 2^64 - 1"))?;
        TOTALS.insert(cx, &request.name, &total);
        Ok(AddReply { total })
    }

    fn get(cx: &Query<'_>, request: GetRequest) -> Result<GetReply, Status> {
        Ok(GetReply { total: TOTALS.get(cx, &request.name).unwrap_or(0) })
    }

    fn reset(cx: &mut Command<'_>, request: ResetRequest) -> Result<ResetReply, Status> {
        let total = TOTALS.get(cx, &request.name).unwrap_or(0);
        TOTALS.remove(cx, &request.name);
        Ok(ResetReply { total })
    }
}
