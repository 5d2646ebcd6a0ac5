//! Secrets: as they are in memory, and as they lie in the log, in snapshots and on the wire of
//! Raft.
//!
//! ```text
//!   u8 format (1), u32 epoch, 24 bytes nonce, ciphertext, 16 bytes tag
//! ```
//!
//! XChaCha20-Poly1305 under a key of the epoch's state key. Its nonces are long enough to be
//! drawn at random, so any leader may seal without a counter that all must agree on. What is in
//! front of the ciphertext and the caller's context (which object it is) are authenticated: data
//! of one object is none of another.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::random::{self, NoRandomness};
use crate::schedule::Authority;

/// Generation of the state key that new data is sealed with. Older ones are still opened.
pub const STATE_EPOCH: u32 = 1;

/// What sealing adds to the length of data.
pub const SEAL_BYTES: usize = HEADER_BYTES + NONCE_BYTES + TAG_BYTES;

const FORMAT: u8 = 1;
const HEADER_BYTES: usize = 5;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;

/// Key of sealed objects below the state key, which also wraps other keys.
const PURPOSE: &str = "skep 2026 sealed objects v1";

/// Bytes that nobody prints and that leave memory with their owner.
#[derive(Clone, Default, Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes the bytes over.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes: for the one who needs them, never for a log.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(secret)")
    }
}

impl PartialEq for SecretBytes {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretBytes {}

impl Serialize for SecretBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl<'de> Visitor<'de> for Bytes {
            type Value = SecretBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<SecretBytes, E> {
                Ok(SecretBytes(bytes.to_vec()))
            }

            fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<SecretBytes, E> {
                Ok(SecretBytes(bytes))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<SecretBytes, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(SecretBytes(bytes))
            }
        }

        deserializer.deserialize_byte_buf(Bytes)
    }
}

/// Data could not be sealed.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum SealError {
    /// There is no nonce.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// More than the cipher takes, which is hundreds of gigabytes.
    #[error("data is too long to be sealed")]
    TooLong,
}

/// Sealed data could not be opened.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum UnsealError {
    /// Cut off, or written by a later version.
    #[error("not sealed by this or an earlier version of skep")]
    Format,
    /// Sealed with another key, for another object, or changed since.
    #[error("sealed with another cluster key (epoch {epoch}), or changed since")]
    Key {
        /// Generation of the state key that it names.
        epoch: u32,
    },
}

impl Authority {
    /// Seals data of the object that `context` names.
    ///
    /// # Errors
    ///
    /// [`SealError`]; nothing was sealed.
    pub fn seal(&self, context: &[u8], data: &[u8]) -> Result<Vec<u8>, SealError> {
        self.seal_with(STATE_EPOCH, random::bytes()?, context, data)
    }

    fn seal_with(
        &self,
        epoch: u32,
        nonce: [u8; NONCE_BYTES],
        context: &[u8],
        data: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let header = header(epoch);
        let aad = [&header[..], context].concat();
        let payload = Payload { msg: data, aad: &aad };
        let sealed = self.cipher(epoch).encrypt(XNonce::from_slice(&nonce), payload);
        let sealed = sealed.map_err(|_| SealError::TooLong)?;
        Ok([&header[..], &nonce, &sealed].concat())
    }

    /// Opens what [`Authority::seal`] made of the same cluster key, in whatever epoch, for the
    /// same object.
    ///
    /// # Errors
    ///
    /// [`UnsealError`].
    pub fn unseal(&self, context: &[u8], sealed: &[u8]) -> Result<SecretBytes, UnsealError> {
        let format = UnsealError::Format;
        let (header, rest) = sealed.split_first_chunk::<HEADER_BYTES>().ok_or(format)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(format)?;
        let [FORMAT, epoch @ ..] = *header else { return Err(format) };
        let epoch = u32::from_le_bytes(epoch);
        let aad = [&header[..], context].concat();
        let payload = Payload { msg: ciphertext, aad: &aad };
        let opened = self.cipher(epoch).decrypt(XNonce::from_slice(nonce), payload);
        opened.map(SecretBytes).map_err(|_| UnsealError::Key { epoch })
    }

    fn cipher(&self, epoch: u32) -> XChaCha20Poly1305 {
        let key = Zeroizing::new(blake3::derive_key(PURPOSE, self.state_key(epoch).as_slice()));
        XChaCha20Poly1305::new(Key::from_slice(key.as_slice()))
    }
}

fn header(epoch: u32) -> [u8; HEADER_BYTES] {
    let [a, b, c, d] = epoch.to_le_bytes();
    [FORMAT, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ClusterKey;
    use crate::testing::{check_golden, golden_authority};

    #[test]
    fn only_the_same_key_and_context_open_it() {
        let authority = golden_authority();
        let sealed = authority.seal(b"secret 1", b"hunter2").unwrap();
        assert_eq!(sealed.len(), 7 + SEAL_BYTES);
        assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
        assert_eq!(authority.unseal(b"secret 1", &sealed).unwrap().as_bytes(), b"hunter2");
        let key = Err(UnsealError::Key { epoch: STATE_EPOCH });
        assert_eq!(authority.unseal(b"secret 2", &sealed), key);
        let other = Authority::from_key(&ClusterKey::generate().unwrap());
        assert_eq!(other.unseal(b"secret 1", &sealed), key);
        assert_ne!(authority.seal(b"secret 1", b"hunter2").unwrap(), sealed, "nonces are fresh");
    }

    #[test]
    fn every_epoch_has_its_key_and_older_ones_are_opened() {
        let authority = golden_authority();
        let old = authority.seal_with(0, [1; 24], b"c", b"old").unwrap();
        assert_eq!(authority.unseal(b"c", &old).unwrap().as_bytes(), b"old");
        let mut claimed = old;
        claimed[1] = 1;
        assert_eq!(authority.unseal(b"c", &claimed), Err(UnsealError::Key { epoch: 1 }));
    }

    #[test]
    fn nothing_prints_what_it_is() {
        let secret = SecretBytes::new(b"hunter2".to_vec());
        assert_eq!(format!("{secret:?}"), "SecretBytes(secret)");
    }

    #[test]
    fn sealed_data_keeps_its_bytes() {
        let sealed = golden_authority().seal_with(1, [3; 24], b"secret 1", b"hunter2").unwrap();
        check_golden("sealed.bin", &sealed);
    }

    proptest! {
        #[test]
        fn a_changed_byte_or_length_is_noticed(
            data in prop::collection::vec(any::<u8>(), 0..64),
            at in any::<prop::sample::Index>(),
            change in 1_u8..,
        ) {
            let authority = golden_authority();
            let sealed = authority.seal(b"c", &data).unwrap();
            let opened = authority.unseal(b"c", &sealed).unwrap();
            prop_assert_eq!(opened.as_bytes(), &data[..]);
            let at = at.index(sealed.len());
            prop_assert!(authority.unseal(b"c", &sealed[..at]).is_err());
            let mut changed = sealed;
            changed[at] ^= change;
            prop_assert!(authority.unseal(b"c", &changed).is_err());
        }

        #[test]
        fn secret_bytes_survive_the_wire(data in prop::collection::vec(any::<u8>(), 0..300)) {
            let bytes = crate::wire::encode(1, 1, &SecretBytes::new(data.clone())).unwrap();
            let read: SecretBytes = crate::wire::decode(&bytes, 1, 1, 1024).unwrap();
            prop_assert_eq!(read.as_bytes(), &data[..]);
        }
    }
}
