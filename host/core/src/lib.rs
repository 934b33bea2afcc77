//! Quorate's deterministic heart: how commands become batches, batches become log entries, and
//! entries become outcomes. Events go in, effects come out; the host and the simulator drive the
//! same code.
//!
//! The modules, in the order in which a command meets them:
//!
//! 1. [`batch`]: a command, a batch of them, and the bytes that travel through the log
//! 2. [`batcher`]: which commands travel together
//! 3. [`replica`]: consensus on the order of batches, read indexes and leases; [`members`]: who
//!    takes part
//! 4. [`log`]: where entries and votes become durable
//! 5. [`machine`], [`run`]: apply, with roll back of each command; [`state`]: what they change
//! 6. [`session`]: what makes a command that is sent again harmless
//! 7. [`outcome`]: what a command decided
//! 8. [`integrity`]: whether this replica has decided what the others have
//!
//! And [`canary`]: bugs to plant, to see whether they are found; [`named!`]: what reports list.
//!
//! What this crate deliberately does not have: a clock, threads, sockets, files. Its `Cargo.toml`
//! names neither tokio, tonic, rocksdb nor wasmtime; time arrives as an argument.
//! `replica` does not know `machine`: payloads are opaque bytes to consensus, and apply sees
//! log ids and bytes alone.
#![forbid(unsafe_code)]
#![deny(
    clippy::iter_over_hash_type,
    clippy::float_arithmetic,
    clippy::wildcard_enum_match_arm,
    clippy::indexing_slicing
)]

pub mod batch;
pub mod batcher;
pub mod canary;
pub mod id;
pub mod integrity;
pub mod limits;
pub mod log;
pub mod machine;
pub mod members;
mod named;
pub mod outcome;
pub mod replica;
pub mod run;
pub mod session;
pub mod state;
