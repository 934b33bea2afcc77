//! Proposals: a leader's own, each as one entry whose waiters are kept by its place.

use raft::StateRole;
use raft::eraftpb::{Message, MessageType};
use raft::prelude::Entry;

use super::{Mark, Refusal, Replica};
use crate::batch::{self, Batch};
use crate::canary::{self, Canary};
use crate::id::LogId;
use crate::log::LogStore;

impl<L: LogStore, W, R> Replica<L, W, R> {
    /// The last entry that it has proposed, of those whose fate is open.
    pub fn last_proposed(&self) -> Option<LogId> {
        self.waiters.last()
    }

    pub(super) fn propose(&mut self, batch: Batch<W>, time_ms: u64) {
        let commands: Vec<_> = batch.proposals.iter().map(|proposal| &proposal.command).collect();
        let data = batch::encode(time_ms, commands.into_iter());
        let mut waiters: Vec<W> =
            batch.proposals.into_iter().map(|proposal| proposal.waiter).collect();
        if canary::is_planted(Canary::WaitersReversed) {
            waiters.reverse();
        }
        if self.raw.raft.state != StateRole::Leader {
            self.marks.hit(Mark::ProposedElsewhere);
            self.refused.push((waiters, Refusal::NotLeader(self.leader())));
            return;
        }
        let entry = Entry { data, ..Entry::default() };
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.config.id.get();
        if canary::is_planted(Canary::ProposedTwice) {
            let _ = self.raw.propose(Vec::new(), entry.data.to_vec()).ok();
        }
        message.set_entries(vec![entry].into());
        // Not `RawNode::propose`, which would copy the bytes.
        if self.raw.raft.step(message).is_err() {
            let (refusal, mark) = if self.raw.raft.lead_transferee.is_some() {
                (Refusal::NotLeader(None), Mark::ProposedWhileHandingOver)
            } else {
                (Refusal::Busy, Mark::ProposalBusy)
            };
            self.marks.hit(mark);
            self.refused.push((waiters, refusal));
            return;
        }
        let id = LogId { term: self.raw.raft.term, index: self.raw.raft.raft_log.last_index() };
        self.waiters.push(id, waiters);
    }
}
