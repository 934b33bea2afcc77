//! A number.

use std::fmt;

use super::Cell;
use crate::{Command, Query};

/// A number that starts at zero.
///
/// ```
/// use quorate_sdk::{Counter, testing::Machine};
///
/// const TICKETS: Counter = Counter::new("tickets");
///
/// # let mut machine = Machine::<()>::new();
/// machine.command(|cx| {
///     assert_eq!(TICKETS.add(cx, 2), 2);
///     assert_eq!(TICKETS.add(cx, 1), 3);
///     Ok(())
/// })
/// # .unwrap();
/// ```
pub struct Counter {
    name: &'static str,
    value: Cell<u64>,
}

impl Counter {
    /// The counter of that name.
    pub const fn new(name: &'static str) -> Self {
        Self { name, value: Cell::new(name) }
    }

    /// What it stands at. One host call.
    pub fn get(&self, cx: &Query<'_>) -> u64 {
        self.value.get(cx).unwrap_or(0)
    }

    /// Adds to it and gives what it then stands at. Panics on overflow. Two host calls.
    pub fn add(&self, cx: &mut Command<'_>, by: u64) -> u64 {
        let sum = self.get(cx).checked_add(by).expect("a counter fits 64 bits");
        self.set(cx, sum);
        sum
    }

    /// Sets it. One host call.
    pub fn set(&self, cx: &mut Command<'_>, to: u64) {
        self.value.set(cx, &to);
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counter({:?})", self.name)
    }
}
