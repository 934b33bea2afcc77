//! A client of the key-value plugin: each kind of call, what a reply says beside its message, and
//! what to do about each kind of error. Nothing here is special to Quorate: it is a gRPC client
//! that tonic generates from `kv.proto`, and any other language has its own.
//!
//! `cargo run --release --package quorate-examples --bin client [-- HOST:PORT]`
//!
//! Without an address, it starts a node of its own and calls that.
#![expect(clippy::print_stdout, reason = "to be read")]

use std::net::TcpListener;
use std::time::Duration;

use anyhow::Context as _;
use quorate::local;
use quorate_wasm::Module;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

mod kv;

use kv::kv_client::KvClient;
use kv::{
    Compare, DeleteRequest, GetRequest, KeyRange, KeyValue, PutRequest, RangeRequest, TxnOp,
    TxnRequest, compare, delete_request, txn_op,
};

/// A node waits 5 s for a leader and for an outcome; a client should wait a little longer.
const CALL_WAIT_MAX: Duration = Duration::from_secs(6);
/// How often a query is sent before its caller gives up.
const TRIES_MAX: u32 = 3;

type Kv = KvClient<Channel>;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let Some(address) = std::env::args().nth(1) {
        return runtime.block_on(talk(&address));
    }
    let module = Module::load(quorate_modules::KV_MODULE)?;
    let nodes = local::start(&module, vec![TcpListener::bind("127.0.0.1:0")?], None)?;
    let node = nodes.first().context("one was started")?;
    let talked = runtime.block_on(talk(&node.client_address().to_string()));
    for node in nodes {
        node.stop();
    }
    talked
}

async fn talk(address: &str) -> anyhow::Result<()> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.timeout(CALL_WAIT_MAX);
    let connected = endpoint.connect().await;
    let mut kv = KvClient::new(connected.with_context(|| format!("connecting to {address}"))?);
    println!("connected to {address}");

    clear(&mut kv).await?;
    put_and_get(&mut kv).await?;
    ranges(&mut kv).await?;
    for expected in 1..=3 {
        let count = increment(&mut kv, "example/count").await?;
        println!("example/count is now {count}");
        anyhow::ensure!(count == expected, "somebody else counts as well");
    }
    errors(&mut kv).await?;
    clear(&mut kv).await?;
    println!("done");
    Ok(())
}

/// Deletes what an earlier run has left: all keys that begin with "example/", since "0" is the
/// character after the slash.
async fn clear(kv: &mut Kv) -> Result<(), Status> {
    let range = KeyRange { start: b"example/".into(), end: b"example0".into() };
    let target = Some(delete_request::Target::Range(range));
    kv.delete(DeleteRequest { target, prev_kv: false }).await.map(drop)
}

async fn put_and_get(kv: &mut Kv) -> anyhow::Result<()> {
    let reply = kv.put(put("example/a", "1")).await?;
    // The place in the log that decided the command: a later command has a larger index, whichever
    // node it was sent to.
    let (index, term, node) = place(&reply)?;
    println!("put example/a: entry {index} of term {term}, says node {node}");

    // The key's old value is part of the same step: nobody was in between.
    let request = PutRequest { prev_kv: true, ..put("example/a", "2") };
    let reply = kv.put(request).await?.into_inner();
    let before = reply.prev_kv.context("the key was there")?;
    println!("put example/a again: it held {}", text(&before));

    let pair = get(kv, "example/a").await?.context("the key is there")?;
    println!("get example/a: {}, version {}", text(&pair), pair.version);
    anyhow::ensure!(text(&before) == "1" && text(&pair) == "2" && pair.version == 2, "stale");
    // A key that is not there is no error.
    anyhow::ensure!(get(kv, "example/absent").await?.is_none(), "where does that come from?");
    Ok(())
}

