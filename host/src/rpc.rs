//! What clients see: the plugin's own service under its own path, reflection, health;
//! and the service of operators.
//!
//! Only this folder, [`peers`](crate::peers) and the commands that call a node know gRPC.

pub mod admin;
pub mod backup;
pub mod codec;
pub mod consistency;
mod gather;
pub mod metrics;
mod pipeline;
pub mod query;
pub mod server;
pub mod service;
mod sessions;
pub mod status;
pub mod stream;
mod unary;
