//! How a call is refused.

use std::{error, fmt};

use quorate_abi::status;

/// An error answer: what a gRPC client sees, and the reason that a command is rolled back.
///
/// ```
/// use quorate_sdk::{Code, Status};
///
/// let status = Status::not_found("no such account");
/// assert_eq!(status.code(), Code::NotFound);
/// assert_eq!(status.to_string(), "NOT_FOUND: no such account");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    code: Code,
    message: String,
    details: Vec<u8>,
}

impl Status {
    /// A status of that code, with a message for people.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new() }
    }

    /// Adds details for programs: a serialized `google.rpc.Status`, which travels as the trailer
    /// `grpc-status-details-bin`.
    #[must_use]
    pub fn with_details(self, details: impl Into<Vec<u8>>) -> Self {
        Self { details: details.into(), ..self }
    }

    /// What kind of error it is.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What people are told.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What programs are told; often empty.
    pub fn details(&self) -> &[u8] {
        &self.details
    }

    /// As it crosses to the host.
    #[cfg_attr(
        not(any(target_arch = "wasm32", test)),
        expect(dead_code, reason = "natively there is no crossing")
    )]
    pub(crate) fn encode(&self) -> Vec<u8> {
        let header = status::header(self.code as u32, &self.message);
        [&header, self.message.as_bytes(), &self.details].concat()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl error::Error for Status {}

/// One line per code: number, variant, gRPC's name, constructor, meaning.
macro_rules! codes {
    ($($number:literal $code:ident $name:literal $constructor:ident $meaning:literal)*) => {
        /// The error codes of gRPC.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Code {
            $(#[doc = $meaning] $code = $number,)*
        }

        impl Code {
            /// The code of that number, which has to be one of an error.
            pub fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$code),)* _ => None }
            }
        }

        impl fmt::Display for Code {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$code => $name,)* })
            }
        }

        impl Status {
            $(
                #[doc = concat!("`", $name, "`: ", $meaning)]
                pub fn $constructor(message: impl Into<String>) -> Self {
                    Self::new(Code::$code, message)
                }
            )*
        }
    };
}

codes! {
    1 Cancelled "CANCELLED" cancelled "The caller gave up."
    2 Unknown "UNKNOWN" unknown "None of the other codes fits."
    3 InvalidArgument "INVALID_ARGUMENT" invalid_argument "Wrong whatever the state."
    4 DeadlineExceeded "DEADLINE_EXCEEDED" deadline_exceeded "Too late."
    5 NotFound "NOT_FOUND" not_found "What was asked for does not exist."
    6 AlreadyExists "ALREADY_EXISTS" already_exists "What was to be created exists."
    7 PermissionDenied "PERMISSION_DENIED" permission_denied "This caller may not do that."
    8 ResourceExhausted "RESOURCE_EXHAUSTED" resource_exhausted "A limit was reached."
    9 FailedPrecondition "FAILED_PRECONDITION" failed_precondition "Not in this state."
    10 Aborted "ABORTED" aborted "Lost against another call; start over."
    11 OutOfRange "OUT_OF_RANGE" out_of_range "Past the end, for now."
    12 Unimplemented "UNIMPLEMENTED" unimplemented "There is no such method."
    13 Internal "INTERNAL" internal "Something is broken."
    14 Unavailable "UNAVAILABLE" unavailable "Not now; try again."
    15 DataLoss "DATA_LOSS" data_loss "Data is gone for good."
    16 Unauthenticated "UNAUTHENTICATED" unauthenticated "The caller is not known."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_the_crossing() {
        let bytes = Status::aborted("no").with_details(*b"why").encode();
        assert_eq!(status::decode(&bytes), Some((10, "no", b"why".as_slice())));
    }
}
