//! What clients were promised, and whether it was kept.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::task::JoinSet;
use tonic::Status;

use crate::kv::v1::{KeyValue, RangeRequest};
use crate::kv::{CALL_WAIT_MAX, Kv, unavailable, was_not_executed};
use crate::wait;

/// All keys of a ledger begin with this, and so lie before [`KEYS_END`].
const KEYS_BEGIN: &str = "ledger/";
const KEYS_END: &str = "ledger0";

/// The writes that were acknowledged.
#[derive(Debug, Default)]
pub struct Ledger {
    written: Mutex<BTreeMap<Bytes, Written>>,
    /// The keys whose writes were said not to be executed.
    refused: Mutex<Vec<Bytes>>,
    /// The highest revision that any reply had.
    revision: AtomicU64,
    next_key: AtomicU64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Written {
    value: Bytes,
    revision: u64,
}

impl Ledger {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// How many writes were acknowledged.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether nothing was acknowledged yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes a new key, and notes it down if it was acknowledged.
    pub async fn write(&self, kv: &Kv) -> Result<(), Status> {
        let number = self.next_key.fetch_add(1, Ordering::Relaxed);
        let key = Bytes::from(format!("{KEYS_BEGIN}{number:08}"));
        let value = Bytes::from(format!("value {number}"));
        let put = kv.put(key.clone(), value.clone()).await;
        let reply = put.inspect_err(|status| {
            if was_not_executed(status) {
                self.refused.lock().unwrap_or_else(PoisonError::into_inner).push(key.clone());
            }
        })?;
        assert_eq!(reply.message.prev_kv, None, "{key:?} is new");
        let revision = reply.message.revision;
        self.revision.fetch_max(revision, Ordering::Relaxed);
        self.lock().insert(key, Written { value, revision });
        Ok(())
    }

    /// Waits until so many more writes were acknowledged.
    pub async fn grows_by(&self, more: usize) {
        let enough = self.len() + more;
        wait::eventually("acknowledged writes", wait::LONG, async || match self.len() {
            len if len >= enough => Ok(()),
            len => Err(format!("{len} of {enough}")),
        })
        .await;
    }

    /// Reads everything back from a node, as soon as it answers: each write that was acknowledged
    /// before is there as it was acknowledged, none is there that was said not to be executed, and
    /// the store's revision has not gone back.
    pub async fn check(&self, kv: &Kv) {
        let acknowledged = self.lock().clone();
        let revision_before = self.revision.load(Ordering::Relaxed);
        let (found, revision) = read_all(kv).await;
        assert!(revision >= revision_before, "revision {revision} after {revision_before}");
        self.revision.fetch_max(revision, Ordering::Relaxed);
        for (key, written) in acknowledged {
            let found = found.get(&key);
            assert_eq!(found, Some(&written), "{key:?} was acknowledged as on the right");
        }
        for key in self.refused.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            assert_eq!(found.get(key), None, "{key:?} was said not to be executed");
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Bytes, Written>> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All keys of a ledger that a node has, page by page.
async fn read_all(kv: &Kv) -> (BTreeMap<Bytes, Written>, u64) {
    let mut found = BTreeMap::new();
    let mut start = Bytes::from(KEYS_BEGIN);
    loop {
        let end = Bytes::from(KEYS_END);
        let request = RangeRequest { start: start.clone(), end, ..RangeRequest::default() };
        let page = wait::eventually("a Range", wait::LONG, async || {
            kv.range(request.clone()).await.map_err(|status| unavailable(&status))
        });
        let page = page.await.message;
        if let Some(last) = page.kvs.last() {
            start = [&*last.key, b"\0"].concat().into();
        }
        for KeyValue { key, value, mod_revision: revision, .. } in page.kvs {
            found.insert(key, Written { value, revision });
        }
        if !page.more {
            return (found, page.revision);
        }
    }
}

/// Clients that write without a pause until they are told to stop.
#[derive(Debug)]
pub struct Load {
    clients: JoinSet<()>,
    stopped: Arc<AtomicBool>,
}

impl Load {
    /// Starts them.
    pub fn start(ledger: &Arc<Ledger>, clients: impl IntoIterator<Item = Kv>) -> Self {
        let stopped = Arc::<AtomicBool>::default();
        let mut tasks = JoinSet::new();
        for kv in clients {
            tasks.spawn(write_on(Arc::clone(ledger), kv, Arc::clone(&stopped)));
        }
        Self { clients: tasks, stopped }
    }

    /// Stops them, and waits for the calls that are under way.
    pub async fn stop(mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client does not panic");
        }
    }
}

async fn write_on(ledger: Arc<Ledger>, kv: Kv, stopped: Arc<AtomicBool>) {
    while !stopped.load(Ordering::Relaxed) {
        let written = tokio::time::timeout(2 * CALL_WAIT_MAX, ledger.write(&kv)).await;
        if written.expect("every call has an end").is_err() {
            wait::back_off().await;
        }
    }
}
