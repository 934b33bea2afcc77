//! How often rare paths were taken: the ones where bugs live, and which a test must have reached
//! before it may be believed.

crate::named! {
    /// A rare path of a replica.
    Mark {
        /// Entries of a deposed leader were replaced by the new leader's.
        TailReplaced = "conflicting tail replaced",
        /// A leader that was deposed has answered what it had proposed.
        DeposedAnswered = "deposed leader answered",
        /// A waiter was told that its entry lost its place.
        CommandOverwritten = "command overwritten",
        /// A proposal came to a member that does not lead.
        ProposedElsewhere = "proposed without the lead",
        /// A proposal was refused since too much is not committed yet.
        ProposalBusy = "proposal refused as busy",
        /// A proposal was refused since another member is about to lead.
        ProposedWhileHandingOver = "proposed while handing over",
        /// An append was not taken since apply is behind.
        AppendNotTaken = "append not taken",
        /// A message was dropped that nobody of this group sends.
        MessageForeign = "foreign message dropped",
        /// A read round was begun anew since the leader changed.
        ReadRoundRestarted = "read round restarted",
        /// A read index was asked for again since no answer came.
        ReadAskedAgain = "read index asked again",
        /// A read was refused since no read index came in time.
        ReadExpired = "read expired",
        /// A read was refused since too many wait.
        ReadBusy = "read refused as busy",
        /// A read index came for a round that is no longer under way.
        ReadIndexLate = "read index came late",
        /// A member that does not lead has served a read.
        ReadByFollower = "read served by a follower",
        /// A leader has asked another member to take over.
        HandedOver = "leadership handed over",
        /// A start has found a state that was ahead of the log's commit index.
        CommitRecovered = "commit index recovered",
        /// The group's members have changed.
        MembersChanged = "members changed",
        /// A member was not admitted.
        AdmissionRefused = "admission refused",
        /// A change that an operator asked for was refused.
        ChangeRefused = "change of members refused",
        /// Old and new voters must both agree.
        JointEntered = "joint configuration entered",
        /// A leader has proposed to leave it.
        JointLeft = "joint configuration left",
        /// A leader was removed, and leads no more.
        RemovedLeaderStepsDown = "removed leader steps down",
        /// A majority has acknowledged a question, and a lease began with it.
        LeaseRenewed = "lease renewed",
        /// A leader with a lease has offered its lead.
        LeaseOffered = "lease ended by an offer",
        /// A leader with a lease was deposed.
        LeaseLost = "lease ended with the lead",
        /// A vote was withheld since a leader was just heard, or since the member has just started.
        VoteWithheld = "vote withheld",
        /// The log was cut.
        LogCut = "log cut",
        /// It was kept for a member that is alive.
        LogHeld = "log kept for others",
        /// A member was sent a snapshot.
        SnapshotSent = "snapshot sent",
        /// It was heard to have arrived.
        SnapshotArrived = "snapshot arrived",
        /// It was heard to be lost.
        SnapshotFailed = "snapshot failed",
        /// Nothing was heard of it.
        SnapshotTimedOut = "snapshot timed out",
        /// News of a snapshot that another one has replaced, or that counts as lost already.
        SnapshotReportLate = "snapshot reported late",
        /// A snapshot was installed.
        SnapshotInstalled = "snapshot installed",
        /// A snapshot came that raft had no use for.
        SnapshotUseless = "snapshot of no use",
        /// A member asked for a snapshot.
        SnapshotAskedFor = "snapshot asked for",
        /// A snapshot has the entry of a command, but not its outcome.
        WaiterForgotten = "outcome lost in a snapshot",
    }
}

/// How often each [`Mark`] was reached since the replica started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks([u64; Mark::ALL.len()]);

impl Default for Marks {
    fn default() -> Self {
        Self([0; Mark::ALL.len()])
    }
}

impl Marks {
    /// How often this one was reached.
    pub fn get(&self, mark: Mark) -> u64 {
        self.0.get(mark as usize).copied().unwrap_or(0)
    }

    pub(super) fn hit(&mut self, mark: Mark) {
        if let Some(count) = self.0.get_mut(mark as usize) {
            *count += 1;
        }
    }
}
