//! What can go wrong in the build step, in words for the plugin's author.

use std::path::PathBuf;
use std::{error, fmt, io};

/// Why a plugin's `.proto` was refused.
pub enum Error {
    /// A variable that Cargo sets for build scripts is missing.
    NotABuildScript {
        /// The variable's name.
        variable: &'static str,
    },
    /// The file, or one it imports, is missing or wrong.
    Proto(protox::Error),
    /// The file has no `package` line.
    NoPackage,
    /// An imported file is of another package.
    OtherPackage {
        /// The plugin's package.
        package: String,
        /// The imported file.
        file: String,
        /// Its package.
        other: String,
    },
    /// The file has no service with a method.
    NoMethods,
    /// A method streams.
    Streaming {
        /// The method's full name.
        method: String,
    },
    /// Two methods have the same number.
    SameId {
        /// One method's path.
        one: String,
        /// The other's.
        other: String,
    },
    /// The messages' code could not be generated.
    Generate(io::Error),
    /// An output file could not be written.
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotABuildScript { variable } => {
                write!(f, "{variable} is not set: call quorate_build::compile from build.rs")
            }
            // Only its Debug form tells the line.
            Self::Proto(error) => write!(f, "{error:?}"),
            Self::NoPackage => {
                write!(f, "the .proto needs a package, for example `package kv.v1;`")
            }
            Self::OtherPackage { package, file, other } => write!(
                f,
                "{file} is of package `{other}`: all files of a plugin share one, here `{package}`"
            ),
            Self::NoMethods => write!(f, "the .proto declares no service with a method"),
            Self::Streaming { method } => {
                write!(f, "{method} streams: only unary methods can be replicated")
            }
            Self::SameId { one, other } => {
                write!(f, "{one} and {other} hash to the same method number: rename one of them")
            }
            Self::Generate(error) => write!(f, "generating code: {error}"),
            Self::Write { path, source } => write!(f, "writing {}: {source}", path.display()),
        }
    }
}

/// As [`Display`](fmt::Display): it is what Cargo shows when `main` of a build script fails.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl error::Error for Error {}
