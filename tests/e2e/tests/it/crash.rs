//! One node that is killed again and again.

use quorate_e2e::cluster::{Cluster, Log};
use quorate_e2e::ledger::{Ledger, Load};
use quorate_e2e::{note, turn};

const ROUNDS: usize = 5;
const CLIENTS: usize = 8;
/// Kept low: some kills then come early, in the first batches after a start.
const WRITES_PER_ROUND: usize = 120;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_under_load_has_all_that_it_acknowledged() {
    let _turn = turn().await;
    let ledger = Ledger::new();
    let mut cluster = Cluster::start(1, Log::RocksDb);
    for round in 1..=ROUNDS {
        let load = Load::start(&ledger, (0..CLIENTS).map(|_| cluster.kv(1)));
        ledger.grows_by(WRITES_PER_ROUND * round).await;
        cluster.kill(1);
        load.stop().await;
        cluster.start_node(1);
        ledger.check(&cluster.kv(1)).await;
    }
    note(format_args!("{} acknowledged writes survived {ROUNDS} kills", ledger.len()));
}
