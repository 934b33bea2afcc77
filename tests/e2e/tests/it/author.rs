//! `quorate dev DIR`: an author's session, with saves that work and saves that do not.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use quorate_e2e::binary::{quorate, run};
use quorate_e2e::process::{Process, Signal};
use quorate_e2e::{note, turn, turn_alone};
use serde_json::Value;
use tempfile::TempDir;

/// A plugin's dependencies may have to be built first.
const BUILD_WAIT_MAX: Duration = Duration::from_mins(5);
const CALL_PAUSE: Duration = Duration::from_millis(50);
const STOP_WAIT_MAX: Duration = Duration::from_secs(10);

/// A crate of one's own, with counters.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        let made = run(&["new", desk.dir().to_str().unwrap()]);
        assert_eq!(made.code, 0, "{made:?}");
        desk
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("desk")
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let file = self.dir().join(file);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(&file, text.replace(from, to)).unwrap();
    }

    /// A bonus for each addition, in the place of another one.
    fn give(&self, before: u64, bonus: u64) {
        let of = |bonus| if bonus == 0 { String::new() } else { format!(" + {bonus}") };
        let (from, to) = (of(before), of(bonus));
        self.edit("src/lib.rs", &format!("(request.by{from})"), &format!("(request.by{to})"));
    }

    fn dev(&self, arguments: &[&str]) -> (Process, Vec<String>) {
        let mut command = quorate();
        command.arg("dev").arg(self.dir()).args(["--listen", "127.0.0.1:0"]).args(arguments);
        let dev = Process::start("dev", command);
        let ready = dev.says_within(BUILD_WAIT_MAX, "ready desk.v1.Desk ");
        let addresses = ready.split(' ').skip(2).map(str::to_owned).collect();
        (dev, addresses)
    }
}

