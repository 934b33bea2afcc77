//! Queries that hold each other up, and many that do not.

use std::sync::Condvar;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use quorate_core::state::{
    Changes, MemoryState, Meta, Range, Space, StateStore, StateView, Value, Visit,
};
use tokio::task::JoinSet;

use super::*;

/// Keys of one letter: none that the plugin puts into keys itself.
const SLOW: u8 = b'~';
const QUICK: u8 = b'!';

/// A state in which reads of keys with [`SLOW`] wait until it is opened, and all are counted.
#[derive(Default)]
struct Gate {
    state: MemoryState,
    door: Arc<Door>,
}

#[derive(Default)]
struct Door {
    is_open: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
    snapshots: AtomicUsize,
}

impl Door {
    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

struct View(Arc<dyn StateView>, Arc<Door>);

impl StateStore for Gate {
    fn snapshot(&self) -> Arc<dyn StateView> {
        self.door.snapshots.fetch_add(1, Ordering::Relaxed);
        Arc::new(View(self.state.snapshot(), Arc::clone(&self.door)))
    }

    fn commit(&self, changes: &Changes, meta: Meta) -> Result<(), Fatal> {
        self.state.commit(changes, meta)
    }

    fn flush(&self) -> Result<(), Fatal> {
        self.state.flush()
    }
}

impl StateView for View {
    fn meta(&self) -> &Meta {
        self.0.meta()
    }

    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Value>, Fatal> {
        if key.contains(&SLOW) {
            self.1.waiting.fetch_add(1, Ordering::Relaxed);
            let is_open = self.1.is_open.lock().unwrap();
            drop(self.1.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
        }
        self.0.get(space, key)
    }

    fn scan(&self, space: Space, range: Range<'_>, visit: &mut Visit<'_>) -> Result<(), Fatal> {
        self.0.scan(space, range, visit)
    }
}

/// Opens the door at the latest when its test has failed: else the runtime would wait for ever.
struct Key(Arc<Door>);

impl std::ops::Deref for Key {
    type Target = Door;

    fn deref(&self) -> &Door {
        &self.0
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.open();
    }
}

fn pool() -> (Pool, Key) {
    let module = Module::load(quorate_modules::KV_MODULE).unwrap();
    let gate = Gate::default();
    let door = Key(Arc::clone(&gate.door));
    (Pool::new(Arc::new(gate), module, |fatal| panic!("{fatal}")), door)
}

/// A `kv.v1.Kv/Get` of a key of one letter.
fn get(pool: &Pool, key: u8) -> Command {
    let method = pool.0.module.manifest().methods().find(|method| method.path.ends_with("/Get"));
    Command::new(method.unwrap().id, Bytes::from(vec![0x0a, 1, key]))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_slow_queries_is_answered_before_they_are() {
    let (pool, door) = pool();
    let mut slow = JoinSet::new();
    for _ in 0..limits::QUERIES_RUNNING_MAX / 4 {
        let (pool, query) = (pool.clone(), get(&pool, SLOW));
        slow.spawn(async move { pool.query(query, 0).await });
    }
    while door.waiting.load(Ordering::Relaxed) < slow.len() {
        tokio::task::yield_now().await;
    }
    let begun = Instant::now();
    let found = pool.query(get(&pool, QUICK), 0).await;
    assert!(found.unwrap().1.is_ok(), "all runners were busy");
    // Its own patience, or that of one before it.
    let patience = Duration::from_millis(limits::QUERY_PATIENCE_MS);
    assert!(begun.elapsed() < patience * 1000, "{:?}", begun.elapsed());
    door.open();
    while let Some(found) = slow.join_next().await {
        assert!(found.unwrap().unwrap().1.is_ok());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_that_wait_share_a_snapshot_but_not_for_ever() {
    const SHARES: usize = 10;
    let (pool, door) = pool();
    // Behind one that does not end, with a runner for itself alone.
    let mut all = JoinSet::new();
    for _ in 0..pool.0.runners_min {
        let (pool, query) = (pool.clone(), get(&pool, SLOW));
        all.spawn(async move { pool.query(query, 0).await });
    }
    for _ in 0..SHARES * limits::QUERIES_PER_INSTANCE_MAX {
        let (pool, query) = (pool.clone(), get(&pool, QUICK));
        all.spawn(async move { pool.query(query, 0).await });
    }
    let count = all.len();
    door.open();
    while let Some(found) = all.join_next().await {
        assert!(found.unwrap().unwrap().1.is_ok());
    }
    let snapshots = door.snapshots.load(Ordering::Relaxed);
    assert!((SHARES..count).contains(&snapshots), "{snapshots} for {count}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_whose_caller_has_gone_is_not_run() {
    let (pool, door) = pool();
    door.open();
    let (answer, found) = oneshot::channel();
    drop(found);
    pool.0.push(Waiting { query: get(&pool, SLOW), index_min: 0, answer });
    assert!(pool.query(get(&pool, QUICK), 0).await.unwrap().1.is_ok());
    assert_eq!(door.waiting.load(Ordering::Relaxed), 0);
}
