//! Write a state machine as a plain Rust `impl` of a `.proto` service; Quorate replicates it.
//!
//! A plugin is a library crate with a `.proto`, a one-line [build script], and this:
//!
//! ```ignore
//! use quorate_sdk::{Command, Map, Query, Status};
//!
//! quorate_sdk::plugin!(impl Counter for Counters);
//!
//! /// Counters by name.
//! pub struct Counters;
//!
//! const TOTALS: Map<String, u64> = Map::new("totals");
//!
//! impl Counter for Counters {
//!     fn add(cx: &mut Command<'_>, request: AddRequest) -> Result<AddReply, Status> {
//!         let total = TOTALS.get(cx, &request.name).unwrap_or(0) + request.by;
//!         TOTALS.insert(cx, &request.name, &total);
//!         Ok(AddReply { total })
//!     }
//!
//!     fn get(cx: &Query<'_>, request: GetRequest) -> Result<GetReply, Status> {
//!         Ok(GetReply { total: TOTALS.get(cx, &request.name).unwrap_or(0) })
//!     }
//! }
//! ```
//!
//! - **State lives in the collections** ([`Cell`], [`Counter`], [`Map`], [`Set`], [`Queue`],
//!   [`IndexedMap`]), which the host keeps, replicates and snapshots. Rust variables are scratch:
//!   they are gone with the next call.
//! - **A command is a transaction.** When it returns an error, or panics, nothing has happened.
//! - **The first argument is the permission.** A [`Query`] cannot write; see there for the proof.
//! - **A call depends on nothing else** than the state, the request and what its context tells
//!   ([`Query::time_ms`], [`Query::seed`]). Do not let the order of a `HashMap` show: on every
//!   replica it is another. A `BTreeMap` is fine.
//! - **The allocator is the SDK's**: a plugin has no `#[global_allocator]` of its own.
//! - **Tests are native.** [`testing::Machine`] runs the plugin without a host and without Wasm.
//!
//! [build script]: https://doc.rust-lang.org/cargo/reference/build-scripts.html

#[cfg(not(target_arch = "wasm32"))]
mod caller;
mod collections;
mod context;
#[cfg(target_arch = "wasm32")]
mod guest;
#[cfg(target_arch = "wasm32")]
mod heap;
mod key;
mod log;
#[cfg(not(target_arch = "wasm32"))]
mod memory;
mod plugin;
mod scan;
mod status;
mod store;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

#[cfg(not(target_arch = "wasm32"))]
pub use caller::{Call, CallOn, Caller, MethodPath};
pub use collections::{
    AnyIndex, Cell, Counter, Index, IndexedMap, Lookup, Map, MultiIndex, Queue, Rows, Set,
    UniqueIndex, Value,
};
pub use context::{Command, Query};
pub use key::{AsKey, Cut, Key, KeyPrefix, KeyRange, Prefix};
pub use plugin::{Method, Plugin};
pub use quorate_abi::limits;
pub use scan::{Page, Scan};
pub use status::{Code, Status};

// Generated code names these by way of this crate, so that a plugin has one dependency.
#[doc(hidden)]
pub use {prost, prost_types};

/// What the macros expand to. Not for plugins to use.
#[doc(hidden)]
pub mod internal {
    #[cfg(target_arch = "wasm32")]
    pub use crate::guest::{apply, query};
    pub use crate::log::{Level, write as log};
}
