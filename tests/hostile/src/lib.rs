//! Modules that mean harm, through the gate and, when admitted, through apply.
//!
//! A number is a module, a log and a verdict: all that is random comes from it, so what one run
//! finds another one replays. In order:
//!
//! 1. [`family`]: the kinds of attack, and the module of a number
//! 2. [`workload`]: the log that it is fed
//! 3. [`trio`]: three machines in differing circumstances, which must not differ
//! 4. [`trial`]: one module, from the gate to its last query; where panics are caught
//! 5. [`campaign`]: many of them, on several threads
//! 6. [`tally`]: what was seen, and whether that was enough to have tested anything
//!
//! What this deliberately does not have: coverage guidance and minimizing. It runs in CI, within
//! minutes, and says the same each time.

pub mod abi;
pub mod campaign;
pub mod family;
pub mod manifest;
pub mod random;
pub mod sections;
pub mod tally;
pub mod trial;
pub mod trio;
pub mod workload;
