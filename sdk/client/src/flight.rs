//! The calls of one stream that are under way. Their numbers rise by one, so it is a queue rather
//! than a table.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::call::Call;

/// The calls of one stream.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    /// The number of the first in `calls`.
    first: u64,
    /// The first is under way; of the others, those that have ended are `None`.
    calls: VecDeque<Option<Call>>,
    count: usize,
}

impl Flight {
    /// How many are under way.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Takes a call; gives its number.
    pub(crate) fn add(&mut self, call: Call) -> u64 {
        self.count += 1;
        self.calls.push_back(Some(call));
        self.first + self.calls.len() as u64 - 1
    }

    /// The call of that number, if it is under way.
    pub(crate) fn take(&mut self, number: u64) -> Option<Call> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let call = self.calls.get_mut(place)?.take()?;
        self.count -= 1;
        while let Some(None) = self.calls.front() {
            self.calls.pop_front();
            self.first += 1;
        }
        Some(call)
    }

    /// The calls whose time is over.
    pub(crate) fn expired(&mut self, now: Instant) -> Vec<Call> {
        let is_late = |call: &Option<Call>| call.as_ref().is_some_and(|call| call.deadline <= now);
        let late = (self.first..).zip(&self.calls).filter(|(_, call)| is_late(call));
        let late: Vec<u64> = late.map(|(number, _)| number).collect();
        late.into_iter().filter_map(|number| self.take(number)).collect()
    }

    /// All that are under way, in their order.
    pub(crate) fn take_all(&mut self) -> Vec<Call> {
        self.first += self.calls.len() as u64;
        self.count = 0;
        self.calls.drain(..).flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::sync::oneshot;

    use super::*;
    use crate::call::{Method, Reply};

    fn call(deadline: Instant, name: &'static str) -> Call {
        let (method, payload) = (Method::of("a/B"), Bytes::from_static(name.as_bytes()));
        Call::new(method, payload, Reply::One(oneshot::channel().0), deadline)
    }

    fn names(calls: Vec<Call>) -> Vec<Bytes> {
        calls.into_iter().map(|call| call.payload).collect()
    }

    #[test]
    fn calls_end_once_in_any_order_or_when_their_time_is_over() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut flight = Flight::default();
        let calls = [call(later, "a"), call(now, "b"), call(later, "c"), call(now, "d")];
        let numbers: Vec<_> = calls.into_iter().map(|call| flight.add(call)).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert_eq!(flight.take(2).unwrap().payload, "c");
        assert!(flight.take(2).is_none() && flight.take(4).is_none());
        assert_eq!(names(flight.expired(now)), ["b", "d"]);
        assert_eq!(flight.len(), 1);
        assert_eq!(flight.add(call(later, "e")), 4);
        assert_eq!(names(flight.take_all()), ["a", "e"]);
        assert_eq!(flight.len(), 0);
        assert_eq!(flight.add(call(later, "f")), 5);
        assert_eq!(flight.take(5).unwrap().payload, "f");
    }
}
