//! The simulator in its short form, stories, and seeds that once failed.
//!
//! 1. `stories`: text in, text out
//! 2. `seeds`: many seeds under all faults; seeds that have found something

mod seeds;
mod stories;
