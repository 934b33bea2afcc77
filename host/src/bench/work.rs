//! What callers do, over and over: random keys of a key space, random values.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::client::{Client, Read};
use super::load::Caller;

/// Pairs that one range may have.
const RANGE_PAIRS_MAX: u32 = 100;
/// The bytes of a key.
pub const KEY_BYTES: usize = 16;
/// How many fill a key space at once. Few: each read of etcd copies a buffer that is as large as
/// its largest burst of writes was.
const FILLERS: usize = 16;
/// Puts of one transaction, and their bytes.
const TXN_PUTS_MAX: usize = 100;
const TXN_BYTES_MAX: usize = 256 * 1024;

/// One call, or two that count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Sets a random key to a random value.
    Put,
    /// Reads a random key.
    Get(Read),
    /// Sets a random key, then reads it.
    PutThenGet,
    /// Reads up to 100 pairs from a random key on.
    Range,
    /// Deletes a random key.
    Delete,
}

/// The keys and values of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data {
    /// How many keys there are.
    pub keys: u32,
    /// The length of a value.
    pub value_bytes: usize,
}

impl Data {
    /// The key of a number: the same in each run.
    pub(super) fn key(number: u32) -> Bytes {
        let mut key = [0; KEY_BYTES];
        fastrand::Rng::with_seed(number.into()).fill(&mut key);
        Bytes::copy_from_slice(&key)
    }

    /// A value at random.
    pub(super) fn value(self, random: &mut fastrand::Rng) -> Bytes {
        let mut value = vec![0; self.value_bytes];
        random.fill(&mut value);
        value.into()
    }
}

/// Does its work again and again.
#[derive(Clone, Debug)]
pub struct Worker {
    client: Client,
    work: Work,
    data: Data,
    random: fastrand::Rng,
}

impl Caller for Worker {
    async fn call(&mut self) -> Result<(), String> {
        let key = Data::key(self.random.u32(0..self.data.keys));
        let client = &mut self.client;
        let done = match self.work {
            Work::Put => client.put(key, self.data.value(&mut self.random)).await,
            Work::Get(read) => client.get(key, read).await.map(drop),
            Work::PutThenGet => {
                let value = self.data.value(&mut self.random);
                match client.put(key.clone(), value).await {
                    Ok(()) => client.get(key, Read::Linearizable).await.map(drop),
                    Err(error) => Err(error),
                }
            }
            Work::Range => client.range(key, RANGE_PAIRS_MAX).await,
            Work::Delete => client.delete(key).await,
        };
        done.map_err(|status| format!("{:?}: {}", status.code(), status.message()))
    }
}

/// So many callers, spread evenly over the connections.
pub fn workers(clients: &[Client], callers: usize, work: Work, data: Data) -> Vec<Worker> {
    let random = fastrand::Rng::new;
    let each = clients.iter().cycle().take(callers);
    each.map(|client| Worker { client: client.clone(), work, data, random: random() }).collect()
}

/// How a key space is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// By one put after the other, as the load itself puts.
    Puts,
    /// By transactions, on Quorate alone: several times as fast.
    Transactions,
}

/// Puts each key of the key space once, from that number on.
pub async fn fill(clients: &[Client], from: u32, data: Data, by: Fill) -> anyhow::Result<()> {
    let pair_bytes = KEY_BYTES + data.value_bytes;
    let puts = match by {
        Fill::Puts => 1,
        Fill::Transactions => (TXN_BYTES_MAX / pair_bytes).clamp(1, TXN_PUTS_MAX),
    };
    let puts = u32::try_from(puts).expect("at most a hundred");
    let next = Arc::new(AtomicU32::new(from));
    let mut tasks = JoinSet::new();
    for client in clients.iter().cycle().take(FILLERS) {
        let (mut client, next) = (client.clone(), Arc::clone(&next));
        let mut random = fastrand::Rng::new();
        tasks.spawn(async move {
            loop {
                let first = next.fetch_add(puts, Ordering::Relaxed);
                if first >= data.keys {
                    return anyhow::Ok(());
                }
                let numbers = first..data.keys.min(first.saturating_add(puts));
                let mut pair = |number| (Data::key(number), data.value(&mut random));
                match by {
                    Fill::Puts => {
                        let (key, value) = pair(first);
                        client.put(key, value).await?;
                    }
                    Fill::Transactions => client.put_all(numbers.map(pair).collect()).await?,
                }
            }
        });
    }
    while let Some(filled) = tasks.join_next().await {
        filled??;
    }
    Ok(())
}
