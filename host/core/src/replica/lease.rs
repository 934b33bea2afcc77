//! The leader's lease: for how long nobody else can lead, so that reads need ask nobody.
//!
//! A round for a read index that a majority has acknowledged shows that nobody else led when its
//! questions left. Each who acknowledged will neither vote nor stand for an election time-out after
//! it heard; a lease that begins when the questions **left**, and is shorter than that on the
//! fastest clock, is over before anybody else can lead. [`limits`] asserts the arithmetic.
//!
//! Why it holds, case by case:
//!
//! * **Votes.** The crate withholds its vote while it knows a leader it has just heard, but
//!   forgets that leader as soon as it hears of a later term, as by a late refusal of its own
//!   candidacy. And who restarts has heard nobody. So the rule is kept here: who has heard a
//!   leader, or has started, less than an election time-out ago gives nobody a vote, whatever
//!   happened since. Who stands itself has waited for that time anyway; also who is alone, where
//!   others may have led before it was.
//! * **Transfers** skip all of this: their candidate is voted for at once. So a leader that offers
//!   its lead has no lease from then on, and never again in that term: the offer may be on its way
//!   for any time. Their votes need not be withheld, after a start either: the offer ended the only
//!   lease that there could be.
//! * **Members.** A candidate that knows members which the leader did not count has heard of them
//!   from that leader, after the questions left, and waits like all others. Between neighbouring
//!   sets, majorities meet; and no candidate that is further behind can win.
//! * **A group of one** acknowledges its own question. A voter that joins has heard the leader.
//!   More than that: who is the only voter and leads has a lease without end, whatever its clock
//!   shows and whether or not there are leases. Others can lead only by its vote, and before that
//!   leaves it has told that it is alone no more ([`Replica::advance`], step 0).
//! * **Pauses.** Who uses a lease reads the clock after the read came, and after the lease was
//!   looked up. A clock that stands still while the machine sleeps will not do.
//!
//! There is no renewal by the clock: a read that finds no lease asks for a read index, and the
//! answer to that renews it, for all. Without such reads, nothing is asked.

use std::time::Duration;

use raft::eraftpb::{Message, MessageType};
use raft::{CAMPAIGN_TRANSFER, StateRole};

use super::{Mark, Outbox, Replica};
use crate::canary::{self, Canary};
use crate::id::RaftId;
use crate::limits;
use crate::log::LogStore;

/// What a member may tell of its lease. The default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    until: Option<Duration>,
    index: u64,
}

impl Lease {
    const ENDLESS: Duration = Duration::MAX;

    /// The index that a read must see, if the lease has no end.
    pub fn endless(&self) -> Option<u64> {
        (self.until == Some(Self::ENDLESS)).then_some(self.index)
    }

    /// The index that a read must see, if the lease lasts; `now` is what the clock shows, read
    /// after the read has come and after this lease was looked up.
    pub fn covers(&self, now: Duration) -> Option<u64> {
        let is_over = |until| shown(now) >= until && !canary::is_planted(Canary::LeaseNotLookedAt);
        let until = self.until?;
        (!is_over(until)).then_some(self.index)
    }
}

/// What a clock shows, unless it is broken.
fn shown(now: Duration) -> Duration {
    if canary::is_planted(Canary::LeaseClockSlow) { now * 7 / 10 } else { now }
}

/// A question that a lease will begin with.
struct Asked {
    context: Vec<u8>,
    term: u64,
    at: Duration,
}

/// What a member knows of its lease, and of those that others may have.
pub(super) struct Keeper {
    /// How long a lease lasts; none has any where this is not set.
    length: Option<Duration>,
    /// What the clock showed last: at or before everything that happens now.
    clock: Option<Duration>,
    asked: Option<Asked>,
    /// The last term that it had a lease in, and up to when.
    held: Option<(u64, Duration)>,
    /// The last term in which it has offered its lead.
    offered_in: u64,
    /// Since it heard a leader, or since it started.
    quiet_ticks: u32,
    told: Lease,
}

impl Keeper {
    pub(super) fn new(length: Option<Duration>) -> Self {
        let is_forgotten = canary::is_planted(Canary::VotedAfterStart);
        Self {
            length,
            clock: None,
            asked: None,
            held: None,
            offered_in: 0,
            quiet_ticks: if is_forgotten { limits::ELECTION_TICKS } else { 0 },
            told: Lease::default(),
        }
    }

