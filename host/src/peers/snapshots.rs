//! Snapshots between nodes: each on a connection of its own, so that no heartbeat waits behind one.
//!
//! 1. `send`: [`send::run`], what a leader owes its members
//! 2. `receive`: [`Receiver`], what becomes of a snapshot that comes
//!
//! A stream that breaks off is begun again, and goes on where the receiver is. What is damaged is
//! sent again. A sender that gets nowhere gives up, and says so: raft then tries again.

mod receive;
pub(super) mod send;

use bytes::Bytes;
use quorate_core::state::Space;
use quorate_proto::v1;

use crate::snapshot::Position;

pub(super) use receive::Receiver;

/// A position as it travels; none for the header.
fn to_wire(position: Option<&Position>) -> v1::SnapshotPosition {
    let Some(position) = position else { return v1::SnapshotPosition::default() };
    let (space, key) = match &position.last {
        Some((space, key)) => (space.number().into(), key.clone()),
        None => (0, Bytes::new()),
    };
    v1::SnapshotPosition {
        chunks: position.chunks,
        records: position.records,
        bytes: position.bytes,
        digest: Bytes::copy_from_slice(&position.digest),
        space,
        key,
    }
}

/// The position that came; `None` for the header, or when it makes no sense.
fn from_wire(position: v1::SnapshotPosition) -> Option<Position> {
    let number = u8::try_from(position.space).ok()?;
    let last = Space::from_number(number).map(|space| (space, position.key));
    Some(Position {
        chunks: position.chunks,
        records: position.records,
        bytes: position.bytes,
        digest: position.digest.as_ref().try_into().ok()?,
        last,
    })
}
