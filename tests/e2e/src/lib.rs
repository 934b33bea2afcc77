//! What the tests of the binary are made of: processes, clusters, clients, and ways to wait.
//!
//! 1. [`binary`]: builds `quorate`, and runs it to its end
//! 2. [`process`]: runs it until it is stopped, or killed
//! 3. [`cluster`]: several that know each other, on [`ports`] of their own
//! 4. [`network`], made of [`proxy`]: how nodes reach each other, or do not; [`disk`]: small ones
//! 5. [`kv`]: a client, generated from the plugin's `.proto`; [`ledger`]: what it was promised;
//!    [`session`] and [`pipeline`]: the same of a node's own services
//! 6. [`book`]: the book's pages, as programs
//! 7. [`wait`]: for an event, with a deadline. Nothing sleeps and hopes
//!
//! What fails here panics, and what the processes logged is shown with it. Waiting for a process
//! blocks the thread: that is the test's own, while its clients run on those of its runtime.

pub mod binary;
pub mod book;
pub mod cluster;
pub mod disk;
pub mod kv;
pub mod ledger;
pub mod network;
pub mod pipeline;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod session;
pub mod wait;

use std::fmt;
use std::path::{Path, PathBuf};

use tokio::sync::{Semaphore, SemaphorePermit};

/// Tests that run at the same time, whatever the machine: each starts several processes, and what
/// some measure must not be the load of the others.
const SLOTS: u32 = 2;
static FREE: Semaphore = Semaphore::const_new(SLOTS as usize);

/// Waits for this test's turn.
pub async fn turn() -> SemaphorePermit<'static> {
    FREE.acquire().await.expect("never closed")
}

/// Waits until no other test runs, for those that measure.
pub async fn turn_alone() -> SemaphorePermit<'static> {
    FREE.acquire_many(SLOTS).await.expect("never closed")
}

/// Whether tests run in their full form, which takes minutes: whoever wants it sets
/// `QUORATE_FULL=1`.
pub fn is_full() -> bool {
    std::env::var_os("QUORATE_FULL").is_some_and(|value| value == "1")
}

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    root.expect("tests/e2e lies in the workspace").to_owned()
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// Says what a test has measured; shown with `--nocapture`, and when it fails.
#[expect(clippy::print_stderr, reason = "the test runner captures it")]
pub fn note(what: fmt::Arguments<'_>) {
    eprintln!("{what}");
}
