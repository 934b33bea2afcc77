//! Which compiler can build for the target, and what it needs to be told for that.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{TARGET, command};

/// A compiler and its cargo that can build for [`TARGET`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    pub(crate) sysroot: Sysroot,
    pub(crate) std: Std,
}

/// Where the target's standard library comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Std {
    Installed,
    /// Cargo builds it, and the linker, which comes with the installed target otherwise, is lent by
    /// another compiler.
    Source {
        linker: PathBuf,
    },
}

/// No compiler on this machine can build for [`TARGET`]. The message says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    linker: bool,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.linker {
            write!(f, "there is std's source for the target {TARGET}, but no `rust-lld`")?;
        } else {
            write!(f, "no Rust compiler here has the target {TARGET}")?;
        }
        write!(
            f,
            ". One of these installs what is missing:
  rustup target add {TARGET}
  apt-get install --no-install-recommends rustc-web cargo-web rust-web-src  # and a rustup toolchain
  make setup  # in a clone of Quorate: whichever of the two works"
        )
    }
}

impl std::error::Error for Missing {}

impl Toolchain {
    /// Finds a compiler for the target, as seen from `dir`: a `rust-toolchain.toml` there counts.
    pub fn find(dir: &Path) -> Result<Self, Missing> {
        // One that does not exist is not the compiler's fault: the build reports it.
        let dir = if dir.is_dir() { dir } else { Path::new(".") };
        let compilers: Vec<Sysroot> = ["rustc", "/usr/bin/rustc"]
            .iter()
            .filter_map(|rustc| Sysroot::of(rustc, dir))
            .collect();
        if let Some(sysroot) = compilers.iter().find(|sysroot| sysroot.has_target()) {
            return Ok(Self { sysroot: sysroot.clone(), std: Std::Installed });
        }
        let Some(sysroot) = compilers.iter().find(|sysroot| sysroot.has_source()) else {
            return Err(Missing { linker: false });
        };
        match compilers.iter().find_map(Sysroot::linker) {
            Some(linker) => Ok(Self { sysroot: sysroot.clone(), std: Std::Source { linker } }),
            None => Err(Missing { linker: true }),
        }
    }
}

/// The folder that a compiler is installed in: rustup's, and those of distributions, look the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sysroot(PathBuf);

impl Sysroot {
    fn of(rustc: &str, dir: &Path) -> Option<Self> {
        let output = command(rustc, dir).args(["--print", "sysroot"]).output().ok()?;
        let sysroot = Self(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()));
        (output.status.success() && sysroot.cargo().is_file()).then_some(sysroot)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Not the one on the `PATH`: it has to fit the compiler when it builds std from source.
    pub(crate) fn cargo(&self) -> PathBuf {
        self.0.join("bin/cargo")
    }

    pub(crate) fn rustc(&self) -> PathBuf {
        self.0.join("bin/rustc")
    }

    /// The folder alone proves nothing: it may be left over from an installation that failed.
    fn has_target(&self) -> bool {
        entries(&self.0.join("lib/rustlib").join(TARGET).join("lib")).any(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("libstd-") && name.ends_with(".rlib")
        })
    }

    fn has_source(&self) -> bool {
        let library = self.0.join("lib/rustlib/src/rust/library");
        library.join("Cargo.lock").is_file() && library.join("std/Cargo.toml").is_file()
    }

    /// Used where it lies, because it needs the LLVM library beside it.
    fn linker(&self) -> Option<PathBuf> {
        entries(&self.0.join("lib/rustlib"))
            .map(|host| host.join("bin/rust-lld"))
            .find(|linker| linker.is_file())
    }
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_that_does_not_run_is_none() {
        assert_eq!(Sysroot::of("/nowhere/rustc", Path::new("/")), None);
    }

    #[test]
    fn the_error_names_every_way_out() {
        for linker in [false, true] {
            let message = Missing { linker }.to_string();
            for remedy in ["rustup target add", "apt-get install", "make setup"] {
                assert!(message.contains(remedy), "{message}");
            }
        }
    }
}
