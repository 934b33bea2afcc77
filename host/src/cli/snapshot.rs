//! `quorate snapshot`: the state of a machine as a file, and back.

mod report;
mod restore;
mod save;
mod verify;

use clap::Subcommand;

use super::Failure;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Save the state of a running service, with all that was committed before
    Save(save::Arguments),
    /// Read a saved file, and say what it is of or where it is damaged
    Verify(verify::Arguments),
    /// Make a node's data folder from a saved file, for a new cluster that begins with its state
    Restore(restore::Arguments),
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Save(arguments) => save::run(arguments),
        Command::Verify(arguments) => verify::run(arguments),
        Command::Restore(arguments) => restore::run(arguments),
    }
}
