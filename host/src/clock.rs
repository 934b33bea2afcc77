//! The clock of leases: one that is never set, and goes on while the machine sleeps. The standard
//! library's stands still then, and a leader that wakes up would believe in a lease long over.

use std::sync::LazyLock;
use std::time::Duration;

use boot_time::Instant;

static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The time since some moment early in this process.
pub fn now() -> Duration {
    let begin = *BEGIN;
    begin.elapsed()
}
