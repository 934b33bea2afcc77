//! Settings and where they come from: defaults < file < environment < flags.
//!
//! Flags and environment are clap's; a TOML file has a table for each command, with the flags'
//! names as keys, and fills in what they leave open.

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::de::DeserializeOwned;
use tracing_subscriber::EnvFilter;

use super::{Failure, usage};
use quorate_wasm::Module;

/// What the log shows, and how.
#[derive(Clone, Debug, Args)]
pub(super) struct LogSettings {
    /// What to log: error, warn, info, debug, trace, or a filter such as quorate=debug [default:
    /// info; of dev DIR, warn]
    #[arg(long, env = "QUORATE_LOG_LEVEL", global = true)]
    log_level: Option<String>,
    /// How to log, on standard error
    #[arg(long, env = "QUORATE_LOG_FORMAT", default_value = "text", global = true)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl LogSettings {
    /// Starts logging, and makes a panic stop the process: a broken invariant must not be survived
    /// by the rest of the node.
    pub(super) fn install(&self) -> Result<(), Failure> {
        self.install_at("info")
    }

    /// The same, with a default of one's own.
    pub(super) fn install_at(&self, default: &str) -> Result<(), Failure> {
        let level = self.log_level.as_deref().unwrap_or(default);
        let filter = EnvFilter::try_new(level)
            .map_err(|error| usage(format_args!("--log-level \"{level}\": {error}")))?;
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal());
        match self.log_format {
            LogFormat::Text => builder.init(),
            LogFormat::Json => builder.json().init(),
        }
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            report(panic);
            std::process::abort();
        }));
        Ok(())
    }
}

/// The table `command` of a settings file; all open when there is no file.
pub(super) fn from_file<S: DeserializeOwned + Default>(
    file: Option<&Path>,
    command: &str,
) -> Result<S, Failure> {
    let Some(file) = file else { return Ok(S::default()) };
    let name = file.display();
    let text = fs::read_to_string(file)
        .map_err(|error| usage(format_args!("--config {name}: {error}")))?;
    let one_line = |error: toml::de::Error| {
        usage(format_args!("--config {name}: [{command}]: {}", error.message()))
    };
    let mut tables: toml::Table = toml::from_str(&text).map_err(one_line)?;
    if let Some(unknown) = tables.keys().find(|table| !["dev", "serve"].contains(&table.as_str())) {
        return Err(usage(format_args!("--config {name}: no table is called [{unknown}]")));
    }
    match tables.remove(command) {
        Some(table) => table.try_into().map_err(one_line),
        None => Ok(S::default()),
    }
}

/// Loads a module; the embedded key-value plugin when none is named.
pub(super) fn load_module(plugin: Option<&PathBuf>) -> Result<Arc<Module>, Failure> {
    let Some(file) = plugin else {
        return Module::load(quorate_modules::KV_MODULE)
            .map_err(|error| Failure::Failed(error.into()));
    };
    let name = file.display();
    let bytes = fs::read(file).map_err(|error| usage(format_args!("--plugin {name}: {error}")))?;
    Module::load(&bytes)
        .map_err(|error| usage(format_args!("--plugin {name}: {error} (see quorate check)")))
}
