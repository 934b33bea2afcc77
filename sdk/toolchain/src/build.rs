//! One run of cargo, from a plugin's folder to its module.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{self, Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use crate::find::Std;
use crate::{TARGET, Toolchain, command, owners};

/// A plugin needs little stack, and a fresh instance has all of its memory to clear: this is what
/// an instance costs (the linker's default of 1 MiB doubles it).
const STACK_BYTES: u32 = 64 * 1024;

/// A profile of our own, on cargo's command line: plugins need nothing in their `Cargo.toml`, and
/// neither does what is there for other builds change the module. One unit and link-time
/// optimization make it small and fast; a panic is a trap, and the host rolls back; function names
/// stay for the host's reports.
const PROFILE: [&str; 9] = [
    "inherits=\"release\"",
    "codegen-units=1",
    "debug=0",
    "debug-assertions=false",
    "incremental=false",
    "lto=true",
    "opt-level=3",
    "panic=\"abort\"",
    "strip=\"debuginfo\"",
];

/// Its name, which is also that of its folders.
const PROFILE_DIR: &str = "guest";

/// What to compile, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildRequest {
    /// The folder with the plugin's `Cargo.toml`.
    pub crate_dir: PathBuf,
    /// Cargo's target folder; see [`shared_target_dir`]. Not that of a cargo that waits for this
    /// build, unless it builds another profile and target: the two would wait for each other.
    pub target_dir: PathBuf,
    /// Whether arithmetic that overflows traps, as it should, or wraps.
    pub overflow_checks: bool,
}

impl BuildRequest {
    /// A request with overflow checks.
    pub fn new(crate_dir: impl Into<PathBuf>, target_dir: impl Into<PathBuf>) -> Self {
        Self { crate_dir: crate_dir.into(), target_dir: target_dir.into(), overflow_checks: true }
    }
}

/// A target folder for all plugins of this user, in the user's cache: where the standard library
/// has to be built, that takes most of a minute, and so happens once.
pub fn shared_target_dir() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache")));
    cache.unwrap_or_else(env::temp_dir).join("quorate/guest")
}

/// What a build made. Not a place in the target folder: the next build of a plugin with the same
/// name replaces the file there, whichever folder that plugin is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// What the module's file is called.
    pub file_name: OsString,
    /// The module.
    pub wasm: Vec<u8>,
}

/// Why there is no module.
#[derive(Debug)]
pub enum BuildError {
    /// There is no folder of this name.
    NoCrate(PathBuf, io::Error),
    /// Cargo could not be run.
    Cargo(PathBuf, io::Error),
    /// This place in the target folder could not be used.
    Target(PathBuf, io::Error),
    /// Cargo failed, and has said on stderr why.
    Failed(ExitStatus),
    /// Cargo succeeded without making a module.
    NoModule(PathBuf),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCrate(dir, error) => write!(f, "no plugin in {}: {error}", dir.display()),
            Self::Cargo(cargo, error) => write!(f, "cannot run {}: {error}", cargo.display()),
            Self::Target(path, error) => write!(f, "cannot use {}: {error}", path.display()),
            Self::Failed(status) => write!(f, "the plugin does not build: cargo: {status}"),
            Self::NoModule(dir) => write!(f, "cargo made no module from {}", dir.display()),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoCrate(_, error) | Self::Cargo(_, error) | Self::Target(_, error) => Some(error),
            Self::Failed(_) | Self::NoModule(_) => None,
        }
    }
}

impl Toolchain {
    /// Compiles the plugin to a module. Cargo's messages go to stderr; `Cargo.lock` is made or
    /// completed when the plugin has none, and left as it is otherwise.
    pub fn build(&self, request: &BuildRequest) -> Result<Artifact, BuildError> {
        let no_crate = |error| BuildError::NoCrate(request.crate_dir.clone(), error);
        let crate_dir = request.crate_dir.canonicalize().map_err(no_crate)?;
        let target_dir = path::absolute(&request.target_dir).map_err(no_crate)?;
        let not_run = |error| BuildError::Cargo(self.sysroot.cargo(), error);

        // Until the module is read: cargo's own lock ends with cargo, and another build of a plugin
        // with the same name may put its module in the same place.
        let _alone = lock(&target_dir)?;
        let members = self.members(&crate_dir).map_err(not_run)?;
        let profile_dirs = [Path::new(PROFILE_DIR), &Path::new(TARGET).join(PROFILE_DIR)];
        owners::claim(&target_dir, &profile_dirs, &members)
            .map_err(|error| BuildError::Target(target_dir.clone(), error))?;
        let mut cargo = self.cargo(&crate_dir, &target_dir, request.overflow_checks);
        let mut child = cargo.stdout(Stdio::piped()).spawn().map_err(not_run)?;
        let stdout = child.stdout.take().expect("it is piped");
        // The plugin comes after everything that it depends on, so its module is the last one.
        let mut module = None;
        for line in BufReader::new(stdout).lines() {
            module = module_of(&line.map_err(not_run)?).or(module);
        }
        let status = child.wait().map_err(not_run)?;
        if !status.success() {
            return Err(BuildError::Failed(status));
        }
        let path = module.ok_or(BuildError::NoModule(crate_dir))?;
        let wasm = fs::read(&path).map_err(|error| BuildError::Target(path.clone(), error))?;
        Ok(Artifact { file_name: path.file_name().unwrap_or_default().to_owned(), wasm })
    }

