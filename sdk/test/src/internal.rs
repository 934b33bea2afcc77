//! What the attributes expand to. Not for tests to use.

use std::fmt;
use std::ops::RangeInclusive;
use std::panic::{self, AssertUnwindSafe};

use quorate_sdk::Plugin;

use crate::ground::Fidelity;
use crate::model::{self, Model};
use crate::report::{again, said, say};
use crate::{Machine, seeds};

/// Where a test stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its package.
    pub package: &'static str,
    /// Its module, which has its name.
    pub module: &'static str,
}

/// What a test's function may return.
pub trait Ending {
    /// Nothing, or why the test failed.
    fn into_result(self) -> Result<(), String>;
}

impl Ending for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Debug> Ending for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| format!("the test ended with {error:?}"))
    }
}

/// Runs a test's function at a fidelity, with each of the seeds.
pub fn test<P: Plugin + 'static, E: Ending>(
    place: Place,
    fidelity: &str,
    body: fn(&mut Machine<P>) -> E,
) {
    let fidelity = Fidelity::of(fidelity).expect("the attribute knows the same names");
    for seed in seeds::of_test(fidelity) {
        let mut machine = Machine::new(fidelity, seed);
        let ended = panic::catch_unwind(AssertUnwindSafe(|| {
            body(&mut machine).into_result()?;
            machine.finish()
        }));
        let problem = match &ended {
            Ok(Ok(())) => continue,
            Ok(Err(problem)) => problem.clone(),
            Err(panic) => said(&**panic),
        };
        let described = panic::catch_unwind(AssertUnwindSafe(|| machine.describe()));
        let described = described.unwrap_or_else(|panic| said(&*panic));
        say(&format!("{described}again: {}\n", again(place, fidelity, seed)));
        panic!("{fidelity}, seed {seed}: {problem}");
    }
}

/// What a model finds with these seeds: of how many steps, and what it tells. For tests of this
/// crate.
pub fn find<M: Model>(fidelity: &str, seeds: RangeInclusive<u64>) -> Option<(usize, String)> {
    let fidelity = Fidelity::of(fidelity).expect("there is such a fidelity");
    let found = seeds.into_iter().find_map(|seed| model::run::<M>(fidelity, seed))?;
    Some((found.steps(), found.to_string()))
}

/// Compares a plugin with its model at a fidelity, with each of the seeds.
pub fn model<M: Model>(place: Place, fidelity: &str) {
    let fidelity = Fidelity::of(fidelity).expect("the attribute knows the same names");
    for seed in seeds::of_model(fidelity) {
        if let Some(found) = model::run::<M>(fidelity, seed) {
            say(&format!("{found}again: {}\n", again(place, fidelity, seed)));
            panic!("{fidelity}, seed {seed}: {}", found.problem);
        }
    }
}
