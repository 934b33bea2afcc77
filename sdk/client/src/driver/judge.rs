//! What becomes of a call, given what a node has said of it: it ends, or is sent again.

use std::time::Duration;

use quorate_proto::v1::pipeline_outcome::Result as Outcome;
use quorate_proto::v1::{PipelineOutcome, PipelineRefusal, PipelineRejection, PipelineReply};
use tonic::Code;

use super::Driver;
use crate::call::{Call, Decided};
use crate::error::{CallError, Refusal, Rejected};
use crate::sessions::Sessions;

/// What a node has said, beside what ends calls.
#[derive(Debug, Default)]
struct Heard {
    /// Calls to send again.
    again: Vec<Call>,
    /// Whether something was decided.
    is_decided: bool,
    /// Whether the node is not the one to ask.
    is_elsewhere: bool,
    is_busy: bool,
}

impl Driver {
    /// What the stream's node says.
    pub(super) fn hear(&mut self, reply: PipelineReply) {
        let Some(stream) = &mut self.stream else { return };
        let mut heard = Heard::default();
        for outcome in reply.outcomes {
            if let Some(call) = stream.flight.take(outcome.id) {
                judge(call, outcome, &mut self.sessions, &mut heard);
            }
        }
        self.again(std::mem::take(&mut heard.again));
        if heard.is_decided {
            self.route.worked();
        }
        if heard.is_busy {
            self.trouble = Refusal::Busy;
            self.pause_for(Duration::from_millis(reply.retry_after_ms));
        }
        if heard.is_elsewhere {
            self.trouble = Refusal::NoLeader;
            if let Some(leader) = reply.leader {
                self.route.leads(leader.node, &leader.address);
            }
            self.leave();
        }
    }

    /// What the node says whose stream was left.
    pub(super) fn hear_late(&mut self, reply: PipelineReply) {
        let Some(stream) = &mut self.left else { return };
        let mut heard = Heard::default();
        for outcome in reply.outcomes {
            if let Some(call) = stream.flight.take(outcome.id) {
                judge(call, outcome, &mut self.sessions, &mut heard);
            }
        }
        if stream.flight.len() == 0 {
            self.left = None;
        }
        self.again(heard.again);
    }
}

/// A call whose fate the node does not know: to be sent again, if that does no harm.
pub(super) fn unknown(mut call: Call) -> Option<Call> {
    call.may_have_run = true;
    if call.session.is_some() {
        return Some(call);
    }
    call.end(Err(CallError::Unknown));
    None
}

fn judge(mut call: Call, outcome: PipelineOutcome, sessions: &mut Sessions, heard: &mut Heard) {
    let PipelineOutcome { index, term, result, .. } = outcome;
    let ended = match result {
        Some(Outcome::Reply(reply)) => Ok(Decided { reply, index, term }),
        Some(Outcome::Rejection(rejection)) => match session_error(&rejection) {
            Some(SessionError::Gone) => {
                let numbered = call.session.take();
                if let Some(numbered) = numbered {
                    sessions.remove(numbered.id);
                }
                if !call.may_have_run {
                    // It was sent once, and not executed then. Another session has it.
                    heard.again.push(call);
                    return;
                }
                Err(CallError::Unknown)
            }
            Some(SessionError::Forgotten) => Err(CallError::Unknown),
            None => Err(CallError::Rejected(rejected(rejection, index, term))),
        },
        Some(Outcome::Refusal(refusal)) => match judge_refusal(refusal, heard) {
            Some(refusal) => Err(CallError::Refused(refusal)),
            None => return heard.again.push(call),
        },
        Some(Outcome::Unknown(_)) | None => return heard.again.extend(unknown(call)),
    };
    heard.is_decided = true;
    if let Some(numbered) = call.session {
        sessions.done(numbered);
    }
    match ended {
        Err(error @ CallError::Refused(_)) => call.give_up(error),
        ended => call.end(ended),
    }
}

/// Why it makes no sense to send a call again; none if it does.
fn judge_refusal(refusal: i32, heard: &mut Heard) -> Option<Refusal> {
    match PipelineRefusal::try_from(refusal) {
        Ok(PipelineRefusal::NotLeader | PipelineRefusal::Stopping) => {
            heard.is_elsewhere = true;
            None
        }
        Ok(PipelineRefusal::Busy) => {
            heard.is_busy = true;
            None
        }
        Ok(PipelineRefusal::DiskFull) => Some(Refusal::DiskFull),
        Ok(PipelineRefusal::UnknownMethod) => Some(Refusal::UnknownMethod),
        Ok(PipelineRefusal::Query) => Some(Refusal::Query),
        Ok(PipelineRefusal::TooLarge) => Some(Refusal::TooLarge),
        Ok(PipelineRefusal::Unspecified | PipelineRefusal::BadSession) | Err(_) => {
            Some(Refusal::Other)
        }
    }
}

