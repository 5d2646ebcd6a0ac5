//! What survives a restart of the daemon: the assignments and the last statuses.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use model::{TaskId, TaskStatus};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing::error;

use crate::Assignment;

const FILE: &str = "tasks.json";

/// The agent cannot use its directory.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The directory cannot be made.
    #[error("cannot make {}", path.display())]
    Make {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The record is there and cannot be read, or cannot be set aside.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The record could not be written.
#[derive(Debug, Error)]
#[error("cannot write {}", path.display())]
pub(crate) struct WriteError {
    path: PathBuf,
    source: io::Error,
}

/// What was recorded.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Held {
    pub(crate) assignments: BTreeMap<TaskId, Assignment>,
    pub(crate) statuses: BTreeMap<TaskId, TaskStatus>,
}

/// Ids cannot be keys of JSON objects.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Document {
    assignments: Vec<Assignment>,
    statuses: Vec<(TaskId, TaskStatus)>,
}

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    dir: PathBuf,
}

impl Record {
    /// Reads what the last life wrote.
    ///
    /// A file that makes no sense is set aside: what it said is found again in the
    /// runtime and at the leader, and nothing is stopped before that.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Held), OpenError> {
        let make = |source| OpenError::Make { path: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(make)?;
        let path = dir.join(FILE);
        let read = |source| OpenError::Read { path: path.clone(), source };
        let record = Self { dir: dir.to_owned() };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((record, Held::default()));
            }
            Err(source) => return Err(read(source)),
        };
        let held = match serde_json::from_slice::<Document>(&bytes) {
            Ok(document) => Held {
                assignments: document.assignments.into_iter().map(|a| (a.task.id, a)).collect(),
                statuses: document.statuses.into_iter().collect(),
            },
            Err(error) => {
                let error: &(dyn std::error::Error + 'static) = &error;
                error!(error, path = %path.display(), "record of tasks made no sense, set it aside");
                fs::rename(&path, dir.join("tasks.json.bad")).map_err(read)?;
                Held::default()
            }
        };
        Ok((record, held))
    }

    /// Writes everything, whole or not at all. Blocks.
    pub(crate) fn write(&self, held: Held) -> Result<(), WriteError> {
        let path = self.dir.join(FILE);
        self.write_file(&path, held).map_err(|source| WriteError { path, source })
    }

    fn write_file(&self, path: &Path, held: Held) -> io::Result<()> {
        let document = Document {
            assignments: held
                .assignments
                .into_values()
                .map(|assignment| Assignment { registry_auth: None, ..assignment })
                .collect(),
            statuses: held.statuses.into_iter().collect(),
        };
        let bytes = serde_json::to_vec(&document)?;
        let new = path.with_extension("json.new");
        // Environment variables of tasks are nobody else's business.
        let mut file =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        File::open(&self.dir)?.sync_all()
    }
}
