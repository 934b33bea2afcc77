//! Planted bugs. A test that cannot fail is worth nothing: with the feature `canary`, the simulator
//! chooses one of these at run time and must find it.
//!
//! Without the feature nothing is planted, and the compiler removes every trace. Each is a mistake
//! that systems of this kind have been found with.

use std::fmt;
use std::str::FromStr;

crate::named! {
    /// A planted bug.
    Canary {
        /// Entries and votes are written, but not synced.
        SyncSkipped = "sync-skipped",
        /// Votes and acknowledgements leave before what they promise is durable.
        PromisedBeforeSync = "promised-before-sync",
        /// A leader hands out entries as committed as soon as it has written them itself.
        AnsweredBeforeCommit = "answered-before-commit",
        /// A vote is not part of what is made durable.
        VoteForgotten = "vote-forgotten",
        /// A leader serves reads without asking whether it still leads.
        ReadsUnconfirmed = "reads-unconfirmed",
        /// Each try to get a read index uses the same context.
        ReadContextReused = "read-context-reused",
        /// A leader that is deposed tells all that wait that they were refused.
        WaitersRefusedWhenDeposed = "waiters-refused-when-deposed",
        /// Waiters are matched by index alone, not by term.
        WaitersMatchedByIndex = "waiters-matched-by-index",
        /// The log keeps an old tail behind newer entries.
        TailKept = "tail-kept",
        /// A batch is proposed twice.
        ProposedTwice = "proposed-twice",
        /// Outcomes reach the waiters of a batch in another order.
        WaitersReversed = "waiters-reversed",
        /// The command that did not fit a batch is gone.
        CarriedLost = "carried-lost",
        /// The applied index is committed after the writes, not with them.
        AppliedApart = "applied-apart",
        /// The machine's state forgets the group's members.
        MembersForgotten = "members-forgotten",
        /// A rejected command keeps its writes.
        RollBackSkipped = "roll-back-skipped",
        /// A rejected command is undone from its first write to its last.
        RollBackInOrder = "roll-back-in-order",
        /// Scans show what commands of the same entry have deleted.
        DeletedShown = "deleted-shown",
        /// The machine's time is the leader's clock, even if that is behind.
        TimeFalls = "time-falls",
        /// All commands of an entry get the same seed.
        SeedRepeated = "seed-repeated",
        /// Elections time out by the raft crate's own random numbers.
        ElectionsRandom = "elections-random",
        /// The state keeps what a command has deleted.
        DeletionsLost = "deletions-lost",

        /// What sessions were told is not written: a restart forgets it.
        SessionsUnwritten = "sessions-unwritten",
        /// A command that stands twice in an entry is executed twice.
        DuplicateInEntryExecuted = "duplicate-in-entry-executed",
        /// A call of a session that has expired is executed.
        ExpiredExecuted = "expired-executed",
        /// A call whose reply was let go is executed.
        FloorIgnored = "floor-ignored",
        /// A duplicate gets the reply of the session's last call.
        ReplyOfAnother = "reply-of-another",
        /// A call that was rejected is executed when it is sent again.
        RejectionForgotten = "rejection-forgotten",
        /// The table of sessions stays as it was when a snapshot takes the place of the state.
        SessionsNotInstalled = "sessions-not-installed",
        /// The session that was opened first expires, however recently it was used.
        OldestExpires = "oldest-expires",
        /// A member is listened to whatever data folder it comes with.
        WipedTrusted = "wiped-trusted",
        /// A change of members that is half done is never finished.
        JointKept = "joint-kept",
        /// A learner gets a vote however far behind it is.
        PromotedBehind = "promoted-behind",
        /// A leader reckons with new members before the change is committed.
        MembersEarly = "members-early",

        /// A lease begins when a majority has acknowledged it, not when it was asked.
        LeaseFromAck = "lease-from-ack",
        /// A leader that has offered its lead keeps its lease.
        LeaseKeptOnOffer = "lease-kept-on-offer",
        /// A lease lasts until consensus looks at the clock again: a read does not look.
        LeaseNotLookedAt = "lease-not-looked-at",
        /// The clock of leases loses more than is declared.
        LeaseClockSlow = "lease-clock-slow",
        /// A leader that was the only voter goes on reading as if it were.
        AloneKept = "alone-kept",
        /// A member votes as soon as it has started.
        VotedAfterStart = "voted-after-start",
        /// The log is cut although the state is not durable.
        CutAboveDurable = "cut-above-durable",
        /// A cut takes one entry too many with it.
        CutTooFar = "cut-too-far",
        /// Raft is never told what became of a snapshot.
        SnapshotUnreported = "snapshot-unreported",
        /// A snapshot's log is written first, and which state goes with it after that.
        InstallApart = "install-apart",
        /// The digest of a replica leaves out what commands decided.
        DigestWithoutOutcomes = "digest-without-outcomes",
        /// The digest of a replica leaves out what entries wrote.
        DigestWithoutWrites = "digest-without-writes",
        /// Digests are compared wherever two nodes happen to be.
        ComparedApart = "compared-apart",
        /// The evidence of a divergence names another entry.
        EvidenceMisplaced = "evidence-misplaced",
        /// A node whose state is in quarantine goes on serving.
        QuarantineIgnored = "quarantine-ignored",
        /// What another node says is taken although its checksum does not fit.
        SealUnchecked = "seal-unchecked",
    }
}

impl fmt::Display for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Canary {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|canary| canary.name() == name);
        found.copied().ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|canary| canary.name()).collect();
            format!("no canary has that name; there are {}", names.join(", "))
        })
    }
}

/// Whether this bug is planted.
#[cfg(not(feature = "canary"))]
pub const fn is_planted(_: Canary) -> bool {
    false
}

#[cfg(feature = "canary")]
mod planted {
    use std::cell::Cell;

    use super::Canary;

    thread_local! {
        static PLANTED: Cell<Option<Canary>> = const { Cell::new(None) };
    }

    /// Plants a bug for all that this thread runs from here on, or removes it.
    pub fn plant(canary: Option<Canary>) {
        PLANTED.set(canary);
    }

    /// Whether this bug is planted.
    pub fn is_planted(canary: Canary) -> bool {
        PLANTED.get() == Some(canary)
    }
}

#[cfg(feature = "canary")]
pub use planted::{is_planted, plant};