/// Adds to a counter; what it then stands at, or the error.
fn add(address: &str, by: u64) -> Result<u64, String> {
    let request = format!(r#"{{"name": "a", "by": {by}}}"#);
    let ran = run(&["call", address, "desk.v1.Desk/Add", &request]);
    if ran.code != 0 {
        return Err(ran.err);
    }
    let reply: Value = serde_json::from_str(&ran.out).unwrap();
    Ok(reply["total"].as_str().unwrap().parse().unwrap())
}

/// The same, as soon as there is a leader: again only where nothing was executed.
fn add_eventually(address: &str, by: u64) -> Result<u64, String> {
    let deadline = Instant::now() + BUILD_WAIT_MAX;
    loop {
        match add(address, by) {
            Err(why) if why.contains("was not executed") && Instant::now() < deadline => {}
            done => return done,
        }
    }
}

/// Adds one at a time, until nobody is left who could send; how many were answered, and how many
/// may have been executed or not. Who sends goes also when the test fails.
fn add_until(address: &str, end: &Receiver<()>) -> (u64, u64) {
    let (mut answered, mut unknown) = (0, 0);
    // The compiler wants some of the machine too.
    while end.recv_timeout(CALL_PAUSE) == Err(RecvTimeoutError::Timeout) {
        match add(address, 1) {
            Ok(_) => answered += 1,
            Err(why) => {
                assert!(why.starts_with("UNAVAILABLE"), "{why}");
                unknown += 1;
            }
        }
    }
    (answered, unknown)
}

fn get(address: &str) -> u64 {
    let ran = run(&["call", address, "desk.v1.Desk/Get", r#"{"name": "a"}"#]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let reply: Value = serde_json::from_str(&ran.out).unwrap();
    reply["total"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_save_is_served_with_the_state_it_found_and_a_bad_one_changes_nothing() {
    let _turn = turn_alone().await;
    let desk = Desk::new();
    let (dev, addresses) = desk.dev(&[]);
    let at = &addresses[0];
    assert_eq!(add(at, 5), Ok(5));

    desk.give(0, 100);
    let said = dev.says_within(BUILD_WAIT_MAX, "build 2 serves: ");
    note(format_args!("{said}"));
    assert!(said.contains("state kept"), "{said}");
    assert_eq!(add(at, 1), Ok(106), "the new one, at the old address, on the old state");

    desk.edit("src/lib.rs", "const TOTALS", "cnost TOTALS");
    dev.says_within(BUILD_WAIT_MAX, "the build failed: still serving build 2");
    assert!(!dev.logged("cnost TOTALS").is_empty(), "the compiler says where");
    assert_eq!(add(at, 1), Ok(207));
    desk.edit("src/lib.rs", "cnost TOTALS", "const TOTALS");
    dev.says_within(BUILD_WAIT_MAX, "the module is the same: build 2 goes on");

    // A service that streams is not for nodes; the build step or the gate says so.
    let rpc = "rpc Get(GetRequest) returns (GetReply)";
    desk.edit("proto/desk/v1/desk.proto", rpc, &rpc.replace("returns (", "returns (stream "));
    let waited = || dev.said().iter().filter(|line| line.contains("still serving build 2")).count();
    quorate_e2e::wait::until(BUILD_WAIT_MAX, || (waited() == 2).then_some(())).unwrap();
    desk.edit("proto/desk/v1/desk.proto", "returns (stream ", "returns (");

    desk.edit("proto/desk/v1/desk.proto", "uint64 by = 2", "uint64 by = 3");
    let said = dev.says_within(BUILD_WAIT_MAX, "build 3 serves: ");
    assert!(said.contains("state begun anew"), "{said}");
    let why = "  desk.v1.AddRequest.by: it was field 2, and is field 3";
    assert!(dev.said().iter().any(|line| line == why), "{:?}", dev.said());
    assert_eq!(get(at), 0);

    dev.signal(Signal::Terminate);
    let (code, _) = dev.ends(STOP_WAIT_MAX);
    assert_eq!(code, Ok(0));
}

#[tokio::test]
async fn three_nodes_go_on_with_a_new_build_and_no_answer_is_lost() {
    let _turn = turn().await;
    let desk = Desk::new();
    let (dev, addresses) = desk.dev(&["--nodes", "3"]);
    assert_eq!(addresses.len(), 3);
    let (mut answered, mut unknown) = (0, 0);
    thread::scope(|scope| {
        let spawn = |address| {
            let (go_on, end) = mpsc::channel();
            (go_on, scope.spawn(move || add_until(address, &end)))
        };
        let callers = addresses.iter().map(String::as_str).map(spawn);
        let (go_on, callers): (Vec<Sender<()>>, Vec<_>) = callers.unzip();
        // A module knows its version, so this is another one.
        for build in 2..=3 {
            desk.edit("Cargo.toml", &format!("0.1.{}", build - 2), &format!("0.1.{}", build - 1));
            dev.says_within(BUILD_WAIT_MAX, &format!("build {build} serves: "));
        }
        drop(go_on);
        for caller in callers {
            let count = caller.join().unwrap();
            answered += count.0;
            unknown += count.1;
        }
    });
    note(format_args!("{answered} answered, {unknown} unknown"));
    assert!(answered > 10, "{answered}");
    for address in &addresses {
        let total = get(address);
        assert!((answered..=answered + unknown).contains(&total), "{answered}, {unknown}, {total}");
    }
}

#[tokio::test]
async fn a_data_folder_goes_on_with_another_build_also_after_a_crash() {
    let _turn = turn().await;
    let desk = Desk::new();
    let data = desk.folder.path().join("data");
    let arguments = ["--data", data.to_str().unwrap()];
    let (dev, addresses) = desk.dev(&arguments);
    assert_eq!(add(&addresses[0], 5), Ok(5));
    desk.give(0, 10);
    dev.says_within(BUILD_WAIT_MAX, "build 2 serves: ");
    assert_eq!(add(&addresses[0], 5), Ok(20));
    dev.kill();

    // What the log still holds is the old build's to apply.
    desk.give(10, 1000);
    let (dev, addresses) = desk.dev(&arguments);
    assert_eq!(get(&addresses[0]), 20);
    assert_eq!(add(&addresses[0], 5), Ok(1025));
    let said = dev.said();
    assert!(said.iter().any(|line| line.contains("state kept")), "{said:?}");
    dev.kill();
    let (dev, addresses) = desk.dev(&arguments);
    assert_eq!(get(&addresses[0]), 1025);

    desk.edit("proto/desk/v1/desk.proto", "uint64 by = 2", "uint64 by = 3");
    dev.says_within(BUILD_WAIT_MAX, "build 2 serves: ");
    assert_eq!(get(&addresses[0]), 0);
    let saved = dev.says("the old state is in ");
    let saved = Path::new(saved.trim_start_matches("the old state is in "));
    let verified = run(&["snapshot", "verify", saved.to_str().unwrap()]);
    assert_eq!(verified.code, 0, "{verified:?}");
}

#[tokio::test]
async fn whoever_is_killed_in_a_reload_has_the_state_whole() {
    let _turn = turn().await;
    let desk = Desk::new();
    let data = desk.folder.path().join("data");
    let arguments = ["--nodes", "3", "--data", data.to_str().unwrap()];
    let (mut total, mut hits) = (0, 0);
    // A reload takes some 20 ms, which a busy machine may miss.
    for round in 0..6 {
        if hits == 3 {
            break;
        }
        let (dev, addresses) = desk.dev(&arguments);
        total += 1 + round;
        assert_eq!(add_eventually(&addresses[0], 1), Ok(total));
        desk.give(round, round + 1);
        // It is there for a moment, so this does not pause.
        let deadline = Instant::now() + BUILD_WAIT_MAX;
        let is_over = || dev.said().iter().any(|line| line.starts_with("build 2 serves: "));
        while !data.join("next").exists() && !is_over() && Instant::now() < deadline {
            thread::yield_now();
        }
        let is_hit = data.join("next").exists();
        dev.kill();
        hits += u32::from(is_hit);
    }
    note(format_args!("killed in {hits} reloads"));
    assert!(hits > 0);
    let (dev, addresses) = desk.dev(&arguments);
    assert_eq!(get(&addresses[2]), total);
    assert!(!data.join("next").exists());
    drop(dev);
}
