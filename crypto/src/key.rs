//! The cluster key: the one secret an operator makes, offline and once.

use std::fmt;
use std::path::Path;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::armor;
pub use crate::armor::BadText;
use crate::random::{self, NoRandomness};
use crate::secret_file::{self, SecretFileError};

/// What every text form of a cluster key starts with.
pub const KEY_PREFIX: &str = "SKEP-KEY-1-";

/// 32 random bytes; whoever holds them is eligible to manage.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ClusterKey([u8; 32]);

impl ClusterKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`] if there is none.
    pub fn generate() -> Result<Self, NoRandomness> {
        random::bytes().map(Self)
    }

    /// From its raw bytes, as a manager hands them over.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its raw bytes: for the handshake's inside and the data directory, never for a log.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads the text form; white space around it is allowed.
    ///
    /// # Errors
    ///
    /// [`BadText`] for anything that [`Self::to_text`] did not write.
    pub fn from_text(text: &str) -> Result<Self, BadText> {
        let bytes = armor::read(KEY_PREFIX, text)?;
        let key = bytes.as_slice().try_into();
        key.map(Self).map_err(|_| BadText::Content { prefix: KEY_PREFIX })
    }

    /// One line that starts with [`KEY_PREFIX`] and carries a checksum.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        armor::write(KEY_PREFIX, &self.0)
    }

    /// Reads a key file.
    ///
    /// # Errors
    ///
    /// [`SecretFileError`], also when group or others could read the file.
    pub fn read_file(path: &Path) -> Result<Self, SecretFileError> {
        let text = secret_file::read(path)?;
        Self::from_text(&text)
            .map_err(|source| SecretFileError::Content { path: path.to_owned(), source })
    }

    /// Writes a new key file with mode 0600; an existing file is never overwritten.
    ///
    /// # Errors
    ///
    /// [`SecretFileError`] if the file exists or cannot be written durably.
    pub fn create_file(&self, path: &Path) -> Result<(), SecretFileError> {
        secret_file::create(path, &self.to_text())
    }

    pub(crate) const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::armor::tests::single_character_changes;

    #[test]
    fn text_round_trip_and_every_single_character_change_refused() {
        let key = ClusterKey::generate().unwrap();
        let text = key.to_text();
        assert_eq!(text.len(), KEY_PREFIX.len() + 64);
        assert_eq!(ClusterKey::from_text(&text).unwrap().0, key.0);
        for changed in single_character_changes(&text) {
            assert!(ClusterKey::from_text(&changed).is_err(), "{changed}");
        }
    }

    #[test]
    fn a_file_round_trip() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cluster.key");
        let key = ClusterKey::generate().unwrap();
        key.create_file(&path).unwrap();
        assert_eq!(ClusterKey::read_file(&path).unwrap().0, key.0);
        assert!(key.create_file(&path).is_err());
        assert!(!format!("{key:?}").contains(&key.to_text()[11..20]));
    }
}
