//! More calls than a cluster can carry: what it takes on, it does as fast as ever; the rest is
//! refused at once, with a time to come back, and memory does not grow.
//!
//! The load is callers who come back when they are told to, five times as many as a node takes on
//! at a time. They run on the cores that the nodes run on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::kv::Kv;
use quorate_e2e::{is_full, note, turn_alone};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tonic::{Code, Status};

/// Callers that find the peak: the best of these numbers of them.
const CALLERS: [usize; 3] = [128, 512, 2048];
/// As many times as a node takes calls on, see `CALLS_MAX`.
const OVERLOAD: usize = 5;
const CALLS_MAX: usize = 4096;
const CONNECTIONS: usize = 32;
const VALUE_BYTES: usize = 1024;
/// Of a node that has as much to do as it takes on.
const RSS_KIB_MAX: u64 = 1024 * 1024;

/// What became of calls.
#[derive(Debug, Default)]
struct Tally {
    done: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

impl Tally {
    /// Counts an outcome; says when the caller may come back, if it was refused.
    fn count<T>(&self, outcome: &Result<T, Status>) -> Option<Duration> {
        let mut after = None;
        let counter = match outcome {
            Ok(_) => &self.done,
            Err(status) if status.code() == Code::ResourceExhausted => {
                let pushback = status.metadata().get("grpc-retry-pushback-ms");
                let ms = pushback.and_then(|ms| ms.to_str().ok()?.parse().ok());
                after = Some(Duration::from_millis(ms.expect("a time to come back")));
                &self.refused
            }
            Err(_) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        after
    }
}

/// It measures, so it runs alone, and in the full form only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_times_the_load_leaves_throughput_and_memory_as_they_are() {
    if !is_full() {
        return;
    }
    let _turn = turn_alone().await;
    let lasts = Duration::from_secs(8);
    let cluster = Cluster::start(3, Log::RocksDb);
    let leader = cluster.kv(1).leader().await;
    let process = cluster.process(leader).id();
    let connections: Vec<Kv> = (0..CONNECTIONS).map(|_| cluster.kv(leader)).collect();
    let mut peak = 0;
    for callers in CALLERS {
        let tally = load(&connections, callers, lasts).await;
        let done = tally.done.load(Ordering::Relaxed) / lasts.as_secs();
        note(format_args!("{callers} callers: {done}/s, {tally:?}"));
        peak = peak.max(done);
    }
    let before = rss_kib(process);
    let tally = load(&connections, OVERLOAD * CALLS_MAX, lasts).await;
    let after = rss_kib(process);
    let done = tally.done.load(Ordering::Relaxed) / lasts.as_secs();
    note(format_args!(
        "{} callers: {done}/s ({} %), {tally:?}; RSS {before} KiB before, {after} KiB after",
        OVERLOAD * CALLS_MAX,
        done * 100 / peak,
    ));
    assert!(tally.refused.load(Ordering::Relaxed) > 0, "it was no overload");
    assert_eq!(tally.failed.load(Ordering::Relaxed), 0);
    assert!(after < RSS_KIB_MAX, "memory grew to {after} KiB");
    // How fast is for people to read: what else runs on the machine decides it too.
}

/// What becomes of calls of so many callers, each of whom waits for its answer, and, when it is
/// refused, for as long as it is told. They are counted once all of them have begun.
async fn load(connections: &[Kv], callers: usize, lasts: Duration) -> Arc<Tally> {
    let tally = Arc::<Tally>::default();
    let from = Instant::now() + Duration::from_secs(3);
    let until = from + lasts;
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let kv = connections[caller % connections.len()].clone();
        let tally = Arc::clone(&tally);
        tasks.spawn(async move {
            let early = Tally::default();
            while Instant::now() < until {
                let outcome = put(&kv, caller % 1000).await;
                let now = Instant::now();
                let is_counted = from < now && now < until;
                let counts = if is_counted { &*tally } else { &early };
                if let Some(after) = counts.count(&outcome) {
                    sleep_until((now + after).min(until)).await;
                }
            }
        });
    }
    tasks.join_all().await;
    tally
}

async fn put(kv: &Kv, client: usize) -> Result<(), Status> {
    kv.put(format!("key {client}"), vec![b'x'; VALUE_BYTES]).await.map(drop)
}

/// The memory that a process has in use.
fn rss_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
