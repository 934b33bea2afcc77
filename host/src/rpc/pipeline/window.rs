//! The commands of one stream that are under way: who they are to the client, what they weigh, and
//! until when they are waited for. Numbers rise by one, so it is a queue rather than a table.

use std::collections::VecDeque;

use quorate_core::limits;
use tokio::time::Instant;

/// The window of one stream.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// The number of the first in `commands`.
    first: u64,
    /// The oldest is open; of the others, those that are closed are `None`.
    commands: VecDeque<Option<Open>>,
    /// Until when commands are waited for that are older than a number.
    deadlines: VecDeque<(Instant, u64)>,
    bytes: usize,
}

/// A command under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Open {
    /// The client's number for it.
    pub(super) id: u64,
    /// What it counts for.
    pub(super) bytes: usize,
}

impl Window {
    /// How many more commands there is room for.
    pub(super) fn room(&self) -> usize {
        if self.bytes >= limits::PIPELINE_BYTES_MAX {
            return 0;
        }
        limits::PIPELINE_COMMANDS_MAX.saturating_sub(self.commands.len())
    }

    /// Whether nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Takes a command; gives its number.
    pub(super) fn open(&mut self, command: Open) -> u64 {
        self.bytes += command.bytes;
        self.commands.push_back(Some(command));
        self.first + self.commands.len() as u64 - 1
    }

    /// The commands taken since the last time are waited for until then, if there are any.
    pub(super) fn wait_until(&mut self, deadline: Instant) {
        let behind = self.first + self.commands.len() as u64;
        let before = self.deadlines.back().map_or(self.first, |(_, before)| *before);
        if behind > before {
            self.deadlines.push_back((deadline, behind));
        }
    }

    /// The command of that number, if it is open; it is not any more.
    pub(super) fn close(&mut self, number: u64) -> Option<Open> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let command = self.commands.get_mut(place)?.take()?;
        self.bytes -= command.bytes;
        while let Some(None) = self.commands.front() {
            self.commands.pop_front();
            self.first += 1;
        }
        while self.deadlines.front().is_some_and(|(_, behind)| *behind <= self.first) {
            self.deadlines.pop_front();
        }
        Some(command)
    }

    /// When the oldest has waited for long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }

    /// Closes those that have waited for long enough by `now`.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Open> {
        let expired = self.deadlines.partition_point(|(deadline, _)| *deadline <= now);
        let behind = self.deadlines.drain(..expired).next_back().map_or(0, |(_, behind)| behind);
        (self.first..behind).filter_map(|number| self.close(number)).collect()
    }

    /// Closes all.
    pub(super) fn close_all(&mut self) -> Vec<Open> {
        let behind = self.first + self.commands.len() as u64;
        (self.first..behind).filter_map(|number| self.close(number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn open(id: u64) -> Open {
        Open { id, bytes: 10 }
    }

    #[test]
    fn commands_are_closed_once_and_in_any_order() {
        let mut window = Window::default();
        let numbers: Vec<_> = (10..14).map(|id| window.open(open(id))).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert_eq!(window.close(2), Some(open(12)));
        assert_eq!(window.close(2), None, "once");
        assert_eq!(window.close(7), None, "nobody has opened it");
        assert_eq!(window.close(0), Some(open(10)));
        assert_eq!(window.room(), limits::PIPELINE_COMMANDS_MAX - 3, "one is behind an open one");
        assert_eq!(window.close_all(), [open(11), open(13)]);
        assert!(window.is_empty());
        assert_eq!((window.room(), window.bytes), (limits::PIPELINE_COMMANDS_MAX, 0));
        assert_eq!(window.open(open(14)), 4);
    }

    #[test]
    fn it_is_bounded_in_commands_and_in_bytes() {
        let mut window = Window::default();
        for id in 0..limits::PIPELINE_COMMANDS_MAX as u64 {
            assert!(window.room() > 0);
            window.open(open(id));
        }
        assert_eq!(window.room(), 0);
        window.close(0);
        assert_eq!(window.room(), 1);

        let mut window = Window::default();
        let large = Open { id: 1, bytes: limits::PIPELINE_BYTES_MAX - 1 };
        let number = window.open(large);
        assert!(window.room() > 0);
        window.open(open(2));
        assert_eq!(window.room(), 0);
        window.close(number);
        assert!(window.room() > 0);
    }

    #[test]
    fn who_has_waited_for_long_enough_is_closed() {
        let mut window = Window::default();
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        window.open(open(1));
        window.open(open(2));
        window.wait_until(after(5));
        window.open(open(3));
        window.wait_until(after(6));
        assert_eq!(window.deadline(), Some(after(5)));
        assert_eq!(window.expire(after(4)), []);
        window.close(0);
        assert_eq!(window.expire(after(5)), [open(2)]);
        assert_eq!(window.deadline(), Some(after(6)));
        window.wait_until(after(8));
        assert_eq!(window.expire(after(7)), [open(3)]);
        assert_eq!(window.deadline(), None, "nobody else waits");
        window.wait_until(after(9));
        assert_eq!(window.deadline(), None, "nor do those that were not taken");
    }
}
