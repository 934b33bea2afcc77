//! Quorate as its users have it: the binary, run as they would. Each test is a story.

#![expect(clippy::unwrap_used, reason = "where a test fails is said with it")]

mod author;
mod backup;
mod bench;
mod book;
mod call;
mod check;
mod crash;
mod dev;
mod disagreement;
mod disk_full;
mod failover;
mod faults;
mod foreign;
mod foreign_plugin;
mod history;
mod hung_disk;
mod kills;
mod limits;
mod members;
mod memory;
mod modules;
mod new;
mod overload;
mod pause;
mod pipeline;
mod pipelined_client;
mod proxy;
mod quarantine;
mod reads;
mod restore;
mod sessions;
mod settings;
mod shutdown;
mod snapshots;
mod standards;
mod witness;
mod wrong_calls;
