//! A client that sends a command again until it knows what became of it, while the cluster loses
//! its leader. A session makes that harmless: each command is executed once, however often it was
//! sent and to whichever node.
//!
//! `cargo run --release --package quorate-examples --bin retry`
#![expect(clippy::print_stdout, reason = "to be read")]

use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use quorate::local;
use quorate_wasm::Module;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

mod kv;
mod sessions;

use kv::kv_client::KvClient;
use kv::{GetRequest, PutReply, PutRequest};
use sessions::OpenSessionRequest;
use sessions::sessions_client::SessionsClient;

/// A node waits 5 s for a leader and for an outcome; a client should wait a little longer.
const CALL_WAIT_MAX: Duration = Duration::from_secs(6);
/// Before a call is sent again.
const PAUSE: Duration = Duration::from_millis(50);

fn main() -> anyhow::Result<()> {
    let module = Module::load(quorate_modules::KV_MODULE)?;
    let clients = (0..3).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let mut nodes = local::start(&module, clients, None)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let urls = nodes.iter().map(|node| format!("http://{}", node.client_address()));
    let mut client = runtime.block_on(Client::open(urls.collect()))?;

    runtime.block_on(client.put_times(10))?;
    let leader = nodes.iter().position(|node| node.status().borrow().leads);
    let leader = nodes.remove(leader.context("a command was decided, so a node leads")?);
    thread::scope(|scope| {
        scope.spawn(|| leader.stop());
        runtime.block_on(client.put_times(40))
    })?;
    println!("the leader was stopped meanwhile; calls were sent {} times", client.sent);

    // The key's version counts its puts.
    let version = runtime.block_on(client.version())?;
    println!("put 50 times: version {version}");
    anyhow::ensure!(version == 50, "one was executed twice, or not at all");

    // The last one again, to each node: nothing happens, and the first reply comes back.
    let again = runtime.block_on(client.again())?;
    let version = runtime.block_on(client.version())?;
    println!("the last one again: {again}; version {version}");
    anyhow::ensure!(version == 50, "a duplicate was executed");
    for node in nodes {
        node.stop();
    }
    println!("done");
    Ok(())
}

struct Client {
    nodes: Vec<Channel>,
    session: String,
    /// The number of the last call.
    seq: u64,
    /// How often calls were sent.
    sent: u64,
}

impl Client {
    /// Opens a session. Whether an opening that failed has opened one does not matter: it is not
    /// used, and expires.
    async fn open(urls: Vec<String>) -> anyhow::Result<Self> {
        let endpoint = |url| anyhow::Ok(Endpoint::from_shared(url)?.timeout(CALL_WAIT_MAX));
        let nodes = urls.into_iter().map(|url| Ok(endpoint(url)?.connect_lazy()));
        let nodes: Vec<Channel> = nodes.collect::<anyhow::Result<_>>()?;
        let first = nodes.first().context("there are nodes")?;
        let opened = SessionsClient::new(first.clone()).open(OpenSessionRequest {}).await?;
        let session = opened.into_inner().session;
        println!("session {session}");
        Ok(Self { nodes, session, seq: 0, sent: 0 })
    }

    async fn put_times(&mut self, times: u64) -> anyhow::Result<()> {
        for _ in 0..times {
            self.seq += 1;
            self.until_known().await?;
        }
        Ok(())
    }

    /// Sends the call until it is decided, to one node after the other.
    async fn until_known(&mut self) -> anyhow::Result<Response<PutReply>> {
        loop {
            for node in self.nodes.clone() {
                self.sent += 1;
                match self.put(node).await {
                    Ok(reply) => return Ok(reply),
                    Err(status) if is_decided(&status) => return Err(status.into()),
                    Err(_) => tokio::time::sleep(PAUSE).await,
                }
            }
        }
    }

    async fn put(&self, node: Channel) -> Result<Response<PutReply>, Status> {
        let value = self.seq.to_string().into_bytes();
        let mut put = Request::new(PutRequest { key: b"count".into(), value, prev_kv: true });
        // This call's number, and that the replies to all before it need not be kept.
        let call = format!("{}/{}/{}", self.session, self.seq, self.seq);
        put.metadata_mut().insert("quorate-session", call.parse().expect("digits and slashes"));
        KvClient::new(node).put(put).await
    }

    async fn again(&mut self) -> anyhow::Result<String> {
        let reply = self.until_known().await?;
        let index = reply.metadata().get("quorate-index").context("replies have a place")?;
        Ok(format!("decided at entry {}", index.to_str()?))
    }

    async fn version(&self) -> anyhow::Result<u64> {
        for node in self.nodes.clone() {
            let get = KvClient::new(node).get(GetRequest { key: b"count".into() }).await;
            if let Ok(reply) = get {
                return Ok(reply.into_inner().kv.context("the key is there")?.version);
            }
        }
        anyhow::bail!("no node answers")
    }
}

/// Whether it makes no sense to send the call again: it was refused by the plugin, which has a
/// place in the log, or for what it says.
fn is_decided(status: &Status) -> bool {
    let metadata = status.metadata();
    metadata.contains_key("quorate-index")
        || metadata.contains_key("quorate-session")
        || matches!(status.code(), Code::InvalidArgument | Code::Unimplemented)
}
