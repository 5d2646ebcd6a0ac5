//! How a value becomes bytes: `{u16 kind, u16 version, bincode}`, for the wire and for files.
//!
//! This is the only module that knows bincode. bincode writes no field names and no types, so a
//! changed struct is a new version, and enums only ever grow at their end.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Bytes in front of every value: kind and version, little endian.
pub const ENVELOPE_BYTES: usize = 4;

/// A value could not be written or read.
#[derive(Debug, Error)]
pub enum WireError {
    /// The type uses a part of serde that has no binary form.
    #[error("cannot encode a message of kind {kind}")]
    Encode {
        /// The kind that was to be written.
        kind: u16,
        /// Why not.
        source: bincode::error::EncodeError,
    },
    /// The bytes are no such value.
    #[error("cannot decode a message of kind {kind}")]
    Decode {
        /// The kind that was expected.
        kind: u16,
        /// Why not.
        source: bincode::error::DecodeError,
    },
    /// The bytes are shorter than an envelope.
    #[error("a message of {length} bytes is too short")]
    Short {
        /// How many there are.
        length: usize,
    },
    /// More bytes than the caller accepts.
    #[error("a message of {length} bytes is over its limit of {limit}")]
    Long {
        /// How many there are.
        length: usize,
        /// How many were accepted.
        limit: usize,
    },
    /// Another kind of message.
    #[error("a message of kind {found} version {found_version}, not kind {kind} version {version}")]
    Kind {
        /// The kind that was expected.
        kind: u16,
        /// The version that was expected.
        version: u16,
        /// The kind that was there.
        found: u16,
        /// The version that was there.
        found_version: u16,
    },
    /// The value ends before the bytes do.
    #[error("a message of kind {kind} has {extra} bytes behind its end")]
    Trailing {
        /// The kind.
        kind: u16,
        /// How many.
        extra: usize,
    },
}

/// Writes a value in its envelope.
///
/// # Errors
///
/// [`WireError::Encode`] if the type cannot be written at all: a mistake in the type.
pub fn encode<T: Serialize>(kind: u16, version: u16, value: &T) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::with_capacity(64);
    bytes.extend_from_slice(&kind.to_le_bytes());
    bytes.extend_from_slice(&version.to_le_bytes());
    bincode::serde::encode_into_std_write(value, &mut bytes, bincode::config::standard())
        .map_err(|source| WireError::Encode { kind, source })?;
    Ok(bytes)
}

/// Reads a value from its envelope; every byte must belong to it.
///
/// # Errors
///
/// [`WireError`] for another kind or version, more than `limit` bytes, or bytes that are no `T`.
pub fn decode<T: DeserializeOwned>(
    bytes: &[u8],
    kind: u16,
    version: u16,
    limit: usize,
) -> Result<T, WireError> {
    if bytes.len() > limit {
        return Err(WireError::Long { length: bytes.len(), limit });
    }
    let (found, found_version) = peek(bytes)?;
    if (found, found_version) != (kind, version) {
        return Err(WireError::Kind { kind, version, found, found_version });
    }
    let body = &bytes[ENVELOPE_BYTES..];
    let (value, read) =
        decode_bounded(body).map_err(|source| WireError::Decode { kind, source })?;
    if read != body.len() {
        return Err(WireError::Trailing { kind, extra: body.len() - read });
    }
    Ok(value)
}

/// Kind and version of a message, to choose what to decode it as.
///
/// # Errors
///
/// [`WireError::Short`] without an envelope.
pub fn peek(bytes: &[u8]) -> Result<(u16, u16), WireError> {
    match bytes {
        [a, b, c, d, ..] => Ok((u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]))),
        _ => Err(WireError::Short { length: bytes.len() }),
    }
}

