//! Locks with tokens: `proto/lock/v1/lock.proto` says what is promised, this is all there is to it.

use quorate_sdk::{Command, Counter, Map, Query, Status};

quorate_sdk::plugin!(impl Lock for Locks);

/// The state machine. Its state is in the collections below, which the host keeps and replicates.
#[derive(Debug)]
pub struct Locks;

const HOLDERS: Map<String, Holder> = Map::new("holders");
const TOKENS: Counter = Counter::new("tokens");

const TTL_MS_MAX: u64 = 60 * 60 * 1000;

impl Lock for Locks {
    fn acquire(cx: &mut Command<'_>, request: AcquireRequest) -> Result<AcquireReply, Status> {
        let AcquireRequest { name, owner, ttl_ms } = request;
        if name.is_empty() || owner.is_empty() {
            return Err(Status::invalid_argument("a lock needs a name and an owner"));
        }
        if !(1..=TTL_MS_MAX).contains(&ttl_ms) {
            return Err(Status::invalid_argument(format!("ttl_ms is from 1 to {TTL_MS_MAX}")));
        }
        let token = match holder(cx, &name) {
            Some(holder) if holder.owner != owner => {
                let Holder { owner, until_ms, .. } = holder;
                let message = format!("{owner} holds {name} until {until_ms}");
                return Err(Status::failed_precondition(message));
            }
            Some(holder) => holder.token,
            None => TOKENS.add(cx, 1),
        };
        let until_ms = cx.time_ms() + ttl_ms;
        HOLDERS.insert(cx, &name, &Holder { owner, token, until_ms });
        Ok(AcquireReply { token })
    }

    fn release(cx: &mut Command<'_>, request: ReleaseRequest) -> Result<ReleaseReply, Status> {
        let released =
            holder(cx, &request.name).is_some_and(|holder| holder.token == request.token);
        if released {
            HOLDERS.remove(cx, &request.name);
        }
        Ok(ReleaseReply { released })
    }

    fn get(cx: &Query<'_>, request: GetRequest) -> Result<GetReply, Status> {
        Ok(GetReply { holder: holder(cx, &request.name) })
    }
}

/// Who holds a lock, unless its time is up. The time is that of the log, the same on all replicas;
/// a query sees the time of the last command, so it may show a holder for a little too long.
fn holder(cx: &Query<'_>, name: &str) -> Option<Holder> {
    HOLDERS.get(cx, name).filter(|holder| holder.until_ms > cx.time_ms())
}
