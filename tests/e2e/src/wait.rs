//! Waiting for what will happen: asked again and again, until it is there or the deadline passes.
//! What is waited for happens in other processes, which have no way to tell; the only pauses of the
//! tests' clients are here.

use std::time::{Duration, Instant};

/// What a busy machine may take for anything that is not itself measured.
pub const LONG: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(10);

/// What a client does that was refused, before it tries again: so that it is not all that runs.
pub async fn back_off() {
    tokio::time::sleep(PAUSE).await;
}

/// Asks until there is an answer, and gives it. After `within`, panics with the last reason why
/// there was none.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut ask: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let deadline = tokio::time::Instant::now() + within;
    loop {
        let reason = match tokio::time::timeout_at(deadline, ask()).await {
            Ok(Ok(found)) => return found,
            Ok(Err(reason)) => reason,
            Err(late) => late.to_string(),
        };
        let is_late = tokio::time::Instant::now() >= deadline;
        assert!(!is_late, "{what}: not within {within:?}: {reason}");
        back_off().await;
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
