//! `quorate bench stages`.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::{Args, value_parser};

use super::{CLIENTS, Common, NODES, VALUE_BYTES, endpoint, seconds, sizes};
use crate::bench::pace::Pace;
use crate::bench::stages;
use crate::bench::work::Data;
use crate::cli::Failure;
use crate::identity::LogKind;

#[derive(Debug, Args)]
pub(in crate::cli) struct Stages {
    /// Watch these nodes, whatever they are asked by others meanwhile, and start none
    #[arg(long, value_name = "ADDR,ADDR", value_delimiter = ',', value_parser = endpoint)]
    #[arg(conflicts_with_all = ["nodes", "storage", "clients", "value_bytes", "keys", "rate"])]
    at: Vec<String>,
    /// The sizes of clusters
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,3")]
    #[arg(value_parser = value_parser!(u32).range(NODES))]
    nodes: Vec<u32>,
    /// Where log and state are
    #[arg(long, value_enum, value_delimiter = ',', default_value = "rocksdb")]
    storage: Vec<LogKind>,
    /// How many put at the same time
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,64")]
    #[arg(value_parser = value_parser!(u32).range(CLIENTS))]
    clients: Vec<u32>,
    /// The length of a value; that of a key is 16
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    #[arg(value_parser = value_parser!(u32).range(VALUE_BYTES))]
    value_bytes: u32,
    /// How many keys there are
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    #[arg(value_parser = value_parser!(u32).range(1..))]
    keys: u32,
    /// How long each figure is measured, or nodes are watched, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "3")]
    seconds: Duration,
    /// Put at this rate, as with bench etcd
    #[arg(long, value_name = "CALLS_PER_SECOND")]
    rate: Option<NonZeroU32>,
    #[command(flatten)]
    common: Common,
}

impl Stages {
    pub(super) fn run(self) -> Result<(), Failure> {
        let common = self.common;
        let method = common.method(Pace::new(self.seconds, self.rate))?;
        if !self.at.is_empty() {
            return common.files.report(stages::watch_running(&method, &self.at));
        }
        let plan = stages::Plan {
            method,
            nodes: sizes(&self.nodes),
            storages: self.storage,
            clients: sizes(&self.clients),
            data: Data { keys: self.keys, value_bytes: self.value_bytes as usize },
        };
        common.files.report(stages::run(&plan))
    }
}