    pub(super) fn see_clock(&mut self, now: Duration) {
        self.clock = Some(shown(now));
    }

    pub(super) fn tick(&mut self) {
        self.quiet_ticks = self.quiet_ticks.saturating_add(1);
    }

    /// A question leaves in this term.
    pub(super) fn ask(&mut self, context: &[u8], term: u64) {
        if self.length.is_some()
            && let Some(at) = self.clock
        {
            self.asked = Some(Asked { context: context.to_vec(), term, at });
        }
    }

    /// A majority has acknowledged a question to the leader of this term; true if that renews.
    fn renew(&mut self, context: &[u8], term: u64) -> bool {
        let asked = self.asked.take_if(|asked| asked.context == context && asked.term == term);
        let (Some(asked), Some(length)) = (asked, self.length) else { return false };
        let from_ack = self.clock.filter(|_| canary::is_planted(Canary::LeaseFromAck));
        self.held = Some((term, from_ack.unwrap_or(asked.at) + length));
        true
    }

    /// The lease of the leader of this term.
    fn lease(&self, term: u64, index: u64) -> Lease {
        let is_offered = self.offered_in == term && !canary::is_planted(Canary::LeaseKeptOnOffer);
        let held = self.held.filter(|(held, _)| *held == term && !is_offered);
        let until = held.map(|(_, until)| until).filter(|until| self.clock < Some(*until));
        until.map_or_else(Lease::default, |until| Lease { until: Some(until), index })
    }
}

impl<L: LogStore, W, R> Replica<L, W, R> {
    /// Whether this is a request for a vote that must not be heard yet.
    pub(super) fn withholds_vote(&self, message: &Message) -> bool {
        let kind = message.get_msg_type();
        let is_request =
            matches!(kind, MessageType::MsgRequestVote | MessageType::MsgRequestPreVote);
        let is_transfer = message.context == CAMPAIGN_TRANSFER;
        self.lease.length.is_some()
            && is_request
            && !is_transfer
            && self.lease.quiet_ticks < limits::ELECTION_TICKS
    }

    /// Takes notice of a leader. One of an earlier term than is known here leads nobody.
    pub(super) fn hear_leader(&mut self, message: &Message) {
        let kind = message.get_msg_type();
        let is_leaders = matches!(
            kind,
            MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot
        );
        if is_leaders && message.term >= self.raw.raft.term {
            self.lease.quiet_ticks = 0;
        }
    }

    /// Offers the lead: the one place that does, since there is no lease from then on.
    pub(super) fn offer(&mut self, heir: RaftId) {
        self.lease.offered_in = self.raw.raft.term;
        if self.lease.told != Lease::default() {
            self.marks.hit(Mark::LeaseOffered);
        }
        self.marks.hit(Mark::HandedOver);
        self.raw.transfer_leader(heir.get());
    }

    /// A majority has acknowledged a question.
    pub(super) fn renew_lease(&mut self, context: &[u8]) {
        let raft = &self.raw.raft;
        if raft.state == StateRole::Leader && self.lease.renew(context, raft.term) {
            self.marks.hit(Mark::LeaseRenewed);
        }
    }

    /// Tells what changed of the lease: before anything leaves that others could learn it from, so
    /// that nobody knows more than who reads by it.
    pub(super) fn tell_lease(&mut self, out: &mut impl Outbox<W, R>) {
        let raft = &self.raw.raft;
        let leads = raft.state == StateRole::Leader && raft.commit_to_current_term();
        let index = raft.raft_log.committed;
        let lease = if leads && self.is_alone() {
            Lease { until: Some(Lease::ENDLESS), index }
        } else if leads {
            self.lease.lease(raft.term, index)
        } else {
            Lease::default()
        };
        if lease == self.lease.told {
            return;
        }
        if !leads {
            self.marks.hit(Mark::LeaseLost);
        }
        self.lease.told = lease;
        out.lease(lease);
    }

    /// Whether nobody else votes. A leader that was removed has no vote itself.
    fn is_alone(&self) -> bool {
        let was_alone = self.lease.told.endless().is_some();
        if was_alone && canary::is_planted(Canary::AloneKept) {
            return true;
        }
        let members = self.raw.raft.prs();
        members.is_singleton() && members.conf().voters().contains(self.config.id.get())
    }
}

#[cfg(test)]
mod tests;
