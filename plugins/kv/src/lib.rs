//! A key-value store with revisions, ranges and transactions, after the model of etcd. What it
//! promises is in `proto/kv/v1/kv.proto`.
//!
//! - `check` refuses what is wrong whatever the state, before anything is read or written.
//! - `change` is the one place that writes.
//! - `read` answers from the state.
//! - `txn` compares and combines the two.
//!
//! What this deliberately does not do: watches, leases, and reads of old revisions.

mod change;
mod check;
mod read;
mod txn;

use quorate_sdk::{Command, Counter, Map, Query, Status};

use crate::change::Change;

quorate_sdk::plugin!(impl Kv for Store);

/// The state machine. Its state is in `PAIRS` and `REVISION`, not in here.
#[derive(Debug)]
pub struct Store;

/// The pairs by their key, which is left out of the message. The name is short since it is a part
/// of every key.
const PAIRS: Map<Vec<u8>, KeyValue> = Map::new("p");

/// How many commands have changed something.
const REVISION: Counter = Counter::new("revision");

impl Kv for Store {
    fn put(cx: &mut Command<'_>, request: PutRequest) -> Result<PutReply, Status> {
        check::put(&request)?;
        let mut change = Change::begin(cx);
        let reply = change.put(request);
        Ok(PutReply { revision: change.finish(), ..reply })
    }

    fn get(cx: &Query<'_>, request: GetRequest) -> Result<GetReply, Status> {
        check::key(&request.key)?;
        Ok(GetReply { revision: REVISION.get(cx), ..read::get(cx, &request) })
    }

    fn delete(cx: &mut Command<'_>, request: DeleteRequest) -> Result<DeleteReply, Status> {
        check::delete(&request)?;
        let mut change = Change::begin(cx);
        let reply = change.delete(request);
        Ok(DeleteReply { revision: change.finish(), ..reply })
    }

    fn range(cx: &Query<'_>, request: RangeRequest) -> Result<RangeReply, Status> {
        check::bounds(&request.start, &request.end)?;
        Ok(RangeReply { revision: REVISION.get(cx), ..read::range(cx, &request) })
    }

    fn txn(cx: &mut Command<'_>, request: TxnRequest) -> Result<TxnReply, Status> {
        check::txn(&request)?;
        Ok(txn::run(cx, request))
    }
}
