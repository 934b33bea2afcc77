//! `quorate bench apply`.

use clap::{Args, value_parser};

use super::{Files, VALUE_BYTES, sizes};
use crate::bench::apply;
use crate::cli::Failure;

#[derive(Debug, Args)]
pub(in crate::cli) struct Apply {
    /// Commands an entry
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "1,16,64,256,1024")]
    #[arg(value_parser = value_parser!(u32).range(1..=4096))]
    commands: Vec<u32>,
    /// The lengths of values
    #[arg(long, value_name = "BYTES,BYTES", value_delimiter = ',', default_value = "128,256")]
    #[arg(value_parser = value_parser!(u32).range(VALUE_BYTES))]
    value_bytes: Vec<u32>,
    /// The length of a key is 16 bytes; how many of them there are
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    #[arg(value_parser = value_parser!(u32).range(1..))]
    keys: u32,
    /// How often each figure is measured; the median is shown
    #[arg(long, value_name = "N", default_value_t = 101)]
    #[arg(value_parser = value_parser!(u16).range(1..=10_000))]
    rounds: u16,
    #[command(flatten)]
    files: Files,
}

impl Apply {
    pub(super) fn run(self) -> Result<(), Failure> {
        let plan = apply::Plan {
            folder: self.files.folder()?,
            commands: sizes(&self.commands),
            value_bytes: sizes(&self.value_bytes),
            keys: self.keys as usize,
            rounds: self.rounds.into(),
        };
        self.files.report(apply::run(&plan))
    }
}
