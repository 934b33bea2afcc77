//! The simulator in its short form, and stories.
//!
//! 1. `stories`: text in, text out
//! 2. `seeds`: many seeds under all faults
//! 3. `drive`: clusters that are driven from outside

mod drive;
mod seeds;
mod stories;
