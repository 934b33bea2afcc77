//! What is wrong with peers, in the log: when it begins, and now and then while it lasts. They try
//! again all the time, and are wrong again in the same words.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Between two lines in the log that say the same.
const PAUSE: Duration = Duration::from_secs(10);
/// Different ones that are remembered; there is one for each node and what is wrong with it.
const REMEMBERED_MAX: usize = 64;

/// The complaints of the last while.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    said: BTreeMap<String, Instant>,
}

impl Complaints {
    /// Whether to say this now; if so, it counts as said.
    pub(super) fn is_due(&mut self, what: &str) -> bool {
        self.said.retain(|_, at| at.elapsed() < PAUSE);
        let is_due = self.said.len() < REMEMBERED_MAX && !self.said.contains_key(what);
        if is_due {
            self.said.insert(what.to_owned(), Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_not_said_again_at_once_and_there_is_an_end_to_it() {
        let mut complaints = Complaints::default();
        assert!(complaints.is_due("one"));
        assert!(complaints.is_due("another"));
        assert!(!complaints.is_due("one"));
        let more = (0..2 * REMEMBERED_MAX).filter(|at| complaints.is_due(&at.to_string()));
        assert_eq!(more.count(), REMEMBERED_MAX - 2);
    }
}
