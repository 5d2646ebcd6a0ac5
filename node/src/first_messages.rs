//! Keeps the memory of first messages over a restart, so that none is answered twice.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crypto::{FirstMessages, SharedFirstMessages};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::standing::unix_seconds;

/// What is learnt is appended so often. A replay within a second of a crash meets a node that
/// is not up again.
const APPEND_PERIOD: Duration = Duration::from_millis(500);

/// The file is written anew when it has grown to this: twice what the memory can hold.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reads the memory of an earlier start; a missing or torn file is an empty memory.
pub(crate) fn load(path: &Path) -> io::Result<SharedFirstMessages> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let memory = FirstMessages::restore(&bytes, unix_seconds()).map_err(io::Error::other)?;
    Ok(SharedFirstMessages::new(memory))
}

/// Appends what is learnt until told to stop.
pub(crate) async fn keep(memory: SharedFirstMessages, path: PathBuf, stop: CancellationToken) {
    let mut period = interval(APPEND_PERIOD);
    let mut rewrite = true;
    loop {
        let stopping = tokio::select! {
            () = stop.cancelled() => true,
            _ = period.tick() => false,
        };
        let kept = if rewrite { whole(&memory, &path) } else { append(&memory, &path) };
        match kept {
            Ok(length) => rewrite = FILE_BYTES_MAX < length,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "first messages not kept");
                rewrite = true;
            }
        }
        if stopping {
            return;
        }
    }
}

fn whole(memory: &SharedFirstMessages, path: &Path) -> io::Result<u64> {
    let bytes = memory.lock().snapshot();
    let next = path.with_extension("next");
    let mut file =
        OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&next)?;
    file.write_all(&bytes)?;
    file.sync_data()?;
    std::fs::rename(next, path)?;
    Ok(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}

fn append(memory: &SharedFirstMessages, path: &Path) -> io::Result<u64> {
    let bytes = memory.lock().journal();
    let mut file: File = OpenOptions::new().append(true).open(path)?;
    if !bytes.is_empty() {
        file.write_all(&bytes)?;
        file.sync_data()?;
    }
    Ok(file.metadata()?.len())
}
