//! Commands that are executed once, however often they are sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use quorate_e2e::binary::run;
use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::kv::{Kv, Reply, v1};
use quorate_e2e::session::Session;
use quorate_e2e::{note, turn, wait};
use tonic::{Code, Status};

use crate::dev;

/// Leaders that are killed while the client counts.
const KILLS: u64 = 4;
/// Calls that are under way at the same time.
const AT_ONCE: u64 = 4;
/// Replies that the client pretends to need.
const NEEDED: u64 = 40;

type Put = Reply<v1::PutReply>;

fn addresses(cluster: &Cluster) -> Vec<String> {
    cluster.ids().map(|node| cluster.address(node).to_owned()).collect()
}

/// Sends calls until it is told to stop; gives the replies in the order of their numbers.
async fn count(
    session: Arc<Session>,
    next: Arc<AtomicU64>,
    goes_on: Arc<AtomicBool>,
) -> Vec<(u64, Put)> {
    let mut replies = Vec::new();
    while goes_on.load(Ordering::Relaxed) {
        let seq = next.fetch_add(1, Ordering::Relaxed);
        let floor = seq.saturating_sub(NEEDED).max(1);
        replies.push((seq, session.put("count", seq, floor).await.unwrap()));
    }
    replies
}

async fn reaches(next: &AtomicU64, wanted: u64) {
    wait::eventually("calls", wait::LONG, async || {
        let is = next.load(Ordering::Relaxed);
        if is >= wanted { Ok(()) } else { Err(format!("{is} of {wanted}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaders_are_killed_and_each_call_counts_once() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(3, Log::RocksDb);
    let session = Arc::new(Session::open(&addresses(&cluster)).await);
    let (next, goes_on) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicBool::new(true)));
    let counting: Vec<_> = (0..AT_ONCE)
        .map(|_| count(Arc::clone(&session), Arc::clone(&next), Arc::clone(&goes_on)))
        .map(tokio::spawn)
        .collect();
    for kill in 1..=KILLS {
        let before = next.load(Ordering::Relaxed);
        reaches(&next, before + 50).await;
        let leader = cluster.kv(kill % 3 + 1).leader().await;
        cluster.kill(leader);
        reaches(&next, before + 100).await;
        cluster.start_node(leader);
    }
    goes_on.store(false, Ordering::Relaxed);
    let mut replies = Vec::new();
    for task in counting {
        replies.extend(task.await.unwrap());
    }
    replies.sort_by_key(|(seq, _)| *seq);
    let calls = next.load(Ordering::Relaxed) - 1;
    note(format_args!("{calls} calls, sent {} times", session.sent()));
    assert_eq!(replies.len() as u64, calls);

    // A key's version counts its puts.
    let version = cluster.kv(1).get("count").await.unwrap().message.kv.unwrap().version;
    assert_eq!(version, calls, "one was executed twice, or was lost");
    assert!(session.sent() > calls, "no call was sent twice: nothing was tested");

    duplicates_are_answered(&cluster, &session, &replies).await;
    cluster.kill_all();
    cluster.start_all();
    cluster.kv(1).leader().await;
    duplicates_are_answered(&cluster, &session, &replies).await;
    let version = cluster.kv(1).get("count").await.unwrap().message.kv.unwrap().version;
    assert_eq!(version, calls, "a duplicate was executed");
}

/// Every node gives the first reply again, with its place, for each call whose reply is kept.
async fn duplicates_are_answered(cluster: &Cluster, session: &Session, replies: &[(u64, Put)]) {
    let last = replies.len() as u64;
    let kept = replies.iter().filter(|(seq, _)| seq + NEEDED / 2 > last);
    for (seq, first) in kept {
        for node in cluster.ids() {
            let again = session.put_at(&cluster.kv(node), "count", *seq, 1).await.unwrap();
            assert_eq!(again.message, first.message, "call {seq} at node {node}");
            let (again, first) = (again.place, first.place);
            assert_eq!((again.index, again.term), (first.index, first.term), "call {seq}");
        }
    }
    // What was let go is refused, as it may have been executed.
    let old = session.put_at(&cluster.kv(2), "count", 1, 1).await;
    assert_eq!(reason(&old.unwrap_err()), (Code::FailedPrecondition, "forgotten".to_owned()));
}

fn reason(status: &Status) -> (Code, String) {
    let reason = status.metadata().get("quorate-session");
    (status.code(), reason.map_or_else(String::new, |reason| reason.to_str().unwrap().to_owned()))
}

#[tokio::test]
async fn what_is_no_call_of_a_session_is_refused() {
    let _turn = turn().await;
    let (_dev, addresses) = dev::start(&["--nodes", "3", "--listen", "127.0.0.1:0"]);
    let session = Session::open(&addresses).await;
    for address in &addresses {
        let kv = Kv::at(address);
        let nobody = Session::named(format!("{:032x}", 77), &addresses);
        let refused = nobody.put_at(&kv, "key", 1, 1).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::FailedPrecondition, "never-opened".to_owned()));

        let kept = session.put_at(&kv, "key", 1, 1).await.unwrap();
        let other = session.put_at(&kv, "other key", 1, 1).await.unwrap_err();
        assert_eq!(reason(&other), (Code::InvalidArgument, "reused".to_owned()));
        assert_eq!(session.put_at(&kv, "key", 1, 1).await.unwrap().message, kept.message);

        let broken = Session::named("7".to_owned(), &addresses);
        let refused = broken.put_at(&kv, "key", 1, 1).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::InvalidArgument, String::new()));
        assert!(refused.message().starts_with("metadata quorate-session: "), "{refused}");
    }
    let version = Kv::at(&addresses[0]).get("key").await.unwrap().message.kv.unwrap().version;
    assert_eq!(version, 1);
}

#[tokio::test]
async fn a_session_by_the_command_line() {
    let _turn = turn().await;
    let (_dev, addresses) = dev::start(&["--nodes", "3", "--listen", "127.0.0.1:0"]);
    let opened = run(&["call", &addresses[1], "quorate.v1.Sessions/Open"]);
    assert_eq!((opened.code, opened.err.as_str()), (0, ""), "{opened:?}");
    let opened: serde_json::Value = serde_json::from_str(&opened.out).unwrap();
    let call = format!("{}/1", opened["session"].as_str().unwrap());
    let request = r#"{"key": "a", "value": "b", "prevKv": true}"#;
    let put =
        |node: &str| run(&["call", "--text", "--session", &call, node, "kv.v1.Kv/Put", request]);
    let first = put(&addresses[0]);
    assert_eq!((first.code, first.err.as_str()), (0, ""), "{first:?}");
    for address in &addresses {
        assert_eq!(put(address).out, first.out, "it holds nothing before, every time");
    }
    let wrong = run(&["call", "--session", "7", &addresses[0], "kv.v1.Kv/Put"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
}
