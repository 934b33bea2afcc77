//! Snapshots, out and in: for a member that is so far behind that the log no longer has what it
//! needs, or that asks for one.
//!
//! Raft's message says only that a snapshot is due. The state itself travels apart from all other
//! messages, by means of the host or the simulator, and so takes none of their time. What is
//! settled here:
//!
//! * Each snapshot that is sent is reported to raft as arrived or lost, after some ticks without
//!   news by this module itself: raft sends a member nothing until it knows.
//! * The snapshot is taken when it is sent, so it may have more than raft's message says. The
//!   message is corrected where it arrives, by what the state that came with it has.
//! * A member asks for a snapshot only when all of its log is committed. The crate would take any
//!   snapshot then that has what is committed, and so lose what the member has acknowledged behind
//!   it; and the leader could need the member's word to get as far as the snapshot.
//!
//! What this deliberately does not do: read or write a state.

use std::collections::BTreeMap;
use std::mem;

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{Message, MessageType};
use raft::{SnapshotStatus, StateRole};

use super::adapter;
use super::members::conf_of;
use super::{Mark, Outbox, Replica, Staged, Transfer};
use crate::canary::{self, Canary};
use crate::id::RaftId;
use crate::log::{Base, LogStore};

/// Snapshots on their way.
#[derive(Default)]
pub(super) struct Snapshots {
    /// How many were sent.
    sent: u64,
    /// Those of which raft has not been told how it went, by member.
    sending: BTreeMap<u64, Sending>,
    /// The state of the snapshot that raft has taken, until the next round installs it.
    staged: Option<Staged>,
    useless: Vec<Staged>,
    /// This member wants a snapshot of the leader's state, although its log is sound.
    is_wanted: bool,
    /// Of the last one that was installed; apply may have it before itself.
    installed: u64,
}

struct Sending {
    number: u64,
    age_ticks: u32,
}

impl<L: LogStore, W, R> Replica<L, W, R> {
    /// Asks the leader for a snapshot, again and again until one has come: this member's state is
    /// not to be trusted. Its log is, so it goes on voting. Entries are not taken until the
    /// snapshot is there.
    fn request_snapshot(&mut self) {
        self.snapshots.is_wanted = true;
        self.ask_for_snapshot();
        self.pin_election_timeout();
    }

    /// Wants a sound state, until it is there. A leader first has another member lead: it has
    /// nobody to ask. To be called again and again.
    pub fn resync(&mut self) {
        if self.raw.raft.state == StateRole::Leader {
            self.hand_over();
            self.pin_election_timeout();
        } else if !self.snapshots.is_wanted
            && self.raw.raft.raft_log.applied >= self.snapshots.installed
        {
            self.request_snapshot();
        }
    }

    /// Whether a snapshot was asked for and has not come.
    #[cfg(test)]
    pub fn wants_snapshot(&self) -> bool {
        self.snapshots.is_wanted
    }

    /// Raft forgets the question when this member stands for election, and drops it while the log
    /// ends in an earlier term. Once asked, it acknowledges neither entries nor heartbeats; so
    /// the question waits until all that is in the log is committed. Else the leader might need
    /// this member's word to get as far as the snapshot that it is asked for.
    fn ask_for_snapshot(&mut self) {
        let raft = &self.raw.raft;
        let is_asked = raft.pending_request_snapshot != raft::INVALID_INDEX;
        let is_quiet = raft.raft_log.committed == raft.raft_log.last_index();
        if self.snapshots.is_wanted && !is_asked && is_quiet && self.raw.request_snapshot().is_ok()
        {
            self.marks.hit(Mark::SnapshotAskedFor);
        }
    }

    /// Who is about to ask for a snapshot takes nothing that would go behind the end of its log:
    /// under load, it would never be committed as a whole.
    pub(super) fn hold_back(&self, message: &mut Message) {
        let log = &self.raw.raft.raft_log;
        let (last, is_of_this_term) = (log.last_index(), log.last_term() == self.raw.raft.term);
        if self.snapshots.is_wanted && is_of_this_term && message.term == self.raw.raft.term {
            let fits = message.get_entries().iter().take_while(|entry| entry.index <= last);
            let fits = fits.count();
            message.mut_entries().truncate(fits);
        }
    }

    pub(super) fn tick_snapshots(&mut self) {
        self.ask_for_snapshot();
        let age_max = self.config.bounds.snapshot_ticks_max;
        for sending in self.snapshots.sending.values_mut() {
            sending.age_ticks += 1;
        }
        let lost = self.snapshots.sending.extract_if(.., |_, sending| sending.age_ticks > age_max);
        for (member, _) in lost.collect::<Vec<_>>() {
            self.marks.hit(Mark::SnapshotTimedOut);
            self.report_snapshot(member, false);
        }
    }

    pub(super) fn snapshot_under_way(&mut self, number: u64) {
        let mut sending = self.snapshots.sending.values_mut();
        if let Some(sending) = sending.find(|sending| sending.number == number) {
            sending.age_ticks = 0;
        }
    }

