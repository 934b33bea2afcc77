//! Proves both checkers: by histories that are right and wrong, and by all orders of small ones.
//!
//! 1. `write`: how histories are written here
//! 2. `illegal`: histories that are wrong, and by which rule
//! 3. `legal`: histories that are right
//! 4. `random`: histories of many clients, from a seed
//! 5. `every_order`: a third checker, too slow for anything but a few calls

#![expect(clippy::unwrap_used, reason = "where a test fails is said with it")]

mod every_order;
mod illegal;
mod legal;
mod random;
mod write;
