//! The one place where outcomes and failures become gRPC statuses.

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;
use quorate_core::limits;
use quorate_core::outcome::Rejection;
use quorate_core::session::SessionError;
use quorate_proto::v1;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::operator::Problem;
use crate::submit::Undecided;

/// After how many milliseconds a caller may come back: gRPC's own key.
const PUSHBACK_KEY: &str = "grpc-retry-pushback-ms";
/// Which call of which session a command is; and in a status, why the session did not have the
/// command executed. A plugin may use the same codes for reasons of its own.
pub const SESSION_KEY: &str = "quorate-session";

/// The status of a rejection: part of the replicated outcome.
pub fn of_rejection(rejection: &Rejection) -> v1::Status {
    let (details, session) = match rejection {
        Rejection::Status { details, .. } => (details.clone(), String::new()),
        Rejection::Session(error) => (Bytes::new(), session_error(*error).to_owned()),
        _ => (Bytes::new(), String::new()),
    };
    let message = cut(&rejection.to_string(), limits::STATUS_MESSAGE_BYTES_MAX);
    v1::Status { code: rejection.code(), message, details, session }
}

/// For a program.
const fn session_error(error: SessionError) -> &'static str {
    match error {
        SessionError::Expired => "expired",
        SessionError::NeverOpened => "never-opened",
        SessionError::Forgotten { .. } => "forgotten",
        SessionError::Reused => "reused",
    }
}

/// The same as tonic has it.
pub fn to_tonic(status: v1::Status) -> Status {
    let code = i32::try_from(status.code).map_or(Code::Unknown, Code::from_i32);
    let mut metadata = MetadataMap::new();
    if !status.session.is_empty()
        && let Ok(error) = MetadataValue::try_from(status.session)
    {
        metadata.insert(SESSION_KEY, error);
    }
    Status::with_details_and_metadata(code, status.message, status.details, metadata)
}

/// The status of a command without an outcome; `retry_after` is asked where there was no room.
pub fn of_undecided(undecided: Undecided, retry_after: impl FnOnce() -> Duration) -> Status {
    match undecided {
        Undecided::NoLeader => Status::unavailable(
            "no leader was found in time; the command was not executed, and may be sent again",
        ),
        Undecided::Stopping => Status::unavailable(
            "this node is stopping; the command was not executed, and may be sent to another",
        ),
        Undecided::Busy => busy(
            "the leader has too much to do; the command was not executed: send it again later",
            retry_after(),
        ),
        Undecided::DiskFull => Status::resource_exhausted(
            "a disk is nearly full, the leader's or those of a majority, and nothing is taken but \
             what makes room; the command was not executed: delete something, or make room",
        ),
        Undecided::Unknown => Status::unavailable(
            "the outcome is unknown: the command may have been executed, or may be later",
        ),
    }
}

/// Too much is asked of this node, or of the leader; says when to come back, in the standard
/// details and in the metadata that clients with a policy for retries go by.
pub fn busy(message: &str, after: Duration) -> Status {
    let details = ErrorDetails::with_retry_info(Some(after));
    let mut status = Status::with_error_details(Code::ResourceExhausted, message, details);
    let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    status.metadata_mut().insert(PUSHBACK_KEY, MetadataValue::from(after_ms));
    status
}

/// A call that this node does not take on.
pub fn no_room(after: Duration) -> Status {
    busy("this node has too much to do; the call was not executed: send it again later", after)
}

/// The status of a change of members that was not made; its details say why.
pub fn of_problem(problem: Problem) -> Status {
    use v1::change_error::Kind;
    let code = match problem.kind {
        Kind::NoLeader | Kind::UnderWay | Kind::Undecided => Code::Unavailable,
        Kind::UnknownMember => Code::NotFound,
        Kind::AlreadyMember | Kind::AlreadyDone => Code::AlreadyExists,
        Kind::TooManyMembers => Code::ResourceExhausted,
        Kind::Invalid => Code::InvalidArgument,
        Kind::NotVoter
        | Kind::TooFarBehind
        | Kind::NotHeard
        | Kind::LastVoter
        | Kind::LosesQuorum => Code::FailedPrecondition,
        Kind::Other => Code::Unknown,
    };
    let leader = problem.leader.map_or(0, |leader| leader.get().into());
    let kind = problem.kind.into();
    let details = v1::ChangeError { kind, behind: problem.behind, leader };
    Status::with_details(code, problem.message, details.encode_to_vec().into())
}

/// A request over the limit.
pub fn request_too_large() -> Status {
    Status::invalid_argument(format!(
        "the request is over the limit of {} bytes",
        limits::REQUEST_BYTES_MAX
    ))
}

fn cut(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_refused_for_want_of_room_is_told_when_to_come_back() {
        let told = Duration::from_millis(321);
        for status in [no_room(told), of_undecided(Undecided::Busy, || told)] {
            assert_eq!(status.code(), Code::ResourceExhausted);
            assert!(status.message().contains("was not executed"));
            let after = status.get_details_retry_info().unwrap().retry_delay.unwrap();
            assert_eq!(after, told);
            let pushback = status.metadata().get(PUSHBACK_KEY).unwrap();
            assert_eq!(pushback.to_str().unwrap(), "321");
        }
    }

    #[test]
    fn every_kind_of_rejection_has_its_code() {
        let code = |rejection: Rejection| to_tonic(of_rejection(&rejection)).code();
        assert_eq!(code(Rejection::trap("x")), Code::Internal);
        assert_eq!(code(Rejection::OutOfFuel), Code::ResourceExhausted);
        assert_eq!(code(Rejection::OutOfMemory), Code::ResourceExhausted);
        let over = Rejection::OverLimit { what: "a key".into(), bytes: 2, bytes_max: 1 };
        assert_eq!(code(over), Code::ResourceExhausted);
        for (error, expected, word) in [
            (SessionError::Expired, Code::FailedPrecondition, "expired"),
            (SessionError::NeverOpened, Code::FailedPrecondition, "never-opened"),
            (SessionError::Forgotten { floor: 3 }, Code::FailedPrecondition, "forgotten"),
            (SessionError::Reused, Code::InvalidArgument, "reused"),
        ] {
            let status = to_tonic(of_rejection(&Rejection::Session(error)));
            assert_eq!(status.code(), expected);
            assert_eq!(status.metadata().get(SESSION_KEY).unwrap(), word);
        }
        let own = Rejection::Status {
            code: 5,
            message: "no such account".to_owned(),
            details: Bytes::from_static(b"details"),
        };
        let status = to_tonic(of_rejection(&own));
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.message(), "no such account");
        assert_eq!(status.details(), b"details");
        assert!(status.metadata().get(SESSION_KEY).is_none(), "the plugin's own");
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let long = "é".repeat(limits::STATUS_MESSAGE_BYTES_MAX);
        let status = of_rejection(&Rejection::trap(long));
        assert!(status.message.len() <= limits::STATUS_MESSAGE_BYTES_MAX);
    }
}
