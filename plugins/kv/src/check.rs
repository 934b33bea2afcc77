//! What is wrong with a request whatever the state. After these checks, nothing can fail.

use std::collections::BTreeSet;

use quorate_sdk::Status;
use quorate_sdk::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

use crate::compare::Target as CompareTarget;
use crate::delete_request::Target as DeleteTarget;
use crate::txn_op::Op;
use crate::{Compare, DeleteRequest, PutRequest, TxnOp, TxnRequest, compare};

/// Bytes of a user's key.
const USER_KEY_BYTES_MAX: usize = 4_000;
/// In the store, the map's name comes before it; and a scan may go on behind a bound that is one
/// byte longer than a key.
const KEY_OVERHEAD_BYTES: usize = "p\0".len() + 2;
const _: () = assert!(USER_KEY_BYTES_MAX + KEY_OVERHEAD_BYTES <= KEY_BYTES_MAX);

/// Bytes of a user's value.
const USER_VALUE_BYTES_MAX: usize = 1_000_000;
/// In the store, revisions and the tags of fields come on top.
const VALUE_OVERHEAD_BYTES: usize = 64;
const _: () = assert!(USER_VALUE_BYTES_MAX + VALUE_OVERHEAD_BYTES <= VALUE_BYTES_MAX);

/// Comparisons, and operations of either branch, in a transaction.
const TXN_OPS_MAX: usize = 128;

pub(crate) fn key(key: &[u8]) -> Result<(), Status> {
    match key.len() {
        0 => Err(Status::invalid_argument("a key must not be empty")),
        len => at_most("a key", len, USER_KEY_BYTES_MAX, "bytes"),
    }
}

pub(crate) fn bounds(start: &[u8], end: &[u8]) -> Result<(), Status> {
    // One more than a key, since the key that follows another has one more.
    at_most("a range's start", start.len(), USER_KEY_BYTES_MAX + 1, "bytes")?;
    at_most("a range's end", end.len(), USER_KEY_BYTES_MAX + 1, "bytes")
}

pub(crate) fn put(request: &PutRequest) -> Result<(), Status> {
    key(&request.key)?;
    at_most("a value", request.value.len(), USER_VALUE_BYTES_MAX, "bytes")
}

pub(crate) fn delete(request: &DeleteRequest) -> Result<(), Status> {
    match &request.target {
        Some(DeleteTarget::Key(target)) => key(target),
        Some(DeleteTarget::Range(range)) => bounds(&range.start, &range.end),
        None => Err(Status::invalid_argument("a Delete needs a key or a range")),
    }
}

pub(crate) fn txn(request: &TxnRequest) -> Result<(), Status> {
    at_most("a Txn", request.compare.len(), TXN_OPS_MAX, "comparisons")?;
    request.compare.iter().try_for_each(compare)?;
    branch(&request.success)?;
    branch(&request.failure)
}

fn compare(compare: &Compare) -> Result<(), Status> {
    key(&compare.key)?;
    compare::Op::try_from(compare.op)
        .map_err(|_| Status::invalid_argument("a Compare has an unknown op"))?;
    match &compare.target {
        Some(CompareTarget::Value(value)) => {
            at_most("a value", value.len(), USER_VALUE_BYTES_MAX, "bytes")
        }
        Some(_) => Ok(()),
        None => Err(Status::invalid_argument("a Compare needs a target")),
    }
}

fn branch(ops: &[TxnOp]) -> Result<(), Status> {
    at_most("a branch of a Txn", ops.len(), TXN_OPS_MAX, "operations")?;
    let mut keys_put = BTreeSet::new();
    for op in ops {
        match &op.op {
            Some(Op::Put(request)) => {
                put(request)?;
                if !keys_put.insert(&request.key) {
                    return Err(Status::invalid_argument("a Txn puts a key twice"));
                }
            }
            Some(Op::Delete(request)) => delete(request)?,
            Some(Op::Range(request)) => bounds(&request.start, &request.end)?,
            Some(Op::Get(request)) => key(&request.key)?,
            None => return Err(Status::invalid_argument("an operation of a Txn is not set")),
        }
    }
    Ok(())
}

fn at_most(what: &str, len: usize, max: usize, unit: &str) -> Result<(), Status> {
    if len <= max {
        return Ok(());
    }
    Err(Status::invalid_argument(format!("{what} has at most {max} {unit}, not {len}")))
}
