//! The `quorate` binary; see [`quorate::cli`].

use std::process::ExitCode;

/// Faster than the system's with many small pieces that one thread makes and another one drops.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    quorate::cli::main()
}
