//! `quorate bench`, with loads that are too short to say anything: its tables, its JSON and its
//! pictures are there, and it leaves no process behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use quorate_e2e::binary::{Ran, quorate, run, run_within};
use quorate_e2e::kv::Kv;
use quorate_e2e::process::{Process, Signal};
use quorate_e2e::{ports, turn, wait};
use serde_json::Value;
use tempfile::TempDir;

use crate::dev;

/// What the shortest load takes, on a machine that is busy.
const BENCH_WAIT_MAX: Duration = Duration::from_mins(3);

/// A folder on a disk, where benches run.
fn folder() -> TempDir {
    tempfile::tempdir_in(quorate_e2e::binary::target_dir()).unwrap()
}

fn bench(name: &str, seconds: &str, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = quorate();
    command.current_dir(folder).args(["bench", name, "--json", "table.json"]);
    if name != "apply" {
        command.args(["--seconds", seconds]);
    }
    command.args(arguments);
    command
}

/// What is left of the servers that were started in a folder.
fn servers(folder: &Path) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    lines.filter(|line| line.contains(folder.to_str().unwrap())).collect()
}

/// Runs a bench, and gives its table of that name.
fn table(name: &str, table: &str, arguments: &[&str], pictures: &[&str]) -> Vec<Value> {
    let folder = folder();
    let command = bench(name, "0.2", folder.path(), arguments);
    let Ran { code, out, err } = run_within(command, BENCH_WAIT_MAX);
    assert_eq!(code, 0, "{err}");
    let machine = out.lines().find(|line| line.starts_with("machine ")).expect("what it ran on");
    assert!(machine.contains("cores"), "{out}");
    assert!(out.contains("fdatasync: p50") && out.contains("versions  quorate"), "{out}");
    let json: Value =
        serde_json::from_slice(&fs::read(folder.path().join("table.json")).unwrap()).unwrap();
    assert_eq!(json["bench"], *name);
    assert!(json["machine"]["fdatasync_p50_us"].as_f64().unwrap() > 0.0, "{json}");
    for picture in pictures {
        let path = folder.path().join(format!("target/bench/{picture}.svg"));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"), "{picture}");
    }
    assert_eq!(servers(folder.path()), Vec::<String>::new());
    let left: Vec<_> = fs::read_dir(folder.path().join("target/bench/data")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    json["tables"][table].as_array().unwrap().clone()
}

fn is_positive(row: &Value, figures: &[&str]) {
    for figure in figures {
        assert!(row[figure].as_f64().is_some_and(|value| value > 0.0), "{figure}: {row}");
    }
}

#[tokio::test]
async fn a_comparison_with_etcd_has_both_figures_and_their_ratio() {
    if Command::new("etcd").arg("--version").output().is_err() {
        // Where there is none, its lack must be said, and how to help it.
        let ran = run(&["bench", "etcd"]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.err.contains("apt-get install etcd-server"), "{ran:?}");
        return;
    }
    let _turn = turn().await;
    let arguments = ["--keys", "200", "--clients", "2", "--rounds", "1", "--nodes", "1,3"];
    let rows = table("etcd", "etcd", &arguments, &["etcd-1", "etcd-3"]);
    let calls: Vec<_> = rows.iter().map(|row| row["operation"].as_str().unwrap()).collect();
    assert_eq!(calls, ["get", "put", "get", "put"]);
    for row in &rows {
        is_positive(row, &["quorate_calls_per_second", "etcd_calls_per_second", "p50_ratio"]);
        is_positive(&row["rounds"][0]["etcd"], &["calls_per_second", "p50_us", "p99_us"]);
    }
}

#[tokio::test]
async fn a_matrix_has_a_row_for_each_of_its_cells() {
    let _turn = turn().await;
    let arguments = ["--keys", "200", "--clients", "1,2", "--value-bytes", "16"];
    let pictures = ["matrix-1-memory-16", "matrix-3-rocksdb-16"];
    let rows = table("matrix", "matrix", &arguments, &pictures);
    let key = |row: &Value| {
        let parts = ["nodes", "storage", "call", "clients"].map(|part| row[part].to_string());
        parts.join(" ")
    };
    let cells: BTreeSet<_> = rows.iter().map(key).collect();
    assert_eq!((rows.len(), cells.len()), (32, 32), "{cells:?}");
    for row in &rows {
        is_positive(row, &["calls_per_second", "p50_us", "p99_us", "max_us"]);
        assert_eq!(row["errors"], 0, "{row}");
    }
}

#[tokio::test]
async fn apply_is_measured_natively_and_in_the_sandbox_on_both_states() {
    let _turn = turn().await;
    let small = ["--keys", "200", "--rounds", "2", "--commands", "1,64", "--value-bytes", "16"];
    let pictures = ["counter-memory", "counter-rocksdb", "kv-16-memory", "kv-16-rocksdb"];
    let pictures = pictures.map(|picture| format!("apply-{picture}"));
    let rows = table("apply", "apply", &small, &pictures.each_ref().map(String::as_str));
    let kinds: Vec<_> = rows.iter().map(|row| (&row["plugin"], &row["state"])).collect();
    assert_eq!(kinds.len(), 8, "{kinds:?}");
    assert!(kinds.contains(&(&"counter".into(), &"memory".into())), "{kinds:?}");
    assert!(kinds.contains(&(&"kv".into(), &"rocksdb".into())), "{kinds:?}");
    for row in &rows {
        let programs = ["native", "warm", "fresh"];
        let times = programs.map(|program| format!("{program}_ns_per_command"));
        is_positive(row, &times.each_ref().map(String::as_str));
        is_positive(row, &["warm_ratio", "fresh_ratio", "fresh_commands_per_second"]);
    }
    let rows = table("apply", "integrity", &small, &[]);
    assert_eq!(rows.len(), 3);
    for row in &rows {
        is_positive(row, &["checks_percent_of_put", "checks_percent_of_apply"]);
        let times = ["checks", "apply", "put"].map(|time| format!("{time}_ns_per_command"));
        let times = times.map(|time| row[time].as_f64().unwrap());
        assert!(times.is_sorted(), "{row}");
    }
}

#[tokio::test]
async fn a_rate_is_kept_to() {
    let _turn = turn().await;
    let one = ["--keys", "200", "--clients", "8", "--value-bytes", "16", "--nodes", "1"];
    let put = ["--storage", "memory", "--calls", "put", "--rate", "100"];
    let rows = table("matrix", "matrix", &[&one[..], &put[..]].concat(), &["matrix-1-memory-16"]);
    // 20 calls in 0.2 s; on a machine that is busy, some may not have begun in time.
    let rate = rows[0]["calls_per_second"].as_f64().unwrap();
    assert!((1.0..=100.1).contains(&rate), "{rate}");
}

#[tokio::test]
async fn the_loads_of_the_beginning_and_batches_are_measured() {
    let _turn = turn().await;
    let arguments = ["--percent", "1", "--keys", "200", "--rounds", "1"];
    let rows = table("seed", "loads", &arguments, &["seed-loads", "seed-batching"]);
    // The two others, and four kinds of call together and apart.
    assert_eq!(rows.len(), 2 * (2 + 5));
    for row in &rows {
        is_positive(row, &["calls_per_second", "p99_us"]);
    }
    let only = ["--only", "batching", "--storage", "rocksdb"];
    let rows = table("seed", "batching", &[&arguments[..], &only].concat(), &["seed-batching"]);
    assert_eq!(rows.len(), 3);
    for row in &rows {
        is_positive(row, &["batched_puts_per_second", "puts_per_second_ratio"]);
    }
}

#[tokio::test]
async fn growth_is_measured_with_memory_and_start() {
    let _turn = turn().await;
    let small = ["--keys", "10,300", "--clients", "1,2", "--entries", "64,128"];
    let pictures = ["growth-state-memory", "growth-clients-throughput", "growth-log-start"];
    for (name, storages_that_start) in [("state", 1), ("clients", 0), ("log", 1)] {
        let rows = table("growth", name, &[&small[..], &["--only", name]].concat(), &[]);
        assert_eq!(rows.len(), 2 * 2, "{rows:?}");
        for row in &rows {
            is_positive(row, &["resident_mib", "puts_per_second"]);
        }
        let starts = rows.iter().filter(|row| row["start_ms"].as_f64().is_some_and(|ms| ms > 0.0));
        assert_eq!(starts.count(), 2 * storages_that_start, "{rows:?}");
    }
    table("growth", "log", &[&small[..], &["--storage", "rocksdb"]].concat(), &pictures);
}

#[tokio::test]
async fn many_puts_at_a_time_are_measured_in_each_way() {
    let _turn = turn().await;
    let arguments = ["--nodes", "1,3", "--at-once", "32"];
    let rows = table("pipeline", "pipeline", &arguments, &["pipeline"]);
    let ways: Vec<_> = rows.iter().map(|row| row["way"].as_str().unwrap()).collect();
    let streams = ["stream, bulk", "stream, calls", "stream, exactly once"];
    assert_eq!(ways, [&["in process"], &streams[..], &streams].concat());
    for row in &rows {
        is_positive(row, &["puts_per_second", "cpu_us_per_put", "p50_us"]);
        assert_eq!(row["errors"], 0, "{row}");
    }
}

fn is_stage(row: &Value, stage: &str) {
    assert_eq!(row["stage"], stage, "{row}");
    is_positive(row, &["commands", "p50_us", "p99_us", "mean_us"]);
    assert!(row["p50_us"].as_f64() <= row["p99_us"].as_f64(), "{row}");
}

const STAGES: [&str; 7] =
    ["queued", "proposed", "persisted", "committed", "applied", "replied", "total"];

#[tokio::test]
async fn the_stages_of_a_put_are_measured() {
    let _turn = turn().await;
    let arguments = ["--keys", "200", "--clients", "2", "--nodes", "1,3", "--storage", "memory"];
    let rows = table("stages", "stages", &arguments, &["stages"]);
    assert_eq!(rows.len(), 2 * (STAGES.len() + 1));
    for load in rows.chunks(STAGES.len() + 1) {
        let (client, stages) = load.split_last().unwrap();
        for (row, stage) in stages.iter().zip(STAGES) {
            is_stage(row, stage);
        }
        let means = stages.iter().map(|row| row["mean_us"].as_f64().unwrap());
        let (total, sum) = (means.clone().next_back().unwrap(), means.sum::<f64>() / 2.0);
        // Of nearly the same commands: those at the edges of the window are not in all stages.
        assert!((0.5..2.0).contains(&(sum / total)), "{stages:?}");
        assert_eq!(client["stage"], "client");
        assert!(client["mean_us"].as_f64().unwrap() > total / 2.0, "{load:?}");
    }
}

#[tokio::test]
async fn the_stages_of_commands_are_seen_on_nodes_that_run() {
    let _turn = turn().await;
    let (dev, addresses) = dev::start(&["--nodes", "3", "--listen", "127.0.0.1:0"]);
    let at = addresses.join(",");
    let here = folder();
    let ran = run_within(bench("stages", "0.1", here.path(), &["--at", &at]), BENCH_WAIT_MAX);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
    assert!(ran.err.contains("decided no command") && ran.err.contains("leads"), "{ran:?}");

    let kv = Kv::at(&addresses[0]);
    kv.put_eventually("before", "it is watched").await;
    let watch = bench("stages", "2", here.path(), &["--at", &at]);
    let watching = Process::start("a bench", watch);
    watching.logs(&["watching", "for 2s"]);
    let mut puts = 0_u64;
    while watching.said().is_empty() {
        kv.put("key", "value").await.unwrap();
        puts += 1;
    }
    let ran = watching.finish(wait::LONG);
    assert_eq!(ran.code, 0, "{ran:?}");
    let json = fs::read(here.path().join("table.json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let rows = json["tables"]["stages"].as_array().unwrap();
    let commands = rows[0]["commands"].as_u64().unwrap();
    assert!((1..=puts).contains(&commands), "{commands} of {puts} puts");
    for (row, stage) in rows.iter().zip(STAGES) {
        // One client: at most one command is within a stage when the counts are taken.
        let counted = row["commands"].as_u64().unwrap();
        assert!(counted.abs_diff(commands) <= 1, "{row}");
        is_stage(row, stage);
    }
    dev.kill();
}

#[tokio::test]
async fn a_signal_ends_a_bench_and_its_servers() {
    let _turn = turn().await;
    if Command::new("etcd").arg("--version").output().is_err() {
        return;
    }
    let folder = folder();
    let running = Process::start("a bench", bench("etcd", "600", folder.path(), &[]));
    let serves = || (servers(folder.path()).len() == 2).then_some(());
    wait::until(BENCH_WAIT_MAX, serves).expect("both servers are started");
    running.signal(Signal::Interrupt);
    let (code, _) = running.ends(wait::LONG);
    assert_eq!(code, Ok(130));
    assert_eq!(servers(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn an_error_ends_a_bench_and_its_servers() {
    let _turn = turn().await;
    let folder = folder();
    let nobody = ["--endpoints", &ports::local(ports::free())];
    let ran = run_within(bench("etcd", "600", folder.path(), &nobody), BENCH_WAIT_MAX);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
    assert!(ran.err.contains("cannot reach"), "{ran:?}");
    assert_eq!(servers(folder.path()), Vec::<String>::new());
}

#[test]
fn what_cannot_be_measured_is_refused_in_a_line() {
    for (arguments, problem) in [
        (["etcd", "--endpoints", "https://a:1"], "no TLS"),
        (["etcd", "--nodes", "9"], "--nodes"),
        (["etcd", "--clients", "0"], "--clients"),
        (["etcd", "--seconds", "soon"], "--seconds"),
        (["etcd", "--rate", "0"], "--rate"),
        (["matrix", "--calls", "post"], "--calls"),
        (["seed", "--percent", "0"], "--percent"),
        (["growth", "--keys", "10,10"], "--keys"),
        (["apply", "--commands", "4097"], "--commands"),
        (["stages", "--at", "there"], "--at"),
        (["etcd", "--dir", "/dev/shm"], "in memory"),
        (["etcd", "--dir", "/dev/null/x"], "--dir"),
    ] {
        let mut command = quorate();
        let (here, endpoints) = (folder(), ["--endpoints", "127.0.0.1:1"]);
        command.current_dir(here.path()).arg("bench").args(arguments);
        if arguments[0] == "etcd" && arguments[1] != "--endpoints" {
            command.args(endpoints);
        }
        let ran = run_within(command, wait::LONG);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}: {ran:?}");
        assert_eq!(ran.err.lines().count(), 1, "{arguments:?}: {ran:?}");
        assert!(ran.err.contains(problem), "{arguments:?}: {ran:?}");
    }
}
