//! `quorate snapshot`: what is saved from a running cluster is all of it, sound, and there as a
//! whole or not at all.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use quorate_e2e::binary::{Ran, quorate, run, run_command};
use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::disk::Disks;
use quorate_e2e::kv::Kv;
use quorate_e2e::ledger::{Ledger, Load};
use quorate_e2e::process::{Process, Signal};
use quorate_e2e::{is_full, noise, note, ports, turn, turn_alone, wait};
use serde_json::Value;

/// A value that fills a chunk and does not compress.
const LARGE_BYTES: usize = 512 * 1024;
const LARGE_VALUES: usize = 48;
const MEGABYTE: usize = 1_000_000;
const END_MAX: Duration = Duration::from_secs(30);

fn save_command(address: &str, file: &Path) -> Command {
    let mut command = quorate();
    // The first of the list is not there.
    let at = format!("{},{address}", ports::local(ports::free()));
    command.args(["snapshot", "save", "--at", &at, "-o", "json"]).arg(file);
    command
}

/// What a command that went well says.
pub(crate) fn report(ran: &Ran) -> Value {
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{ran:?}");
    serde_json::from_str(&ran.out).unwrap()
}

pub(crate) fn save(address: &str, file: &Path) -> Value {
    report(&run_command(save_command(address, file)))
}

fn verify(file: &Path) -> Ran {
    run(&["snapshot", "verify", "-o", "json", file.to_str().unwrap()])
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).collect()
}

