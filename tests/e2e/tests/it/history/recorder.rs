//! Clients that call without a pause, and write down what they see.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use quorate_e2e::cluster::Cluster;
use quorate_e2e::kv::v1::compare::Target;
use quorate_e2e::kv::v1::txn_op::Op as TxnOp;
use quorate_e2e::kv::v1::txn_op_reply::Reply as TxnOpReply;
use quorate_e2e::kv::v1::{self, Compare, GetRequest, KeyValue, PutRequest, TxnReply, TxnRequest};
use quorate_e2e::kv::{CALL_WAIT_MAX, Kv, Place, Reply, was_not_executed};
use quorate_e2e::wait;
use quorate_history::{Answer, Call, Found, Op, Outcome};
use tokio::task::JoinSet;
use tonic::{Code, Status};

const CLIENTS_PER_NODE: usize = 2;
/// In a history, a key is its place here.
const KEYS: [&str; 3] = ["a", "b", "c"];
/// Some calls of each kind, on each key in turn.
const CALLS_PER_KEY: usize = 5;
/// A client's values are its number, and so many times that what it has called before.
const CLIENTS_MAX: usize = 1000;

/// Clients of all nodes, and what they have seen.
pub(crate) struct Recorder {
    clients: JoinSet<()>,
    shared: Arc<Shared>,
}

struct Shared {
    begun: Instant,
    stopped: AtomicBool,
    history: Mutex<Vec<Op>>,
}

impl Recorder {
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            stopped: AtomicBool::new(false),
            history: Mutex::default(),
        });
        let nodes = cluster.ids().flat_map(|node| [node; CLIENTS_PER_NODE]);
        let mut clients = JoinSet::new();
        for (number, node) in (0..).zip(nodes) {
            let client = Client::new(number, cluster.kv(node));
            clients.spawn(client.run(Arc::clone(&shared)));
        }
        Self { clients, shared }
    }

    /// Waits until so many more calls were answered.
    pub(crate) async fn goes_on(&self, calls: usize) {
        let enough = self.shared.answered() + calls;
        wait::eventually("answered calls", wait::LONG, async || match self.shared.answered() {
            answered if answered >= enough => Ok(()),
            answered => Err(format!("{answered} of {enough}")),
        })
        .await;
    }

    /// Stops the clients, reads each key a last time, and gives all that was seen.
    pub(crate) async fn stop(&mut self, kv: &Kv) -> Vec<Op> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client does not panic");
        }
        // It writes nothing, so that its number does not matter.
        let last = Client::new(0, kv.clone());
        for at in 0..KEYS.len() {
            wait::eventually("a last Get", wait::LONG, async || {
                match last.call(&self.shared, at, Call::Get).await {
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
    number: u64,
    kv: Kv,
    /// The revision at which each key was last put, as far as this client knows.
    known: [u64; KEYS.len()],
}

impl Client {
    fn new(number: u64, kv: Kv) -> Self {
        Self { number, kv, known: [0; KEYS.len()] }
    }

    async fn run(mut self, shared: Arc<Shared>) {
        for (called, value) in (self.number..).step_by(CLIENTS_MAX).enumerate() {
            if shared.stopped.load(Ordering::Relaxed) {
                return;
            }
            let at = (called / CALLS_PER_KEY) % KEYS.len();
            let call = match called % CALLS_PER_KEY {
                0 | 2 => Call::Get,
                1 | 3 => Call::Cas(self.known[at], value),
                _ => Call::Put(value),
            };
            let outcome = self.call(&shared, at, call).await;
            match outcome {
                Outcome::Answered(Answer { wrote: true, revision, .. }) => {
                    self.known[at] = revision;
                }
                Outcome::Answered(Answer { found, .. }) => {
                    self.known[at] = found.map_or(0, |found| found.mod_revision);
                }
                Outcome::Refused | Outcome::Unknown => wait::back_off().await,
            }
        }
    }

    /// Makes a call and writes it down.
    async fn call(&self, shared: &Shared, at: usize, call: Call) -> Outcome {
        let begun = shared.now();
        let answered = tokio::time::timeout(2 * CALL_WAIT_MAX, self.send(KEYS[at], &call)).await;
        let ended = shared.now();
        let outcome = match answered.expect("every call has an end") {
            Ok(answer) => Outcome::Answered(answer),
            Err(status) => outcome_of(&status),
        };
        let key = u32::try_from(at).expect("there are few keys");
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
                let Reply { place, message } = self.kv.put(key, value.to_string()).await?;
                Ok(answer(place, message.revision, true, message.prev_kv))
            }
            Call::Cas(mod_revision, value) => {
                let Reply { place, message } =
                    self.kv.txn(compare_and_set(key, *mod_revision, *value)).await?;
                Ok(answer_of_txn(place, message))
            }
        }
    }
}

fn compare_and_set(key: &'static str, mod_revision: u64, value: u64) -> TxnRequest {
    let put = PutRequest { key: key.into(), value: value.to_string().into(), prev_kv: true };
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
        value: str::from_utf8(&kv.value).expect("text").parse().expect("a number"),
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
