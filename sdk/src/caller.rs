//! Calls from outside, by their types. The build step makes three things of each service, here
//! `Ledger`:
//!
//! - `LedgerCalls`, a trait with a function for each method. Every [`Caller`] has them, if what it
//!   calls is a plugin with that service; so may a model that a test compares the plugin with.
//! - `LedgerCall` and `LedgerAnswer`: a call and a reply of any of the methods, as values.
//!
//! What this deliberately does not have: a way to reach a plugin. Tests have `quorate-test`,
//! programs have gRPC.

use std::fmt;

use prost::Message;

use crate::{Plugin, Status};

/// A method as it is called from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MethodPath {
    path: &'static str,
    is_command: bool,
}

impl MethodPath {
    /// A method that may write.
    pub const fn command(path: &'static str) -> Self {
        Self { path, is_command: true }
    }

    /// A method that reads.
    pub const fn query(path: &'static str) -> Self {
        Self { path, is_command: false }
    }

    /// Its path, such as `ledger.v1.Ledger/Open`.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// Its name, such as `Open`.
    pub fn name(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }

    /// Whether it may write.
    pub fn is_command(&self) -> bool {
        self.is_command
    }
}

/// Whoever calls the methods of a plugin. What it can do with it is in the generated traits.
pub trait Caller {
    /// What it calls.
    type Plugin: Plugin;

    /// Calls a method. The generated functions do it with types that fit.
    fn call<Q, R>(&mut self, method: MethodPath, request: &Q) -> Result<R, Status>
    where
        Q: Message + fmt::Debug,
        R: Message + Default + fmt::Debug;
}

/// A call as a value, whichever its method.
pub trait Call: Clone + fmt::Debug {
    /// A reply as a value, whichever its method.
    type Answer: PartialEq + fmt::Debug;
}

/// A call that can be made there.
pub trait CallOn<C>: Call {
    /// Makes the call.
    fn call_on(self, callee: &mut C) -> Result<Self::Answer, Status>;
}
