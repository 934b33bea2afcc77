//! What is stored: who holds which lock, or held it last.
//!
//! Nothing happens when a lease ends. From then on `holder` passes over it, by the log's time,
//! which is the same on all replicas; and its place in the table is there for others.

use quorate_sdk::{Command, Counter, IndexedMap, MultiIndex, Query, Status};

use crate::Holder;

/// Names come from clients: a state that they can grow for ever fills the disk one day.
const LOCKS_MAX: u64 = 10_000;

const HOLDERS: IndexedMap<String, Holder> = IndexedMap::new("holders", &[&BY_END]);
const BY_END: MultiIndex<Holder, u64> = MultiIndex::new("holders_by_end", |holder| holder.until_ms);

/// How many locks are in the table.
const COUNT: Counter = Counter::new("count");

/// The last token that was given. One for all locks: so a lock that was not in the table for a
/// while, and of which nothing is known any more, comes with a larger token too.
const TOKENS: Counter = Counter::new("tokens");

/// Who holds a lock, unless the lease has ended. A query sees the time of the last command, so it
/// may show a holder for a little too long.
pub(crate) fn holder(cx: &Query<'_>, name: &str) -> Option<Holder> {
    HOLDERS.get(cx, name).filter(|holder| holder.until_ms > cx.time_ms())
}

/// Who holds a lock with that token.
pub(crate) fn held_with(cx: &Query<'_>, name: &str, token: u64) -> Option<Holder> {
    holder(cx, name).filter(|holder| holder.token == token)
}

pub(crate) fn next_token(cx: &mut Command<'_>) -> u64 {
    TOKENS.add(cx, 1)
}

pub(crate) fn insert(cx: &mut Command<'_>, name: &str, holder: &Holder) -> Result<(), Status> {
    if !HOLDERS.contains(cx, name) {
        if COUNT.get(cx) == LOCKS_MAX {
            make_room(cx)?;
        }
        COUNT.add(cx, 1);
    }
    HOLDERS.insert(cx, name, holder)
}

pub(crate) fn remove(cx: &mut Command<'_>, name: &str) {
    if HOLDERS.remove(cx, name).is_some() {
        COUNT.set(cx, COUNT.get(cx) - 1);
    }
}

/// Forgets the lock whose lease has been over for the longest.
fn make_room(cx: &mut Command<'_>) -> Result<(), Status> {
    let over = HOLDERS.keys_by(cx, &BY_END, ..=cx.time_ms()).limit(1).next();
    let Some((_, name)) = over else {
        return Err(Status::resource_exhausted(format!("{LOCKS_MAX} locks are held already")));
    };
    remove(cx, &name);
    Ok(())
}
