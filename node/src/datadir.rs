//! The data directory: one daemon at a time, small files that are there or not.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use thiserror::Error;

/// The data directory cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// It could not be made or written.
    #[error("cannot use data directory {}: {}", path.display(), advice(source))]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another daemon has it.
    #[error("data directory {} is in use by another skep: stop that one or give another --data-dir", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// A file in it is damaged.
    #[error("file {} is damaged: {what}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        what: String,
    },
}

impl DataDirError {
    /// Whether the disk or a quota is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{QuotaExceeded, StorageFull};
        matches!(self, Self::Unusable { source, .. }
            if matches!(source.kind(), StorageFull | QuotaExceeded))
    }
}

/// What somebody can do about it.
fn advice(source: &io::Error) -> &'static str {
    use io::ErrorKind::{
        AlreadyExists, NotADirectory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem,
        StorageFull,
    };
    let known: [(&[io::ErrorKind], &str); 4] = [
        (&[PermissionDenied], "run as its owner, or give another one with --data-dir"),
        (&[ReadOnlyFilesystem], "it cannot be written; give another one with --data-dir"),
        (&[AlreadyExists, NotADirectory], "there is a file of that name; give another --data-dir"),
        (&[StorageFull, QuotaExceeded], "free some space there and start again: nothing is lost"),
    ];
    let kind = source.kind();
    known
        .iter()
        .find(|(kinds, _)| kinds.contains(&kind))
        .map_or("give another one with --data-dir", |(_, advice)| advice)
}

/// An opened data directory. Holding it keeps other daemons out.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory where it is missing, mode 0700, and takes its lock.
    ///
    /// # Errors
    ///
    /// [`DataDirError`] if it cannot be written or another daemon has it.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |source| DataDirError::Unusable { path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(path.join("lock"))
            .map_err(unusable)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(DataDirError::InUse { path: path.to_owned() })
            }
            Err(errno) => Err(unusable(errno.into())),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path inside.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Counts this start and returns the count, durable before it is used.
    ///
    /// # Errors
    ///
    /// [`DataDirError`] if it cannot be read or written.
    pub fn next_incarnation(&self) -> Result<u64, DataDirError> {
        let last = match self.read("incarnation")? {
            None => 0,
            Some(bytes) => std::str::from_utf8(&bytes)
                .ok()
                .and_then(|text| text.trim().parse::<u64>().ok())
                .ok_or_else(|| DataDirError::Damaged {
                    path: self.join("incarnation"),
                    what: "not a number".to_owned(),
                })?,
        };
        let next = last + 1;
        self.write("incarnation", next.to_string().as_bytes())?;
        Ok(next)
    }

    /// Reads a small file; `None` if there is none.
    ///
    /// # Errors
    ///
    /// [`DataDirError::Unusable`] if it cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, DataDirError> {
        match fs::read(self.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DataDirError::Unusable { path: self.join(name), source }),
        }
    }

    /// Replaces a small file so that a crash leaves the old one or the new one. Mode 0600.
    ///
    /// # Errors
    ///
    /// [`DataDirError::Unusable`] if it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DataDirError> {
        let path = self.join(name);
        replace(&path, bytes).map_err(|source| DataDirError::Unusable { path, source })
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let next = path.with_extension("next");
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&next)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    let parent = path.parent().unwrap_or_else(|| Path::new("."));
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_starts_and_keeps_a_second_daemon_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        for expected in 1..4 {
            let data = DataDir::open(&path).unwrap();
            assert_eq!(data.next_incarnation().unwrap(), expected);
            let second = DataDir::open(&path).unwrap_err();
            assert!(matches!(second, DataDirError::InUse { .. }), "{second}");
        }
        fs::write(path.join("incarnation"), "x").unwrap();
        let damaged = DataDir::open(&path).unwrap().next_incarnation().unwrap_err();
        assert!(damaged.to_string().contains("incarnation"), "{damaged}");
    }
}
