//! Apply: turns committed entries into outcomes and state, in the order of the log.
//!
//! Writes, sessions, the applied index, the machine's time and the group's members are committed in
//! one atomic batch, so a crash leaves the state of some entry, whole.
//!
//! What this deliberately does not know: consensus. It sees log ids and bytes.

use std::sync::Arc;

use crate::batch::{self, Command, Payload};
use crate::canary::{self, Canary};
use crate::id::{GroupId, LogId};
use crate::integrity::digest;
use crate::outcome::{Fatal, Outcome};
use crate::run::{Place, Run};
use crate::session::table::{Decisions, Fate, SessionLimits, Table};
use crate::state::{Changes, Meta, StateStore};

/// A plugin's code, however it is run.
pub trait Program: Send {
    /// Runs all calls of `run`. A call that traps is finished with its rejection, and the next one
    /// begins. An error stops this node.
    fn run(&mut self, run: Run) -> Result<Run, Fatal>;

    /// Gets ready for the next run. Called when nobody waits.
    fn prepare(&mut self) -> Result<(), Fatal> {
        Ok(())
    }
}

impl<P: Program + ?Sized> Program for Box<P> {
    fn run(&mut self, run: Run) -> Result<Run, Fatal> {
        (**self).run(run)
    }

    fn prepare(&mut self) -> Result<(), Fatal> {
        (**self).prepare()
    }
}

/// A program and its state.
pub struct Machine<P> {
    group: GroupId,
    program: P,
    state: Arc<dyn StateStore>,
    meta: Meta,
    /// As of `meta`, like all that is in the state.
    sessions: Table,
    /// What the last entry has changed.
    changes: Changes,
}

impl<P: Program> Machine<P> {
    /// The machine of `group` as its state left it.
    pub fn new(group: GroupId, program: P, state: Arc<dyn StateStore>) -> Result<Self, Fatal> {
        Self::bounded(group, program, state, SessionLimits::default())
    }

    /// The same, with bounds for its sessions, which must be those of all other replicas.
    pub fn bounded(
        group: GroupId,
        program: P,
        state: Arc<dyn StateStore>,
        limits: SessionLimits,
    ) -> Result<Self, Fatal> {
        let view = state.snapshot();
        let sessions = Table::load(&*view, limits)?;
        let changes = Changes::default();
        Ok(Self { group, program, state, meta: view.meta().clone(), sessions, changes })
    }

    /// The last entry applied.
    pub fn applied(&self) -> LogId {
        self.meta.applied
    }

    /// Goes on with the state that now stands in its store: that of a snapshot. Returns what it
    /// has.
    pub fn state_replaced(&mut self) -> Result<LogId, Fatal> {
        let view = self.state.snapshot();
        let meta = view.meta().clone();
        assert!(meta.applied >= self.meta.applied, "a snapshot of a state that is behind");
        if !canary::is_planted(Canary::SessionsNotInstalled) {
            self.sessions = Table::load(&*view, self.sessions.limits())?;
        }
        self.meta = meta;
        Ok(self.meta.applied)
    }

    /// The digest of all that was applied.
    pub fn digest(&self) -> u64 {
        self.meta.digest
    }

    /// What the last entry has changed; once.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Applies the next entry; returns an outcome for each of its commands, in their order, and
    /// where it was decided: here, or in an earlier entry when the command is a duplicate.
    pub fn apply(&mut self, id: LogId, payload: Payload) -> Result<Vec<(LogId, Outcome)>, Fatal> {
        assert_eq!(id.index, self.meta.applied.index + 1, "an entry is skipped or applied twice");
        assert!(id.term >= self.meta.applied.term, "terms fall along the log");
        let mut meta = Meta { applied: id, ..self.meta.clone() };
        let (decisions, changes) = match payload {
            Payload::Empty => Default::default(),
            Payload::Members(conf) => {
                if !canary::is_planted(Canary::MembersForgotten) {
                    meta.conf = conf;
                }
                Default::default()
            }
            Payload::Commands(entry) => {
                let batch = batch::decode(&entry)
                    .map_err(|error| Fatal::new(format!("decoding entry {id}"), error.into()))?;
                // A new leader's clock may be behind the old one's; the machine's never falls.
                if meta.time_ms < batch.time_ms || canary::is_planted(Canary::TimeFalls) {
                    meta.time_ms = batch.time_ms;
                }
                self.run(Place { group: self.group, id, time_ms: meta.time_ms }, batch.commands)?
            }
        };
        if canary::is_planted(Canary::AppliedApart) {
            self.state.commit(&changes, self.meta.clone())?;
        }
        meta.digest = digest::chain(&meta, &decisions, &changes);
        self.state.commit(&changes, meta.clone())?;
        (self.changes, self.meta) = (changes, meta);
        Ok(decisions.decided)
    }

    /// What the commands of an entry decide, and what they change.
    fn run(&mut self, place: Place, commands: Vec<Command>) -> Result<(Decisions, Changes), Fatal> {
        let view = self.state.snapshot();
        let mut entry = self.sessions.begin(Arc::clone(&view), place.id);
        let mut fates = Vec::with_capacity(commands.len());
        let mut calls = Vec::with_capacity(commands.len());
        for (position, command) in commands.into_iter().enumerate() {
            let fate = entry.admit(position, &command)?;
            if matches!(fate, Fate::Run(_)) {
                calls.push((position, command));
            }
            fates.push(fate);
        }
        let run = Run::commands(view, place, calls);
        let (outcomes, plugin) = self.program.run(run)?.into_parts();
        let (decisions, sessions) = entry.finish(fates, outcomes);
        Ok((decisions, Changes { plugin, sessions }))
    }

    /// Gets ready for the next entry. Called when nobody waits.
    pub fn prepare(&mut self) -> Result<(), Fatal> {
        self.program.prepare()
    }

    /// Makes all that was applied durable.
    pub fn flush(&self) -> Result<(), Fatal> {
        self.state.flush()
    }
}

#[cfg(test)]
mod tests;
