//! A client for many commands at a time, while the cluster loses its leader: all calls share one
//! stream to the leader, and each is executed once all the same.
//!
//! `cargo run --release --package quorate-examples --bin pipeline`
#![expect(clippy::print_stdout, reason = "to be read")]

use std::net::TcpListener;
use std::thread;
use std::time::Instant;

use anyhow::Context as _;
use quorate::local;
use quorate_client::{CallError, Client};
use quorate_wasm::Module;
use tokio::task::JoinSet;

mod kv;

use kv::kv_client::KvClient;
use kv::{GetRequest, PutReply, PutRequest};

const PUT: &str = "/kv.v1.Kv/Put";
/// Callers at the same time, and how often each of them calls.
const CALLERS: u64 = 500;
const CALLS: u64 = 20;

fn main() -> anyhow::Result<()> {
    let module = Module::load(quorate_modules::KV_MODULE)?;
    let clients = (0..3).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let mut nodes = local::start(&module, clients, None)?;
    let urls: Vec<_> =
        nodes.iter().map(|node| format!("http://{}", node.client_address())).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // It finds the leader by itself, and sends again what nobody knows the fate of.
    let connecting = Client::builder().exactly_once().connect(urls);
    let client = runtime.block_on(connecting)?;

    runtime.block_on(put_from_many(&client))?;
    let leader = nodes.iter().position(|node| node.status().borrow().leads);
    let leader = nodes.remove(leader.context("a command was decided, so a node leads")?);
    thread::scope(|scope| {
        scope.spawn(|| leader.stop());
        runtime.block_on(put_from_many(&client))
    })?;
    println!("the leader was stopped meanwhile");

    // A key's version counts its puts. Queries are for a client of the usual kind.
    let node = nodes.first().context("two are left")?;
    let get = async {
        let mut kv = KvClient::connect(format!("http://{}", node.client_address())).await?;
        anyhow::Ok(kv.get(GetRequest { key: b"count".into() }).await?.into_inner())
    };
    let version = runtime.block_on(get)?.kv.context("the key is there")?.version;
    println!("put {} times: version {version}", 2 * CALLERS * CALLS);
    anyhow::ensure!(version == 2 * CALLERS * CALLS, "one was executed twice, or not at all");

    // An error of the plugin has a type of its own.
    let refused = runtime.block_on(put(&client, ""));
    let Err(CallError::Rejected(rejected)) = refused else { anyhow::bail!("{refused:?}") };
    println!("put without a key: {:?}: {}", rejected.code, rejected.message);
    for node in nodes {
        node.stop();
    }
    println!("done");
    Ok(())
}

async fn put_from_many(client: &Client) -> anyhow::Result<()> {
    let begun = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let client = client.clone();
        callers.spawn(async move {
            for _ in 0..CALLS {
                put(&client, "count").await?;
            }
            Ok::<_, CallError>(())
        });
    }
    for caller in callers.join_all().await {
        caller?;
    }
    println!("{} calls of {CALLERS} callers in {:?}", CALLERS * CALLS, begun.elapsed());
    Ok(())
}

async fn put(client: &Client, key: &str) -> Result<PutReply, CallError> {
    client.call(PUT, &PutRequest { key: key.into(), value: b"value".into(), prev_kv: false }).await
}
