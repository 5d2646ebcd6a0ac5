//! Secrets as one line of text: a prefix that says what it is, base 32, a checksum.

use thiserror::Error;
use zeroize::Zeroizing;

/// RFC 4648's alphabet in lower case: no 0, 1, 8, 9 to mistake for letters.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A typing error slips through once in 2^64.
const CHECKSUM_BYTES: usize = 8;

/// The text is not what it should be.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub enum BadText {
    /// It starts with something else.
    #[error("the text does not start with {prefix}")]
    Prefix {
        /// What it should start with.
        prefix: &'static str,
    },
    /// A character that base 32 does not have, or an impossible length.
    #[error("after {prefix} only the characters a-z and 2-7 are allowed")]
    Character {
        /// The prefix that was right.
        prefix: &'static str,
    },
    /// A character was changed, added or lost.
    #[error("the checksum of the {prefix} text is wrong: a character was changed, added or lost")]
    Checksum {
        /// The prefix that was right.
        prefix: &'static str,
    },
    /// The checksum is right and the content is not.
    #[error("the content of the {prefix} text is not valid")]
    Content {
        /// The prefix that was right.
        prefix: &'static str,
    },
}

/// Writes `payload` behind `prefix`.
pub(crate) fn write(prefix: &str, payload: &[u8]) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(payload.len() + CHECKSUM_BYTES));
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(&checksum(prefix, payload));
    // The capacity is exact, so that no copy of the secret stays behind in freed memory.
    let mut text =
        Zeroizing::new(String::with_capacity(prefix.len() + bytes.len().div_ceil(5) * 8));
    text.push_str(prefix);
    let mut pending: u32 = 0;
    let mut pending_bits = 0;
    for byte in bytes.iter() {
        pending = pending << 8 | u32::from(*byte);
        pending_bits += 8;
        while pending_bits >= 5 {
            pending_bits -= 5;
            text.push(digit(pending >> pending_bits));
        }
        pending &= (1 << pending_bits) - 1;
    }
    if pending_bits > 0 {
        text.push(digit(pending << (5 - pending_bits)));
    }
    text
}

/// Reads what [`write`] wrote; white space around it is no part of it.
pub(crate) fn read(prefix: &'static str, text: &str) -> Result<Zeroizing<Vec<u8>>, BadText> {
    let body = text.trim().strip_prefix(prefix).ok_or(BadText::Prefix { prefix })?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(body.len() * 5 / 8 + 1));
    let mut pending: u32 = 0;
    let mut pending_bits = 0;
    for character in body.bytes() {
        let value = match character {
            b'a'..=b'z' => character - b'a',
            b'2'..=b'7' => character - b'2' + 26,
            _ => return Err(BadText::Character { prefix }),
        };
        pending = pending << 5 | u32::from(value);
        pending_bits += 5;
        if pending_bits >= 8 {
            pending_bits -= 8;
            bytes.push(u8::try_from(pending >> pending_bits & 0xff).unwrap_or(0));
        }
        pending &= (1 << pending_bits) - 1;
    }
    // Left-over bits must be zero and too few for another character: one text per content.
    if pending != 0 || pending_bits >= 5 {
        return Err(BadText::Checksum { prefix });
    }
    let Some(payload_length) = bytes.len().checked_sub(CHECKSUM_BYTES) else {
        return Err(BadText::Checksum { prefix });
    };
    if checksum(prefix, &bytes[..payload_length]) != bytes[payload_length..] {
        return Err(BadText::Checksum { prefix });
    }
    bytes.truncate(payload_length);
    Ok(bytes)
}

fn digit(value: u32) -> char {
    char::from(ALPHABET[usize::try_from(value & 31).unwrap_or(0)])
}

fn checksum(prefix: &str, payload: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = blake3::Hasher::new_derive_key("skep 2026 text checksum v1")
        .update(prefix.as_bytes())
        .update(payload)
        .finalize();
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&hash.as_bytes()[..CHECKSUM_BYTES]);
    sum
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every text that differs from `text` in one character: changed, lost, added, swapped.
    pub(crate) fn single_character_changes(text: &str) -> Vec<String> {
        let characters: Vec<char> = text.chars().collect();
        let mut changed = Vec::new();
        for place in 0..characters.len() {
            for other in
                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=é".chars()
            {
                let mut with_other = characters.clone();
                with_other[place] = other;
                changed.push(with_other.iter().collect());
                let mut with_added = characters.clone();
                with_added.insert(place, other);
                changed.push(with_added.iter().collect());
            }
            let mut without = characters.clone();
            without.remove(place);
            changed.push(without.iter().collect());
            if place > 0 {
                let mut swapped = characters.clone();
                swapped.swap(place - 1, place);
                changed.push(swapped.iter().collect());
            }
        }
        changed.retain(|other: &String| other != text);
        changed
    }

    proptest! {
        #[test]
        fn text_and_payload_are_the_same_thing(payload: Vec<u8>) {
            let text = write("SKEP-TEST-1-", &payload);
            prop_assert_eq!(&*read("SKEP-TEST-1-", &text).unwrap(), &payload);
            prop_assert!(read("SKEP-OTHER-1-", &text).is_err());
        }

        #[test]
        fn any_text_is_answered_without_a_panic(text: String) {
            let _ = read("SKEP-TEST-1-", &text);
            prop_assert!(read("", &text).is_err());
        }
    }

    #[test]
    fn every_single_character_change_is_refused() {
        for payload in [&b"abc"[..], b"abcd", b"abcde", b"abcdef", b"abcdefg"] {
            let text = write("SKEP-TEST-1-", payload);
            for changed in single_character_changes(&text) {
                assert!(read("SKEP-TEST-1-", &changed).is_err(), "{changed}");
            }
        }
    }
}
