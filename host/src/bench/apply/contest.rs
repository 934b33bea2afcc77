//! Programs that apply the same entries, each on a state of its own, and in turns: a machine that
//! is slow for a while is so for all of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use quorate_core::batch::Payload;
use quorate_core::id::{GroupId, LogId};
use quorate_core::machine::{Machine, Program};
use quorate_core::outcome::{Fatal, Outcome};
use quorate_core::state::{Changes, MemoryState, StateStore};
use quorate_wasm::Instances;
use tempfile::TempDir;

use super::load::Load;
use crate::rocks::RocksState;

/// Commands of one round of one program: an entry, or many small ones.
const ROUND_COMMANDS: usize = 1024;

/// Whose entries they are.
pub(super) const GROUP: GroupId = GroupId(1);
pub(super) const TERM: u64 = 1;

/// Where the state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Memory,
    RocksDb,
}

impl State {
    pub(super) const ALL: [Self; 2] = [Self::Memory, Self::RocksDb];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::RocksDb => "rocksdb",
        }
    }
}

/// What runs the plugin's code, in the order in which the first round has them.
pub(super) const PROGRAMS: [&str; 3] = ["native", "warm", "fresh"];

/// A machine for each of the [`PROGRAMS`].
pub(super) struct Contest<'a> {
    load: &'a Load,
    machines: [Applier; PROGRAMS.len()],
    /// For states on disk; goes after them.
    _folder: TempDir,
}

impl<'a> Contest<'a> {
    /// All keys are written once.
    pub(super) fn new(load: &'a Load, state: State, folder: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(folder)?;
        let wasm = |instances| Box::new(load.module.program_with(instances)) as Box<dyn Program>;
        let programs = [(load.native)(), wasm(Instances::Warm), wasm(Instances::Fresh)];
        let machine = |(program, name)| Applier::new(program, state, &folder.path().join(name));
        let machines = programs.into_iter().zip(PROGRAMS).map(machine);
        let machines: Vec<_> = machines.collect::<Result<_, _>>()?;
        let mut machines: [_; PROGRAMS.len()] =
            machines.try_into().ok().expect("one for each program");
        for machine in &mut machines {
            machine.apply(&load.fill(ROUND_COMMANDS))?;
        }
        Ok(Self { load, machines, _folder: folder })
    }

    /// Nanoseconds for each command, program by program and round by round.
    pub(super) fn rounds(
        &mut self,
        rounds: usize,
        entry_commands: usize,
    ) -> Result<[Vec<f64>; PROGRAMS.len()], Fatal> {
        let entries = (ROUND_COMMANDS / entry_commands).max(1);
        let mut times = [const { Vec::new() }; PROGRAMS.len()];
        // The first round warms up.
        for round in 0..=rounds {
            let entries = self.load.entries(entries, entry_commands, round as u64);
            // Whoever is first in one round is last in the next.
            for turn in 0..PROGRAMS.len() {
                let program = (turn + round) % PROGRAMS.len();
                let ns = self.machines[program].apply(&entries)?;
                if round > 0 {
                    times[program].push(ns);
                }
            }
        }
        Ok(times)
    }
}

/// A machine that is told what is committed.
pub(super) struct Applier(Machine<Box<dyn Program>>);

impl Applier {
    pub(super) fn new(program: Box<dyn Program>, state: State, dir: &Path) -> Result<Self, Fatal> {
        let state: Arc<dyn StateStore> = match state {
            State::Memory => Arc::new(MemoryState::new()),
            State::RocksDb => Arc::new(RocksState::open(dir)?),
        };
        Ok(Self(Machine::new(GROUP, program, state)?))
    }

    /// The place of the next entry.
    pub(super) fn next(&self) -> LogId {
        LogId { term: TERM, index: self.0.applied().index + 1 }
    }

    /// Applies an entry, and makes the next instance.
    pub(super) fn apply_one(&mut self, entry: Bytes) -> Result<Vec<(LogId, Outcome)>, Fatal> {
        let decided = self.0.apply(self.next(), Payload::Commands(entry))?;
        self.0.prepare()?;
        Ok(decided)
    }

    /// What the last entry has changed; once.
    pub(super) fn take_changes(&mut self) -> Changes {
        self.0.take_changes()
    }

    /// Applies entries, all of which must succeed; nanoseconds for each command.
    fn apply(&mut self, entries: &[Bytes]) -> Result<f64, Fatal> {
        let mut commands = 0;
        let begun = Instant::now();
        for entry in entries {
            let decided = self.apply_one(entry.clone())?;
            commands += decided.len();
            let mut outcomes = decided.into_iter().map(|(_, outcome)| outcome);
            if let Some(Err(rejection)) = outcomes.find(Result::is_err) {
                return Err(Fatal::msg(format!("a command was refused: {rejection}")));
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        Ok(begun.elapsed().as_nanos() as f64 / commands as f64)
    }
}
