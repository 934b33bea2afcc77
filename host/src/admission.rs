//! How much a node takes on at a time: calls, and the bytes of their requests. What exceeds it is
//! refused at once, before it is read: a caller that waits would hold memory while it does, and
//! those who are let in would all be late.
//!
//! The commands of a stream ([`Load`]) count with all others, but wait: their client feels that, as
//! nothing more is read, and what waits is bounded for each stream.
//!
//! Those who are refused are told when to come back, each at a moment of its own. A refusal costs
//! about as much of a core as the call itself does without its fsync: if all came back at once, a
//! node under five times its load would spend its time on refusing.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quorate_core::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The room of one node, for its clients and for what other nodes hand on.
#[derive(Clone, Debug)]
pub struct Admission {
    calls: Arc<Semaphore>,
    calls_max: usize,
    bytes: Arc<Semaphore>,
    returns: Arc<Returns>,
}

/// When the next caller that is refused may come back.
#[derive(Debug)]
struct Returns(Mutex<Instant>);

impl Returns {
    fn next(&self, now: Instant) -> Duration {
        let mut last = self.0.lock().expect("no holder of this lock panics");
        let first = now + Duration::from_millis(limits::RETRY_AFTER_MS_MIN);
        let latest = now + Duration::from_millis(limits::RETRY_AFTER_MS_MAX);
        *last = (*last + Duration::from_micros(limits::RETURNS_EVERY_US)).clamp(first, latest);
        *last - now
    }
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
        let returns = Arc::new(Returns(Mutex::new(Instant::now())));
        Self { calls: room(calls_max), calls_max, bytes: room(bytes_max), returns }
    }

    /// Whether calls are under way.
    pub fn is_busy(&self) -> bool {
        self.calls.available_permits() < self.calls_max
    }

    /// When a caller that is refused now may come back.
    pub fn retry_after(&self) -> Duration {
        self.returns.next(Instant::now())
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
        self.bytes = Arc::clone(&self.room).try_acquire_many_owned(permits(bytes)).ok();
        self.bytes.is_some()
    }
}

/// What the commands of a stream weigh that are under way.
#[derive(Debug)]
pub struct Load {
    room: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
}

/// Room for some more.
#[derive(Debug)]
pub struct Room(OwnedSemaphorePermit);

impl Admitted {
    /// This call is a stream: nothing is under way yet.
    pub fn load(&self) -> Load {
        Load { room: Arc::clone(&self.room), taken: None }
    }
}

impl Load {
    /// Room for so many bytes, if it is there.
    pub fn try_room(&self, bytes: usize) -> Option<Room> {
        Arc::clone(&self.room).try_acquire_many_owned(permits(bytes)).ok().map(Room)
    }

    /// Room for so many bytes, when it is there.
    pub fn room(&self, bytes: usize) -> impl Future<Output = Room> + Send + use<> {
        let room = Arc::clone(&self.room);
        async move {
            let acquired = room.acquire_many_owned(permits(bytes)).await;
            Room(acquired.expect("nobody closes it"))
        }
    }

    /// Counts what there is room for.
    pub fn add(&mut self, Room(more): Room) {
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
    }

    /// So much has ended.
    pub fn release(&mut self, bytes: usize) {
        let part = self.taken.as_mut().and_then(|taken| taken.split(bytes));
        assert!(part.is_some(), "more ends than was under way");
    }
}

fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_bytes_are_bounded_and_given_back() {
        let admission = Admission::new(2, 100);
        assert!(!admission.is_busy());
        let mut first = admission.enter().unwrap();
        assert!(admission.is_busy());
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

    #[tokio::test]
    async fn a_stream_counts_with_all_others_and_waits() {
        let admission = Admission::new(2, 100);
        let stream = admission.enter().unwrap();
        let mut load = stream.load();
        load.add(load.try_room(60).unwrap());
        load.add(load.try_room(30).unwrap());
        let mut call = admission.enter().unwrap();
        assert!(!call.weighs(11) && call.weighs(10));
        let waits = load.room(50);
        tokio::pin!(waits);
        assert!(load.try_room(1).is_none());
        let soon = Duration::from_millis(1);
        assert!(tokio::time::timeout(soon, &mut waits).await.is_err());
        load.release(50);
        load.add(waits.await);
        drop((load, stream));
        assert!(admission.enter().unwrap().weighs(90), "all of it is given back");
    }

    #[test]
    fn who_is_refused_comes_back_at_a_moment_of_its_own() {
        let now = Instant::now();
        let returns = Returns(Mutex::new(now));
        let ms = |at| returns.next(at).as_millis();
        assert_eq!([ms(now), ms(now), ms(now)], [250, 251, 252]);
        let later = now + Duration::from_mins(1);
        assert_eq!(ms(later), 250, "they have come");
        let longest = (0..20_000).map(|_| ms(later)).max();
        assert_eq!(longest, Some(u128::from(limits::RETRY_AFTER_MS_MAX)));
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
