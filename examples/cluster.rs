//! A cluster of three nodes in one process, from start to end: put on one node, read on another,
//! stop the leader, go on with the two that are left.
//!
//! `cargo run --release --package quorate-examples --bin cluster`
#![expect(clippy::print_stdout, reason = "to be read")]

use std::net::TcpListener;

use anyhow::Context as _;
use quorate::local;
use quorate::node::Node;
use quorate_wasm::Module;
use tokio::runtime::Runtime;

mod kv;

use kv::kv_client::KvClient;
use kv::{GetRequest, PutRequest};

fn main() -> anyhow::Result<()> {
    // Any module will do; this one comes with the library.
    let module = Module::load(quorate_modules::KV_MODULE)?;
    let clients = (0..3).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let mut nodes = local::start(&module, clients, None)?;
    // A node has a runtime of its own and is stopped from outside of any: so this program is not
    // async, and its calls run in a runtime beside the nodes.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for (number, node) in (1..).zip(&nodes) {
        println!("node {number} serves clients at {}", node.client_address());
    }

    // Any node takes any call: a command finds the leader by itself. So does this one, which comes
    // before there is a leader: it waits for the election.
    put(&runtime, &nodes[0], "greeting", "hello")?;
    println!("put on node 1: greeting = hello");

    // A query runs on the node that is asked. It sees all that was answered before it began, on
    // whatever node.
    let value = get(&runtime, &nodes[1], "greeting")?;
    println!("got from node 2: greeting = {value}");
    anyhow::ensure!(value == "hello", "a stale read");

    let leader = nodes.iter().position(|node| node.status().borrow().leads);
    let leader = leader.context("a command was decided, so a node leads")?;
    // Hands leadership over, answers what it has accepted, and leaves no thread and no port behind.
    nodes.remove(leader).stop();
    println!("stopped node {}, which was the leader", leader + 1);

    // Two of three are a majority.
    put(&runtime, &nodes[0], "greeting", "hello again")?;
    let value = get(&runtime, &nodes[1], "greeting")?;
    println!("put and got on the other two: greeting = {value}");
    anyhow::ensure!(value == "hello again", "a stale read");

    for node in nodes {
        node.stop();
    }
    println!("done");
    Ok(())
}

fn put(runtime: &Runtime, node: &Node, key: &str, value: &str) -> anyhow::Result<()> {
    runtime.block_on(async {
        let mut client = KvClient::connect(url(node)).await?;
        let (key, value) = (key.into(), value.into());
        client.put(PutRequest { key, value, prev_kv: false }).await?;
        Ok(())
    })
}

fn get(runtime: &Runtime, node: &Node, key: &str) -> anyhow::Result<String> {
    runtime.block_on(async {
        let mut client = KvClient::connect(url(node)).await?;
        let reply = client.get(GetRequest { key: key.into() }).await?.into_inner();
        let pair = reply.kv.context("the key is not there")?;
        Ok(String::from_utf8(pair.value)?)
    })
}

fn url(node: &Node) -> String {
    format!("http://{}", node.client_address())
}
