//! Who this node is in Raft: a tiny file, written before the log is made.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::records::{IdentityRecord, Record};

/// Name of the file in the store's folder.
const FILE: &str = "raft.identity";

/// The identity could not be read or written.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// A file operation failed.
    #[error("cannot {what} {}", path.display())]
    File {
        /// `read`, `write`, …
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is none.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Why it cannot be read.
        source: crypto::wire::WireError,
    },
}

/// Reads the identity; `None` if this node has no part in Raft yet.
pub(crate) fn read(dir: &Path) -> Result<Option<IdentityRecord>, IdentityError> {
    let path = dir.join(FILE);
    match fs::read(&path) {
        Ok(bytes) => IdentityRecord::from_bytes(&bytes)
            .map(Some)
            .map_err(|source| IdentityError::Damaged { path, source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityError::File { what: "read", path, source }),
    }
}

/// Writes the identity so that it survives a power cut, whole or not at all.
pub(crate) fn write(dir: &Path, identity: &IdentityRecord) -> Result<(), IdentityError> {
    let path = dir.join(FILE);
    let bytes = identity
        .to_bytes()
        .map_err(|source| IdentityError::Damaged { path: path.clone(), source })?;
    let temporary = dir.join(format!("{FILE}.tmp"));
    let replace = || {
        fs::create_dir_all(dir)?;
        let mut file = File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        File::open(dir)?.sync_all()
    };
    replace().map_err(|source| IdentityError::File { what: "write", path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        let identity = IdentityRecord {
            genesis: [1; 16],
            recovery_epoch: 0,
            raft_id: 1003,
            node: crypto::NodeId::from_bytes([3; 16]),
            incarnation: 7,
            log_life: 99,
        };
        write(dir.path(), &identity).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(identity));
        fs::write(dir.path().join(FILE), b"x").unwrap();
        assert!(matches!(read(dir.path()), Err(IdentityError::Damaged { .. })));
    }
}
