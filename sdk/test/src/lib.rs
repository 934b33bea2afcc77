//! One test of a plugin, at three fidelities.
//!
//! ```ignore
//! use quorate_test::Machine;
//!
//! #[quorate_test::test(native, wasm, cluster)]
//! fn a_transfer_keeps_the_sum(t: &mut Machine<Accounts>) -> Result<(), Status> {
//!     t.open(OpenRequest { account: "a".into(), balance: 5 })?;
//!     t.open(OpenRequest { account: "b".into(), balance: 0 })?;
//!     t.restart();
//!     t.transfer(TransferRequest { from: "a".into(), to: "b".into(), amount: 2 })?;
//!     assert_eq!(t.total(TotalRequest {})?.sum, 5);
//!     Ok(())
//! }
//! ```
//!
//! | fidelity | what runs |
//! |---|---|
//! | native | the plugin as a library of this process: breakpoints work, panics are traps |
//! | wasm | the module, as a node runs it: gate, sandbox, fuel, a fresh instance for each command |
//! | cluster | three nodes of the simulator in virtual time; a seed lets things go wrong |
//!
//! All three stand on the core that nodes have: its machine, its limits, its roll back.
//!
//! 1. [`Machine`] is what a test holds; its calls have types by the trait that the build step made
//! 2. [`Model`]: random scripts, compared with a reference of some 30 lines, and shrunk
//! 3. [`Costs`]: what a call asked of its host; [`Snapshot`]: a state, to look at or to go on from
//! 4. [`Faults`]: how much goes wrong in the cluster
//!
//! A test that fails tells what it did, the state, the seed, and a command that does it again.
//! `QUORATE_SEED=7` runs one seed, `QUORATE_SEEDS=100` the first hundred.
//!
//! What this deliberately does not have: gRPC, disks, real time. Tests with the real binary do.

mod cluster;
mod code;
mod costs;
mod dump;
mod faults;
mod ground;
#[doc(hidden)]
pub mod internal;
mod local;
mod machine;
mod model;
mod module;
mod native;
mod report;
mod script;
mod seeds;
mod snapshot;

pub use costs::Costs;
pub use faults::Faults;
pub use ground::Fidelity;
pub use machine::Machine;
pub use model::{Model, Told};
pub use proptest;
pub use quorate_test_macros::{model, test};
pub use snapshot::Snapshot;
