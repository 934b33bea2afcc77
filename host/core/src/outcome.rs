//! What a command decided, and the two kinds of error, which never mix: a [`Rejection`] is part of
//! the replicated result and the same on every node; a [`Fatal`] is this node's own and stops it.

pub(crate) mod codec;

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;

use crate::session::SessionError;

/// What a command decided; identical on every replica.
pub type Outcome = Result<Bytes, Rejection>;

/// Why a command was refused. Its writes were undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// The plugin's own decision.
    Status {
        /// gRPC's code, 1 to 16.
        code: u32,
        /// For a person.
        message: String,
        /// For a program; the plugin's own encoding.
        details: Bytes,
    },
    /// The guest broke off: a panic, an access out of bounds, endless recursion, a broken ABI rule.
    Trap {
        /// The kind, and for a panic its message.
        reason: String,
    },
    /// The guest computed for too long.
    OutOfFuel,
    /// A query took longer than it may. Never an outcome of a command: nodes differ in speed.
    Deadline,
    /// The guest asked for more memory than it may have.
    OutOfMemory,
    /// A key, a value, a reply or a command's writes are over their limit.
    OverLimit {
        /// What is too large.
        what: Cow<'static, str>,
        /// Its size.
        bytes: usize,
        /// The largest it may be.
        bytes_max: usize,
    },
    /// The command is a call of a session, which does not have it executed.
    Session(SessionError),
}

/// Codes of gRPC, for what is not the plugin's own decision.
const INVALID_ARGUMENT: u32 = 3;
const DEADLINE_EXCEEDED: u32 = 4;
const RESOURCE_EXHAUSTED: u32 = 8;
const FAILED_PRECONDITION: u32 = 9;
const INTERNAL: u32 = 13;

impl Rejection {
    /// gRPC's code for it: for a plugin's own decision the plugin's, as it came.
    pub const fn code(&self) -> u32 {
        match self {
            Self::Status { code, .. } => *code,
            Self::Session(SessionError::Reused) => INVALID_ARGUMENT,
            Self::Session(
                SessionError::Expired | SessionError::NeverOpened | SessionError::Forgotten { .. },
            ) => FAILED_PRECONDITION,
            Self::Trap { .. } => INTERNAL,
            Self::Deadline => DEADLINE_EXCEEDED,
            Self::OutOfFuel | Self::OutOfMemory | Self::OverLimit { .. } => RESOURCE_EXHAUSTED,
        }
    }

    /// A trap of that reason.
    pub fn trap(reason: impl Into<String>) -> Self {
        Self::Trap { reason: reason.into() }
    }

    /// `Ok` when `bytes` is within `bytes_max`, else the rejection that names the limit.
    pub fn check(what: &'static str, bytes: usize, bytes_max: usize) -> Result<(), Self> {
        if bytes <= bytes_max {
            return Ok(());
        }
        Err(Self::OverLimit { what: what.into(), bytes, bytes_max })
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { message, .. } => f.write_str(message),
            Self::Trap { reason } => write!(f, "the plugin trapped: {reason}"),
            Self::OutOfFuel => f.write_str("the plugin ran out of fuel"),
            Self::Deadline => f.write_str("the plugin took too long for a query"),
            Self::OutOfMemory => f.write_str("the plugin ran out of memory"),
            Self::OverLimit { what, bytes, bytes_max } => {
                write!(f, "{what} of {bytes} bytes is over the limit of {bytes_max} bytes")
            }
            Self::Session(error) => error.fmt(f),
        }
    }
}

/// A fault of this node alone: its disk, its memory, damaged data. The node stops; it never becomes
/// an outcome, since other replicas do not share it.
#[derive(Debug)]
pub struct Fatal(anyhow::Error);

impl Fatal {
    /// A fault that `doing` met, with its cause.
    pub fn new(doing: impl fmt::Display + Send + Sync + 'static, cause: anyhow::Error) -> Self {
        Self(cause.context(doing))
    }

    /// What is kept is not what was written.
    pub fn damage(what: impl fmt::Display) -> Self {
        Self(anyhow::Error::new(Damage(what.to_string())))
    }

    /// Whether damage to what is kept is behind it, and not a want of memory or a disk that fails.
    pub fn is_damage(&self) -> bool {
        self.0
            .chain()
            .any(|cause| cause.is::<Damage>() || cause.downcast_ref().is_some_and(Self::is_damage))
    }

    /// A fault without a further cause.
    pub fn msg(what: impl fmt::Display + fmt::Debug + Send + Sync + 'static) -> Self {
        Self(anyhow::Error::msg(what))
    }
}

#[derive(Debug)]
struct Damage(String);

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Damage {}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The whole chain of causes, on one line.
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for Fatal {}
