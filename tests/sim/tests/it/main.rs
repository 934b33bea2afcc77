//! The simulator in its short form, and stories.
//!
//! 1. `stories`: text in, text out
//! 2. `seeds`: many seeds under all faults

mod seeds;
mod stories;