    /// The packages of the plugin's workspace; none where cargo cannot tell, as its build will say.
    fn members(&self, crate_dir: &Path) -> io::Result<Vec<String>> {
        let mut cargo = command(self.sysroot.cargo(), crate_dir);
        cargo.args(["metadata", "--no-deps", "--format-version=1"]).stderr(Stdio::null());
        let said = cargo.output()?;
        Ok(owners::members_of(&String::from_utf8_lossy(&said.stdout)))
    }

    fn cargo(&self, crate_dir: &Path, target_dir: &Path, overflow_checks: bool) -> Command {
        let mut cargo = command(self.sysroot.cargo(), crate_dir);
        // `rustc` rather than `build`, to ask for the module alone: a plugin is a Rust library as
        // well, for its tests, and cargo leaves out link-time optimization when it makes both.
        cargo.args(["rustc", "--lib", "--crate-type=cdylib", "--profile", PROFILE_DIR]);
        cargo.args(["--message-format=json-render-diagnostics", "--target", TARGET]);
        cargo.arg("--target-dir").arg(target_dir);
        cargo.arg("--manifest-path").arg(crate_dir.join("Cargo.toml"));
        for setting in PROFILE {
            cargo.arg(format!("--config=profile.guest.{setting}"));
        }
        cargo.arg(format!("--config=profile.guest.overflow-checks={overflow_checks}"));
        cargo.env("RUSTC", self.sysroot.rustc());
        cargo.env("CARGO_ENCODED_RUSTFLAGS", self.rustflags(target_dir));
        if let Std::Source { linker } = &self.std {
            cargo.arg("-Zbuild-std=std,panic_abort");
            // Cargo's and the compiler's switch for features that are not stable, such as this one.
            cargo.env("RUSTC_BOOTSTRAP", "1");
            cargo.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
        }
        cargo.args(["--", &format!("-Clink-arg=-zstack-size={STACK_BYTES}")]);
        cargo
    }

    /// Keeps this machine's paths out of panic messages. Set even where nothing would need it, so
    /// that flags in a cargo configuration do not reach the module. The last prefix to fit wins.
    fn rustflags(&self, target_dir: &Path) -> OsString {
        let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
        let cargo_home = cargo_home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
        let paths = [
            (Some(self.sysroot.path()), "/rust"),
            (cargo_home.as_deref(), "/cargo"),
            (Some(target_dir), "/target"),
        ];
        let mut flags = OsString::new();
        for (path, name) in paths {
            let Some(path) = path else { continue };
            if !flags.is_empty() {
                flags.push("\x1f");
            }
            flags.push("--remap-path-prefix=");
            flags.push(path);
            flags.push("=");
            flags.push(name);
        }
        flags
    }
}

/// Waits until no other build is between its start and its module in this target folder.
fn lock(target_dir: &Path) -> Result<File, BuildError> {
    let path = target_dir.join("quorate.lock");
    let locked = fs::create_dir_all(target_dir)
        .and_then(|()| File::create(&path))
        .and_then(|file| file.lock().map(|()| file));
    locked.map_err(|error| BuildError::Target(path, error))
}

/// The module that a line of cargo's JSON messages reports, if it does: the file name that ends in
/// `.wasm`. A whole parser would be this crate's only dependency.
fn module_of(line: &str) -> Option<PathBuf> {
    let (_, files) = line.split_once("\"filenames\":[")?;
    let (files, _) = files.split_once("],\"executable\":")?;
    let file =
        files.split('"').find(|file| Path::new(file).extension() == Some("wasm".as_ref()))?;
    Some(PathBuf::from(file.replace("\\\\", "\\")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_the_file_that_ends_in_wasm() {
        let artifact = |file: &str| {
            let files = format!(r#""filenames":["/t/libkv.rlib","{file}"],"executable":null"#);
            module_of(&format!(r#"{{"features":["x.wasm"],{files}}}"#))
        };
        assert_eq!(artifact("/t/a [b]/kv.wasm"), Some(PathBuf::from("/t/a [b]/kv.wasm")));
        assert_eq!(artifact("/t/libkv.rmeta"), None);
        assert_eq!(module_of(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
