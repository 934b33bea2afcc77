//! Many commands on one stream, by the contract alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::pipeline::{Stream, method, put, put_reply};
use quorate_e2e::process::Signal;
use quorate_e2e::session::v1::pipeline_outcome::Result as Outcome;
use quorate_e2e::session::v1::{
    PipelineCommand, PipelineOutcome, PipelineRefusal, PipelineRequest, PipelineSession,
};
use quorate_e2e::{note, turn, wait};
use tonic::Code;

const KEYS: u64 = 100;
const REQUEST_BYTES_MAX: usize = 3 * 1024 * 1024 / 2;
const COMMANDS_MAX: u64 = 16_384;
const BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Looks in a row that see nothing more sent, when a node is taken to hold commands back.
const LOOKS: u32 = 30;

/// A put whose value is its number.
fn numbered(id: u64) -> PipelineCommand {
    put(id, &format!("key-{}", id % KEYS), id.to_string())
}

fn by_id(outcomes: Vec<PipelineOutcome>) -> BTreeMap<u64, PipelineOutcome> {
    let count = outcomes.len();
    let by_id: BTreeMap<_, _> = outcomes.into_iter().map(|outcome| (outcome.id, outcome)).collect();
    assert_eq!(by_id.len(), count, "a command has one outcome");
    by_id
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_commands_gets_its_own_outcome() {
    const COMMANDS: u64 = 30_000;
    let _turn = turn().await;
    let cluster = Cluster::start(1, Log::RocksDb);
    cluster.kv(1).leader().await;
    let mut stream = Stream::open(cluster.address(1)).await;
    assert_eq!((stream.welcome.node, stream.welcome.commands_max), (1, COMMANDS_MAX));
    assert_eq!(stream.welcome.bytes_max, BYTES_MAX);
    let requests = stream.requests.clone();
    let sending = tokio::spawn(async move {
        for first in (0..COMMANDS).step_by(500) {
            let commands = (first..first + 500).map(numbered).collect();
            requests.send(PipelineRequest { commands }).await.unwrap();
        }
    });
    let count = usize::try_from(COMMANDS).unwrap();
    let outcomes = by_id(stream.outcomes(count).await);
    sending.await.unwrap();
    let mut last = 0;
    for (id, outcome) in &outcomes {
        let reply = put_reply(outcome).unwrap_or_else(|| panic!("{outcome:?}"));
        assert_eq!(reply.revision, id + 1, "in the order of the stream");
        let before = reply.prev_kv.map(|kv| String::from_utf8_lossy(&kv.value).into_owned());
        assert_eq!(before, id.checked_sub(KEYS).map(|before| before.to_string()));
        assert!(outcome.index >= last && outcome.term > 0, "{outcome:?}");
        last = outcome.index;
    }
    note(format_args!("{COMMANDS} commands in {last} entries"));
    let (rest, end) = stream.rest().await;
    assert!(rest.is_empty() && end.is_ok(), "{rest:?} {end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_has_no_room_for_is_held_back_and_not_lost() {
    const COMMANDS: u64 = 40_000;
    let _turn = turn().await;
    let cluster = Cluster::start(1, Log::RocksDb);
    cluster.kv(1).leader().await;
    let mut stream = Stream::open(cluster.address(1)).await;
    let (requests, sent) = (stream.requests.clone(), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        let value = Bytes::from(vec![7; 1024]);
        for first in (0..COMMANDS).step_by(100) {
            let commands = (first..first + 100).map(|id| put(id, "key", value.clone())).collect();
            requests.send(PipelineRequest { commands }).await.unwrap();
            counted.fetch_add(100, Ordering::Relaxed);
        }
    });
    // Nobody reads: the node answers what the connection takes, and then reads no more itself.
    let (mut last, mut looks) = (0, 0);
    wait::eventually("the node to hold commands back", wait::LONG, async || {
        let now = sent.load(Ordering::Relaxed);
        let before = std::mem::replace(&mut last, now);
        looks = if now == before { looks + 1 } else { 0 };
        if now > 0 && looks >= LOOKS { Ok(()) } else { Err(format!("{now} after {before}")) }
    })
    .await;
    assert!(last < COMMANDS, "it took all of them");
    note(format_args!("{last} of {COMMANDS} were sent before the first was read"));
    // Others are served meanwhile.
    cluster.kv(1).put("other", "value").await.unwrap();
    let outcomes = by_id(stream.outcomes(usize::try_from(COMMANDS).unwrap()).await);
    sending.await.unwrap();
    assert!(outcomes.values().all(|outcome| put_reply(outcome).is_some()));
    let version = cluster.kv(1).get("key").await.unwrap().message.kv.unwrap().version;
    assert_eq!(version, COMMANDS);
}

fn refusal(outcome: &PipelineOutcome) -> Option<PipelineRefusal> {
    match outcome.result {
        Some(Outcome::Refusal(refusal)) => PipelineRefusal::try_from(refusal).ok(),
        _ => None,
    }
}

#[tokio::test]
async fn what_is_no_command_is_refused_by_itself_and_the_stream_goes_on() {
    let _turn = turn().await;
    let cluster = Cluster::start(1, Log::RocksDb);
    cluster.kv(1).leader().await;
    let mut stream = Stream::open(cluster.address(1)).await;
    let with_session = |id, seq, floor| {
        let session = Some(PipelineSession { number: 77, nonce: 1, seq, floor });
        PipelineCommand { session, ..put(id, "key", "value") }
    };
    let of_method = |id, path| PipelineCommand { method: method(path), ..put(id, "key", "value") };
    let large = vec![0; REQUEST_BYTES_MAX];
    stream
        .send(vec![
            of_method(1, "kv.v1.Kv/Nothing"),
            of_method(2, "kv.v1.Kv/Get"),
            put(3, "key", large),
            with_session(4, 0, 0),
            with_session(5, 1, 2),
            with_session(6, 1, 1),
            put(7, "", "value"),
            put(8, "key", "value"),
        ])
        .await;
    let outcomes = by_id(stream.outcomes(8).await);
    let refused = [1, 2, 3, 4, 5].map(|id| refusal(&outcomes[&id]).unwrap());
    let expected = [
        PipelineRefusal::UnknownMethod,
        PipelineRefusal::Query,
        PipelineRefusal::TooLarge,
        PipelineRefusal::BadSession,
        PipelineRefusal::BadSession,
    ];
    assert_eq!(refused, expected);
    let rejected = [6, 7].map(|id| match &outcomes[&id].result {
        Some(Outcome::Rejection(rejection)) => {
            assert!(outcomes[&id].index > 0, "it was decided in the log");
            (Code::from_i32(i32::try_from(rejection.code).unwrap()), rejection.session.as_str())
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(rejected, [(Code::FailedPrecondition, "never-opened"), (Code::InvalidArgument, "")]);
    assert_eq!(put_reply(&outcomes[&8]).unwrap().revision, 1, "nothing else was executed");

    stream.send(vec![put(9, "key", "value")]).await;
    stream.send(vec![put(10, "key", vec![0; 2 * REQUEST_BYTES_MAX])]).await;
    let (outcomes, end) = stream.rest().await;
    assert_eq!(outcomes.iter().map(|outcome| outcome.id).collect::<Vec<_>>(), [9]);
    assert_eq!(end.unwrap_err().code(), Code::OutOfRange, "a message over the limit ends it");
}

#[tokio::test]
async fn a_follower_says_who_leads_and_where() {
    let _turn = turn().await;
    let cluster = Cluster::start(3, Log::RocksDb);
    let leader = cluster.kv(1).leader().await;
    for follower in cluster.others(leader) {
        let mut stream = Stream::open(cluster.address(follower)).await;
        assert_eq!(stream.welcome.node, follower);
        stream.send(vec![put(1, "key", "value"), put(2, "key", "value")]).await;
        let reply = stream.replies.message().await.unwrap().unwrap();
        let refusals: Vec<_> = reply.outcomes.iter().map(refusal).collect();
        assert_eq!(refusals, [Some(PipelineRefusal::NotLeader); 2]);
        let said = reply.leader.unwrap();
        assert_eq!((said.node, said.address.as_str()), (leader, cluster.address(leader)));
    }
    assert!(cluster.kv(leader).get("key").await.unwrap().message.kv.is_none(), "not executed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_says_what_it_has_decided_and_ends_the_stream() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(1, Log::RocksDb);
    cluster.kv(1).leader().await;
    let mut stream = Stream::open(cluster.address(1)).await;
    let (requests, sent) = (stream.requests.clone(), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&sent);
    let sending = tokio::spawn(async move {
        for first in (0..).step_by(50) {
            let commands = (first..first + 50).map(|id| put(id, "key", id.to_string())).collect();
            if requests.send(PipelineRequest { commands }).await.is_err() {
                return;
            }
            counted.fetch_add(50, Ordering::Relaxed);
        }
    });
    let mut outcomes = stream.outcomes_at_least(5000).await;
    let process = cluster.take(1);
    process.signal(Signal::Terminate);
    let (rest, end) = stream.rest().await;
    outcomes.extend(rest);
    let (code, took) = process.ends(wait::LONG);
    assert_eq!(code, Ok(0), "{took:?}");
    sending.abort();
    assert!(end.is_ok(), "{end:?}");
    let outcomes = by_id(outcomes);
    let decided = outcomes.values().filter(|outcome| put_reply(outcome).is_some()).count() as u64;
    let refused = outcomes.values().filter(|outcome| refusal(outcome).is_some()).count() as u64;
    let unknown = outcomes.len() as u64 - decided - refused;
    note(format_args!("{decided} decided, {refused} refused, {unknown} unknown"));

    cluster.start_node(1);
    let version = cluster.kv(1).get_version("key").await;
    assert!(version >= decided, "{version} of {decided}: an acknowledged command is lost");
    assert!(version <= decided + unknown, "{version}: one was executed, and nobody was told");
}
