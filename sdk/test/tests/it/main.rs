//! What tests of plugins find, and what they tell: with ledgers that are wrong.

mod machines;
mod planted;