async fn ranges(kv: &mut Kv) -> anyhow::Result<()> {
    for key in ["example/list/1", "example/list/2", "example/list/3"] {
        kv.put(put(key, "x")).await?;
    }
    let mut request = RangeRequest {
        start: b"example/list/".into(),
        end: b"example/list0".into(),
        limit: 2,
        ..RangeRequest::default()
    };
    // A page at a time. Each page is a read of its own: they are consistent in themselves, and
    // what changes between them may show.
    loop {
        let page = kv.range(request.clone()).await?.into_inner();
        let keys: Vec<_> =
            page.kvs.iter().map(|pair| pair.key.escape_ascii().to_string()).collect();
        println!("range: {}", keys.join(" "));
        let Some(last) = page.kvs.last().filter(|_| page.more) else { return Ok(()) };
        // The next key in order.
        request.start = [&last.key, [0].as_slice()].concat();
    }
}

/// Counts up, safely: reads, and writes only if nobody has written since, else starts over. What a
/// plugin of your own would do in one command.
async fn increment(kv: &mut Kv, key: &str) -> anyhow::Result<u64> {
    loop {
        let pair = get(kv, key).await?;
        let count = pair.as_ref().map_or(Ok(0), |pair| text(pair).parse::<u64>())? + 1;
        // A key that is not there has revision 0.
        let revision = pair.map_or(0, |pair| pair.mod_revision);
        let unchanged = Compare {
            key: key.into(),
            op: compare::Op::Equal.into(),
            target: Some(compare::Target::ModRevision(revision)),
        };
        let write = TxnOp { op: Some(txn_op::Op::Put(put(key, &count.to_string()))) };
        let request =
            TxnRequest { compare: vec![unchanged], success: vec![write], failure: Vec::new() };
        if kv.txn(request).await?.into_inner().succeeded {
            return Ok(count);
        }
    }
}

/// What can go wrong, and what a client does about it.
async fn errors(kv: &mut Kv) -> anyhow::Result<()> {
    // The plugin's own refusal. It was decided in the log like any outcome, so it has a place
    // there, and nothing was written.
    let status = kv.put(put("", "x")).await.err().context("an empty key is refused")?;
    anyhow::ensure!(status.code() == Code::InvalidArgument, "{status}");
    let has_place = status.metadata().contains_key("quorate-index");
    println!("put without a key: {:?}: {}", status.code(), status.message());
    anyhow::ensure!(has_place, "a refusal is decided in the log");

    // The node's refusal, before the request reached a plugin.
    let large = PutRequest { value: vec![0; 2 * 1024 * 1024], ..put("example/large", "") };
    let status = kv.put(large).await.err().context("2 MiB are over the limit")?;
    println!("put of 2 MiB: {:?}: {}", status.code(), status.message());
    anyhow::ensure!(status.code() == Code::InvalidArgument, "{status}");
    Ok(())
}

/// A query may always be sent again. A command that ends with `UNAVAILABLE` may have been executed,
/// unless the message says that it was not: send it again only when twice does no harm, as for a
/// `Put` of the same value, but not for `increment`, which would count twice. Or give it a session,
/// as `retry.rs` does.
async fn get(kv: &mut Kv, key: &str) -> Result<Option<KeyValue>, Status> {
    let mut tries = 1;
    loop {
        match kv.get(GetRequest { key: key.into() }).await {
            Ok(reply) => return Ok(reply.into_inner().kv),
            Err(status) if status.code() == Code::Unavailable && tries < TRIES_MAX => tries += 1,
            Err(status) => return Err(status),
        }
    }
}

fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), prev_kv: false }
}

fn text(pair: &KeyValue) -> String {
    String::from_utf8_lossy(&pair.value).into_owned()
}

/// Index and term of the entry that decided a call, and the node that answered.
fn place<T>(reply: &Response<T>) -> anyhow::Result<(u64, u64, u64)> {
    let number = |key: &str| -> anyhow::Result<u64> {
        let value = reply.metadata().get(key).with_context(|| format!("no {key}"))?;
        Ok(value.to_str()?.parse()?)
    };
    Ok((number("quorate-index")?, number("quorate-term")?, number("quorate-node")?))
}
