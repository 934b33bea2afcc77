//! A replica that has become another than the rest: a bit of its state was changed under a right
//! checksum, as a broken memory would. It must find out by itself as soon as that bit matters.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use quorate::rocks::RocksState;
use quorate_core::state::{Key, Range, Space, StateStore as _, Writes};
use quorate_e2e::binary::run;
use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::process::Signal;
use quorate_e2e::{note, turn, wait};

use crate::standards::Health;
use crate::witness::Witness;

const CALLS: usize = 200;
const KEY: &str = "flipped";
const VALUE: &str = "a value with a bit to flip";
/// From the entry that shows the difference to the quarantine.
const QUARANTINE_MAX: Duration = Duration::from_secs(1);
/// What a loaded machine may take longer.
const SLACK: Duration = Duration::from_secs(2);
const STOP_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_differs_is_in_quarantine_until_it_has_a_snapshot() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(3, Log::RocksDb);
    let witness = Witness::start(&cluster);
    witness.goes_on(CALLS).await;
    let leader = cluster.kv(1).leader().await;
    let wrong = cluster.others(leader)[0];
    cluster.kv(leader).put_eventually(KEY, VALUE).await;
    assert_eq!(cluster.kv(wrong).get_eventually(KEY).await.as_deref(), Some(VALUE.as_bytes()));
    stop(&mut cluster, wrong);
    flip_a_bit(&cluster.data(wrong).join("state"));
    cluster.start_node(wrong);
    // It is what the disk says, and nobody can know yet.
    let served = cluster.kv(wrong).get_eventually(KEY).await.unwrap();
    assert_ne!(served, VALUE, "the bit is flipped");

    // The next put replies what was there before.
    let begun = Instant::now();
    let decided = cluster.kv(leader).put_eventually(KEY, "another").await;
    cluster.process(wrong).logs(&["ERROR", "state is in quarantine", "more nodes"]);
    let took = begun.elapsed();
    note(format_args!("in quarantine after {took:?}"));
    assert!(took < QUARANTINE_MAX + SLACK, "{took:?}");
    cluster.process(wrong).logs(&["ERROR", "the evidence is in"]);
    let evidence = evidence(&cluster.data(wrong));
    note(format_args!("{evidence:#}"));
    let found = &evidence["evidence"];
    assert_eq!(found["entry"].as_u64(), Some(decided.place.index));
    assert_eq!(found["is_exact"].as_bool(), Some(true));
    assert_eq!(found["digests_of_others"].as_array().map(Vec::len), Some(2));
    assert!(found["writes"].to_string().contains(KEY), "what it wrote there");

    // It asks the leader for a snapshot, and is sound again.
    cluster.process(wrong).logs(&["INFO", "a sound state again"]);
    cluster.kv(wrong).put_eventually(KEY, "through it").await;
    let value = cluster.kv(wrong).get_eventually(KEY).await;
    assert_eq!(value.as_deref(), Some(b"through it".as_slice()));
    let health = Health::at(cluster.address(wrong));
    wait::eventually("health", wait::LONG, async || health.serves("kv.v1.Kv", true).await).await;
    witness.all_serve(&cluster).await;
    witness.testify(&cluster).await;
}

/// It decides alone for as long as the others need to say otherwise; then another decides.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_differs_hands_over_and_is_sound_again_by_a_snapshot() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(3, Log::RocksDb);
    let witness = Witness::start(&cluster);
    witness.goes_on(CALLS).await;
    let leader = cluster.kv(1).leader().await;
    let [wrong, other] = cluster.others(leader)[..] else { unreachable!("three nodes") };
    cluster.kv(leader).put_eventually(KEY, VALUE).await;
    cluster.kv(wrong).get_eventually(KEY).await;
    stop(&mut cluster, wrong);
    flip_a_bit(&cluster.data(wrong).join("state"));
    cluster.start_node(wrong);
    let at = cluster.address(other).to_owned();
    wait::eventually("a transfer", wait::LONG, async || {
        let moved = run(&["member", "transfer", &wrong.to_string(), "--at", &at]);
        if moved.code == 0 { Ok(()) } else { Err(moved.err) }
    })
    .await;
    assert_eq!(cluster.kv(other).leader().await, wrong);

    // All that it decides now is about a state that the others do not have.
    let begun = Instant::now();
    cluster.kv(wrong).put_eventually(KEY, "another").await;
    cluster.process(wrong).logs(&["ERROR", "state is in quarantine", "more nodes"]);
    let took = begun.elapsed();
    note(format_args!("the leader is in quarantine after {took:?}"));
    assert!(took < QUARANTINE_MAX + SLACK, "{took:?}");
    wait::eventually("another leader", wait::LONG, async || {
        let next = cluster.kv(other).leader().await;
        if next == wrong { Err(format!("node {wrong} leads")) } else { Ok(()) }
    })
    .await;
    cluster.process(wrong).logs(&["INFO", "a sound state again"]);
    assert_eq!(cluster.kv(wrong).get_eventually(KEY).await.as_deref(), Some(&b"another"[..]));
    witness.all_serve(&cluster).await;
    witness.testify(&cluster).await;
}

fn stop(cluster: &mut Cluster, node: u64) {
    let process = cluster.take(node);
    process.signal(Signal::Terminate);
    assert_eq!(process.finish(STOP_MAX).code, 0);
}

/// Changes the value in a state that nobody has open, as nothing but broken hardware would.
fn flip_a_bit(folder: &Path) {
    let state = RocksState::open(folder).unwrap();
    let view = state.snapshot();
    let mut flipped = Writes::new();
    let scanned = view.scan(Space::Plugin, Range::ALL, &mut |key, value| {
        let place = value.windows(VALUE.len()).position(|part| part == VALUE.as_bytes());
        if let Some(at) = place {
            let mut value = value.to_vec();
            value[at] ^= 1;
            flipped.insert(Key::from_slice(key), Some(value.into()));
        }
        ControlFlow::Continue(())
    });
    scanned.unwrap();
    assert!(!flipped.is_empty(), "the value is not in the state");
    state.commit(&flipped.into(), view.meta().clone()).unwrap();
    state.flush().unwrap();
}

/// The content of the one file of evidence.
fn evidence(folder: &Path) -> serde_json::Value {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_evidence = |path: &std::path::PathBuf| {
        path.file_name().unwrap().to_string_lossy().starts_with("quarantine-")
    };
    let files: Vec<_> = entries.filter(is_evidence).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    serde_json::from_slice(&fs::read(&files[0]).unwrap()).unwrap()
}
