//! Virtual time: it passes from one event to the next, and costs nothing.

/// Microseconds since a simulation began.
pub type Time = u64;

/// A millisecond.
pub const MS: Time = 1_000;
/// A second.
pub const SECOND: Time = 1_000_000;
