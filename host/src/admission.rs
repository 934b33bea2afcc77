//! How much a node takes on at a time: calls, and the bytes of their requests. What exceeds it is
//! refused at once, before it is read: a caller that waits would hold memory while it does, and
//! those who are let in would all be late.

use std::sync::Arc;

use quorate_core::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The room of one node, for its clients and for what other nodes hand on.
#[derive(Clone, Debug)]
pub struct Admission {
    calls: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

/// A call that is taken on, until this is dropped.
#[derive(Debug)]
pub struct Admitted {
    _call: OwnedSemaphorePermit,
    room: Arc<Semaphore>,
    bytes: Option<OwnedSemaphorePermit>,
}

impl Default for Admission {
    fn default() -> Self {
        Self::new(limits::CALLS_MAX, limits::CALL_BYTES_MAX)
    }
}

impl Admission {
    fn new(calls_max: usize, bytes_max: usize) -> Self {
        let room = |max| Arc::new(Semaphore::new(max));
        Self { calls: room(calls_max), bytes: room(bytes_max) }
    }

    /// Takes on a call whose request is not read yet, if there is room.
    pub fn enter(&self) -> Option<Admitted> {
        // A whole request may come; whoever finds no byte left need not begin.
        let has_room = self.bytes.available_permits() > 0;
        let call = Arc::clone(&self.calls).try_acquire_owned().ok().filter(|_| has_room)?;
        Some(Admitted { _call: call, room: Arc::clone(&self.bytes), bytes: None })
    }
}

impl Admitted {
    /// Counts the request, now that it is read; false if there is no room for it.
    #[must_use]
    pub fn weighs(&mut self, bytes: usize) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.bytes = Arc::clone(&self.room).try_acquire_many_owned(bytes).ok();
        self.bytes.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_bytes_are_bounded_and_given_back() {
        let admission = Admission::new(2, 100);
        let mut first = admission.enter().unwrap();
        let mut second = admission.enter().unwrap();
        assert!(admission.enter().is_none(), "a third call");
        assert!(first.weighs(60));
        assert!(!second.weighs(41), "too much together");
        assert!(second.weighs(40));
        drop(first);
        let mut third = admission.enter().unwrap();
        assert!(third.weighs(60));
        drop(second);
        assert!(admission.enter().is_some());
        assert!(admission.enter().unwrap().weighs(40));
    }

    #[test]
    fn without_a_byte_left_nobody_begins() {
        let admission = Admission::new(2, 100);
        let mut first = admission.enter().unwrap();
        assert!(first.weighs(100));
        assert!(admission.enter().is_none());
        drop(first);
        assert!(admission.enter().is_some());
    }
}
