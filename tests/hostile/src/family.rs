//! The kinds of attack. Each makes a module from a number.

mod calls;
mod describe;
mod driver;
mod mutate;
mod smith;

use std::fmt;

use crate::random::Random;

/// A kind of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// On the parser: modules of the other families, and the plugin `kv`, with bits turned over,
    /// parts cut out, and sections moved, doubled and lost. What still passes runs.
    Mutated,
    /// On the reader of manifests: a module that is fine, with a description that is not.
    Described,
    /// On the validator and the rules of the gate: all that wasm-smith knows, proposals included.
    Smith,
    /// On the compiler and on apply: wasm-smith's code behind our exports, which meets the ABI
    /// without having heard of it.
    Shaped,
    /// On determinism: wasm-smith's code, called for each command by a guest that keeps to the ABI
    /// and writes what was computed, and what is in memory, to the state.
    Driven,
    /// On the host's functions: calls in any order, with arguments of all kinds, between other
    /// ways to break off; again all of it ends up in the state.
    Calls,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Mutated, Self::Described, Self::Smith, Self::Shaped, Self::Driven, Self::Calls];

    /// The family of a number: each has its share.
    pub fn of(seed: u64) -> Self {
        const SHARES: [Family; 20] = [
            Family::Mutated,
            Family::Calls,
            Family::Driven,
            Family::Smith,
            Family::Calls,
            Family::Described,
            Family::Driven,
            Family::Calls,
            Family::Mutated,
            Family::Shaped,
            Family::Calls,
            Family::Driven,
            Family::Smith,
            Family::Calls,
            Family::Described,
            Family::Driven,
            Family::Calls,
            Family::Mutated,
            Family::Shaped,
            Family::Calls,
        ];
        let share = usize::try_from(seed % SHARES.len() as u64).expect("it is small");
        SHARES[share]
    }

    /// Makes the module of a number.
    pub fn module(self, seed: u64) -> Vec<u8> {
        let random = &mut Random::new(seed, "module");
        match self {
            Self::Mutated => mutate::module(random),
            Self::Described => describe::module(random),
            Self::Smith => smith::any(random),
            Self::Shaped => smith::shaped(random),
            Self::Driven => driver::module(random),
            Self::Calls => calls::module(random),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Mutated => "mutated",
            Self::Described => "described",
            Self::Smith => "smith",
            Self::Shaped => "shaped",
            Self::Driven => "driven",
            Self::Calls => "calls",
        })
    }
}
