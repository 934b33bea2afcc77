//! The command line. Exit codes: 0 done, 1 it went wrong, 2 it was asked wrongly, 3 it was refused
//! and will be again, 4 it may go well later.

mod admin;
mod attach;
mod bench;
mod build;
mod call;
mod check;
mod cluster;
mod connect;
mod dev;
mod membership;
mod new;
mod recover;
mod schema;
mod serve;
mod settings;
mod signals;
mod snapshot;
mod test;

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use quorate_core::outcome::Fatal;

use settings::LogSettings;

/// Turns a state machine, compiled to WebAssembly, into a replicated, durable, linearizable gRPC
/// service.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    log: LogSettings,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a cluster in this process, to develop against
    Dev(dev::Settings),
    /// Run one node of a cluster
    Serve(serve::Settings),
    /// Say who the members of a running cluster are, and how each of them fares
    Status(admin::StatusArguments),
    /// Add, promote, remove or replace members of a running cluster, or let another one lead
    Member(admin::MemberArguments),
    /// Make a survivor the only member of a cluster whose other nodes are lost for good
    Recover(recover::Arguments),
    /// Call a method of a running service, by reflection, and print the reply as JSON
    Call(call::Arguments),
    /// Make a plugin's crate from a template
    New(new::Arguments),
    /// Compile a plugin's crate to a module
    Build(build::Arguments),
    /// Attach what a node must know of a module to one that another compiler made
    Attach(attach::Arguments),
    /// Say what a module exports, imports and serves, and whether a node would take it
    Check(check::Arguments),
    /// Run a plugin's tests, at all fidelities or at one, and tell what its methods cost
    Test(test::Arguments),
    /// Save the state of a running service to a file, and make a cluster from one
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Measure how fast it is on this machine, beside etcd and by itself
    #[command(subcommand)]
    Bench(bench::Command),
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Human,
    /// For programs.
    Json,
}

/// The exit code for what was asked wrongly.
const WRONG: u8 = 2;
/// The exit code for what was refused, and will be again.
const REFUSED: u8 = 3;
/// The exit code for what may go well later, or of which the outcome is not known.
const LATER: u8 = 4;

/// Why a command did not do what it was asked.
enum Failure {
    /// It was asked wrongly: exit code 2.
    Usage(anyhow::Error),
    /// It went wrong: exit code 1.
    Failed(anyhow::Error),
    /// It went wrong, and has said so itself.
    Said,
    /// The same, with an exit code of its own.
    Code(u8),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

fn usage(problem: impl fmt::Display) -> Failure {
    Failure::Usage(anyhow::anyhow!("{problem}"))
}

/// What keeps a node from starting. A disk that fails, and data that is damaged, are nothing that
/// was asked wrongly; all else is a setting that does not fit.
fn unfit(error: anyhow::Error) -> Failure {
    let is_fault =
        error.is::<Fatal>() || error.chain().any(<dyn std::error::Error>::is::<io::Error>);
    if is_fault { Failure::Failed(error) } else { Failure::Usage(error) }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_parsed(&error),
    };
    let ran = match cli.command {
        Command::Dev(settings) => dev::run(settings, &cli.log),
        Command::Serve(settings) => serve::run(settings, &cli.log),
        Command::Status(arguments) => admin::status(&arguments),
        Command::Member(arguments) => admin::member(&arguments),
        Command::Recover(arguments) => recover::run(&arguments),
        Command::Call(arguments) => call::run(&arguments),
        Command::New(arguments) => new::run(&arguments),
        Command::Build(arguments) => build::run(&arguments),
        Command::Attach(arguments) => attach::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Snapshot(command) => snapshot::run(&command),
        Command::Bench(command) => bench::run(command),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(error)) => {
            complain(format_args!("error: {error:#}"));
            ExitCode::from(WRONG)
        }
        Err(Failure::Failed(error)) => {
            complain(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
        Err(Failure::Said) => ExitCode::FAILURE,
        Err(Failure::Code(code)) => ExitCode::from(code),
    }
}

/// Help goes to standard output; a wrong call is one line, and exit code 2.
fn not_parsed(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Whoever reads it may have gone.
        drop(error.print());
        return ExitCode::SUCCESS;
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        complain(format_args!("{}", error.render()));
        return ExitCode::from(WRONG);
    }
    let text = error.render().to_string();
    let problem = text.split("\n\nUsage").next().unwrap_or(&text);
    let words: Vec<_> = problem.split_whitespace().collect();
    complain(format_args!("{} (see --help)", words.join(" ")));
    ExitCode::from(WRONG)
}

/// The program as it can be called again, from any folder.
fn program() -> String {
    let called = std::env::args().next().unwrap_or_default();
    if !called.contains('/') {
        return "quorate".to_owned();
    }
    std::fs::canonicalize(&called).map_or(called, |path| path.display().to_string())
}

/// A line on standard output. Whoever reads it may have gone: that is not this command's problem.
fn say(line: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

/// A line on standard error.
fn complain(line: fmt::Arguments<'_>) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}
