//! Quorate: turns a state machine, compiled to WebAssembly, into a replicated, durable,
//! linearizable gRPC service.
//!
//! The modules, in the order in which a command meets them:
//!
//! 1. [`rpc`]: clients, by the plugin's own service; [`submit`]: the way to the leader
//! 2. [`batcher`]: the task that owns the batches' channel
//! 3. [`consensus`]: the raft thread; [`peers`]: what nodes say to each other
//! 4. [`rocks`]: log and state on disk
//! 5. [`apply`]: the apply thread; the plugin's code is run by `quorate-wasm`; [`waiter`]: who is
//!    told what it decided
//!
//! [`snapshot`] is a state as bytes, for files and for other nodes.
//!
//! [`admission`] bounds what a node takes on, [`queue`] what waits between nodes; [`watchdog`] sees
//! a disk that hangs.
//!
//! [`node`] puts them together, and takes them apart in order; [`identity`] is who a node is;
//! [`roster`] is who the others are; [`operator`] is what an operator asks for, and [`report`] what
//! a node says of itself; [`integrity`] compares its state with other nodes', and [`disk`] looks
//! how much room there is; [`stages`] is where the time of commands goes; [`clock`] is what leases
//! go by, [`random`] where numbers come from, [`durable`] how small files are written; [`local`] is
//! a cluster in one process; [`cli`] is the command line, and [`mod@bench`] measures. What is
//! decided rather than done is in `quorate-core`.

pub mod admission;
pub mod apply;
pub mod batcher;
pub mod bench;
pub mod cli;
pub mod clock;
pub mod consensus;
pub mod disk;
pub mod durable;
#[cfg(test)]
mod flips;
pub mod identity;
pub mod integrity;
pub mod local;
pub mod node;
pub mod operator;
pub mod peers;
pub mod queue;
pub mod random;
pub mod report;
pub mod rocks;
pub mod roster;
pub mod rpc;
pub mod snapshot;
pub mod stages;
pub mod submit;
pub mod threads;
pub mod waiter;
pub mod watchdog;
