//! Measurements of what users run: servers are processes of this very program, clients speak gRPC.
//!
//! 1. [`servers`]: the processes, Quorate's and etcd's
//! 2. [`client`]: connections to them; [`work`]: what callers do
//! 3. [`load`]: many callers at once, in a closed or an open loop ([`pace`]), and how long it took
//! 4. [`report`]: tables for people and programs, of what [`machine`] they come from; [`plot`]
//! 5. [`etcd`], [`matrix`], [`seed`], [`growth`], [`pipeline`]: what is measured; [`stages`]: in
//!    which parts of a node; [`apply`]: a part by itself, in this process
//!
//! What this deliberately does not do: judge. A figure of a machine that others use as well says
//! little; what is compared runs in alternation, and the ratio is what counts ([`rounds`]).

pub mod apply;
pub mod client;
pub mod etcd;
pub mod growth;
pub mod load;
pub mod machine;
pub mod matrix;
pub mod pace;
pub mod pipeline;
pub mod plot;
pub mod report;
pub mod rounds;
pub mod seed;
pub mod servers;
pub mod stages;
pub mod work;

use std::fmt;
use std::io::{self, Write as _};
use std::path::PathBuf;

use serde_json::{Value, json};

use self::client::Route;
use self::pace::Pace;

/// How all figures of a table are measured.
#[derive(Clone, Debug)]
pub struct Method {
    /// Where servers have their data.
    pub folder: PathBuf,
    /// Connections, shared by the clients.
    pub connections: usize,
    /// Which nodes they lead to.
    pub route: Route,
    /// How long each figure is measured.
    pub pace: Pace,
}

impl Method {
    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "connections": self.connections,
            "connected_to": self.route.label(),
            "warm_up_seconds": self.pace.warm_up.as_secs_f64(),
            "measured_seconds": self.pace.lasts.as_secs_f64(),
            "rate_per_second": self.pace.rate_per_second,
            "key_bytes": work::KEY_BYTES,
        })
    }
}

/// So many of something, in words.
fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// What is under way, on standard error: tables take minutes. Whoever reads it may have gone.
pub fn note(line: fmt::Arguments<'_>) {
    drop(writeln!(io::stderr().lock(), "bench: {line}"));
}
