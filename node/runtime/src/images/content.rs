//! Blobs by their digest, checked when they are written.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::manifest::{JSON_BYTES_MAX, broken, digest_hex};
use crate::{RuntimeError, fs as files};

/// A reader that knows the digest of what it gave.
#[derive(Debug)]
pub(crate) struct HashReader<R> {
    inner: R,
    hasher: Sha256,
    n_bytes: u64,
}

impl<R: Read> HashReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, hasher: Sha256::new(), n_bytes: 0 }
    }

    /// Reads what is left and gives the digest of everything, and its length.
    pub(crate) fn finish(mut self) -> io::Result<(String, u64)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((digest_text(self.hasher), self.n_bytes))
    }
}

impl<R: Read> Read for HashReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..n_read]);
        self.n_bytes += n_read as u64;
        Ok(n_read)
    }
}

/// `sha256:…` of a finished hash.
pub(crate) fn digest_text(hasher: Sha256) -> String {
    let mut text = String::from("sha256:");
    for byte in hasher.finalize() {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// `sha256:…` of some bytes.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    digest_text(Sha256::new_with_prefix(bytes))
}

/// The directory of blobs.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    blobs: PathBuf,
    ingest: PathBuf,
}

impl Content {
    /// Opens or makes the directories.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let content = Self { blobs: dir.join("blobs/sha256"), ingest: dir.join("ingest") };
        fs::create_dir_all(&content.blobs)?;
        fs::create_dir_all(&content.ingest)?;
        Ok(content)
    }

    pub(crate) fn blobs(&self) -> &Path {
        &self.blobs
    }

    pub(crate) fn ingest(&self) -> &Path {
        &self.ingest
    }

    /// Where a blob is, or would be.
    pub(crate) fn path(&self, digest: &str) -> Result<PathBuf, RuntimeError> {
        Ok(self.blobs.join(digest_hex(digest, digest)?))
    }

    /// Where the first bytes of a blob wait for the rest.
    pub(crate) fn part_path(&self, digest: &str) -> Result<PathBuf, RuntimeError> {
        Ok(self.ingest.join(format!("{}.part", digest_hex(digest, digest)?)))
    }

    pub(crate) fn has(&self, digest: &str) -> bool {
        self.path(digest).is_ok_and(|path| path.exists())
    }

    /// A small blob, as a whole.
    pub(crate) fn read_json(&self, reference: &str, digest: &str) -> Result<Vec<u8>, RuntimeError> {
        let path = self.path(digest)?;
        let step = || format!("reading blob {digest} of {reference}");
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(|error| RuntimeError::io(step(), error))?;
        let mut file = file.take(JSON_BYTES_MAX + 1);
        file.read_to_end(&mut bytes).map_err(|error| RuntimeError::io(step(), error))?;
        if JSON_BYTES_MAX < bytes.len() as u64 {
            return Err(broken(reference, format!("{digest} is larger than 4 MiB")));
        }
        Ok(bytes)
    }

    /// Keeps bytes; gives their digest.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<String, RuntimeError> {
        let digest = digest_of(bytes);
        let path = self.path(&digest)?;
        if !path.exists() {
            files::write_atomically(&path, bytes)
                .map_err(|error| RuntimeError::io(format!("writing blob {digest}"), error))?;
        }
        Ok(digest)
    }

    /// Keeps a stream; gives its digest and length. `expected` is checked if given.
    pub(crate) fn put_stream(
        &self,
        reference: &str,
        reader: impl Read,
        expected: Option<&str>,
    ) -> Result<(String, u64), RuntimeError> {
        let io_error = |error| RuntimeError::io(format!("writing a blob of {reference}"), error);
        let temporary = self.ingest.join(format!("{}.new", files::random_hex()));
        let stored = write_hashed(reader, &temporary).map_err(io_error);
        let kept = stored.and_then(|(digest, n_bytes)| match expected {
            Some(expected) if expected != digest => {
                Err(broken(reference, format!("a blob should be {expected} and is {digest}")))
            }
            _ => self.adopt(&temporary, &digest).map(|()| (digest, n_bytes)),
        });
        if kept.is_err() {
            // The error that matters is the first one.
            let _ = fs::remove_file(&temporary);
        }
        kept
    }

    /// Makes a checked and synced file the blob of this digest.
    pub(crate) fn adopt(&self, file: &Path, digest: &str) -> Result<(), RuntimeError> {
        let path = self.path(digest)?;
        fs::rename(file, &path)
            .and_then(|()| files::sync_dir(&self.blobs))
            .map_err(|error| RuntimeError::io(format!("keeping blob {digest}"), error))
    }
}

fn write_hashed(reader: impl Read, path: &Path) -> io::Result<(String, u64)> {
    let mut reader = HashReader::new(reader);
    let mut writer = BufWriter::with_capacity(256 * 1024, File::create(path)?);
    io::copy(&mut reader, &mut writer)?;
    writer.flush()?;
    writer.get_ref().sync_all()?;
    reader.finish()
}
