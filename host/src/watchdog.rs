//! Notices that the raft thread does not come back from its disk. Such a node sends no heartbeats,
//! so others elect a leader; but it cannot hear of that, and believes to lead. This says so in its
//! place: nobody is left to wait for it, and calls go to other nodes until the disk is back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use quorate_core::replica::Status;
use tokio::sync::watch;

use crate::clock;

/// When the round under way began, in microseconds; 0 while there is none.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// A round begins.
    pub fn begin(&self) {
        self.0.store(micros(clock::now()).max(1), Ordering::Relaxed);
    }

    /// It has ended.
    pub fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// The same, for who watches it: gone with consensus.
    pub fn watched(&self) -> Watched {
        Watched(Arc::downgrade(&self.0))
    }

    /// For how long the round under way has lasted by `now`.
    fn lasts(&self, now: Duration) -> Duration {
        match self.0.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            begun => Duration::from_micros(micros(now).saturating_sub(begun)),
        }
    }
}

/// A pulse that somebody else keeps.
#[derive(Debug)]
pub struct Watched(Weak<AtomicU64>);

impl Watched {
    fn get(&self) -> Option<Pulse> {
        self.0.upgrade().map(Pulse)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Looks at the pulse again and again, until consensus ends. Rounds that last for `patience` or
/// longer are too long: by then, others elect.
pub async fn watch(
    watched: Watched,
    patience: Duration,
    status: watch::Sender<Status>,
    stalled: watch::Sender<bool>,
) {
    let mut looks = tokio::time::interval(patience / 10);
    loop {
        looks.tick().await;
        let Some(pulse) = watched.get() else { return };
        let is_stalled = pulse.lasts(clock::now()) >= patience;
        let changed =
            stalled.send_if_modified(|was| std::mem::replace(was, is_stalled) != is_stalled);
        if is_stalled {
            // Consensus itself sets it right with its next round.
            status.send_if_modified(|status| {
                status.leads = false;
                status.leader.take().is_some()
            });
        }
        match (changed, is_stalled) {
            (true, true) => tracing::error!(
                "consensus has not come back from its disk for {patience:?}: this node leads \
                 nobody until it does"
            ),
            (true, false) => tracing::warn!("the disk is back"),
            (false, _) => {}
        }
    }
}

/// Resolves when consensus is stalled.
pub async fn stalls(mut stalled: watch::Receiver<bool>) {
    if stalled.wait_for(|stalled| *stalled).await.is_err() {
        // The node stops; whoever waits is told so elsewhere.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_watch_ends_with_consensus_and_lets_go_of_the_status() {
        let (status, seen) = watch::channel(Status::default());
        let pulse = Pulse::default();
        let watching =
            watch(pulse.watched(), Duration::from_millis(10), status, watch::Sender::default());
        drop(pulse);
        watching.await;
        assert!(seen.has_changed().is_err(), "nobody can say anything of it any more");
    }

    #[test]
    fn only_a_round_under_way_lasts() {
        let pulse = Pulse::default();
        assert_eq!(pulse.lasts(clock::now()), Duration::ZERO);
        pulse.begin();
        let later = clock::now() + Duration::from_secs(5);
        assert!(pulse.lasts(later) >= Duration::from_secs(4));
        pulse.end();
        assert_eq!(pulse.lasts(later), Duration::ZERO);
    }
}
