//! A node that is asked to stop: soon, with an answer for everyone, and leaving nothing behind.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate_e2e::binary::quorate;
use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::kv::{CALL_WAIT_MAX, Kv, channel, was_not_executed};
use quorate_e2e::ledger::Ledger;
use quorate_e2e::process::{Process, Signal};
use quorate_e2e::{note, turn, turn_alone, wait};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tonic::codegen::tokio_stream;
use tonic::{Code, Status};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use crate::dev;
use crate::standards::Health;

/// Two seconds are promised; the process has to start and to end as well.
const STOP_MAX: Duration = Duration::from_millis(2500);
const CLIENTS: usize = 64;

/// Clients that write until they are refused; each gives what it was told then.
fn write_until_refused(ledger: &Arc<Ledger>, clients: Vec<Kv>) -> JoinSet<Status> {
    let mut tasks = JoinSet::new();
    for kv in clients {
        let ledger = Arc::clone(ledger);
        tasks.spawn(async move {
            loop {
                let written = tokio::time::timeout(CALL_WAIT_MAX / 2, ledger.write(&kv)).await;
                if let Err(status) = written.expect("every call has an answer") {
                    return status;
                }
            }
        });
    }
    tasks
}

/// Asks a process to stop, and checks that it does so in time.
fn stop(process: Process, what: &str) {
    process.signal(Signal::Terminate);
    let (code, took) = process.ends(2 * STOP_MAX);
    note(format_args!("{what} stopped in {took:?}"));
    assert_eq!(code, Ok(0), "{what}");
    assert!(took < STOP_MAX, "{what}: {took:?}");
}

/// Checks that none of the clients hangs; gives how many do not know what became of their call.
async fn answered(clients: JoinSet<Status>) -> usize {
    let statuses = clients.join_all().await;
    for status in &statuses {
        assert_eq!(status.code(), Code::Unavailable, "{status}");
    }
    statuses.iter().filter(|status| !was_not_executed(status)).count()
}

/// Of a node that can still decide what it has accepted, clients learn what became of their calls;
/// but for a few whose connection ends just when they call.
async fn were_answered_well(clients: JoinSet<Status>) {
    let doubts = answered(clients).await;
    assert!(doubts <= CLIENTS / 10, "{doubts} clients do not know what became of their call");
}

fn ports_are_free(addresses: &[&str]) {
    for address in addresses {
        drop(TcpListener::bind(address).unwrap_or_else(|error| panic!("{address}: {error}")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_stops_under_load_within_two_seconds_and_answers_everyone() {
    let _turn = turn_alone().await;
    let ledger = Ledger::new();
    let mut cluster = Cluster::start(1, Log::RocksDb);
    let clients = (0..CLIENTS).map(|_| cluster.kv(1)).collect();
    let clients = write_until_refused(&ledger, clients);
    ledger.grows_by(2000).await;
    stop(cluster.take(1), "one node under load");
    were_answered_well(clients).await;
    ports_are_free(&[cluster.address(1), cluster.peer_address(1)]);
    cluster.start_node(1);
    ledger.check(&cluster.kv(1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_in_one_process_stops_under_load_within_two_seconds() {
    let _turn = turn_alone().await;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    let arguments = ["--nodes", "3", "--listen", "127.0.0.1:0", "--data", data];
    let (dev, addresses) = dev::start(&arguments);
    let ledger = Ledger::new();
    let clients = (0..CLIENTS).map(|client| Kv::at(&addresses[client % 3])).collect();
    let clients = write_until_refused(&ledger, clients);
    ledger.grows_by(2000).await;
    stop(dev, "three nodes in one process under load");
    were_answered_well(clients).await;
    ports_are_free(&addresses.iter().map(String::as_str).collect::<Vec<_>>());
    let (_dev, addresses) = dev::start(&arguments);
    for address in &addresses {
        ledger.check(&Kv::at(address)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_stopped_hands_over_and_the_others_go_on() {
    let _turn = turn_alone().await;
    let ledger = Ledger::new();
    let mut cluster = Cluster::start(3, Log::RocksDb);
    let leader = cluster.kv(1).leader().await;
    let clients = write_until_refused(&ledger, (0..CLIENTS).map(|_| cluster.kv(leader)).collect());
    ledger.grows_by(1000).await;
    stop(cluster.take(leader), "the leader of three nodes under load");
    let stopped = Instant::now();
    let other = cluster.kv(cluster.others(leader)[0]);
    other.put_eventually("key", "value").await;
    let took = stopped.elapsed();
    note(format_args!("a Put after a leader was stopped took {took:?}"));
    assert!(took < Duration::from_secs(1), "it was to hand over: {took:?}");
    were_answered_well(clients).await;
    ports_are_free(&[cluster.address(leader), cluster.peer_address(leader)]);
    ledger.check(&other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_can_decide_nothing_stops_in_time_too() {
    let _turn = turn_alone().await;
    let ledger = Ledger::new();
    let mut cluster = Cluster::start(3, Log::RocksDb);
    let node = cluster.kv(1).leader().await;
    let address = cluster.address(node).to_owned();
    let clients = || (0..CLIENTS).map(|_| Kv::at(&address)).collect();

    // It still leads, and has proposed what nobody will ever hear of.
    let waiting = write_until_refused(&ledger, clients());
    ledger.grows_by(500).await;
    let others = cluster.others(node);
    for other in others {
        cluster.kill(other);
    }
    stop(cluster.take(node), "a leader without followers");
    assert!(answered(waiting).await > 0, "some calls were under way");

    // It knows that it does not lead, and waits for somebody who does.
    cluster.start_node(node);
    let health = Health::at(&address);
    let waiting = write_until_refused(&ledger, clients());
    let lost = async || health.serves("", false).await;
    wait::eventually("no leader", wait::LONG, lost).await;
    stop(cluster.take(node), "a node without a leader");
    answered(waiting).await;

    ports_are_free(&[&address, cluster.peer_address(node)]);
    cluster.start_all();
    ledger.check(&cluster.kv(node)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_kept_open_do_not_hold_a_node_up() {
    let _turn = turn_alone().await;
    let (dev, addresses) = dev::start(&["--nodes", "3", "--listen", "127.0.0.1:0"]);
    let address = addresses[0].as_str();
    // One that has said nothing, one that has nothing more to say, and a stream that could go on.
    let _silent = TcpStream::connect(address).await.unwrap();
    let idle = Kv::at(address);
    idle.get_eventually("key").await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let requests = tokio_stream::StreamExt::chain(
        tokio_stream::once(request),
        tokio_stream::pending::<ServerReflectionRequest>(),
    );
    let mut reflection = ServerReflectionClient::new(channel(address));
    let mut replies = reflection.server_reflection_info(requests).await.unwrap().into_inner();
    assert!(replies.message().await.unwrap().is_some());

    stop(dev, "a cluster with open connections");
    assert!(!matches!(replies.message().await, Ok(Some(_))), "the stream has ended");
}

#[tokio::test]
async fn a_signal_is_heeded_before_a_node_says_that_it_serves() {
    let _turn = turn().await;
    for signal in [Signal::Terminate, Signal::Interrupt] {
        let mut command = quorate();
        command.args(["dev", "--listen", "127.0.0.1:0"]);
        let (dev, unheard) = Process::start_unheard("dev", command);
        let heeds = wait::until(wait::LONG, || dev.heeds_signals().then_some(()));
        assert!(heeds.is_some(), "it says that it serves first");
        dev.signal(signal);
        drop(unheard);
        let (code, _) = dev.ends(STOP_MAX);
        assert_eq!(code, Ok(0), "{signal:?}");
    }
}
