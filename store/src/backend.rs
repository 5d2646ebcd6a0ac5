//! Where log, vote and metadata of Raft are kept: a small ordered map behind a trait.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

pub(crate) mod sled;

/// What is kept. Log, vote and the purge mark live in one tree, because a batch is atomic only
/// within a tree.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Key {
    /// A log entry.
    Entry(u64),
    /// The last vote.
    Vote,
    /// Up to where the log was purged.
    Purged,
    /// Up to where the log was known to be committed: a hint that speeds a restart up.
    Committed,
}

impl Key {
    /// Its bytes on disk.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Entry(index) => {
                let mut bytes = Vec::with_capacity(9);
                bytes.push(b'L');
                bytes.extend_from_slice(&index.to_be_bytes());
                bytes
            }
            Self::Vote => b"V".to_vec(),
            Self::Purged => b"P".to_vec(),
            Self::Committed => b"C".to_vec(),
        }
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for anything else.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [b'L', index @ ..] => Some(Self::Entry(u64::from_be_bytes(index.try_into().ok()?))),
            b"V" => Some(Self::Vote),
            b"P" => Some(Self::Purged),
            b"C" => Some(Self::Committed),
            _ => None,
        }
    }
}

/// Writes that take effect together: `None` removes.
pub(crate) type Batch = BTreeMap<Key, Option<Vec<u8>>>;

/// A file that keeps [`Key`]s. One thread owns it.
pub(crate) trait LogBackend: Send + 'static {
    /// Everything that is kept.
    fn load(&mut self) -> Result<BTreeMap<Key, Vec<u8>>, BackendError>;

    /// Writes a batch, whole or not at all. With `sync`, it and everything written before it is
    /// on the disk when this returns; without, it may be lost, but never out of order.
    ///
    /// After an error nothing may be written any more: what the disk holds is unknown.
    fn write(&mut self, batch: Batch, sync: bool) -> Result<(), BackendError>;
}

/// The log could not be opened, read or written.
#[derive(Debug, Error)]
pub enum BackendError {
    /// A file operation failed.
    #[error("cannot {what} {}", path.display())]
    File {
        /// `open`, `sync`, …
        what: &'static str,
        /// Of which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has it open.
    #[error("{} is open in another process", path.display())]
    InUse {
        /// Which directory.
        path: PathBuf,
    },
    /// The database refused or failed.
    #[error("the raft log in {} failed", path.display())]
    Database {
        /// Which directory.
        path: PathBuf,
        /// Why.
        source: ::sled::Error,
    },
    /// The database ended by a panic: its files are damaged.
    #[error("the raft log in {} is damaged", path.display())]
    Panicked {
        /// Which directory.
        path: PathBuf,
    },
    /// There are bytes in it that are not ours.
    #[error("the raft log in {} holds an unknown key", path.display())]
    UnknownKey {
        /// Which directory.
        path: PathBuf,
    },
}

impl BackendError {
    /// What somebody can do about it; empty where that is not known.
    pub(crate) fn cure(&self) -> &'static str {
        if sled::is_full(self) {
            "; free some space on that disk and start again: what was acknowledged is there"
        } else {
            ""
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_their_bytes_and_keep_their_order() {
        let keys = [Key::Entry(0), Key::Entry(1), Key::Entry(256), Key::Entry(u64::MAX)];
        for key in keys.into_iter().chain([Key::Vote, Key::Purged, Key::Committed]) {
            assert_eq!(Key::from_bytes(&key.to_bytes()), Some(key));
        }
        assert!(keys.windows(2).all(|pair| pair[0].to_bytes() < pair[1].to_bytes()));
        for junk in [&b""[..], b"L", b"L1234567", b"X", b"VV"] {
            assert_eq!(Key::from_bytes(junk), None, "{junk:?}");
        }
    }
}
