//! What the ways to read cost, on the leader and on a follower of three nodes: `cargo bench
//! --package quorate --bench reads`. A log read is a command that only reads.
//!
//! Clients and nodes are in one process and share its cores, so what is measured with many clients
//! is what is left of them. What the network between machines costs is not here: a read index takes
//! one round trip of it, a log read one and a sync.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use axum::http::uri::PathAndQuery;
use bytes::Bytes;
use quorate::identity::Timing;
use quorate::local;
use quorate::node::Node;
use quorate::rpc::codec::BytesCodec;
use quorate_wasm::Module;
use tokio::runtime::Runtime;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};

/// How long each way is measured.
const LASTS: Duration = Duration::from_secs(3);
const CLIENTS: [usize; 2] = [1, 64];
/// Field 1 of a request of the key-value plugin: the key.
const GET: &[u8] = b"\x0a\x03key";
/// A transaction that does nothing but the same Get: it is a command.
const TXN: &[u8] = b"\x12\x07\x22\x05\x0a\x03key";
const PUT: &[u8] = b"\x0a\x03key\x12\x05value";

/// A way to read.
#[derive(Clone, Copy)]
struct Way {
    name: &'static str,
    path: &'static str,
    request: &'static [u8],
    how: &'static str,
}

const fn get(name: &'static str, how: &'static str) -> Way {
    Way { name, path: "/kv.v1.Kv/Get", request: GET, how }
}

const WAYS: [Way; 4] = [
    Way { name: "log read", path: "/kv.v1.Kv/Txn", request: TXN, how: "linearizable" },
    get("read index", "linearizable"),
    get("lease", "lease"),
    get("stale", "stale"),
];

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir_in(std::env::current_exe()?.parent().expect("in a folder"))?;
    let module = Module::load(quorate_modules::KV_MODULE)?;
    let bind = || TcpListener::bind("127.0.0.1:0");
    let clients = vec![bind()?, bind()?, bind()?];
    let timing = Timing { has_leases: true, ..Timing::default() };
    let nodes = local::start_timed(&module, clients, Some(folder.path()), timing)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let leader = leader(&runtime, &nodes);
    let follower = (leader + 1) % nodes.len();
    runtime.block_on(async {
        let put = Way { path: "/kv.v1.Kv/Put", request: PUT, ..WAYS[0] };
        let mut client = connect(&nodes[leader]).await?;
        call(&mut client, put).await
    })?;
    print_head();
    for (role, node) in [("leader", leader), ("follower", follower)] {
        for clients in CLIENTS {
            for way in WAYS {
                let measured = runtime.block_on(measure(&nodes[node], way, clients))?;
                print(role, clients, way, &measured);
            }
        }
    }
    for node in nodes {
        node.stop();
    }
    Ok(())
}

/// The position of the node that leads.
fn leader(runtime: &Runtime, nodes: &[Node]) -> usize {
    let mut status = nodes[0].status();
    let elected = runtime.block_on(status.wait_for(|status| status.leader.is_some()));
    let leader = elected.ok().and_then(|status| status.leader).expect("an election has an end");
    leader.node().get() as usize - 1
}

async fn connect(node: &Node) -> anyhow::Result<Grpc<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{}", node.client_address()))?;
    Ok(Grpc::new(endpoint.tcp_nodelay(true).connect().await?))
}

async fn call(client: &mut Grpc<Channel>, way: Way) -> anyhow::Result<()> {
    client.ready().await?;
    let mut request = tonic::Request::new(Bytes::from_static(way.request));
    request.metadata_mut().insert("quorate-read", way.how.parse()?);
    client.unary(request, PathAndQuery::from_static(way.path), BytesCodec).await?;
    Ok(())
}

/// Calls one after the other, by so many clients, each on a connection of its own.
async fn measure(node: &Node, way: Way, clients: usize) -> anyhow::Result<Vec<Duration>> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let mut client = connect(node).await?;
        tasks.spawn(async move {
            let mut times = Vec::new();
            let until = Instant::now() + LASTS;
            while Instant::now() < until {
                let begun = Instant::now();
                call(&mut client, way).await?;
                times.push(begun.elapsed());
            }
            anyhow::Ok(times)
        });
    }
    let mut all = Vec::new();
    while let Some(times) = tasks.join_next().await {
        all.extend(times??);
    }
    all.sort_unstable();
    Ok(all)
}

#[expect(clippy::print_stdout, reason = "the result")]
fn print_head() {
    println!("three nodes in one process, RocksDB with fsync; microseconds, and reads a second");
    println!(
        "{:10}{:>8}  {:12}{:>9}{:>9}{:>10}",
        "node", "clients", "way", "median", "p99", "reads/s"
    );
}

#[expect(clippy::print_stdout, reason = "the result")]
fn print(role: &str, clients: usize, way: Way, times: &[Duration]) {
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_micros();
    let rate = times.len() as u64 / LASTS.as_secs();
    let (median, p99) = (at(50), at(99));
    println!("{role:10}{clients:>8}  {:12}{median:>9}{p99:>9}{rate:>10}", way.name);
}
