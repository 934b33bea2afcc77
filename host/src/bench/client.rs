//! Connections to a key-value store: Quorate's, or etcd's. The only module of the measurements that
//! knows gRPC.
//!
//! What this deliberately does not do: try again, or follow a leader. A call that fails is an error
//! in the table.

mod etcd;

use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::http::uri::PathAndQuery;
use bytes::Bytes;
use prost::Message;
use quorate_proto::v1::{StagesReply, StagesRequest};
use tokio::time::{Instant, sleep, timeout};
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// Between two questions whether a server answers yet. Short: what a start takes is measured so.
const ANSWER_PAUSE: Duration = Duration::from_millis(2);
/// What a key of a question is called that is not of the key space.
const QUESTION_KEY: &[u8] = b"?";

/// The request of a put on Quorate, encoded.
pub fn put_request(key: Bytes, value: Bytes) -> Bytes {
    put(key, value).encode_to_vec().into()
}

/// A put on Quorate: the plugin's own message, which has its bytes in vectors.
fn put(key: Bytes, value: Bytes) -> kv::PutRequest {
    kv::PutRequest { key: key.into(), value: value.into(), prev_kv: false }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// The key-value plugin on Quorate.
    Quorate,
    /// An etcd server.
    Etcd,
}

impl System {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quorate => "quorate",
            Self::Etcd => "etcd",
        }
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Read {
    /// It sees all that was answered before it.
    Linearizable,
    /// The same, by the leader's lease.
    Lease,
    /// What the node happens to have; with etcd, `serializable`.
    Stale,
}

impl Read {
    /// As Quorate's metadata have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linearizable => "linearizable",
            Self::Lease => "lease",
            Self::Stale => "stale",
        }
    }
}

/// Which nodes are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Route {
    /// The one that leads.
    Leader,
    /// All of them, by turns of the connections.
    All,
}

impl Route {
    /// What it is called in tables.
    pub fn label(self) -> &'static str {
        match self {
            Self::Leader => "the leader",
            Self::All => "all nodes",
        }
    }
}

/// A system, and where its nodes are: `HOST:PORT`, in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What it is.
    pub system: System,
    /// Where its nodes are.
    pub addresses: Vec<String>,
}

impl Target {
    /// Opens connections, spread over the nodes that the route names.
    pub async fn connect(&self, connections: usize, route: Route) -> anyhow::Result<Vec<Client>> {
        let leader = match route {
            Route::Leader if self.addresses.len() > 1 => vec![self.leader().await?],
            Route::Leader | Route::All => self.addresses.clone(),
        };
        let mut clients = Vec::new();
        for address in leader.iter().cycle().take(connections) {
            clients.push(Client::connect(self.system, address).await?);
        }
        Ok(clients)
    }

    /// Where the node is that leads.
    async fn leader(&self) -> anyhow::Result<String> {
        for (address, number) in self.addresses.iter().zip(1..) {
            let mut client = Client::connect(self.system, address).await?;
            if client.leads(number).await? {
                return Ok(address.clone());
            }
        }
        bail!("none of {} leads", self.addresses.join(", "))
    }

    /// Waits until a node answers a linearizable read.
    pub async fn answers(&self, node: usize, within: Duration) -> anyhow::Result<()> {
        let address = &self.addresses[node];
        let until = Instant::now() + within;
        loop {
            let asked = timeout(within, self.ask(address)).await.context("it does not answer")?;
            match asked {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= until => {
                    return Err(error.context(format!("{address} does not answer")));
                }
                Err(_) => sleep(ANSWER_PAUSE).await,
            }
        }
    }

    async fn ask(&self, address: &str) -> anyhow::Result<()> {
        let mut client = Client::connect(self.system, address).await?;
        client.get(Bytes::from_static(QUESTION_KEY), Read::Linearizable).await?;
        Ok(())
    }

    /// What the system says of its version, if it does.
    pub async fn version(&self) -> anyhow::Result<Option<String>> {
        match self.system {
            System::Quorate => Ok(None),
            System::Etcd => {
                let mut client = Client::connect(self.system, &self.addresses[0]).await?;
                Ok(Some(client.etcd_status().await?.version))
            }
        }
    }
}

/// A connection; clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    system: System,
    grpc: Grpc<Channel>,
}

