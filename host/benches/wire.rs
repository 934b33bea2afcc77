//! What the seal on messages between nodes saves and costs. `cargo bench -p quorate --bench wire`
//!
//! First the seal alone, on streams of frames with JSON-like values and with noise: bytes on the
//! wire, and microseconds for sealing, opening, and the checksum within. Then a cluster of three
//! nodes in this process takes puts of JSON-like values, one client and then many: bytes between
//! nodes with and without compression, all protocol around the values included.

#![expect(clippy::cast_precision_loss, reason = "numbers for people")]

use std::fmt::Write as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use quorate::local;
use quorate::rpc::codec::BytesCodec;
use quorate_proto::sealed::{Opener, Sealer, WireStats, wire_stats};
use quorate_wasm::Module;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};

const SIZES: [usize; 8] = [100, 300, 512, 1_024, 4_096, 16_384, 131_072, 1 << 20];
/// Bytes for each size, in frames.
const BYTES: usize = 16 << 20;
const FRAMES_MAX: usize = 5_000;
const PUTS: usize = 3_000;
const CLIENTS: usize = 32;
const VALUES: [usize; 3] = [150, 400, 2_000];

type Make = fn(&mut Rng, usize) -> Vec<u8>;

#[expect(clippy::print_stdout, reason = "the result")]
fn main() -> anyhow::Result<()> {
    println!("{:8}{:>9}{:>8}{:>10}{:>10}{:>10}", "frames", "bytes", "saved", "seal", "open", "crc");
    for (name, make) in [("json", json as Make), ("noise", noise)] {
        for size in SIZES {
            let cost = alone(make, size);
            let each = |took: Duration| took.as_nanos() as f64 / 1_000.0 / cost.frames as f64;
            let (seal, open, crc) = (each(cost.seal), each(cost.open), each(cost.crc));
            let saved = saved(cost.plain, cost.wire);
            println!("{name:8}{size:>9}{saved:>7.1}%{seal:>10.2}{open:>10.2}{crc:>10.2}");
        }
    }
    println!(
        "\nthree nodes{:>18}{:>14}{:>14}{:>8}{:>9}",
        "value", "before", "on wire", "saved", "put"
    );
    for clients in [1, CLIENTS] {
        for size in VALUES {
            let (stats, median) = cluster(clients, size)?;
            let saved = saved(stats.plain_bytes, stats.wire_bytes);
            println!(
                "{clients:>3} clients{size:>19}{:>14}{:>14}{saved:>7.1}%{:>6} us",
                stats.plain_bytes,
                stats.wire_bytes,
                median.as_micros()
            );
        }
    }
    Ok(())
}

fn saved(before: u64, after: u64) -> f64 {
    100.0 - 100.0 * after as f64 / before as f64
}

struct Cost {
    frames: usize,
    plain: u64,
    wire: u64,
    seal: Duration,
    open: Duration,
    crc: Duration,
}

fn alone(make: Make, size: usize) -> Cost {
    let mut random = Rng::with_seed(size as u64);
    let frames = (BYTES / size).clamp(8, FRAMES_MAX);
    let plain: Vec<Vec<u8>> = (0..frames).map(|_| make(&mut random, size)).collect();
    let (mut sealer, mut opener) = (Sealer::default(), Opener::default());
    let begun = Instant::now();
    let wire: Vec<Bytes> = plain
        .iter()
        .map(|plain| {
            let mut out = Vec::with_capacity(plain.len() + 80);
            sealer.seal(plain, &mut out);
            out.into()
        })
        .collect();
    let seal = begun.elapsed();
    let begun = Instant::now();
    for frame in &wire {
        opener.open(frame.clone()).expect("nothing was damaged");
    }
    let open = begun.elapsed();
    let begun = Instant::now();
    let sum = wire.iter().fold(0, |sum, frame| sum ^ crc32c::crc32c(frame));
    std::hint::black_box(sum);
    let crc = begun.elapsed();
    let wire = wire.iter().map(|frame| frame.len() as u64).sum();
    Cost { frames, plain: (frames * size) as u64, wire, seal, open, crc }
}

