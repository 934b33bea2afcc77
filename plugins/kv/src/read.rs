//! Answers from the state.

use std::ops::Bound;

use quorate_sdk::{Query, Scan};

use crate::{GetReply, GetRequest, KeyValue, PAIRS, RangeReply, RangeRequest};

/// The most pairs in a reply.
const REPLY_PAIRS_MAX: u64 = 10_000;

/// The most bytes of keys and values in a reply of more than one pair. With what comes on top, far
/// from the host's limit.
const REPLY_BYTES_MAX: usize = 1024 * 1024;

/// A range of keys as it is written in requests, where an empty bound is none.
pub(crate) fn bounds<'k>(start: &'k [u8], end: &'k [u8]) -> (Bound<&'k [u8]>, Bound<&'k [u8]>) {
    let end = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) };
    (Bound::Included(start), end)
}

/// The pair of a key.
pub(crate) fn pair(cx: &Query<'_>, key: &[u8]) -> Option<KeyValue> {
    PAIRS.get(cx, key).map(|kv| KeyValue { key: key.to_vec(), ..kv })
}

/// All pairs of a range.
pub(crate) fn pairs(cx: &Query<'_>, start: &[u8], end: &[u8]) -> impl Iterator<Item = KeyValue> {
    with_keys(PAIRS.range(cx, bounds(start, end)))
}

fn with_keys(scan: Scan<'_, (Vec<u8>, KeyValue)>) -> impl Iterator<Item = KeyValue> {
    scan.map(|(key, kv)| KeyValue { key, ..kv })
}

/// The reply is yet without a revision.
pub(crate) fn get(cx: &Query<'_>, request: &GetRequest) -> GetReply {
    GetReply { revision: 0, kv: pair(cx, &request.key) }
}

/// The reply is yet without a revision.
pub(crate) fn range(cx: &Query<'_>, request: &RangeRequest) -> RangeReply {
    let bounds = bounds(&request.start, &request.end);
    if request.count_only {
        let count = PAIRS.keys_in(cx, bounds).count() as u64;
        return RangeReply { count, ..RangeReply::default() };
    }

    let limit = match u64::from(request.limit) {
        0 => REPLY_PAIRS_MAX,
        limit => limit.min(REPLY_PAIRS_MAX),
    };
    // One more than is returned tells whether there is more.
    let scan = PAIRS.range(cx, bounds).limit(limit + 1);
    let scan = if request.reverse { scan.reverse() } else { scan };

    let mut reply = RangeReply::default();
    let mut bytes = 0;
    for mut kv in with_keys(scan) {
        if request.keys_only {
            kv.value.clear();
        }
        bytes += kv.key.len() + kv.value.len();
        if reply.count == limit || (bytes > REPLY_BYTES_MAX && reply.count > 0) {
            reply.more = true;
            break;
        }
        reply.kvs.push(kv);
        reply.count += 1;
    }
    reply
}
