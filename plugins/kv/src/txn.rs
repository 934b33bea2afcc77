//! Transactions: comparisons, then one of two lists of operations.

use std::cmp::Ordering;

use quorate_sdk::{Command, Query};

use crate::change::Change;
use crate::compare::{Op as CompareOp, Target};
use crate::txn_op::Op;
use crate::txn_op_reply::Reply;
use crate::{Compare, KeyValue, PAIRS, TxnOp, TxnOpReply, TxnReply, TxnRequest, read};

/// Runs a transaction that was checked.
pub(crate) fn run(cx: &mut Command<'_>, request: TxnRequest) -> TxnReply {
    let succeeded = request.compare.iter().all(|compare| holds(cx, compare));
    let ops = if succeeded { request.success } else { request.failure };

    let mut change = Change::begin(cx);
    let mut replies: Vec<_> = ops.into_iter().filter_map(|op| run_op(&mut change, op)).collect();
    let revision = change.finish();
    // Only now it is known, and for a client it is one step.
    for reply in &mut replies {
        *revision_of(reply) = revision;
    }
    let responses = replies.into_iter().map(|reply| TxnOpReply { reply: Some(reply) }).collect();
    TxnReply { revision, succeeded, responses }
}

fn holds(cx: &Query<'_>, compare: &Compare) -> bool {
    let stored = PAIRS.get(cx, &compare.key);
    let number = |of: fn(&KeyValue) -> u64| stored.as_ref().map_or(0, of);
    let ordering = match &compare.target {
        Some(Target::Version(version)) => number(|kv| kv.version).cmp(version),
        Some(Target::CreateRevision(revision)) => number(|kv| kv.create_revision).cmp(revision),
        Some(Target::ModRevision(revision)) => number(|kv| kv.mod_revision).cmp(revision),
        Some(Target::Value(value)) => match &stored {
            Some(kv) => kv.value.cmp(value),
            None => return false,
        },
        None => return false,
    };
    match compare.op() {
        CompareOp::Equal => ordering == Ordering::Equal,
        CompareOp::NotEqual => ordering != Ordering::Equal,
        CompareOp::Greater => ordering == Ordering::Greater,
        CompareOp::Less => ordering == Ordering::Less,
    }
}

fn run_op(change: &mut Change<'_, '_>, op: TxnOp) -> Option<Reply> {
    Some(match op.op? {
        Op::Put(request) => Reply::Put(change.put(request)),
        Op::Delete(request) => Reply::Delete(change.delete(request)),
        Op::Range(request) => Reply::Range(read::range(change.cx, &request)),
        Op::Get(request) => Reply::Get(read::get(change.cx, &request)),
    })
}

fn revision_of(reply: &mut Reply) -> &mut u64 {
    match reply {
        Reply::Put(reply) => &mut reply.revision,
        Reply::Delete(reply) => &mut reply.revision,
        Reply::Range(reply) => &mut reply.revision,
        Reply::Get(reply) => &mut reply.revision,
    }
}
