//! A script: what is done with a plugin and its model at the same time.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use proptest::prelude::{Just, Strategy};
use proptest::prop_oneof;

/// One step.
#[derive(Clone, Debug)]
pub(crate) enum Step<C> {
    /// A call of both.
    Call(C),
    /// Time passes.
    Advance(Duration),
    /// The machine restarts; the model does not notice.
    Restart,
    /// The machine's state goes on in another machine.
    Restore,
}

impl<C: fmt::Debug> fmt::Display for Step<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(call) => write!(f, "{call:?}"),
            Self::Advance(by) => write!(f, "time moves by {by:?}"),
            Self::Restart => f.write_str("restart"),
            Self::Restore => f.write_str("the state goes on in another machine"),
        }
    }
}

/// Scripts of so many steps.
pub(crate) fn scripts<C: Clone + fmt::Debug + 'static>(
    calls: impl Strategy<Value = C> + 'static,
    steps: RangeInclusive<usize>,
) -> impl Strategy<Value = Vec<Step<C>>> {
    let step = prop_oneof![
        40 => calls.prop_map(Step::Call),
        3 => times().prop_map(Step::Advance),
        1 => Just(Step::Restart),
        1 => Just(Step::Restore),
    ];
    proptest::collection::vec(step, steps)
}

/// Mostly short, now and then long.
fn times() -> impl Strategy<Value = Duration> {
    let ms = prop_oneof![0..50_u64, 0..20_000_u64, 0..7_200_000_u64];
    ms.prop_map(Duration::from_millis)
}
