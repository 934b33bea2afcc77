//! Locks with leases and fencing tokens: `proto/lock/v1/lock.proto` says what is promised.
//!
//! - `check` refuses what is wrong whatever the state.
//! - `table` is what is stored, and has room for so many locks.
//!
//! What this deliberately does not do: queue those who wait. They ask again after a while, and who
//! asks first when the lock is free has it.

mod check;
mod table;

use quorate_sdk::{Command, Query, Status};

quorate_sdk::plugin!(impl Lock for Locks);

/// The state machine. Its state is in the collections of `table`, not in here.
#[derive(Debug)]
pub struct Locks;

impl Lock for Locks {
    fn acquire(cx: &mut Command<'_>, request: AcquireRequest) -> Result<AcquireReply, Status> {
        let AcquireRequest { name, owner, lease_ms } = request;
        check::name(&name)?;
        check::name(&owner)?;
        check::lease_ms(lease_ms)?;

        let token = match table::holder(cx, &name) {
            Some(holder) if holder.owner != owner => {
                let Holder { owner, until_ms, .. } = holder;
                let message = format!("{owner} holds {name} until {until_ms}");
                return Err(Status::failed_precondition(message));
            }
            Some(holder) => holder.token,
            None => table::next_token(cx),
        };
        let until_ms = cx.time_ms() + lease_ms;
        table::insert(cx, &name, &Holder { owner, token, until_ms })?;
        Ok(AcquireReply { token, until_ms })
    }

    fn renew(cx: &mut Command<'_>, request: RenewRequest) -> Result<RenewReply, Status> {
        check::lease_ms(request.lease_ms)?;
        let Some(mut holder) = table::held_with(cx, &request.name, request.token) else {
            let message = format!("{} is not held with token {}", request.name, request.token);
            return Err(Status::failed_precondition(message));
        };
        holder.until_ms = cx.time_ms() + request.lease_ms;
        table::insert(cx, &request.name, &holder)?;
        Ok(RenewReply { until_ms: holder.until_ms })
    }

    fn release(cx: &mut Command<'_>, request: ReleaseRequest) -> Result<ReleaseReply, Status> {
        // No error if not: whoever sends this again has what it wants.
        let released = table::held_with(cx, &request.name, request.token).is_some();
        if released {
            table::remove(cx, &request.name);
        }
        Ok(ReleaseReply { released })
    }

    fn get(cx: &Query<'_>, request: GetRequest) -> Result<GetReply, Status> {
        Ok(GetReply { holder: table::holder(cx, &request.name) })
    }
}
