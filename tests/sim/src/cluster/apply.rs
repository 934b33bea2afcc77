//! Apply and queries: what an entry decides, what a view of the state tells, and who is told.

use quorate_core::id::LogId;
use quorate_core::outcome::{Fatal, Outcome};
use quorate_core::replica::Committed;
use quorate_core::run::Run;
use quorate_core::state::StateStore as _;

use super::process::{Decision, Query, Token, Work};
use super::{Cluster, Event, Verdict};
use crate::fault::Kind;
use crate::oracle::{Checked, Violation, digest_of, ensure};
use crate::program::SimProgram;
use crate::time::MS;

impl Cluster {
    /// Applies the next entry, if nothing else is being applied.
    pub(super) fn apply(&mut self, number: u32) -> Checked<bool> {
        let Some(process) = &mut self.node(number).process else { return Ok(false) };
        if process.applies {
            return Ok(false);
        }
        let Some(work) = process.committed.pop_front() else { return Ok(false) };
        process.applies = true;
        let committed = match work {
            Work::Entry(committed) => committed,
            Work::Install(staged) => return self.install(number, &staged),
        };
        let decision = self.decide(number, committed)?;
        let (now, node) = (self.now, self.node(number));
        let slow = node.slow_apply_us;
        let at = now + node.rng.u64(5..80) + slow;
        let life = node.life;
        if slow > 0 {
            self.ledger.fire(Kind::SlowApply, number);
        }
        self.schedule(at, Event::Decided(number, life, Box::new(decision)));
        Ok(true)
    }

    /// Applies an entry.
    pub(super) fn decide(&mut self, number: u32, committed: Committed<Token>) -> Checked<Decision> {
        let Committed { id, payload, waiters } = committed;
        let node = &mut self.nodes[number as usize - 1];
        let process = node.process.as_mut().expect("it runs");
        let fatal = |fatal: Fatal| {
            Violation::new("apply goes on", format!("node {number}, entry {id}: {fatal}"))
        };
        let decided = process.machine.apply(id, payload).map_err(fatal)?;
        process.machine.prepare().map_err(fatal)?;
        process.watch.applied(id, process.machine.digest(), process.machine.take_changes());
        let digest = digest_of(node.state.last_commit(), &decided);
        let member = process.member;
        self.look_at_flip(number, id.index);
        let is_complete = waiters.is_empty() || waiters.len() == decided.len();
        ensure(is_complete, "every waiter has its outcome", || {
            format!("entry {id}: {} waiters, {} outcomes", waiters.len(), decided.len())
        })?;
        if self.node(number).diverged.is_none() {
            self.decided.entry(id.index).or_insert_with(|| decided.clone());
            self.oracle.applied(member, id.index, digest)?;
        }
        self.trace.note((self.now, number), "applies", [id.index, digest], || {
            format!("{id}, {} commands", decided.len())
        });
        Ok(Decision { id, answers: waiters.into_iter().zip(decided).collect() })
    }

    pub(super) fn decided(&mut self, number: u32, decision: Decision) -> Checked {
        let Some(process) = &mut self.node(number).process else { return Ok(()) };
        process.applied = decision.id.index;
        process.applies = false;
        let node = self.node(number);
        let is_new = decision.id.index > node.applied_max;
        node.applied_max = node.applied_max.max(decision.id.index);
        if is_new {
            self.ledger.progress(number);
        }
        for (waiter, decided) in decision.answers {
            self.serve(number, waiter, decided)?;
        }
        self.pump(number)
    }

    /// Reads whose index is applied see the state as it is now.
    pub(super) fn serve_reads(&mut self, number: u32) -> Checked<bool> {
        let Some(process) = &mut self.node(number).process else { return Ok(false) };
        let applied = process.applied;
        let ready: Vec<_> =
            process.granted.extract_if(.., |(index, _)| *index <= applied).collect();
        let moved = !ready.is_empty();
        for (_, reader) in ready {
            let now = self.now;
            let node = self.node(number);
            let query = Query { reader, view: node.state.snapshot() };
            if node.rng.u32(0..4) > 0 {
                self.query(number, query)?;
                continue;
            }
            // It runs in parallel with apply, which goes on meanwhile.
            let (at, life) = (now + node.rng.u64(10..5 * MS), node.life);
            self.schedule(at, Event::Query(number, life, Box::new(query)));
        }
        Ok(moved)
    }

    /// Runs a query on its view, and answers it.
    pub(super) fn query(&mut self, number: u32, query: Query) -> Checked {
        let Query { reader, view } = query;
        let request = self.calls[reader.call() as usize].request.clone();
        let seen = view.meta().applied;
        let run = Run::query(view, super::life::GROUP, request.encode());
        let outcome = SimProgram::query(&self.code, run)
            .map_err(|fatal| Violation::new("queries go on", fatal.to_string()))?;
        self.serve(number, reader, (seen, outcome))
    }

    /// What was told of a call where it was decided, whether or not its client heard it.
    pub(crate) fn verdicts(&self, call: u64) -> &[Verdict] {
        self.verdicts.get(&call).map_or(&[], Vec::as_slice)
    }

    /// What an entry's commands decided, and where first.
    pub(crate) fn outcomes(&self, index: u64) -> &[(LogId, Outcome)] {
        self.decided.get(&index).map_or(&[], Vec::as_slice)
    }
}
