//! One value.

use std::fmt;
use std::marker::PhantomData;

use super::{Value, assert_is_name, decode_value, prefix};
use crate::{Command, Query};

/// One value.
///
/// ```
/// use quorate_sdk::{Cell, testing::Machine};
///
/// const MOTTO: Cell<String> = Cell::new("motto");
///
/// # let mut machine = Machine::<()>::new();
/// machine.command(|cx| {
///     assert_eq!(MOTTO.get(cx), None);
///     MOTTO.set(cx, &"festina lente".to_owned());
///     assert_eq!(MOTTO.get(cx).as_deref(), Some("festina lente"));
///     Ok(())
/// })
/// # .unwrap();
/// ```
pub struct Cell<T> {
    name: &'static str,
    types: PhantomData<fn() -> T>,
}

impl<T: Value> Cell<T> {
    /// The cell of that name.
    pub const fn new(name: &'static str) -> Self {
        assert_is_name(name);
        Self { name, types: PhantomData }
    }

    /// The value, if it was ever set. One host call.
    pub fn get(&self, cx: &Query<'_>) -> Option<T> {
        cx.read(&prefix(self.name), |value| decode_value(self.name, value))
    }

    /// Sets the value. One host call.
    pub fn set(&self, cx: &mut Command<'_>, value: &T) {
        cx.put(&prefix(self.name), &value.encode_to_vec());
    }

    /// Forgets the value; tells whether there was one. One host call.
    pub fn clear(&self, cx: &mut Command<'_>) -> bool {
        cx.delete(&prefix(self.name))
    }
}

impl<T> fmt::Debug for Cell<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cell({:?})", self.name)
    }
}
