//! One client, one node, RocksDB with fsync: what a put costs beside a bare fsync of the same disk,
//! in the same run. `cargo bench -p quorate --bench put [-- ROUNDS]`
//!
//! Prints medians and 99th percentiles in microseconds. Rounds of the two alternate, since disks
//! change their mind from one minute to the next.

use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate::local;
use quorate::node::Node;
use quorate::rpc::codec::BytesCodec;
use quorate_wasm::Module;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};

/// A call that goes no further than the server's own task.
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const ROUNDS: usize = 3000;
const WARM_UP_ROUNDS: usize = 200;
const KEY_BYTES: usize = 16;
const VALUE_BYTES: usize = 128;
/// What a bare append writes: a log record of about the size of one put's.
const APPEND_BYTES: usize = 320;

fn main() -> anyhow::Result<()> {
    // cargo bench adds arguments of its own.
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let rounds: usize = rounds.unwrap_or(ROUNDS);
    // Beside the build, which is on a disk; the folder for temporary files may be memory.
    let folder = tempfile::tempdir_in(std::env::current_exe()?.parent().expect("in a folder"))?;
    let node = start(folder.path())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let channel = runtime.block_on(
        Endpoint::from_shared(format!("http://{}", node.client_address()))?
            .tcp_nodelay(true)
            .connect(),
    )?;
    let mut client = Grpc::new(channel);
    let mut bare = Bare::create(folder.path())?;
    let mut puts = Vec::new();
    let mut gets = Vec::new();
    let mut empties = Vec::new();
    let mut syncs = Vec::new();
    for round in 0..rounds + WARM_UP_ROUNDS {
        let put = runtime.block_on(put(&mut client, round))?;
        let get = runtime.block_on(call(&mut client, "/kv.v1.Kv/Get", key_field(round)))?;
        let empty = runtime.block_on(call(&mut client, HEALTH, Vec::new()))?;
        let sync = bare.append()?;
        if round >= WARM_UP_ROUNDS {
            puts.push(put);
            gets.push(get);
            empties.push(empty);
            syncs.push(sync);
        }
    }
    node.stop();
    report(rounds, [puts, gets, empties, syncs]);
    Ok(())
}

fn start(folder: &Path) -> anyhow::Result<Node> {
    let module = Module::load(quorate_modules::KV_MODULE)?;
    let clients = TcpListener::bind("127.0.0.1:0")?;
    let mut nodes = local::start(&module, vec![clients], Some(folder))?;
    nodes.pop().ok_or_else(|| anyhow::anyhow!("a listener, yet no node"))
}

async fn put(client: &mut Grpc<Channel>, round: usize) -> anyhow::Result<Duration> {
    let mut request = key_field(round);
    request.extend([0x12, 0x80, 0x01]);
    request.extend([7; VALUE_BYTES]);
    call(client, "/kv.v1.Kv/Put", request).await
}

/// Field 1 of a request of the key-value plugin.
fn key_field(round: usize) -> Vec<u8> {
    let key = format!("{round:0KEY_BYTES$}");
    [&[0x0a, u8::try_from(KEY_BYTES).expect("a short key")], key.as_bytes()].concat()
}

async fn call(
    client: &mut Grpc<Channel>,
    path: &'static str,
    request: Vec<u8>,
) -> anyhow::Result<Duration> {
    let begun = Instant::now();
    client.ready().await?;
    let request = tonic::Request::new(Bytes::from(request));
    client.unary(request, axum::http::uri::PathAndQuery::from_static(path), BytesCodec).await?;
    Ok(begun.elapsed())
}

/// A file that grows by one synced append at a time: the least that a durable log can do.
struct Bare(File);

impl Bare {
    fn create(folder: &Path) -> anyhow::Result<Self> {
        Ok(Self(File::create(folder.join("bare"))?))
    }

    fn append(&mut self) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        self.0.write_all(&[7; APPEND_BYTES])?;
        self.0.sync_data()?;
        Ok(begun.elapsed())
    }
}

#[expect(clippy::print_stdout, reason = "the result")]
fn report(rounds: usize, columns: [Vec<Duration>; 4]) {
    println!("{rounds} rounds, one client, one node, RocksDB with fsync; microseconds");
    println!("{:24}{:>10}{:>10}", "", "median", "p99");
    let mut medians = Vec::new();
    let names = ["put", "get", "gRPC alone", "append + fdatasync"];
    for (name, mut times) in names.into_iter().zip(columns) {
        times.sort_unstable();
        let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)].as_micros();
        println!("{name:24}{:>10}{:>10}", at(50), at(99));
        medians.push(at(50));
    }
    println!("put above one fsync     {:>10}", medians[0].saturating_sub(medians[3]));
}