/// Puts through one node of three, and what went between nodes meanwhile.
fn cluster(clients: usize, size: usize) -> anyhow::Result<(WireStats, Duration)> {
    let module = Module::load(quorate_modules::KV_MODULE)?;
    let listeners: Result<Vec<_>, _> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    let nodes = local::start(&module, listeners?, None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let address = format!("http://{}", nodes[0].client_address());
    let measured = runtime.block_on(async {
        let channel = Endpoint::from_shared(address)?.tcp_nodelay(true).connect().await?;
        put(&mut Grpc::new(channel.clone()), 0, json(&mut Rng::with_seed(9), size)).await?;
        let before = wire_stats();
        let mut running = tokio::task::JoinSet::new();
        for client in 0..clients {
            let mut grpc = Grpc::new(channel.clone());
            running.spawn(async move {
                let mut random = Rng::with_seed(client as u64);
                let mut times = Vec::new();
                for round in 0..PUTS / clients {
                    let value = json(&mut random, size);
                    times.push(put(&mut grpc, round * clients + client, value).await?);
                }
                anyhow::Ok(times)
            });
        }
        let mut times = Vec::new();
        while let Some(more) = running.join_next().await {
            times.extend(more??);
        }
        times.sort_unstable();
        anyhow::Ok((since(before), times[times.len() / 2]))
    });
    for node in nodes {
        node.stop();
    }
    measured
}

fn since(before: WireStats) -> WireStats {
    let now = wire_stats();
    WireStats {
        plain_bytes: now.plain_bytes - before.plain_bytes,
        wire_bytes: now.wire_bytes - before.wire_bytes,
        ..now
    }
}

async fn put(client: &mut Grpc<Channel>, key: usize, value: Vec<u8>) -> anyhow::Result<Duration> {
    let key = format!("user/{key:08}");
    let mut request = vec![0x0a, u8::try_from(key.len())?];
    request.extend_from_slice(key.as_bytes());
    request.push(0x12);
    prost::encoding::encode_varint(value.len() as u64, &mut request);
    request.extend(value);
    let begun = Instant::now();
    client.ready().await?;
    let path = axum::http::uri::PathAndQuery::from_static("/kv.v1.Kv/Put");
    client.unary(tonic::Request::new(Bytes::from(request)), path, BytesCodec).await?;
    Ok(begun.elapsed())
}

fn noise(random: &mut Rng, size: usize) -> Vec<u8> {
    std::iter::repeat_with(|| random.u8(..)).take(size).collect()
}

/// Records as web services store them: the same names, other values.
fn json(random: &mut Rng, size: usize) -> Vec<u8> {
    const NAMES: [&str; 8] = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"];
    const STATES: [&str; 4] = ["active", "suspended", "pending", "closed"];
    let mut out = String::new();
    while out.len() < size {
        let (user, friend) = (random.choice(NAMES), random.choice(NAMES));
        let (user, friend) = (user.unwrap_or_default(), friend.unwrap_or_default());
        let state = random.choice(STATES).unwrap_or_default();
        let (id, number, balance) = (random.u64(..), random.u32(..1_000), random.u32(..1_000_000));
        let (month, day, hour) = (random.u8(1..13), random.u8(1..29), random.u8(0..24));
        let (second, is_verified) = (random.u8(0..60), random.bool());
        write!(
            out,
            "{{\"id\":\"{id:016x}\",\"user\":\"{user}\",\"email\":\"{user}{number}@example.com\",\
             \"state\":\"{state}\",\"balance\":{balance},\"friends\":[\"{friend}\"],\
             \"created_at\":\"2026-{month:02}-{day:02}T{hour:02}:00:{second:02}Z\",\
             \"verified\":{is_verified}}}"
        )
        .expect("a string takes all that is written to it");
    }
    out.truncate(size);
    out.into_bytes()
}
