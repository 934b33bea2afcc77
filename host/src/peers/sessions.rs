//! What a command has to do with sessions, as it is handed on.

use quorate_core::session::{SessionCall, SessionId, SessionUse};
use quorate_proto::v1::{self, submit_request::Session};

/// For another node.
pub(super) fn to_wire(session: SessionUse) -> Session {
    match session {
        SessionUse::Open { nonce } => Session::Open(v1::OpenSession { nonce }),
        SessionUse::Call(SessionCall { id: SessionId { number, nonce }, seq, floor }) => {
            Session::Call(v1::SessionCall { number, nonce, seq, floor })
        }
    }
}

/// From another node.
pub(super) fn from_wire(session: Session) -> SessionUse {
    match session {
        Session::Open(v1::OpenSession { nonce }) => SessionUse::Open { nonce },
        Session::Call(v1::SessionCall { number, nonce, seq, floor }) => {
            SessionUse::Call(SessionCall { id: SessionId { number, nonce }, seq, floor })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_on_arrives() {
        let id = SessionId { number: 3, nonce: u64::MAX };
        let call = SessionUse::Call(SessionCall { id, seq: 9, floor: 4 });
        for session in [SessionUse::Open { nonce: 7 }, call] {
            assert_eq!(from_wire(to_wire(session)), session);
        }
    }
}
