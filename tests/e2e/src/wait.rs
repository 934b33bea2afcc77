//! Waiting for what will happen: asked again and again, until it is there or the deadline passes.

use std::time::{Duration, Instant};

/// What a busy machine may take for anything that is not itself measured.
pub const LONG: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(10);

/// Asks until there is an answer, and gives it. After `within`, panics with the last reason why
/// there was none.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut ask: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = tokio::time::Instant::now() + within;
    let mut reason = "it did not answer".to_owned();
    loop {
        let asked = tokio::time::timeout_at(deadline, ask()).await;
        match asked.unwrap_or_else(|_| panic!("{what}: not within {within:?}: {reason}")) {
            Ok(found) => return found,
            Err(not_yet) => reason = not_yet,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The same without a runtime; `None` after `within`.
pub fn until<T>(within: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        match ask() {
            None if Instant::now() < deadline => std::thread::sleep(PAUSE),
            found => return found,
        }
    }
}
