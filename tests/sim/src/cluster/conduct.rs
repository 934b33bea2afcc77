//! What each stage of a node must keep to by itself, whatever the others do: batches, messages,
//! clocks, deposed leaders. The oracle knows the group; this knows the stages.

use quorate_core::batch::{self, Batch, Command, Payload};
use quorate_core::batcher::BatcherConfig;
use quorate_core::replica::Committed;

use super::Cluster;
use super::process::{Effect, Process, Token};
use crate::disk;
use crate::oracle::{Checked, Violation, ensure};
use crate::time::Time;

/// Ticks within which a leader that was deposed notices: two of its looks at the others, and a few.
const DEPOSED_TICKS_MAX: u64 = 24;

impl Process {
    /// A batch is within its bounds, and in the order of arrival.
    pub(super) fn check_batch(&mut self, batch: &Batch<Token>, config: BatcherConfig) -> Checked {
        let count = batch.proposals.len();
        let bytes: usize =
            batch.proposals.iter().map(|proposal| proposal.command.payload.len()).sum();
        let is_bounded = count <= config.commands_max && (count == 1 || bytes <= config.bytes_max);
        ensure(is_bounded && count > 0, "batches are bounded", || {
            format!("{count} commands of {bytes} bytes, of {config:?}")
        })?;
        for proposal in &batch.proposals {
            let (next, call) = (self.offered.pop_front(), proposal.waiter.call());
            ensure(next == Some(call), "batches keep the order of arrival", || {
                format!("call {call} instead of {next:?}")
            })?;
        }
        Ok(())
    }

    /// A member whose apply is behind takes no entries of others.
    pub(super) fn check_backlog(&self, takes_entries: bool, has_written: bool) -> Checked {
        let leads = self.replica.status().leader == Some(self.member);
        ensure(takes_entries || leads || !has_written, "a backlog stops entries", || {
            format!("member {}, {} bytes parked", self.member, self.parked_bytes)
        })
    }

    /// Once a member has handed out an entry of another leader's term, none of its own proposals
    /// of earlier terms is open: their callers have been told.
    pub(super) fn check_deposed(&mut self, effects: &[(Time, Effect)]) -> Checked {
        for (_, effect) in effects {
            if let Effect::Commit(committed) = effect {
                self.handed_out_term = committed.id.term;
            }
            if let Effect::Install(staged) = effect {
                self.handed_out_term = staged.applied.term;
            }
        }
        let status = self.replica.status();
        let is_deposed = status.leader.is_some_and(|leader| leader != self.member);
        let is_told = self.replica.waiting() == 0;
        ensure(
            !is_deposed || self.handed_out_term != status.term || is_told,
            "a deposed leader's callers learn of it",
            || format!("member {} in term {}", self.member, status.term),
        )
    }
}

impl Cluster {
    /// A log has all that its state has not made durable: else a restart would not have it.
    pub(super) fn check_base(&self, number: u32) -> Checked {
        let node = &self.nodes[number as usize - 1];
        let base = disk::lock(&node.disk).base;
        let durable = node.state.durable(base.state);
        ensure(base.id.index <= durable, "a log is cut below what is durable as state", || {
            format!("node {number}: {base:?}, durable {durable}")
        })
    }

    /// A batch goes to consensus with a clock: its entry must carry that one.
    pub(super) fn note_clock(&mut self, number: u32, time_ms: u64) {
        let Some(process) = &self.nodes[number as usize - 1].process else { return };
        let first = process.intake.as_ref().and_then(|batch| batch.proposals.first());
        if let Some(proposal) = first {
            let command = digest(&proposal.command);
            self.clocks.entry(command).or_default().insert(time_ms);
        }
    }

    /// An entry carries the clock of the leader that proposed it.
    pub(super) fn check_clock(&self, committed: &Committed<Token>) -> Checked {
        let Payload::Commands(bytes) = &committed.payload else { return Ok(()) };
        let broken = |error| Violation::new("entries decode", format!("{}: {error}", committed.id));
        let entry = batch::decode(bytes).map_err(broken)?;
        let expected = entry.commands.first().and_then(|command| self.clocks.get(&digest(command)));
        let is_one = expected.is_some_and(|clocks| clocks.contains(&entry.time_ms));
        ensure(is_one, "an entry has its leader's clock", || {
            format!("entry {}: {} instead of {expected:?}", committed.id, entry.time_ms)
        })
    }

    /// A leader steps down soon after another one leads a later term. Only judged while messages
    /// travel as they should: one that comes late tells of a time when it was heard.
    pub(super) fn check_leads(&mut self, number: u32) -> Checked {
        let is_calm = self.net.is_calm(self.now);
        let status = self.status(number).unwrap_or_default();
        let others = (1..=self.plan.nodes).filter(|other| *other != number);
        let is_deposed = others
            .filter_map(|other| self.status(other))
            .any(|other| other.leads && other.term > status.term);
        let Some(process) = &mut self.node(number).process else { return Ok(()) };
        if !is_calm || !is_deposed || status.leader != Some(process.member) {
            process.ticks_deposed = 0;
            return Ok(());
        }
        // Within a sync it hears nothing: a disk that hangs is a matter of its own.
        process.ticks_deposed += u64::from(!process.is_syncing);
        let ticks = process.ticks_deposed;
        ensure(ticks <= DEPOSED_TICKS_MAX, "a deposed leader steps down", || {
            format!("node {number} leads term {} for {ticks} ticks more", status.term)
        })
    }
}

/// A number for a command: that of its batch of one, at no time.
fn digest(command: &Command) -> u64 {
    crate::trace::mix_bytes(0, &batch::encode(0, [command].into_iter()))
}
