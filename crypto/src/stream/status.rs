//! How a call fails: what the other side said, or what became of the way to it.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::wire::WireError;

/// Bytes of a status message that are sent: a sentence or three, so that refusing a call needs no
/// flow control.
const MESSAGE_TEXT_BYTES_MAX: usize = 2048;

/// The kind of a refusal, for code to act upon.
///
/// On the wire it is a number, so that an older node reads a newer code as [`Code::Unknown`].
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "u16", into = "u16")]
pub enum Code {
    /// A code that this version does not know.
    Unknown,
    /// There is no such thing, or no such path.
    NotFound,
    /// Not now: try again, perhaps elsewhere.
    Unavailable,
    /// Not you.
    Denied,
    /// The request makes no sense.
    Invalid,
    /// It took longer than the caller's deadline.
    Timeout,
    /// Only the leader answers this.
    NotLeader,
    /// The fault is on the answering side.
    Internal,
    /// Understood and declined: trying again changes nothing.
    Refused,
}

impl From<u16> for Code {
    fn from(number: u16) -> Self {
        match number {
            1 => Self::NotFound,
            2 => Self::Unavailable,
            3 => Self::Denied,
            4 => Self::Invalid,
            5 => Self::Timeout,
            6 => Self::NotLeader,
            7 => Self::Internal,
            8 => Self::Refused,
            _ => Self::Unknown,
        }
    }
}

impl From<Code> for u16 {
    fn from(code: Code) -> Self {
        match code {
            Code::Unknown => 0,
            Code::NotFound => 1,
            Code::Unavailable => 2,
            Code::Denied => 3,
            Code::Invalid => 4,
            Code::Timeout => 5,
            Code::NotLeader => 6,
            Code::Internal => 7,
            Code::Refused => 8,
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown refusal",
            Self::NotFound => "not found",
            Self::Unavailable => "unavailable",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Timeout => "timed out",
            Self::NotLeader => "not the leader",
            Self::Internal => "internal error",
            Self::Refused => "refused",
        })
    }
}

/// What a handler says instead of an answer.
#[derive(Clone, Debug, Deserialize, Eq, Error, PartialEq, Serialize)]
#[error("{code}: {message}")]
pub struct Status {
    /// For code.
    pub code: Code,
    /// For people: one line, lower case.
    pub message: String,
}

impl Status {
    /// A status; a message beyond 2 KiB is cut.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }.cut()
    }

    /// The fields are public, so the limit is enforced again where a status is sent.
    pub(super) fn cut(mut self) -> Self {
        if MESSAGE_TEXT_BYTES_MAX < self.message.len() {
            let end = (0..=MESSAGE_TEXT_BYTES_MAX)
                .rev()
                .find(|end| self.message.is_char_boundary(*end))
                .unwrap_or(0);
            self.message.truncate(end);
        }
        self
    }

    /// [`Code::NotFound`].
    #[must_use]
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// [`Code::Unavailable`].
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, message)
    }

    /// [`Code::Denied`].
    #[must_use]
    pub fn denied(message: impl Into<String>) -> Self {
        Self::new(Code::Denied, message)
    }

    /// [`Code::Invalid`].
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::Invalid, message)
    }

    /// [`Code::Internal`].
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
    }
}

/// A call did not give an answer.
#[derive(Debug, Error)]
pub enum RpcError {
    /// The other side said why not.
    #[error(transparent)]
    Status(#[from] Status),
    /// The connection has ended, is ending, or has as many calls as it may: no handler has seen
    /// the call, so it may be repeated, on another connection if this one is closed.
    #[error("{path} was not taken: the connection is closing or full")]
    Closed {
        /// The call.
        path: String,
    },
    /// The connection or this call on it broke. A handler may have run.
    #[error("{path} was cut off")]
    Transport {
        /// The call.
        path: String,
        /// What broke.
        source: Box<dyn Error + Send + Sync>,
    },
    /// No answer in time. A handler may have run; it has been told to stop.
    #[error("{path} was not answered within {waited:?}")]
    Deadline {
        /// The call.
        path: String,
        /// How long we waited.
        waited: Duration,
    },
    /// A message over [`MESSAGE_BYTES_MAX`](super::MESSAGE_BYTES_MAX), ours or theirs.
    #[error("{path} has a message of {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// The call.
        path: String,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The request cannot be written.
    #[error("{path} cannot be sent")]
    Unsendable {
        /// The call.
        path: String,
        /// Why not.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The answer is not of the expected type: another version, or a bug.
    #[error("{path} was answered with something else")]
    Malformed {
        /// The call.
        path: String,
        /// What is wrong with it.
        source: WireError,
    },
}

impl RpcError {
    /// The status, if the other side gave one.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Status(status) => Some(status),
            Self::Closed { .. }
            | Self::Transport { .. }
            | Self::Deadline { .. }
            | Self::TooLarge { .. }
            | Self::Unsendable { .. }
            | Self::Malformed { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_the_wire_and_an_unknown_one_is_no_error() {
        for number in 0..=9_u16 {
            let code = Code::from(number);
            assert_eq!(u16::from(code), if number == 9 { 0 } else { number });
        }
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let status = Status::internal("ä".repeat(3000));
        assert_eq!(status.message.len(), MESSAGE_TEXT_BYTES_MAX);
        assert!(status.message.chars().all(|c| c == 'ä'));
        let odd = Status::internal(format!("x{}", "ä".repeat(3000)));
        assert_eq!(odd.message.len(), MESSAGE_TEXT_BYTES_MAX - 1);
    }
}
