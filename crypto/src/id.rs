//! Names of 128 bits, written as Docker writes them: 25 characters of base 36.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Characters of an identifier: 36^25 is the first power of 36 above 2^128.
pub const ID_TEXT_LENGTH: usize = 25;

/// Short form for places with little room, such as a gossip digest.
pub const ID_SHORT_LENGTH: usize = 11;

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// The text is no identifier.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("an identifier is 25 characters of 0-9 and a-z")]
pub struct BadId;

/// Writes 128 bits as 25 characters of base 36, most significant first.
#[must_use]
pub fn id_to_text(bytes: [u8; 16]) -> String {
    let mut rest = u128::from_be_bytes(bytes);
    let mut text = [b'0'; ID_TEXT_LENGTH];
    for place in text.iter_mut().rev() {
        let digit = usize::try_from(rest % 36).unwrap_or(0);
        *place = DIGITS[digit];
        rest /= 36;
    }
    text.iter().map(|byte| char::from(*byte)).collect()
}

/// Reads what [`id_to_text`] wrote.
///
/// # Errors
///
/// [`BadId`] for another length, another character, or more than 128 bits.
pub fn id_from_text(text: &str) -> Result<[u8; 16], BadId> {
    if text.len() != ID_TEXT_LENGTH {
        return Err(BadId);
    }
    let mut value: u128 = 0;
    for byte in text.bytes() {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'z' => byte - b'a' + 10,
            _ => return Err(BadId),
        };
        value = value
            .checked_mul(36)
            .and_then(|value| value.checked_add(u128::from(digit)))
            .ok_or(BadId)?;
    }
    Ok(value.to_be_bytes())
}

/// A node: the first 16 bytes of the BLAKE3 hash of its ed25519 public key.
///
/// Nobody can claim another's, and a wiped node is a new node.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct NodeId([u8; 16]);

impl NodeId {
    /// The identity that belongs to an ed25519 public key.
    #[must_use]
    pub fn of_key(ed25519: &[u8; 32]) -> Self {
        let hash = blake3::derive_key("skep 2026 node id v1", ed25519);
        let mut id = [0; 16];
        id.copy_from_slice(&hash[..16]);
        Self(id)
    }

    /// From its raw bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The first 11 characters, for gossip digests and logs.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(ID_SHORT_LENGTH);
        text
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&id_to_text(self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

impl FromStr for NodeId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        id_from_text(text).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn text_and_bytes_are_the_same_thing(bytes: [u8; 16]) {
            let text = id_to_text(bytes);
            prop_assert_eq!(text.len(), ID_TEXT_LENGTH);
            prop_assert_eq!(id_from_text(&text), Ok(bytes));
        }
    }

    #[test]
    fn refuses_what_is_no_identifier() {
        for bad in ["", "abc", "zzzzzzzzzzzzzzzzzzzzzzzzz", "0000000000000000000000000A"] {
            assert_eq!(id_from_text(bad), Err(BadId), "{bad}");
        }
    }
}
