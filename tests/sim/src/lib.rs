//! A cluster in one thread and in virtual time, from one seed, under every fault.
//!
//! What runs is the production core: batcher, replica, machine, its log in memory and its state in
//! memory. What is simulated is the rest of the world: clocks, network, disks, processes, clients.
//!
//! 1. [`plan`]: what a seed draws; [`fault`]: what can go wrong, and the ledger of what did
//! 2. [`cluster`]: the nodes and the queue of events; [`net`], [`disk`], [`state`]: their world
//! 3. [`calls`], [`request`], [`program`]: clients, what they ask for, and who does it
//! 4. [`oracle`]: what must hold after every event; [`audit`], [`model`]: and at the end
//! 5. [`run`](mod@run): one seed; [`shrink`]: which of its faults matter; [`campaign`]: many seeds
//! 6. [`script`]: stories as text
//! 7. [`trace`], [`time`]
//!
//! What this deliberately does not have: the host's threads and sockets, RocksDB, gRPC. The tests
//! with real processes have those.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "numbers of nodes and calls are small, and virtual time is short"
)]

pub mod audit;
pub mod calls;
#[cfg(feature = "campaign")]
pub mod campaign;
pub mod cluster;
pub mod disk;
pub mod fault;
pub mod model;
pub mod net;
pub mod oracle;
pub mod plan;
pub mod program;
#[cfg(feature = "campaign")]
pub mod report;
pub mod request;
pub mod run;
pub mod script;
mod session;
pub mod shrink;
pub mod state;
pub mod tally;
pub mod time;
pub mod trace;