    pub(super) fn snapshot_sent(&mut self, number: u64, is_ok: bool) {
        let of =
            |(member, sending): (&u64, &Sending)| (sending.number == number).then_some(*member);
        let Some(member) = self.snapshots.sending.iter().find_map(of) else {
            self.marks.hit(Mark::SnapshotReportLate);
            return;
        };
        self.snapshots.sending.remove(&member);
        self.marks.hit(if is_ok { Mark::SnapshotArrived } else { Mark::SnapshotFailed });
        self.report_snapshot(member, is_ok);
    }

    fn report_snapshot(&mut self, member: u64, is_ok: bool) {
        let status = if is_ok { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        if !canary::is_planted(Canary::SnapshotUnreported) {
            self.raw.report_snapshot(member, status);
        }
    }

    /// Raft wants a member to have a snapshot.
    pub(super) fn send_snapshot(&mut self, message: &Message, out: &mut impl Outbox<W, R>) {
        let raft = &self.raw.raft;
        let Some(to) = RaftId::from_u64(message.to) else { return };
        if raft.state != StateRole::Leader || raft.term != message.term {
            // Written down before this member was deposed.
            return;
        }
        self.marks.hit(Mark::SnapshotSent);
        self.snapshots.sent += 1;
        let number = self.snapshots.sent;
        self.snapshots.sending.insert(message.to, Sending { number, age_ticks: 0 });
        let bytes = message.write_to_bytes().expect("a raft message always encodes");
        let (message, term) = (Bytes::from(bytes), message.term);
        out.snapshot(Transfer { number, to, message, term });
    }

    /// The last entry that members who are being sent a snapshot will have by it, at the least.
    pub(super) fn snapshots_begin(&self) -> Option<u64> {
        let tracker = self.raw.raft.prs();
        let pending = |member: &u64| Some(tracker.get(*member)?.pending_snapshot);
        let sending = self.snapshots.sending.keys().filter_map(pending);
        sending.filter(|index| *index > 0).min()
    }

    /// A snapshot has come, and its state is here. Raft may have no use for it.
    pub(super) fn step_snapshot(&mut self, message: &Bytes, staged: Staged) {
        let before = self.raw.snap().map(|snapshot| snapshot.get_metadata().index);
        let Some(message) = self.corrected(message, &staged) else {
            self.snapshots.useless.push(staged);
            return;
        };
        self.hear_leader(&message);
        // Refused messages (of an old term, from a stranger) have no further effect.
        let _ = self.raw.step(message).ok();
        let after = self.raw.snap().map(|snapshot| snapshot.get_metadata().index);
        if after == before || after != Some(staged.applied.index) {
            self.marks.hit(Mark::SnapshotUseless);
            self.snapshots.useless.push(staged);
            return;
        }
        if let Some(older) = self.snapshots.staged.replace(staged) {
            // A second one came before the first was installed.
            self.snapshots.useless.push(older);
        }
    }

    /// The message as it must be for the state that came with it; `None` if they are not of each
    /// other.
    fn corrected(&mut self, message: &Bytes, staged: &Staged) -> Option<Message> {
        let mut message = Message::parse_from_carllerche_bytes(message).ok()?;
        let least = message.get_snapshot().get_metadata().index;
        let is_ours = message.get_msg_type() == MessageType::MsgSnapshot
            && message.to == self.config.id.get();
        let is_sound =
            (1..=staged.applied.index).contains(&least) && staged.applied.term <= message.term;
        let members = adapter::members(&staged.conf, &self.config.founders).ok()?;
        if !is_ours || !is_sound {
            self.marks.hit(Mark::MessageForeign);
            return None;
        }
        let metadata = message.mut_snapshot().mut_metadata();
        metadata.index = staged.applied.index;
        metadata.term = staged.applied.term;
        metadata.set_conf_state(conf_of(&members));
        Some(message)
    }

    /// The state that the round under way must install, and where the log then begins.
    pub(super) fn take_staged(&mut self, index: u64) -> (Staged, Base) {
        let staged = self.snapshots.staged.take().expect("raft takes a snapshot with its state");
        assert_eq!(staged.applied.index, index, "a snapshot with another one's state");
        let base = Base { id: staged.applied, state: staged.state };
        (staged, base)
    }

    pub(super) fn discard_useless(&mut self, out: &mut impl Outbox<W, R>) {
        for staged in mem::take(&mut self.snapshots.useless) {
            out.discard(staged);
        }
    }

    /// The snapshot is durable, and the log begins behind it. Apply goes on from there.
    pub(super) fn installed(&mut self, staged: Staged, out: &mut impl Outbox<W, R>) {
        let id = staged.applied;
        assert!(id.index >= self.handed_out, "a snapshot of what was handed out long ago");
        self.marks.hit(Mark::SnapshotInstalled);
        self.handed_out = id.index;
        self.durable = self.durable.max(id.index);
        (self.snapshots.is_wanted, self.snapshots.installed) = (false, id.index);
        self.raw.mut_store().set_conf_changed(id.index);
        let members = adapter::members(&staged.conf, &self.config.founders);
        self.seats = members.expect("they were read before raft took the snapshot").seats;
        self.members_version += 1;
        let (covered, overwritten) = self.waiters.cover(id);
        for waiters in covered {
            self.marks.hit(Mark::WaiterForgotten);
            out.forget(waiters);
        }
        for waiters in overwritten {
            self.marks.hit(Mark::CommandOverwritten);
            out.refuse(waiters, super::Refusal::Overwritten);
        }
        out.install(staged);
    }
}