/// Decodes with a limit on what a hostile length can make us allocate.
///
/// bincode's limit is a constant and counts the size in memory: up to 16 bytes for one that was
/// read. So the next power of 16 above that is always enough for an honest message.
fn decode_bounded<T: DeserializeOwned>(
    body: &[u8],
) -> Result<(T, usize), bincode::error::DecodeError> {
    use bincode::config::standard;
    use bincode::serde::decode_from_slice;
    match body.len() {
        0..0x1000 => decode_from_slice(body, standard().with_limit::<0x1_0000>()),
        0x1000..0x1_0000 => decode_from_slice(body, standard().with_limit::<0x10_0000>()),
        0x1_0000..0x10_0000 => decode_from_slice(body, standard().with_limit::<0x100_0000>()),
        0x10_0000..0x100_0000 => decode_from_slice(body, standard().with_limit::<0x1000_0000>()),
        _ => decode_from_slice(body, standard().with_limit::<0x1_0000_0000>()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::testing::check_golden;

    #[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
    enum Sample {
        Nothing,
        Numbers(u8, u16, u32, u64, i64),
        Texts { name: String, more: Vec<String> },
        Bytes(Vec<u8>, [u8; 16], Option<bool>),
        Map(BTreeMap<String, u64>),
    }

    #[test]
    fn every_form_of_value_keeps_its_bytes() {
        let values = vec![
            Sample::Nothing,
            Sample::Numbers(250, 251, 70_000, u64::MAX, -3),
            Sample::Texts { name: "née".to_owned(), more: vec![String::new(), "b".to_owned()] },
            Sample::Bytes(vec![1; 300], [2; 16], Some(true)),
            Sample::Map(BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 1 << 40)])),
        ];
        let bytes = encode(0xfffe, 0x0102, &values).unwrap();
        check_golden("wire.bin", &bytes);
        assert_eq!(decode::<Vec<Sample>>(&bytes, 0xfffe, 0x0102, 1000).unwrap(), values);
    }

    fn samples() -> impl Strategy<Value = Sample> {
        prop_oneof![
            Just(Sample::Nothing),
            any::<(u8, u16, u32, u64, i64)>()
                .prop_map(|(a, b, c, d, e)| Sample::Numbers(a, b, c, d, e)),
            any::<(String, Vec<String>)>().prop_map(|(name, more)| Sample::Texts { name, more }),
            any::<(Vec<u8>, [u8; 16], Option<bool>)>().prop_map(|(a, b, c)| Sample::Bytes(a, b, c)),
            any::<BTreeMap<String, u64>>().prop_map(Sample::Map),
        ]
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(value in samples()) {
            let bytes = encode(7, 1, &value).unwrap();
            prop_assert_eq!(decode::<Sample>(&bytes, 7, 1, bytes.len()).unwrap(), value);
            prop_assert!(decode::<Sample>(&bytes, 8, 1, bytes.len()).is_err());
            prop_assert!(decode::<Sample>(&bytes, 7, 2, bytes.len()).is_err());
            prop_assert!(decode::<Sample>(&bytes, 7, 1, bytes.len() - 1).is_err());
        }

        #[test]
        fn refuses_lost_and_added_bytes(value in samples(), added: u8) {
            let mut bytes = encode(7, 1, &value).unwrap();
            let shorter = &bytes[..bytes.len() - 1];
            prop_assert!(decode::<Sample>(shorter, 7, 1, 1 << 20).is_err());
            bytes.push(added);
            prop_assert!(decode::<Sample>(&bytes, 7, 1, 1 << 20).is_err());
        }

        #[test]
        fn any_bytes_are_answered_without_a_panic(bytes: Vec<u8>) {
            let _ = decode::<Sample>(&bytes, 7, 1, 1 << 20);
        }
    }

    #[test]
    fn the_largest_honest_message_of_each_class_fits_its_limit() {
        for length in [0xfff, 0x1000, 0xffff, 0x1_0000, 0xf_ffff] {
            // A u128 counts 16 bytes in memory and takes one on the wire: the worst case.
            let value = vec![1_u128; length - 5];
            let bytes = encode(1, 1, &value).unwrap();
            assert_eq!(decode::<Vec<u128>>(&bytes, 1, 1, 1 << 21).unwrap(), value);
        }
    }

    #[test]
    fn a_hostile_length_allocates_little() {
        let mut bytes = vec![7, 0, 1, 0, 3, 253];
        bytes.extend_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(decode::<Sample>(&bytes, 7, 1, 100), Err(WireError::Decode { .. })));
    }
}
