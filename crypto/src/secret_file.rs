//! Files that hold a secret: only their owner may read them, and they are durable when written.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;
use zeroize::Zeroizing;

use crate::armor::BadText;
use crate::random::NoRandomness;

/// The longest text kept in such a file is a token of about 400 characters.
const FILE_LIMIT_BYTES: u64 = 4096;

/// A file with a secret could not be read or written.
#[derive(Debug, Error)]
pub enum SecretFileError {
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is a file of that name.
    #[error(
        "{} exists, and a secret is never overwritten: give another name, or move that file away",
        path.display()
    )]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others can read the secret.
    #[error("others can read {}: run `chmod 600 {}`", path.display(), path.display())]
    Permissions {
        /// The file.
        path: PathBuf,
    },
    /// A secret is one short line.
    #[error("{} is too long or not text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// The text is no such secret.
    #[error("cannot use the content of {}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: BadText,
    },
    /// There is no key to write.
    #[error("cannot make a secret for {}", path.display())]
    Random {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: NoRandomness,
    },
}

/// Reads a secret, unless group or others could read it too.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>, SecretFileError> {
    let io_error = |source| SecretFileError::Io { action: "read", path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io_error)?;
    // Asked of the open file: the name could point elsewhere a moment later.
    let metadata = file.metadata().map_err(io_error)?;
    if metadata.is_file() && metadata.mode() & 0o077 != 0 {
        return Err(SecretFileError::Permissions { path: path.to_owned() });
    }
    let capacity = usize::try_from(FILE_LIMIT_BYTES + 1).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    (&mut file).take(FILE_LIMIT_BYTES + 1).read_to_end(&mut bytes).map_err(io_error)?;
    let not_text = || SecretFileError::NotText { path: path.to_owned() };
    if bytes.len() == capacity {
        return Err(not_text());
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| not_text())?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Writes a new file with mode 0600 and never overwrites one.
pub(crate) fn create(path: &Path, text: &str) -> Result<(), SecretFileError> {
    let refused = |source: io::Error| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::AlreadyExists {
            SecretFileError::Exists { path }
        } else {
            SecretFileError::Io { action: "create", path, source }
        }
    };
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(refused)?;
    if let Err(error) = write_durably(&mut file, path, text) {
        // Half a secret helps nobody and would block the next attempt.
        let _ = std::fs::remove_file(path);
        return Err(error);
    }
    sync_directory(path)
}

/// Writes a file with mode 0600 so that after a crash it is either whole or absent.
pub(crate) fn place(path: &Path, text: &str) -> Result<(), SecretFileError> {
    let scratch = path.with_extension("new");
    let _ = std::fs::remove_file(&scratch);
    create(&scratch, text)?;
    std::fs::rename(&scratch, path).map_err(|source| SecretFileError::Io {
        action: "put in place",
        path: path.to_owned(),
        source,
    })?;
    sync_directory(path)
}

fn write_durably(file: &mut File, path: &Path, text: &str) -> Result<(), SecretFileError> {
    let io_error = |source| SecretFileError::Io { action: "write", path: path.to_owned(), source };
    file.write_all(text.as_bytes()).map_err(io_error)?;
    file.write_all(b"\n").map_err(io_error)?;
    file.sync_all().map_err(io_error)
}

/// Makes the name itself durable: syncing a file does not sync its directory.
fn sync_directory(path: &Path) -> Result<(), SecretFileError> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(|source| {
        SecretFileError::Io { action: "sync the directory", path: directory.to_owned(), source }
    })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn refuses_what_others_can_read_and_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        create(&path, "text").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap().as_str(), "text\n");
        for (mode, allowed) in
            [(0o400, true), (0o640, false), (0o604, false), (0o660, false), (0o644, false)]
        {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let result = read(&path);
            assert_eq!(result.is_ok(), allowed, "{mode:o}");
            if let Err(error) = result {
                assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())));
            }
        }
    }

    #[test]
    fn never_overwrites() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        create(&path, "first").unwrap();
        let error = create(&path, "second").unwrap_err();
        assert!(error.to_string().contains("never overwritten"), "{error}");
        assert_eq!(read(&path).unwrap().as_str(), "first\n");
    }

    #[test]
    fn a_half_written_file_does_not_stop_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        std::fs::write(path.with_extension("new"), "ha").unwrap();
        place(&path, "whole").unwrap();
        assert_eq!(read(&path).unwrap().as_str(), "whole\n");
        assert!(!path.with_extension("new").exists());
    }

    #[test]
    fn refuses_a_file_that_is_no_short_text() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        for content in [vec![b'a'; 5000], vec![0xff; 10]] {
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            assert!(matches!(read(&path), Err(SecretFileError::NotText { .. })));
        }
    }
}
