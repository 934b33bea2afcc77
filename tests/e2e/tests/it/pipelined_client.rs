//! The client for many commands, while the cluster does what clusters do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use prost::Message as _;
use quorate_client::{CallError, Client, ConnectError, Method, Refusal};
use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::kv::v1::{PutReply, PutRequest};
use quorate_e2e::ports;
use quorate_e2e::process::Signal;
use quorate_e2e::{note, turn, wait};
use tokio::task::JoinSet;
use tonic::Code;

const PUT: &str = "/kv.v1.Kv/Put";
/// Calls that are under way at the same time.
const AT_ONCE: u64 = 256;

fn urls(cluster: &Cluster) -> Vec<String> {
    cluster.ids().map(|node| format!("http://{}", cluster.address(node))).collect()
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), prev_kv: false }
}

/// What became of the calls of a load.
#[derive(Debug, Default)]
struct Counted {
    decided: AtomicU64,
    unknown: AtomicU64,
    refused: AtomicU64,
}

/// Callers who put one key until they are told to stop.
struct Load {
    counted: Arc<Counted>,
    goes_on: Arc<AtomicBool>,
    callers: JoinSet<()>,
}

impl Load {
    fn start(client: &Client) -> Self {
        let (counted, goes_on) = (Arc::<Counted>::default(), Arc::new(AtomicBool::new(true)));
        let mut callers = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (client, counted, goes_on) =
                (client.clone(), Arc::clone(&counted), Arc::clone(&goes_on));
            callers.spawn(async move {
                while goes_on.load(Ordering::Relaxed) {
                    let count = match client.call::<_, PutReply>(PUT, &put("key", "value")).await {
                        Ok(_) => &counted.decided,
                        Err(CallError::Unknown) => &counted.unknown,
                        Err(CallError::Refused(Refusal::NoLeader)) => &counted.refused,
                        Err(error) => panic!("{error}"),
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { counted, goes_on, callers }
    }

    async fn grows_by(&self, more: u64) {
        let wanted = self.counted.decided.load(Ordering::Relaxed) + more;
        wait::eventually("calls", wait::LONG, async || {
            let is = self.counted.decided.load(Ordering::Relaxed);
            if is >= wanted { Ok(()) } else { Err(format!("{is} of {wanted}")) }
        })
        .await;
    }

    async fn stop(self) -> Arc<Counted> {
        self.goes_on.store(false, Ordering::Relaxed);
        self.callers.join_all().await;
        self.counted
    }
}

/// Kills leader after leader under the load of a client.
async fn kill_leaders(cluster: &mut Cluster, client: &Client, kills: u64) -> Arc<Counted> {
    let load = Load::start(client);
    for kill in 1..=kills {
        load.grows_by(3000).await;
        let leader = cluster.kv(kill % 3 + 1).leader().await;
        cluster.kill(leader);
        load.grows_by(3000).await;
        cluster.start_node(leader);
    }
    load.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_are_killed_and_each_call_of_a_session_counts_once() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(3, Log::RocksDb);
    let client = Client::builder().exactly_once().wait(wait::LONG).connect(urls(&cluster)).await;
    let counted = kill_leaders(&mut cluster, &client.unwrap(), 3).await;
    note(format_args!("{counted:?}"));
    assert_eq!(counted.unknown.load(Ordering::Relaxed), 0, "a session has no doubts");
    assert_eq!(counted.refused.load(Ordering::Relaxed), 0);
    let version = cluster.kv(1).get_version("key").await;
    assert_eq!(version, counted.decided.load(Ordering::Relaxed), "executed twice, or lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_session_a_lost_leader_leaves_doubts_and_says_so() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(3, Log::RocksDb);
    let client = Client::connect(urls(&cluster)).await.unwrap();
    let counted = kill_leaders(&mut cluster, &client, 3).await;
    note(format_args!("{counted:?}"));
    let (decided, unknown) =
        (counted.decided.load(Ordering::Relaxed), counted.unknown.load(Ordering::Relaxed));
    assert!(unknown > 0, "no call was under way: nothing was tested");
    let version = cluster.kv(1).get_version("key").await;
    assert!(version >= decided, "{version} of {decided}: an acknowledged call is lost");
    assert!(version <= decided + unknown, "{version}: one was sent again, and executed twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_follows_the_leader_from_whichever_node_it_knows() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(3, Log::RocksDb);
    let leader = cluster.kv(1).leader().await;
    let [follower, other] = cluster.others(leader)[..] else { unreachable!("three nodes") };
    // It knows one follower, which tells it of the leader.
    let known = [format!("http://{}", cluster.address(follower))];
    let client = Client::connect(known).await.unwrap();
    let first: PutReply = client.call(PUT, &put("key", "value")).await.unwrap();
    assert_eq!(first.revision, 1);
    // The leader stops in order, and hands over; whoever leads then, the follower knows.
    let process = cluster.take(leader);
    process.signal(Signal::Terminate);
    assert_eq!(process.ends(wait::LONG).0, Ok(0));
    let second: PutReply = client.call(PUT, &put("key", "value")).await.unwrap();
    assert_eq!(second.revision, 2);
    // Without a majority, nobody leads: the client says so in time, and that nothing was done.
    cluster.kill(other);
    let hasty = Client::builder().wait(Duration::from_secs(2));
    let hasty = hasty.connect([format!("http://{}", cluster.address(follower))]).await.unwrap();
    let error = hasty.call::<_, PutReply>(PUT, &put("key", "value")).await.unwrap_err();
    assert!(matches!(error, CallError::Refused(Refusal::NoLeader) | CallError::Unknown), "{error}");
    cluster.start_node(other);
    let third: PutReply = client.call(PUT, &put("key", "value")).await.unwrap();
    assert!(third.revision == 3 || error == CallError::Unknown, "{third:?} after {error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_gone_is_replaced() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(1, Log::RocksDb);
    let client = Client::builder().exactly_once().wait(wait::LONG).connect(urls(&cluster)).await;
    let client = client.unwrap();
    for revision in 1..=2 {
        let reply: PutReply = client.call(PUT, &put("key", "value")).await.unwrap();
        assert_eq!(reply.revision, revision);
    }
    // Another cluster, at the same address, which never opened that session.
    cluster.kill(1);
    std::fs::remove_dir_all(cluster.data(1)).unwrap();
    cluster.start_node(1);
    let reply: PutReply = client.call(PUT, &put("key", "value")).await.unwrap();
    assert_eq!(reply.revision, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_of_one_caller_are_told_in_their_order() {
    const CALLS: u64 = 5000;
    let _turn = turn().await;
    let cluster = Cluster::start(3, Log::RocksDb);
    let client = Client::builder().exactly_once().calls_max(300).connect(urls(&cluster)).await;
    let request = |number: u64| match number % 10 {
        // What the plugin rejects is a call like the others.
        9 => put("", "value"),
        _ => put("key", "value"),
    };
    let requests = (0..CALLS).map(|number| request(number).encode_to_vec().into()).collect();
    let client = client.unwrap();
    // It finds the leader: what a follower refuses is sent again, and may come in another order.
    let mut revision =
        client.call::<_, PutReply>(PUT, &put("key", "value")).await.unwrap().revision;
    let outcomes = client.call_all(Method::of(PUT), requests).await;
    assert_eq!(outcomes.len() as u64, CALLS);
    for (number, outcome) in (0..).zip(outcomes) {
        match outcome {
            Ok(decided) => {
                revision += 1;
                let reply = PutReply::decode(decided.reply).unwrap();
                assert_eq!((reply.revision, number % 10 < 9), (revision, true), "call {number}");
            }
            Err(CallError::Rejected(_)) => assert_eq!(number % 10, 9, "call {number}"),
            Err(error) => panic!("call {number}: {error}"),
        }
    }
    assert_eq!(revision, 1 + CALLS / 10 * 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_types() {
    let _turn = turn().await;
    let nobody = format!("http://{}", ports::local(ports::free()));
    let unreachable = Client::connect([nobody.clone()]).await.unwrap_err();
    assert!(matches!(unreachable, ConnectError::Unreachable(_)), "{unreachable}");

    let cluster = Cluster::start(1, Log::RocksDb);
    let nodes = [nobody, urls(&cluster).remove(0)];
    let client = Client::builder().exactly_once().connect(nodes).await.unwrap();
    let call = async |path: &str, request: PutRequest| {
        client.call::<_, PutReply>(path, &request).await.unwrap_err()
    };
    let CallError::Rejected(rejected) = call(PUT, put("", "value")).await else {
        panic!("a key must not be empty");
    };
    assert_eq!(rejected.code, Code::InvalidArgument);
    assert!(rejected.index > 0 && !rejected.message.is_empty(), "{rejected:?}");
    let refused = [
        call("/kv.v1.Kv/Nothing", put("key", "value")).await,
        call("/kv.v1.Kv/Get", put("key", "value")).await,
        call(PUT, put("key", &"x".repeat(2 * 1024 * 1024))).await,
    ];
    let expected = [Refusal::UnknownMethod, Refusal::Query, Refusal::TooLarge];
    assert_eq!(refused, expected.map(CallError::Refused));
    // Numbers of sessions that were given to these are free again.
    for expected in 1..=1000 {
        let reply: PutReply = client.call(PUT, &put("key", "value")).await.unwrap();
        assert_eq!(reply.revision, expected);
    }
}