/// Why a session did not have a call executed.
enum SessionError {
    /// There is no such session, or not any more.
    Gone,
    /// The call was executed before, or was given up.
    Forgotten,
}

fn session_error(rejection: &PipelineRejection) -> Option<SessionError> {
    match rejection.session.as_str() {
        "expired" | "never-opened" => Some(SessionError::Gone),
        "forgotten" => Some(SessionError::Forgotten),
        _ => None,
    }
}

fn rejected(rejection: PipelineRejection, index: u64, term: u64) -> Rejected {
    let PipelineRejection { code, message, details, .. } = rejection;
    let code = i32::try_from(code).map_or(Code::Unknown, Code::from_i32);
    Rejected { code, message, details, index, term }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quorate_proto::v1::PipelineUnknown;
    use tokio::sync::oneshot;
    use tokio::time::Instant;

    use super::*;
    use crate::call::{Method, Reply};
    use crate::sessions::SessionId;

    type Told = Result<Decided, CallError>;

    /// What a call is told, and whether it is sent again.
    fn told(outcome: Outcome, with_session: bool, may_have_run: bool) -> (Option<Told>, bool) {
        let mut sessions = Sessions::default();
        sessions.add(SessionId { number: 1, nonce: 2 }, 8);
        let session = sessions.number().filter(|_| with_session);
        let (reply, mut answer) = oneshot::channel();
        let (method, payload, deadline) = (Method::of("a/B"), Bytes::new(), Instant::now());
        let reply = Reply::One(reply);
        let call = Call { method, payload, reply, deadline, session, may_have_run };
        let outcome = PipelineOutcome { id: 0, index: 5, term: 2, result: Some(outcome) };
        let mut heard = Heard::default();
        judge(call, outcome, &mut sessions, &mut heard);
        (answer.try_recv().ok(), !heard.again.is_empty())
    }

    fn refused(refusal: PipelineRefusal) -> Outcome {
        Outcome::Refusal(refusal.into())
    }

    fn rejected_by(session: &str) -> Outcome {
        let session = session.to_owned();
        Outcome::Rejection(PipelineRejection { code: 9, session, ..PipelineRejection::default() })
    }

    #[test]
    fn what_is_decided_ends() {
        let reply = Bytes::from_static(b"reply");
        let decided = Decided { reply: reply.clone(), index: 5, term: 2 };
        assert_eq!(told(Outcome::Reply(reply), true, true), (Some(Ok(decided)), false));
        let (answer, again) = told(rejected_by(""), false, false);
        let Some(Err(CallError::Rejected(rejected))) = answer else { panic!("{answer:?}") };
        assert_eq!((rejected.code, rejected.index, again), (Code::FailedPrecondition, 5, false));
    }

    #[test]
    fn what_was_not_executed_is_sent_again_where_that_may_help() {
        for refusal in
            [PipelineRefusal::NotLeader, PipelineRefusal::Stopping, PipelineRefusal::Busy]
        {
            assert_eq!(told(refused(refusal), false, false), (None, true), "{refusal:?}");
        }
        let full = || refused(PipelineRefusal::DiskFull);
        let refusal = CallError::Refused(Refusal::DiskFull);
        assert_eq!(told(full(), true, false), (Some(Err(refusal)), false));
        let unknown = (Some(Err(CallError::Unknown)), false);
        assert_eq!(told(full(), true, true), unknown, "an earlier copy may have been executed");
    }

    #[test]
    fn what_is_unknown_is_sent_again_with_a_session_alone() {
        let unknown = || Outcome::Unknown(PipelineUnknown {});
        assert_eq!(told(unknown(), true, false), (None, true));
        assert_eq!(told(unknown(), false, false), (Some(Err(CallError::Unknown)), false));
    }

    #[test]
    fn a_session_that_is_gone_has_executed_nothing_that_was_sent_once() {
        for error in ["expired", "never-opened"] {
            assert_eq!(told(rejected_by(error), true, false), (None, true), "{error}");
            let unknown = (Some(Err(CallError::Unknown)), false);
            assert_eq!(told(rejected_by(error), true, true), unknown, "{error}");
        }
        let unknown = (Some(Err(CallError::Unknown)), false);
        assert_eq!(told(rejected_by("forgotten"), true, true), unknown);
    }
}
