//! Sessions: what makes a command that is sent again harmless. Their names and how they are
//! written; what they have been told is in [`table`].
//!
//! **A session is opened by a command of its own, and its id comes from the log.** A client that
//! chose its ids itself could not be told, once its session has expired, from a client that never
//! called: a late retry of its first command would be executed for the second time. An id that was
//! given in the order of the log is either in the table, or expired, or was never given.
//!
//! An id also carries a random number that the node which opened the session drew. Ids are given
//! anew in a cluster that was restored from a backup; a client of the old one is then refused, and
//! not taken for the other.

pub mod table;

use std::fmt;
use std::str::FromStr;

/// A session, as its client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId {
    /// How many were opened before it, and one.
    pub number: u64,
    /// Drawn at random when it was opened.
    pub nonce: u64,
}

/// Which call of which session a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionCall {
    /// The session.
    pub id: SessionId,
    /// The client's number for the call, from 1; a retry has the same.
    pub seq: u64,
    /// The client has the replies of all calls below: they may be forgotten. At most `seq`.
    pub floor: u64,
}

/// What a command has to do with sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionUse {
    /// It opens one, and is nothing else.
    Open {
        /// See [`SessionId::nonce`].
        nonce: u64,
    },
    /// It is a call of one.
    Call(SessionCall),
}

/// Why a call of a session was not executed. That it was executed before is not excluded, except
/// where the session was never opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionError {
    /// The session made room for others that were used later.
    Expired,
    /// No session has this id.
    NeverOpened,
    /// The sequence number is below those whose replies are kept.
    Forgotten {
        /// The lowest number that may still be sent.
        floor: u64,
    },
    /// The number was used for another command.
    Reused,
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired => f.write_str(
                "the session has expired: open another one; the call was not executed now, but may \
                 have been before",
            ),
            Self::NeverOpened => f.write_str(
                "there is no such session: open one by a call of quorate.v1.Sessions/Open",
            ),
            Self::Forgotten { floor } => write!(
                f,
                "the session keeps no reply below sequence number {floor}; the call was not \
                 executed now, but may have been before"
            ),
            Self::Reused => f.write_str(
                "the sequence number was used for another command: each takes a number of its own",
            ),
        }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.number, self.nonce)
    }
}

impl fmt::Display for SessionCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.id, self.seq, self.floor)
    }
}

/// Text that is not the call of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntaxError;

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the call of a session is written ID/SEQ or ID/SEQ/FLOOR: the 32 hexadecimal digits of \
             its id, the call's number from 1, and the lowest number whose reply is still needed, \
             which is at least 1 and at most SEQ",
        )
    }
}

impl std::error::Error for SyntaxError {}

impl FromStr for SessionId {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        // `from_str_radix` would take a sign.
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (number, nonce) = text.split_at_checked(16).filter(|_| is_hex).ok_or(SyntaxError)?;
        let parse = |digits| u64::from_str_radix(digits, 16).map_err(|_| SyntaxError);
        Ok(Self { number: parse(number)?, nonce: parse(nonce)? })
    }
}

impl FromStr for SessionCall {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, SyntaxError> {
        let number = |text: &str| {
            let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u64>()
                .ok()
                .filter(|number| is_decimal && (1..u64::MAX).contains(number))
                .ok_or(SyntaxError)
        };
        let (id, rest) = text.split_once('/').ok_or(SyntaxError)?;
        let (seq, floor) = match rest.split_once('/') {
            Some((seq, floor)) => (number(seq)?, number(floor)?),
            None => (number(rest)?, 1),
        };
        let call = Self { id: id.parse()?, seq, floor };
        if floor <= seq { Ok(call) } else { Err(SyntaxError) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let id = SessionId { number: 17, nonce: u64::MAX - 1 };
        let text = "0000000000000011fffffffffffffffe";
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse(), Ok(id));
        for (seq, floor) in [(1, 1), (7, 3), (u64::MAX - 1, u64::MAX - 1)] {
            let call = SessionCall { id, seq, floor };
            assert_eq!(call.to_string().parse(), Ok(call));
        }
        let without_floor = SessionCall { id, seq: 9, floor: 1 };
        assert_eq!(format!("{text}/9").parse(), Ok(without_floor));
    }

    #[test]
    fn anything_else_is_refused() {
        let id = "0000000000000011fffffffffffffffe";
        for rest in [
            "",
            "/",
            "/18446744073709551615",
            "/0",
            "/-1",
            "/+1",
            "/1/0",
            "/1/2",
            "/2/1/1",
            "/1/",
            "/x",
            "/ 1",
        ] {
            assert_eq!(format!("{id}{rest}").parse::<SessionCall>(), Err(SyntaxError), "{rest}");
        }
        for id in ["", "1", "+000000000000011fffffffffffffffe", "0011fffffffffffffffe0000000000001"]
        {
            assert_eq!(format!("{id}/1").parse::<SessionCall>(), Err(SyntaxError), "{id}");
        }
        let umlaut = "ä".repeat(16);
        assert_eq!(umlaut.parse::<SessionId>(), Err(SyntaxError));
    }
}
