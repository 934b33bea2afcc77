//! Random numbers: of seeds, nonces, and what nobody else may have. The standard library's hash
//! keys are random, which is all that is asked of them.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// 64 random bits.
pub fn bits_64() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// 128 random bits: a number that nobody else draws.
pub fn bits_128() -> u128 {
    u128::from(bits_64()) << 64 | u128::from(bits_64())
}
