//! What calls cost, and where it is noted for `quorate test --costs`.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

/// The folder that machines note their costs in, if they are to.
pub(crate) const FOLDER_VARIABLE: &str = "QUORATE_COSTS";

/// What a call asked of its host. Natively it is counted as the host would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// How often the call crossed to the host for the sake of the state.
    pub host_calls: u64,
    /// Bytes of keys and values in reads: those of the ends of scans, and of all that scans came
    /// by, included.
    pub read_bytes: u64,
    /// Bytes of keys and values in writes; deletions have keys alone.
    pub written_bytes: u64,
    /// Fuel, of a command in the sandbox: only there is it counted.
    pub fuel: Option<u64>,
}

impl From<quorate_sdk::testing::Costs> for Costs {
    fn from(costs: quorate_sdk::testing::Costs) -> Self {
        let quorate_sdk::testing::Costs { host_calls, read_bytes, written_bytes } = costs;
        Self { host_calls, read_bytes, written_bytes, fuel: None }
    }
}

impl From<quorate_wasm::Costs> for Costs {
    fn from(costs: quorate_wasm::Costs) -> Self {
        let quorate_wasm::Costs { host_calls, read_bytes, written_bytes, fuel } = costs;
        Self { host_calls, read_bytes, written_bytes, fuel: (fuel > 0).then_some(fuel) }
    }
}

/// The costs of one machine's calls, on their way to a file.
#[derive(Debug)]
pub(crate) struct Notes {
    folder: PathBuf,
    lines: String,
}

impl Notes {
    /// For a machine in the sandbox, if somebody asks for costs.
    pub(crate) fn asked_for() -> Option<Self> {
        let folder = env::var_os(FOLDER_VARIABLE).filter(|folder| !folder.is_empty())?;
        Some(Self { folder: folder.into(), lines: String::new() })
    }

    /// A method has cost that much.
    pub(crate) fn add(&mut self, path: &str, costs: Costs) {
        let Costs { host_calls, read_bytes, written_bytes, fuel } = costs;
        let bytes = read_bytes + written_bytes;
        let fuel = fuel.unwrap_or(0);
        writeln!(self.lines, "{path} {host_calls} {bytes} {fuel}").expect("a string takes all");
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let file = self.folder.join(format!("{}-{number}.txt", process::id()));
        if let Err(error) = fs::write(&file, &self.lines) {
            // The command that asked for it counts what is there.
            crate::report::say(&format!("costs are not noted in {}: {error}", file.display()));
        }
    }
}
