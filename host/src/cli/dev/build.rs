//! One build of the author's crate, up to a module that a node would take.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use quorate_toolchain::{BuildError, BuildRequest, Toolchain, shared_target_dir};

use quorate_wasm::{LoadError, Module};

/// Builds a crate as often as one likes.
#[derive(Clone, Debug)]
pub(super) struct Builder {
    dir: PathBuf,
    toolchain: Toolchain,
}

/// What a build made.
pub(super) struct Built {
    /// The module's bytes.
    pub(super) wasm: Vec<u8>,
    /// The same, ready to run.
    pub(super) module: Arc<Module>,
    /// Until the module was ready to run.
    pub(super) took: Duration,
}

/// Why there is no module.
pub(super) enum NotBuilt {
    /// Cargo has said it itself.
    Said,
    /// No node would take it, for these reasons.
    Refused(Vec<String>),
}

impl Builder {
    pub(super) fn new(dir: &Path) -> anyhow::Result<Self> {
        let toolchain = Toolchain::find(dir).context("finding a compiler for WebAssembly")?;
        Ok(Self { dir: dir.to_owned(), toolchain })
    }

    /// Builds it. Cargo's messages go to standard error, as cargo writes them.
    pub(super) fn build(&self) -> anyhow::Result<Result<Built, NotBuilt>> {
        let begun = Instant::now();
        let request = BuildRequest::new(&self.dir, shared_target_dir());
        let wasm = match self.toolchain.build(&request) {
            Ok(built) => built.wasm,
            Err(BuildError::Failed(_)) => return Ok(Err(NotBuilt::Said)),
            Err(error) => return Err(error.into()),
        };
        let loaded = match Module::load(&wasm) {
            Ok(module) => Ok(Built { wasm, module, took: begun.elapsed() }),
            Err(LoadError::Refused(refusals)) => {
                Err(NotBuilt::Refused(refusals.iter().map(ToString::to_string).collect()))
            }
            Err(error @ LoadError::Unusable { .. }) => {
                Err(NotBuilt::Refused(vec![error.to_string()]))
            }
            Err(error @ LoadError::Failed(_)) => return Err(error.into()),
        };
        Ok(loaded)
    }
}
