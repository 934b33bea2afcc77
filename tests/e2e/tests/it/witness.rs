//! Clients of a cluster that faults are put upon, and what they testify in the end: one order
//! explains what each of them saw, and nothing that was acknowledged is lost.

use std::sync::Arc;

use quorate_e2e::cluster::Cluster;
use quorate_e2e::ledger::{Ledger, Load};
use quorate_e2e::note;
use quorate_history::{by_index, by_search};

use crate::history::recorder::Recorder;

/// Calls that are answered for each write of the ledger.
const CALLS_PER_WRITE: usize = 5;

/// The clients of all nodes.
pub(crate) struct Witness {
    recorder: Recorder,
    ledger: Arc<Ledger>,
    load: Load,
}

impl Witness {
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let recorder = Recorder::start(cluster);
        let ledger = Ledger::new();
        let load = Load::start(&ledger, cluster.ids().map(|node| cluster.kv(node)));
        Self { recorder, ledger, load }
    }

    /// Waits until clients have made progress, whichever nodes answer them.
    pub(crate) async fn goes_on(&self, calls: usize) {
        let writes = calls / CALLS_PER_WRITE;
        tokio::join!(self.recorder.goes_on(calls), self.ledger.grows_by(writes));
    }

    /// Waits until each node answers reads and writes.
    pub(crate) async fn all_serve(&self, cluster: &Cluster) {
        for node in cluster.ids() {
            let kv = cluster.kv(node);
            kv.put_eventually("served by", &node.to_string()).await;
            kv.get_eventually("served by").await;
        }
    }

    /// Stops the clients, and checks what they saw. All nodes must run.
    pub(crate) async fn testify(mut self, cluster: &Cluster) {
        self.load.stop().await;
        let history = self.recorder.stop(&cluster.kv(1)).await;
        for node in cluster.ids() {
            self.ledger.check(&cluster.kv(node)).await;
        }
        let writes = self.ledger.len();
        let summary = by_index::check(&history).unwrap_or_else(|wrong| panic!("{wrong}"));
        let searched = by_search::check(&history).unwrap_or_else(|wrong| panic!("{wrong}"));
        note(format_args!("{writes} acknowledged writes are there; {summary:?}, {searched:?}"));
    }
}
