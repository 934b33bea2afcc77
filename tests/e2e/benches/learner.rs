//! What clients notice while a snapshot of a large state goes to a new learner: `cargo bench
//! --package quorate-e2e --bench learner [-- MIB [PUTS_PER_S]]`.
//!
//! Three nodes with disks, each a process, and a fourth that joins, is caught up, and is removed
//! again, in rounds: the same load before, during and after each transfer, so that what is compared
//! was measured in the same minutes. The load is open: a put is due at its time, whether the one
//! before it was answered or not, and that is when its clock starts. All share this machine's cores
//! and its one disk, so the learner's own work is in the figures: on machines of their own there
//! would be less to notice.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use quorate_e2e::binary::run;
use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::kv::Kv;
use quorate_e2e::{noise, wait};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time;

const ROUNDS: u64 = 3;
const STATE_MIB: usize = 1024;
const PUTS_PER_S: u32 = 1000;
/// Each on a connection of its own.
const WRITERS: u32 = 8;
const LARGE_BYTES: usize = 16 * 1024;
const SMALL_BYTES: usize = 256;
/// How long the load is measured without a transfer.
const CALM: Duration = Duration::from_secs(15);
const TRANSFER_MAX: Duration = Duration::from_mins(5);
/// Less than this much behind, a learner follows.
const BEHIND_MAX: u64 = 2000;

fn main() -> anyhow::Result<()> {
    // cargo bench adds arguments of its own.
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let state_mib: usize = numbers.next().unwrap_or(STATE_MIB);
    let rate: u32 = numbers.next().map_or(PUTS_PER_S, |rate| rate.try_into().unwrap_or(u32::MAX));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run_rounds(state_mib, rate.clamp(WRITERS, 1_000_000)))
}

async fn run_rounds(state_mib: usize, rate: u32) -> anyhow::Result<()> {
    let mut cluster = Cluster::founded_by(3, 3 + usize::try_from(ROUNDS)?, Log::RocksDb);
    for node in 1..=3 {
        cluster.launch(node, cluster.command(node));
    }
    for node in 1..=3 {
        cluster.process(node).says("ready ");
    }
    let leader = cluster.kv(1).leader().await;
    say(format_args!("{state_mib} MiB of values that do not compress, {rate} puts/s of 256 B"));
    fill(&cluster.kv(leader), state_mib).await?;
    say(format_args!("{:8}{:10}{:>9}{:>9}{:>9}{:>9}", "round", "", "puts", "p50 ms", "p99", "max"));
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let learner = 3 + round;
        let before = load(&cluster, leader, rate, time::sleep(CALM)).await?;
        before.print(round, "before");
        let begun = Instant::now();
        change(&cluster, leader, &["add", &learner.to_string(), cluster.peer_address(learner)])?;
        cluster.launch(learner, cluster.join_command(learner, Some(leader)));
        let during = load(&cluster, leader, rate, caught_up(&cluster, leader, learner)).await?;
        let took = begun.elapsed();
        during.print(round, "during");
        let rate_mib = f64::from(u32::try_from(state_mib)?) / took.as_secs_f64();
        change(&cluster, leader, &["remove", &learner.to_string()])?;
        drop(cluster.take(learner));
        std::fs::remove_dir_all(cluster.data(learner))?;
        let after = load(&cluster, leader, rate, time::sleep(CALM)).await?;
        after.print(round, "after");
        let calm = (before.at(99) + after.at(99)) / 2;
        let ratio = during.at(99).as_secs_f64() / calm.as_secs_f64();
        say(format_args!("p99 {ratio:.2} times; {:.1} s, {rate_mib:.0} MiB/s", took.as_secs_f64()));
        ratios.push(ratio);
    }
    ratios.sort_unstable_by(f64::total_cmp);
    say(format_args!("p99 while a learner is caught up: {:.2} times (median)", ratios[1]));
    Ok(())
}

/// Values that do not compress, and keys in their order.
async fn fill(kv: &Kv, mebibytes: usize) -> anyhow::Result<()> {
    let count = mebibytes * 1024 * 1024 / LARGE_BYTES;
    let mut tasks = JoinSet::new();
    for part in 0..16 {
        let kv = kv.clone();
        tasks.spawn(async move {
            for number in (part..count).step_by(16) {
                let value = Bytes::from(noise(number as u64, LARGE_BYTES));
                kv.put(format!("large {number:08}"), value).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done?.context("filling the state")?;
    }
    Ok(())
}

/// The times that puts took, sorted.
struct Times(Vec<Duration>);

impl Times {
    fn at(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }

    fn print(&self, round: u64, when: &str) {
        let ms = |percent| self.at(percent).as_secs_f64() * 1000.0;
        let (median, most, worst) = (ms(50), ms(99), ms(100));
        let count = self.0.len();
        say(format_args!("{round:<8}{when:10}{count:>9}{median:>9.2}{most:>9.2}{worst:>9.2}"));
    }
}

/// Puts at a rate until something is done.
async fn load(
    cluster: &Cluster,
    leader: u64,
    rate: u32,
    until: impl Future<Output = ()>,
) -> anyhow::Result<Times> {
    let (over, is_over) = watch::channel(false);
    let every = Duration::from_secs(1) * WRITERS / rate;
    let begun = time::Instant::now();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (kv, is_over) = (cluster.kv(leader), is_over.clone());
        writers.spawn(async move {
            let mut due = begun + every * writer / WRITERS;
            let mut calls = JoinSet::new();
            let mut number = 0_u32;
            while !*is_over.borrow() {
                time::sleep_until(due).await;
                let (kv, clock) = (kv.clone(), due);
                let key = format!("small {writer} {}", number % 10_000);
                calls.spawn(async move {
                    kv.put(key, vec![7; SMALL_BYTES]).await.map(|_| clock.elapsed())
                });
                number += 1;
                due += every;
            }
            calls.join_all().await
        });
    }
    until.await;
    over.send(true).context("writers end last")?;
    let mut times = Vec::new();
    while let Some(done) = writers.join_next().await {
        for took in done? {
            times.push(took.context("a put failed")?);
        }
    }
    times.sort_unstable();
    Ok(Times(times))
}

/// Waits until a learner follows.
async fn caught_up(cluster: &Cluster, leader: u64, learner: u64) {
    wait::eventually("a learner that follows", TRANSFER_MAX, async || {
        let seen = cluster.status(leader);
        let nodes = seen["nodes"].as_array().expect("a list");
        let applied = |id: u64| nodes.iter().find(|node| node["id"] == id)?["applied"].as_u64();
        match (applied(leader), applied(learner)) {
            (Some(leads), Some(learns)) if learns + BEHIND_MAX >= leads => Ok(()),
            _ => Err(seen.to_string()),
        }
    })
    .await;
}

fn change(cluster: &Cluster, at: u64, arguments: &[&str]) -> anyhow::Result<()> {
    for _ in 0..100 {
        let mut all = vec!["member"];
        all.extend(arguments);
        all.extend(["--at", cluster.address(at), "-o", "json"]);
        let ran = run(&all);
        match ran.code {
            0 => return Ok(()),
            4 => {}
            _ => anyhow::bail!("{arguments:?}: {}", ran.out),
        }
    }
    anyhow::bail!("{arguments:?}: always later")
}

#[expect(clippy::print_stdout, reason = "the result")]
fn say(line: std::fmt::Arguments<'_>) {
    println!("{line}");
}
