//! Clients that call without a pause, and write down what they see.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quorate_e2e::cluster::Cluster;
use quorate_e2e::kv::v1::compare::Target;
use quorate_e2e::kv::v1::txn_op::Op as TxnOp;
use quorate_e2e::kv::v1::txn_op_reply::Reply as TxnOpReply;
use quorate_e2e::kv::v1::{self, Compare, GetRequest, KeyValue, PutRequest, TxnReply, TxnRequest};
use quorate_e2e::kv::{CALL_WAIT_MAX, Kv, Place, Reply, was_not_executed};
use quorate_e2e::wait;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::checker::{Answer, Call, Found, Op, Outcome};

const CLIENTS_PER_NODE: usize = 2;
const KEYS: [&str; 3] = ["a", "b", "c"];
/// Some calls of each kind, on each key in turn.
const CALLS_PER_KEY: usize = 5;
/// What a client that was refused waits before it goes on.
const BACK_OFF: Duration = Duration::from_millis(10);

/// Clients of all nodes, and what they have seen.
pub(super) struct Recorder {
    clients: JoinSet<()>,
    shared: Arc<Shared>,
}

struct Shared {
    begun: Instant,
    stopped: AtomicBool,
    history: Mutex<Vec<Op>>,
}

impl Recorder {
    pub(super) fn start(cluster: &Cluster) -> Self {
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            stopped: AtomicBool::new(false),
            history: Mutex::default(),
        });
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS_PER_NODE {
            for node in cluster.ids() {
                let name = format!("{node}.{number}");
                let client = Client::new(name, cluster.kv(node));
                clients.spawn(client.run(Arc::clone(&shared)));
            }
        }
        Self { clients, shared }
    }

    /// Waits until so many more calls were answered.
    pub(super) async fn goes_on(&self, calls: usize) {
        let enough = self.shared.answered() + calls;
        wait::eventually("answered calls", wait::LONG, async || match self.shared.answered() {
            answered if answered >= enough => Ok(()),
            answered => Err(format!("{answered} of {enough}")),
        })
        .await;
    }

    /// Stops the clients, reads each key a last time, and gives all that was seen.
    pub(super) async fn stop(&mut self, kv: &Kv) -> Vec<Op> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client does not panic");
        }
        for key in KEYS {
            let last = Client::new("last".to_owned(), kv.clone());
            wait::eventually("a last Get", wait::LONG, async || {
                match last.call(&self.shared, key, Call::Get).await {
                    Outcome::Answered(_) => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })
            .await;
        }
        std::mem::take(&mut self.shared.lock())
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Op>> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self) -> usize {
        self.lock().iter().filter(|op| matches!(op.outcome, Outcome::Answered(_))).count()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).expect("far less than centuries")
    }
}

struct Client {
    name: String,
    kv: Kv,
    /// The revision at which each key was last put, as far as this client knows.
    known: [u64; KEYS.len()],
}

impl Client {
    fn new(name: String, kv: Kv) -> Self {
        Self { name, kv, known: [0; KEYS.len()] }
    }

    async fn run(mut self, shared: Arc<Shared>) {
        for number in 0.. {
            if shared.stopped.load(Ordering::Relaxed) {
                return;
            }
            let at = (number / CALLS_PER_KEY) % KEYS.len();
            let value = format!("{}/{number}", self.name);
            let call = match number % CALLS_PER_KEY {
                0 | 2 => Call::Get,
                1 | 3 => Call::Cas(self.known[at], value),
                _ => Call::Put(value),
            };
            let outcome = self.call(&shared, KEYS[at], call).await;
            match outcome {
                Outcome::Answered(Answer { wrote: true, revision, .. }) => {
                    self.known[at] = revision;
                }
                Outcome::Answered(Answer { found, .. }) => {
                    self.known[at] = found.map_or(0, |found| found.mod_revision);
                }
                Outcome::Refused | Outcome::Unknown => tokio::time::sleep(BACK_OFF).await,
            }
        }
    }

    /// Makes a call and writes it down.
    async fn call(&self, shared: &Shared, key: &'static str, call: Call) -> Outcome {
        let begun = shared.now();
        let answered = tokio::time::timeout(2 * CALL_WAIT_MAX, self.send(key, &call)).await;
        let ended = shared.now();
        let outcome = match answered.expect("every call has an end") {
            Ok(answer) => Outcome::Answered(answer),
            Err(status) => outcome_of(&status),
        };
        shared.lock().push(Op { begun, ended, key, call, outcome: outcome.clone() });
        outcome
    }

    async fn send(&self, key: &'static str, call: &Call) -> Result<Answer, Status> {
        match call {
            Call::Get => {
                let Reply { place, message } = self.kv.get(key).await?;
                Ok(answer(place, message.revision, false, message.kv))
            }
            Call::Put(value) => {
                let Reply { place, message } = self.kv.put(key, value.clone()).await?;
                Ok(answer(place, message.revision, true, message.prev_kv))
            }
            Call::Cas(mod_revision, value) => {
                let Reply { place, message } =
                    self.kv.txn(compare_and_set(key, *mod_revision, value)).await?;
                Ok(answer_of_txn(place, message))
            }
        }
    }
}

fn compare_and_set(key: &'static str, mod_revision: u64, value: &str) -> TxnRequest {
    let put = PutRequest { key: key.into(), value: value.to_owned().into(), prev_kv: true };
    let target = Some(Target::ModRevision(mod_revision));
    TxnRequest {
        compare: vec![Compare { key: key.into(), target, ..Compare::default() }],
        success: vec![v1::TxnOp { op: Some(TxnOp::Put(put)) }],
        failure: vec![v1::TxnOp { op: Some(TxnOp::Get(GetRequest { key: key.into() })) }],
    }
}

fn answer_of_txn(place: Place, mut message: TxnReply) -> Answer {
    let found = match message.responses.pop().and_then(|response| response.reply) {
        Some(TxnOpReply::Put(put)) if message.succeeded => put.prev_kv,
        Some(TxnOpReply::Get(get)) if !message.succeeded => get.kv,
        other => panic!("one operation, not {other:?}"),
    };
    answer(place, message.revision, message.succeeded, found)
}

fn answer(place: Place, revision: u64, wrote: bool, found: Option<KeyValue>) -> Answer {
    let found = found.map(|kv| Found {
        value: String::from_utf8(kv.value.into()).expect("it was text"),
        mod_revision: kv.mod_revision,
    });
    Answer { index: place.index, term: place.term, revision, wrote, found }
}

/// Statuses of a command say in words whether it may have been executed.
fn outcome_of(status: &Status) -> Outcome {
    match status.code() {
        Code::Unavailable if was_not_executed(status) => Outcome::Refused,
        Code::Unavailable => Outcome::Unknown,
        _ => panic!("{status}"),
    }
}
