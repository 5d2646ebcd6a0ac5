//! What a seed must not forget: one small file, on disk before each answer that rests on it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use crypto::wire::{self, WireError};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::message::{Ballot, Genesis};
use super::seeds::SeedHash;

const KIND: u16 = 0x0301;
const VERSION: u16 = 1;
/// A list of 32 seeds and two geneses with 5 founders each are below 11 KiB.
const BYTES_MAX: usize = 16 * 1024;

/// The promises of one seed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Record {
    /// List and rule that the promises were made for.
    pub seed_hash: SeedHash,
    /// That list, to show it when another one is given later.
    pub entries: Vec<String>,
    /// Lower ballots are ignored.
    pub promised: Option<Ballot>,
    /// What was accepted last.
    pub accepted: Option<(Ballot, Genesis)>,
    /// What was chosen; nothing else counts from then on.
    pub genesis: Option<Genesis>,
}

impl Record {
    /// The record as bytes.
    ///
    /// # Errors
    ///
    /// [`WireError::Encode`]: a mistake in a type.
    pub fn encode(&self) -> Result<Vec<u8>, WireError> {
        wire::encode(KIND, VERSION, self)
    }

    /// What [`Record::encode`] wrote.
    ///
    /// # Errors
    ///
    /// [`WireError`] for anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        wire::decode(bytes, KIND, VERSION, BYTES_MAX)
    }
}

/// The record could not be read or written, or does not fit the seeds.
#[derive(Debug, Error)]
pub enum RecordError {
    /// A file operation failed.
    #[error("cannot {what} {}", path.display())]
    File {
        /// `read` or `write`.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is none. Starting without it could found a second cluster.
    #[error(
        "{} is damaged: move the data directory away, so that this node starts as a new one",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Why it cannot be read.
        source: WireError,
    },
    /// It agreed to a founding with other seeds, which may have succeeded.
    #[error(
        "this node agreed to found a cluster with the seeds [{}]: start it with that list again, \
         or move its data directory away",
        entries.join(", ")
    )]
    OtherSeeds {
        /// Those seeds.
        entries: Vec<String>,
    },
}

/// Where the record is kept.
#[derive(Clone, Debug)]
pub struct RecordFile {
    dir: PathBuf,
}

impl RecordFile {
    const NAME: &str = "genesis";

    /// In a directory, which is made if it is missing.
    #[must_use]
    pub const fn in_dir(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The record; `None` on a first start.
    ///
    /// # Errors
    ///
    /// [`RecordError::File`] or [`RecordError::Damaged`].
    pub fn load(&self) -> Result<Option<Record>, RecordError> {
        let path = self.dir.join(Self::NAME);
        match fs::read(&path) {
            Ok(bytes) => Record::decode(&bytes)
                .map(Some)
                .map_err(|source| RecordError::Damaged { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RecordError::File { what: "read", path, source }),
        }
    }

    /// Replaces the record so that it survives a power cut, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`RecordError::File`]; nothing that rests on the record may be said then.
    pub fn save(&self, record: &Record) -> Result<(), RecordError> {
        let path = self.dir.join(Self::NAME);
        let temporary = self.dir.join("genesis.tmp");
        let bytes = record
            .encode()
            .map_err(|source| RecordError::Damaged { path: path.clone(), source })?;
        let replace = || {
            fs::create_dir_all(&self.dir)?;
            let mut file = File::create(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        replace().map_err(|source| RecordError::File { what: "write", path: path.clone(), source })
    }

    pub(crate) fn interrupted(&self, error: tokio::task::JoinError) -> RecordError {
        let path = self.dir.join(Self::NAME);
        RecordError::File { what: "write", path, source: io::Error::other(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let file = RecordFile::in_dir(dir.path().join("new"));
        assert_eq!(file.load().unwrap(), None);
        let record = Record {
            seed_hash: SeedHash([1; 32]),
            entries: vec!["a:7964".to_owned()],
            promised: Some(Ballot { round: 3, slot: 1, start: [2; 16] }),
            accepted: None,
            genesis: None,
        };
        file.save(&record).unwrap();
        assert_eq!(file.load().unwrap(), Some(record));
        fs::write(dir.path().join("new").join(RecordFile::NAME), b"x").unwrap();
        assert!(matches!(file.load(), Err(RecordError::Damaged { .. })));
    }
}
