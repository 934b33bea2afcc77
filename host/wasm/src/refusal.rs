//! Why the gate refuses a module: one line each, for the author of the plugin.

use std::fmt;

use quorate_abi::{IMPORT_MODULE, MANIFEST_SECTION, export};

/// Why a module is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The bytes are something else.
    NotWasm,
    /// They are damaged, or use a feature of WebAssembly that is off.
    Invalid {
        /// What the validator says.
        reason: String,
    },
    /// There is too much of something.
    TooMany {
        /// Of what.
        what: &'static str,
        /// How much there is.
        found: u64,
        /// How much there may be.
        max: u64,
    },
    /// It imports what the host does not have.
    UnknownImport {
        /// The import's module.
        module: String,
        /// Its name.
        name: String,
    },
    /// It imports a function under another type.
    ImportType {
        /// The import's name.
        name: String,
        /// The ABI's type.
        expected: String,
        /// The module's.
        found: String,
    },
    /// It does not export what every plugin exports.
    MissingExport {
        /// The export's name.
        name: &'static str,
    },
    /// It exports something else under that name.
    ExportType {
        /// The export's name.
        name: &'static str,
        /// The ABI's type.
        expected: String,
        /// The module's.
        found: String,
    },
    /// It has no memory of its own, or several.
    MemoryCount {
        /// How many it defines.
        found: u32,
    },
    /// It has a start function.
    StartFunction,
    /// It says nothing about itself.
    NoManifest,
    /// It says it more than once.
    SeveralManifests,
    /// What it says cannot be read.
    BadManifest {
        /// What is wrong.
        reason: String,
    },
    /// It has no method to call.
    NoMethods,
    /// A method streams.
    Streaming {
        /// The method's path.
        path: String,
    },
    /// A method is neither a command nor a query.
    BadKind {
        /// The method's path.
        path: String,
    },
    /// Two methods have one number.
    SameMethodId {
        /// Their paths.
        paths: [String; 2],
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotWasm => f.write_str(
                "it is not a WebAssembly module; give the .wasm file that the plugin's build made",
            ),
            Self::Invalid { reason } => write!(f, "it is not valid here: {reason}"),
            Self::TooMany { what, found, max } => {
                write!(f, "it has {found} {what}, and may have {max}")
            }
            Self::UnknownImport { module, name } => write!(
                f,
                "it imports {module}.{name}, which the host does not have; look for a dependency \
                 that wants an operating system or JavaScript"
            ),
            Self::ImportType { name, expected, found } => {
                write!(f, "it imports {IMPORT_MODULE}.{name} as {found}, but it is {expected}")
            }
            Self::MissingExport { name: export::ABI_MARKER } => write!(
                f,
                "it does not export {}; build it with an SDK of this version",
                export::ABI_MARKER
            ),
            Self::MissingExport { name } => {
                write!(f, "it does not export {name}; does it invoke quorate_sdk::plugin!?")
            }
            Self::ExportType { name, expected, found } => {
                write!(f, "it exports {name} as {found}, but it must be {expected}")
            }
            Self::MemoryCount { found } => {
                write!(f, "it defines {found} memories, and must define one")
            }
            Self::StartFunction => {
                f.write_str("it has a start function, which would run outside of any call")
            }
            Self::NoManifest => write!(
                f,
                "it has no custom section {MANIFEST_SECTION:?}; does its build.rs call \
                 quorate_build, and does nothing strip the module?"
            ),
            Self::SeveralManifests => {
                write!(f, "it has several custom sections {MANIFEST_SECTION:?}: link one plugin")
            }
            Self::BadManifest { reason } => write!(f, "its manifest cannot be read: {reason}"),
            Self::NoMethods => f.write_str("its .proto has no service with a method"),
            Self::Streaming { path } => {
                write!(f, "{path} streams; a method takes one request and gives one reply")
            }
            Self::BadKind { path } => {
                write!(f, "{path} has an option (quorate.v1.kind) that is not COMMAND or QUERY")
            }
            Self::SameMethodId { paths: [one, other] } => {
                write!(f, "{one} and {other} have the same number; rename one of them")
            }
        }
    }
}

impl std::error::Error for Refusal {}