impl Client {
    async fn connect(system: System, address: &str) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let channel =
            endpoint.connect().await.with_context(|| format!("cannot reach {address}"))?;
        Ok(Self { system, grpc: Grpc::new(channel) })
    }

    /// Sets a value.
    pub async fn put(&mut self, key: Bytes, value: Bytes) -> Result<(), Status> {
        match self.system {
            System::Quorate => {
                let put = Request::new(put(key, value));
                drop(self.unary::<_, kv::PutReply>("/kv.v1.Kv/Put", put).await?);
            }
            System::Etcd => {
                let put = Request::new(etcd::Put { key, value });
                drop(self.unary::<_, etcd::PutReply>("/etcdserverpb.KV/Put", put).await?);
            }
        }
        Ok(())
    }

    /// Sets several values of Quorate's in one step.
    pub async fn put_all(&mut self, pairs: Vec<(Bytes, Bytes)>) -> Result<(), Status> {
        let put = |(key, value)| kv::TxnOp { op: Some(kv::txn_op::Op::Put(put(key, value))) };
        let success = pairs.into_iter().map(put).collect();
        let txn = Request::new(kv::TxnRequest { success, ..kv::TxnRequest::default() });
        drop(self.unary::<_, kv::TxnReply>("/kv.v1.Kv/Txn", txn).await?);
        Ok(())
    }

    /// Reads a key; says whether it is there.
    pub async fn get(&mut self, key: Bytes, read: Read) -> Result<bool, Status> {
        match self.system {
            System::Quorate => {
                let mut get = Request::new(kv::GetRequest { key: key.into() });
                if read != Read::Linearizable {
                    let how = MetadataValue::from_static(read.name());
                    get.metadata_mut().insert("quorate-read", how);
                }
                let reply = self.unary::<_, kv::GetReply>("/kv.v1.Kv/Get", get).await?;
                Ok(reply.into_inner().kv.is_some())
            }
            System::Etcd => {
                let range = etcd::Range { key, serializable: read == Read::Stale };
                let path = "/etcdserverpb.KV/Range";
                let reply = self.unary::<_, etcd::RangeReply>(path, Request::new(range)).await?;
                Ok(!reply.into_inner().kvs.is_empty())
            }
        }
    }

    /// Deletes a key of Quorate's.
    pub async fn delete(&mut self, key: Bytes) -> Result<(), Status> {
        let target = Some(kv::delete_request::Target::Key(key.into()));
        let delete = Request::new(kv::DeleteRequest { target, prev_kv: false });
        drop(self.unary::<_, kv::DeleteReply>("/kv.v1.Kv/Delete", delete).await?);
        Ok(())
    }

    /// Reads so many pairs of Quorate's, from a key on.
    pub async fn range(&mut self, start: Bytes, limit: u32) -> Result<(), Status> {
        let start = start.into();
        let range = Request::new(kv::RangeRequest { start, limit, ..kv::RangeRequest::default() });
        drop(self.unary::<_, kv::RangeReply>("/kv.v1.Kv/Range", range).await?);
        Ok(())
    }

    /// Whether the node at the other end, which has this number, leads.
    async fn leads(&mut self, number: u64) -> anyhow::Result<bool> {
        match self.system {
            System::Quorate => {
                let put = put(Bytes::from_static(QUESTION_KEY), Bytes::new());
                let path = "/kv.v1.Kv/Put";
                let reply = self.unary::<_, kv::PutReply>(path, Request::new(put)).await?;
                let leader = reply.metadata().get("quorate-node").context("it names no node")?;
                Ok(leader.to_str()?.parse() == Ok(number))
            }
            System::Etcd => {
                let status = self.etcd_status().await?;
                Ok(status.header.is_some_and(|header| header.member_id == status.leader))
            }
        }
    }

    /// Where the time of a Quorate node's commands went.
    pub async fn stages(&mut self) -> Result<StagesReply, Status> {
        let path = "/quorate.v1.Admin/Stages";
        Ok(self.unary(path, Request::new(StagesRequest {})).await?.into_inner())
    }

    async fn etcd_status(&mut self) -> Result<etcd::Status, Status> {
        let path = "/etcdserverpb.Maintenance/Status";
        Ok(self.unary(path, Request::new(etcd::StatusRequest {})).await?.into_inner())
    }

    async fn unary<Q, R>(
        &mut self,
        path: &'static str,
        request: Request<Q>,
    ) -> Result<Response<R>, Status>
    where
        Q: Message + 'static,
        R: Message + Default + 'static,
    {
        self.grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let codec = ProstCodec::<Q, R>::default();
        self.grpc.unary(request, PathAndQuery::from_static(path), codec).await
    }
}
