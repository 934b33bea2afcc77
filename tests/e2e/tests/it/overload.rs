//! More calls than a cluster can carry: what it takes on, it does as fast as ever; the rest is
//! refused at once, with a time to come back, and memory does not grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::kv::Kv;
use quorate_e2e::{is_full, note, turn_alone};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::{Code, Status};

/// Closed loops that find the peak.
const CLIENTS: usize = 128;
const VALUE_BYTES: usize = 1024;
const OVERLOAD: u64 = 5;
/// Of a node that has as much to do as it takes on.
const RSS_KIB_MAX: u64 = 1024 * 1024;
/// Calls of the load that wait for their answers; a load that is not answered ends nowhere.
const OPEN_MAX: usize = 60_000;

/// What became of calls.
#[derive(Debug, Default)]
struct Tally {
    done: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
}

impl Tally {
    fn count<T>(&self, outcome: &Result<T, Status>) {
        let counter = match outcome {
            Ok(_) => &self.done,
            Err(status) if status.code() == Code::ResourceExhausted => {
                let pushback = status.metadata().get("grpc-retry-pushback-ms");
                assert!(pushback.is_some(), "no time to come back: {status:?}");
                &self.refused
            }
            Err(_) => &self.failed,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
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
    let connections: Vec<Kv> = (0..16).map(|_| cluster.kv(leader)).collect();
    closed(&connections, Duration::from_secs(2)).await;
    let peak = closed(&connections, lasts).await;
    let before = rss_kib(cluster.process(leader).id());
    let (tally, sent, most) =
        open(&connections, peak * OVERLOAD, lasts, || rss_kib(cluster.process(leader).id())).await;
    let accepted = tally.done() / lasts.as_secs();
    let offered = sent / lasts.as_secs();
    note(format_args!(
        "peak {peak}/s; offered {offered}/s, accepted {accepted}/s ({} %), {tally:?}; \
         RSS {before} KiB before, at most {most} KiB",
        accepted * 100 / peak,
    ));
    assert!(most < RSS_KIB_MAX, "memory grew to {most} KiB");
    assert!(accepted * 100 >= peak * 90, "{accepted} of {peak}");
}

/// Calls a second of clients that wait for each answer.
async fn closed(connections: &[Kv], lasts: Duration) -> u64 {
    let tally = Arc::<Tally>::default();
    let until = Instant::now() + lasts;
    let mut tasks = JoinSet::new();
    for client in 0..CLIENTS {
        let (kv, tally) = (connections[client % connections.len()].clone(), Arc::clone(&tally));
        tasks.spawn(async move {
            while Instant::now() < until {
                tally.count(&put(&kv, client).await);
            }
        });
    }
    tasks.join_all().await;
    tally.done() / lasts.as_secs()
}

async fn put(kv: &Kv, client: usize) -> Result<(), Status> {
    kv.put(format!("key {client}"), vec![b'x'; VALUE_BYTES]).await.map(drop)
}

/// Calls at a rate, whatever becomes of them; how many were sent, and the most of a measure.
async fn open(
    connections: &[Kv],
    rate: u64,
    lasts: Duration,
    measure: impl Fn() -> u64,
) -> (Arc<Tally>, u64, u64) {
    let tally = Arc::<Tally>::default();
    let mut ticks = interval(Duration::from_millis(10));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut tasks = JoinSet::new();
    let (mut sent, mut most) = (0, 0);
    let begun = Instant::now();
    while begun.elapsed() < lasts {
        ticks.tick().await;
        while tasks.try_join_next().is_some() {}
        let ms = u64::try_from(begun.elapsed().as_millis()).expect("a short time");
        let due = rate * ms / 1000;
        while sent < due && tasks.len() < OPEN_MAX {
            let client = usize::try_from(sent).expect("a small number");
            let (kv, tally) = (connections[client % connections.len()].clone(), Arc::clone(&tally));
            tasks.spawn(async move { tally.count(&put(&kv, client % 1000).await) });
            sent += 1;
        }
        most = most.max(measure());
    }
    tasks.abort_all();
    (tally, sent, most)
}

/// The memory that a process has in use.
fn rss_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