/// Values that do not compress, more than any buffer on the way holds.
async fn put_large_values(kv: &Kv) {
    for number in 0..LARGE_VALUES {
        let value = noise(number as u64, LARGE_BYTES);
        kv.put(format!("large {number}"), value).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_node_saves_all_that_was_acknowledged_while_clients_write() {
    let _turn = turn().await;
    let ledger = Ledger::new();
    let cluster = Cluster::start(3, Log::RocksDb);
    let folder = tempfile::tempdir().unwrap();
    let load = Load::start(&ledger, cluster.ids().map(|node| cluster.kv(node)));
    ledger.grows_by(200).await;
    for node in cluster.ids() {
        let file = folder.path().join(format!("{node}"));
        let acknowledged = ledger.len() as u64;
        let place = cluster.kv(node).put_eventually("before", &node.to_string()).await.place;
        let saved = save(cluster.address(node), &file);
        assert!(saved["index"].as_u64().unwrap() >= place.index, "{saved} at {place:?}");
        assert!(saved["records"].as_u64().unwrap() >= acknowledged, "{saved} of {acknowledged}");
        assert_eq!(saved["bytes"], fs::metadata(&file).unwrap().len());
        assert_eq!(report(&verify(&file)), saved, "what is read is what was saved");
    }
    load.stop().await;

    // While nobody writes, all nodes save the same, to the byte.
    let same = wait::eventually("the same state on all nodes", wait::LONG, async || {
        let files: Vec<_> =
            cluster.ids().map(|node| folder.path().join(format!("q{node}"))).collect();
        let mut indexes = Vec::new();
        for (node, file) in cluster.ids().zip(&files) {
            drop(fs::remove_file(file));
            indexes.push(save(cluster.address(node), file)["index"].clone());
        }
        let is_one = indexes.iter().all(|index| *index == indexes[0]);
        if is_one { Ok(files) } else { Err(format!("{indexes:?}")) }
    });
    let contents: Vec<_> = same.await.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(contents.iter().all(|content| *content == contents[0]), "they differ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_there_is_not_replaced_and_a_damaged_one_is_refused() {
    let _turn = turn().await;
    let cluster = Cluster::start(1, Log::RocksDb);
    cluster.kv(1).put_eventually("key", "value").await;
    put_large_values(&cluster.kv(1)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved");
    let saved = save(cluster.address(1), &file);
    let refused = run_command(save_command(cluster.address(1), &file));
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("--force"), "{}", refused.err);
    let mut forced = save_command(cluster.address(1), &file);
    forced.arg("--force");
    assert_eq!(report(&run_command(forced))["digest"], saved["digest"]);

    let sound = fs::read(&file).unwrap();
    let damaged = folder.path().join("damaged");
    let refused = |content: &[u8], place: &str| {
        fs::write(&damaged, content).unwrap();
        let ran = verify(&damaged);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
        assert!(ran.err.contains(place), "no {place:?} in {}", ran.err);
    };
    let third = sound.len() / 3;
    let mut flipped = sound.clone();
    flipped[third] ^= 4;
    refused(&flipped, "its checksum does not match");
    refused(&sound[..third], "is cut off");
    refused(&sound[..0], "the header is cut off");
    refused(&[&sound[..], b"."].concat(), "the file goes on");
    refused(b"some other file that is long enough to have a head", "does not begin as one");
    let ran = run(&["snapshot", "verify", folder.path().join("none").to_str().unwrap()]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert_eq!(report(&verify(&file))["digest"], saved["digest"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_save_that_is_broken_off_leaves_nothing_behind() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(1, Log::RocksDb);
    cluster.kv(1).put_eventually("key", "value").await;
    put_large_values(&cluster.kv(1)).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("saved");

    // Stopped in the middle: the node cannot have sent all of it.
    let under_way = || {
        let process = Process::start("a save", save_command(cluster.address(1), &file));
        let partial = folder.path().join("saved.partial");
        let has_begun = || fs::metadata(&partial).ok().filter(|partial| partial.len() > 0);
        wait::until(wait::LONG, has_begun).expect("it begins");
        process.signal(Signal::Stop);
        assert!(!file.exists(), "it was faster than this test: make the state larger");
        process
    };
    let process = under_way();
    process.signal(Signal::Interrupt);
    process.signal(Signal::Continue);
    let ran = process.finish(END_MAX);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(names(folder.path()).is_empty(), "{:?}", names(folder.path()));

    let process = under_way();
    cluster.kill(1);
    process.signal(Signal::Continue);
    let ran = process.finish(END_MAX);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
    assert!(names(folder.path()).is_empty(), "{:?}", names(folder.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_takes_no_half_file() {
    let _turn = turn().await;
    let cluster = Cluster::start(1, Log::RocksDb);
    cluster.kv(1).put_eventually("key", "value").await;
    put_large_values(&cluster.kv(1)).await;
    let folder = tempfile::tempdir().unwrap();
    let disks = Disks::mount(&[folder.path().to_owned()], 8);
    let save = save_command(cluster.address(1), &folder.path().join("saved"));
    let ran = run_command(disks.within(&save));
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
    assert!(ran.err.contains("No space left on device"), "{}", ran.err);
    let mut list = Command::new("ls");
    list.arg("-A").arg(folder.path());
    assert_eq!(run_command(disks.within(&list)).out, "", "something is left");
}

/// The most memory that a process has had at once, in MiB; `None` when it has ended.
fn peak_mebibytes(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().unwrap() / 1024)
}

/// Many texts as programs write them, in large values.
async fn put_texts(kv: &Kv, megabytes: usize) {
    let text = |number: usize| {
        let user = number.wrapping_mul(2_654_435_761) % 1_000_003;
        let day = number % 28 + 1;
        format!(
            "{{\"id\":{number},\"user\":\"user-{user}\",\"mail\":\"u{user}@example.com\",\
             \"active\":{},\"updated\":\"2026-11-{day:02}T10:00:00Z\",\"sum\":{user}.{day:02}}}",
            number.is_multiple_of(3)
        )
    };
    for megabyte in 0..megabytes {
        let begin = megabyte * 8_000;
        let mut value: String = (begin..begin + 8_000).map(text).collect();
        value.truncate(MEGABYTE);
        kv.put(format!("texts {megabyte:06}"), value).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_state_is_saved_in_little_memory() {
    let _turn = turn_alone().await;
    let megabytes = if is_full() { 1_000 } else { 100 };
    let cluster = Cluster::start(1, Log::RocksDb);
    cluster.kv(1).put_eventually("key", "value").await;
    put_texts(&cluster.kv(1), megabytes).await;
    let folder = tempfile::tempdir().unwrap();
    let node = cluster.process(1).id();
    let node_before = peak_mebibytes(node).unwrap();

    let begun = Instant::now();
    let process =
        Process::start("a save", save_command(cluster.address(1), &folder.path().join("saved")));
    let mut peak = 0;
    while let Some(now) = peak_mebibytes(process.id()) {
        peak = now;
    }
    let saved = report(&process.finish(END_MAX));
    let took = begun.elapsed();
    let node_more = peak_mebibytes(node).unwrap() - node_before;
    note(format_args!(
        "{megabytes} MB in {took:?}, {} MB/s, to {} bytes; at most {peak} MiB of memory, and \
         {node_more} MiB more than before in the node",
        1000 * megabytes as u128 / took.as_millis(),
        saved["bytes"],
    ));
    assert!(peak < 64, "{peak} MiB");
    // The cache of blocks fills up to its 64 MiB.
    assert!(node_more < 128, "{node_more} MiB");
}
