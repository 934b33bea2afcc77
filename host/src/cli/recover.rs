//! `quorate recover`: makes the node of a data folder the only member of its cluster, when so many
//! others are lost that they cannot agree on anything any more. Offline: no node may run on it.
//!
//! Of several survivors it must be the one that raft would elect: whose last entry has the highest
//! term, and of these the one with the longest log. A log that is longer, and ends in an earlier
//! term, may lack what was acknowledged.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use quorate_core::id::LogId;
use quorate_core::log::LogStore as _;
use quorate_core::outcome::Fatal;
use quorate_core::replica::make_alone;

use super::{Failure, complain, say, unfit, usage};
use crate::identity::{self, GROUP};
use crate::rocks::RocksLog;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The data folder of the survivor; of several, the one whose last entry has the highest term,
    /// and of these the one with the longest log: without --lose-the-others, both are told
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// That the other nodes are lost for good, and that what only they had is lost with them
    #[arg(long)]
    lose_the_others: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let folder = arguments.data.display();
    let mut heritage = identity::inherit(&arguments.data).map_err(unfit)?;
    let member = heritage.member;
    let folder_of_log = arguments.data.join(identity::LOG_FOLDER);
    let mut log = RocksLog::open(&folder_of_log, GROUP).map_err(anyhow::Error::from)?;
    if !arguments.lose_the_others {
        let LogId { term, index } = last_entry(&log)?;
        return Err(usage(format_args!(
            "this makes the node of {folder} the ONLY member of its cluster. Whatever was \
             acknowledged and is not in its log is LOST. The other nodes, and their data, can \
             never join again. Do it only when a majority of the voters is gone for good and \
             cannot be brought back; then say so with --lose-the-others. The last entry of this \
             log has term {term} and index {index}: ask every folder that is left, and take the \
             one with the highest term, and of those the one with the highest index"
        )));
    }
    // From here on, nobody of the old cluster is listened to: whatever happens next, the two never
    // mix.
    let lineage = heritage.begin_lineage().context("writing the identity")?;
    let last = make_alone(&mut log, member).map_err(anyhow::Error::from)?;
    complain(format_args!(
        "WARNING: node {} is now the only member of its cluster, with all that its log has, up to \
         entry {last}. What only the others had is lost.",
        member.node()
    ));
    say(format_args!(
        "recovered as history {lineage:032x}; next:\n  1. start node {0} as before (its --peers \
         stay as they were)\n  2. give every other node an EMPTY --data: what they have belongs to \
         the old history, and is refused\n  3. for each: quorate member add ID HOST:PORT, quorate \
         serve --node ID --join PEER_ADDR ..., quorate member promote ID",
        member.node()
    ));
    Ok(())
}

fn last_entry(log: &RocksLog) -> anyhow::Result<LogId> {
    let index = log.last_index();
    let term = log.term(index)?.ok_or_else(|| Fatal::msg("the log lacks its last entry"))?;
    Ok(LogId { term, index })
}
