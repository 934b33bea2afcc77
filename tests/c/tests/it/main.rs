//! Plugins in C: the header, and the counter.

mod counter;
mod header;
mod helpers;

use std::path::{Path, PathBuf};

/// A folder of this run to build in.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}
