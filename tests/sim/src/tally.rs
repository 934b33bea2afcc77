//! How often each rare path was taken: what `sometimes` must happen, or else was not tested.

use std::collections::BTreeMap;

use quorate_core::batcher::Batcher;
use quorate_core::outcome::Rejection;
use quorate_core::replica::{Mark, Marks};

use crate::calls::{Call, Outcome};
use crate::time::SECOND;

/// Counts by the name of the path.
pub type Tally = BTreeMap<&'static str, u64>;

const LEFT_FREE: &str = "batch left: stage free";
const LEFT_COMMANDS: &str = "batch left: commands";
const LEFT_BYTES: &str = "batch left: bytes";
const LEFT_LINGER: &str = "batch left: linger";
const LEFT_CLOSE: &str = "batch left: close";
const REJECTED: &str = "command rejected by the plugin";
const TRAPPED: &str = "command trapped";
const OUT_OF_FUEL: &str = "command out of fuel";
const OVER_LIMIT: &str = "command over a limit";
const REFUSED: &str = "call refused";
const UNKNOWN: &str = "call of unknown outcome";
pub(crate) const READ_BY_LEASE: &str = "read by a lease";
pub(crate) const READ_ALONE: &str = "read by who votes alone";
pub(crate) const LEASE_NOT_THERE: &str = "lease read without a lease";
pub(crate) const READ_STALE: &str = "stale read";

quorate_core::named! {
    /// A rare path of sessions.
    #[expect(missing_docs, reason = "their names say it")]
    SessionPath {
        Opened = "session opened",
        Duplicate = "duplicate answered",
        DuplicateInEntry = "duplicate within its entry",
        DuplicateInLaterTerm = "duplicate in a later term",
        DuplicateOfRejection = "duplicate of a rejection",
        DuplicateLate = "duplicate after a hundred entries",
        Expired = "session expired",
        Forgotten = "session had let go of a number",
        NeverOpened = "session never opened",
        Reused = "session number reused",
    }
}

/// Every path, none of them taken.
pub fn none() -> Tally {
    let own = [
        LEFT_FREE,
        LEFT_COMMANDS,
        LEFT_BYTES,
        LEFT_LINGER,
        LEFT_CLOSE,
        REJECTED,
        TRAPPED,
        OUT_OF_FUEL,
        OVER_LIMIT,
        REFUSED,
        UNKNOWN,
        READ_BY_LEASE,
        READ_ALONE,
        LEASE_NOT_THERE,
        READ_STALE,
    ];
    let marks = Mark::ALL.iter().map(|mark| mark.name());
    let sessions = SessionPath::ALL.iter().map(|path| path.name());
    marks.chain(sessions).chain(own).map(|name| (name, 0)).collect()
}

/// Adds another tally.
pub fn add(sum: &mut Tally, other: &Tally) {
    for (name, count) in other {
        *sum.entry(name).or_default() += count;
    }
}

/// Counts one more.
pub fn hit(tally: &mut Tally, name: &'static str) {
    count(tally, name, 1);
}

/// Adds to one path.
pub(crate) fn count(tally: &mut Tally, name: &'static str, more: u64) {
    *tally.entry(name).or_default() += more;
}

/// Adds what one process has seen.
pub fn add_process<W>(tally: &mut Tally, marks: &Marks, batcher: &Batcher<W>) {
    for mark in Mark::ALL {
        count(tally, mark.name(), marks.get(*mark));
    }
    let flushes = batcher.stats(std::time::Duration::from_micros(SECOND)).flushes;
    count(tally, LEFT_FREE, flushes.stage_free);
    count(tally, LEFT_COMMANDS, flushes.commands);
    count(tally, LEFT_BYTES, flushes.bytes);
    count(tally, LEFT_LINGER, flushes.linger);
    count(tally, LEFT_CLOSE, flushes.close);
}

/// Adds what clients have seen.
pub fn add_calls(tally: &mut Tally, calls: &[Call]) {
    for call in calls {
        let name = match &call.outcome {
            Outcome::Answered(_, Err(rejection)) => match rejection {
                Rejection::Status { .. } => REJECTED,
                Rejection::Trap { .. } => TRAPPED,
                Rejection::OutOfFuel => OUT_OF_FUEL,
                Rejection::OverLimit { .. } => OVER_LIMIT,
                Rejection::Deadline | Rejection::OutOfMemory | Rejection::Session(_) => continue,
            },
            Outcome::Refused => REFUSED,
            Outcome::Unknown => UNKNOWN,
            Outcome::Answered(_, Ok(_)) | Outcome::Pending => continue,
        };
        count(tally, name, 1);
    }
}
