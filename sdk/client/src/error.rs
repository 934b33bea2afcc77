//! What may become of a call other than a reply.

use std::error::Error;
use std::fmt;

use bytes::Bytes;
use tonic::Code;

/// Why a call has no reply.
#[derive(Clone, Debug, PartialEq)]
pub enum CallError {
    /// The command was decided, with an error: the plugin's own, or that of its sandbox.
    Rejected(Rejected),
    /// The command may have been executed, or may be later.
    Unknown,
    /// The command was not executed, and will not be.
    Refused(Refusal),
    /// The command was executed, but its reply is not what the caller takes it for.
    Undecodable(prost::DecodeError),
    /// The client's runtime has ended. The command was not executed.
    Ended,
}

/// The error that a command was decided with, in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// gRPC's code.
    pub code: Code,
    /// For a person.
    pub message: String,
    /// For a program; the plugin's own encoding.
    pub details: Bytes,
    /// The log's index of the entry that decided it.
    pub index: u64,
    /// The entry's term.
    pub term: u64,
}

/// Why a command was not executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No node that leads was found in time.
    NoLeader,
    /// There was too much to do for all of the call's time.
    Busy,
    /// A disk is nearly full, the leader's or those of a majority.
    DiskFull,
    /// No method has that path.
    UnknownMethod,
    /// The method is a query.
    Query,
    /// The request is over the limit.
    TooLarge,
    /// The node refused it for a reason that this version does not know.
    Other,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => {
                write!(f, "{}: {}", rejected.code, rejected.message)
            }
            Self::Unknown => f.write_str(
                "the outcome is unknown: the command may have been executed, or may be later",
            ),
            Self::Refused(refusal) => {
                let why = match refusal {
                    Refusal::NoLeader => "no leader was found in time",
                    Refusal::Busy => "the leader has too much to do",
                    Refusal::DiskFull => "a disk is nearly full",
                    Refusal::UnknownMethod => "there is no such method",
                    Refusal::Query => "the method is a query",
                    Refusal::TooLarge => "the request is over the limit",
                    Refusal::Other => "the node refused it",
                };
                write!(f, "{why}; the command was not executed")
            }
            Self::Undecodable(error) => {
                write!(f, "the command was executed, but its reply does not decode: {error}")
            }
            Self::Ended => f.write_str("the client has ended; the command was not executed"),
        }
    }
}

impl Error for CallError {}

/// Why there is no client.
#[derive(Debug)]
pub enum ConnectError {
    /// No node was named.
    NoNodes,
    /// That is no address of a node.
    Address(String),
    /// None of the nodes could be reached; what the last one said.
    Unreachable(Box<dyn Error + Send + Sync>),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNodes => f.write_str("no node to connect to was named"),
            Self::Address(address) => write!(f, "\"{address}\" is not as http://host:port"),
            Self::Unreachable(error) => write!(f, "no node could be reached: {error}"),
        }
    }
}

impl Error for ConnectError {}
