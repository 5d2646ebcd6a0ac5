//! Names one wish of one client: repeating it has effect once.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// 16 random bytes, written as 32 hexadecimal digits in the header `Skep-Request-Id`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct RequestId(pub [u8; 16]);

/// Why a text is no request id.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("a request id is 32 hexadecimal digits")]
pub struct BadRequestId;

impl RequestId {
    /// A new one from the operating system's randomness.
    ///
    /// # Errors
    /// When the operating system has none to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl FromStr for RequestId {
    type Err = BadRequestId;

    fn from_str(text: &str) -> Result<Self, BadRequestId> {
        let digits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = digits.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        number.map(|number| Self(number.to_be_bytes())).ok_or(BadRequestId)
    }
}
