//! Values in the order they came in.

use std::fmt;

use super::{Rows, Value, decode_value, prefix};
use crate::key::{AsKey as _, Key as _};
use crate::scan::Scan;
use crate::{Command, Query};

/// Values in the order they came in. Each has a position; positions are counted from 0 and never
/// given twice, so they can serve as names.
///
/// ```
/// use quorate_sdk::{Queue, testing::Machine};
///
/// const JOBS: Queue<String> = Queue::new("jobs");
///
/// # let mut machine = Machine::<()>::new();
/// machine.command(|cx| {
///     assert_eq!(JOBS.push_back(cx, &"wash".to_owned()), 0);
///     assert_eq!(JOBS.push_back(cx, &"dry".to_owned()), 1);
///     assert_eq!(JOBS.peek(cx).as_deref(), Some("wash"));
///     assert_eq!(JOBS.pop_front(cx).as_deref(), Some("wash"));
///     assert_eq!(JOBS.len(cx), 1);
///     assert_eq!(JOBS.iter(cx).next(), Some((1, "dry".to_owned())));
///     Ok(())
/// })
/// # .unwrap();
/// ```
///
/// Both ends are kept beside the values. Looking for the first value in their place would pass by
/// all that were popped before, for as long as the store has not cleaned up behind them.
pub struct Queue<V> {
    rows: Rows<u64, V>,
}

/// The positions of the first value, and behind the last one.
#[derive(Clone, Copy)]
struct Ends {
    front: u64,
    back: u64,
}

impl<V: Value> Queue<V> {
    /// The queue of that name.
    pub const fn new(name: &'static str) -> Self {
        Self { rows: Rows::new(name) }
    }

    /// Adds a value at the back, and gives its position. Three host calls.
    pub fn push_back(&self, cx: &mut Command<'_>, value: &V) -> u64 {
        let Ends { front, back } = self.ends(cx);
        cx.put(&self.rows.stored(&back), &value.encode_to_vec());
        self.set_ends(cx, Ends { front, back: back + 1 });
        back
    }

    /// Takes the value at the front. Four host calls; one when there is none.
    pub fn pop_front(&self, cx: &mut Command<'_>) -> Option<V> {
        let Ends { front, back } = self.ends(cx);
        if front == back {
            return None;
        }
        let stored = self.rows.stored(&front);
        let value = self.value_at(cx, &stored);
        cx.delete(&stored);
        self.set_ends(cx, Ends { front: front + 1, back });
        Some(value)
    }

    /// The value at the front. Two host calls; one when there is none.
    pub fn peek(&self, cx: &Query<'_>) -> Option<V> {
        let Ends { front, back } = self.ends(cx);
        (front < back).then(|| self.value_at(cx, &self.rows.stored(&front)))
    }

    /// The value at a position, if it is there still. One host call.
    pub fn get(&self, cx: &Query<'_>, position: u64) -> Option<V> {
        self.rows.get(cx, position)
    }

    /// How many values there are. One host call.
    pub fn len(&self, cx: &Query<'_>) -> u64 {
        let Ends { front, back } = self.ends(cx);
        back - front
    }

    /// Whether there is none. One host call.
    pub fn is_empty(&self, cx: &Query<'_>) -> bool {
        self.len(cx) == 0
    }

    /// All values with their positions, from the front. One host call, and one for each page.
    pub fn iter<'a>(&self, cx: &'a Query<'_>) -> Scan<'a, (u64, V)> {
        let Ends { front, back } = self.ends(cx);
        self.rows.range(cx, front..back)
    }

    /// Removes all values; tells how many there were. Three host calls; one when there are none.
    pub fn clear(&self, cx: &mut Command<'_>) -> u64 {
        let Ends { front, back } = self.ends(cx);
        if front < back {
            self.rows.remove_range(cx, front..back);
            self.set_ends(cx, Ends { front: back, back });
        }
        back - front
    }

    fn value_at(&self, cx: &Query<'_>, stored: &[u8]) -> V {
        let name = self.rows.name;
        let value = cx.get(stored).unwrap_or_else(|| panic!("`{name}` has lost a value"));
        decode_value(name, &value)
    }

    /// Kept under the name alone, where no position is.
    fn ends(&self, cx: &Query<'_>) -> Ends {
        let name = self.rows.name;
        let Some(stored) = cx.get(&prefix(name)) else { return Ends { front: 0, back: 0 } };
        let (front, back) = <(u64, u64)>::read(&stored)
            .unwrap_or_else(|| panic!("`{name}` holds another type: {stored:02x?}"));
        Ends { front, back }
    }

    fn set_ends(&self, cx: &mut Command<'_>, Ends { front, back }: Ends) {
        let mut ends = Vec::with_capacity(2 * size_of::<u64>());
        (front, back).write(&mut ends);
        cx.put(&prefix(self.rows.name), &ends);
    }
}

impl<V> fmt::Debug for Queue<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({:?})", self.rows.name)
    }
}
