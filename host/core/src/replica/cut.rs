//! Cutting the log: when it has grown over its bounds, and where.
//!
//! Never above what the state has made durable, since a restart needs the rest; nor above what a
//! member needs that is alive, within reason: a snapshot costs more than some log. A quarter of the
//! bounds stays for those that come back after a while.

use super::{Mark, Outbox, Replica};
use crate::canary::{self, Canary};
use crate::limits::{self, LOG_TAIL_PART};
use crate::log::LogStore;
use crate::outcome::Fatal;

/// Ticks without a sign of a member, after which the log is not kept for it any more.
const SILENT_TICKS_MAX: u64 = 2 * limits::ELECTION_TICKS as u64;
/// A cut frees this part of a log at the least: each is a write.
const CUT_PART: u64 = 4;

impl<L: LogStore, W, R> Replica<L, W, R> {
    /// Cuts the log if it is too long, or asks for what that takes.
    pub(super) fn cut_log(&mut self, out: &mut impl Outbox<W, R>) -> Result<(), Fatal> {
        let bounds = self.config.bounds;
        let (entries_max, bytes_max) = (bounds.log_entries_max, bounds.log_bytes_max);
        let (sizes, base) = (self.raw.store().sizes(), self.raw.store().base().id.index);
        let (count, bytes) = (sizes.count(), sizes.bytes());
        if count <= entries_max && bytes <= bytes_max {
            return Ok(());
        }
        let tail = sizes.before_tail(entries_max / LOG_TAIL_PART, bytes_max / LOG_TAIL_PART);
        let mut index = tail.min(self.raw.raft.raft_log.applied);
        let is_held = count <= entries_max.saturating_mul(limits::LOG_HELD_FACTOR)
            && bytes <= bytes_max.saturating_mul(limits::LOG_HELD_FACTOR);
        if let Some(needed) = self.needed_by_others(base)
            && is_held
            && needed < index
        {
            self.marks.hit(Mark::LogHeld);
            index = needed;
        }
        let is_worth_it = |index: u64| {
            let freed = self.raw.store().sizes().bytes_up_to(index);
            index > base && ((index - base) * CUT_PART >= count || freed * CUT_PART >= bytes)
        };
        if !is_worth_it(index) {
            return Ok(());
        }
        if index > self.durable && !canary::is_planted(Canary::CutAboveDurable) {
            if !self.is_flushing {
                self.is_flushing = true;
                out.flush();
            }
            index = self.durable;
        }
        if is_worth_it(index) {
            self.marks.hit(Mark::LogCut);
            self.raw.mut_store().cut(index)?;
        }
        Ok(())
    }

    /// The last entry that all members have that are alive, and could be served from the log.
    fn needed_by_others(&self, base: u64) -> Option<u64> {
        let own = self.config.id.get();
        let leads = self.raw.raft.state == raft::StateRole::Leader;
        let is_heard =
            |member: &u64| self.ticks - self.heard.get(member).unwrap_or(&0) <= SILENT_TICKS_MAX;
        let members = self.raw.raft.prs().iter();
        let matched = members
            .filter(|(member, _)| leads && **member != own && is_heard(member))
            .map(|(_, progress)| progress.matched);
        matched.chain(self.snapshots_begin()).filter(|index| *index >= base).min()
    }
}
