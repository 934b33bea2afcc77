//! Measurements of what users run: servers are processes of this very program, clients speak gRPC.
//!
//! 1. [`servers`]: the processes, Quorate's and etcd's
//! 2. [`client`]: connections to them; [`work`]: what callers do
//! 3. [`load`]: many callers at once, in a closed or an open loop ([`pace`]), and how long it took
//! 4. [`report`]: tables for people and programs, of what [`machine`] they come from; [`plot`]
//! 5. [`etcd`]: one module for each table
//!
//! What this deliberately does not do: judge. A figure of a machine that others use as well says
//! little; what is compared runs in alternation, and the ratio is what counts ([`rounds`]).

pub mod client;
pub mod etcd;
pub mod load;
pub mod machine;
pub mod pace;
pub mod plot;
pub mod report;
pub mod rounds;
pub mod servers;
pub mod work;

use std::fmt;
use std::io::{self, Write as _};

/// What is under way, on standard error: tables take minutes. Whoever reads it may have gone.
pub fn note(line: fmt::Arguments<'_>) {
    drop(writeln!(io::stderr().lock(), "bench: {line}"));
}
