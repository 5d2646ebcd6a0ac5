//! The log on sled 0.34, with the fsync that sled leaves out.
//!
//! sled's `flush` ends in `sync_file_range`, which neither commits the file's metadata nor makes
//! the device flush its cache (`src/pagecache/iobuf.rs` of sled 0.34.7): after a power cut
//! acknowledged writes were gone in 54 of 60 tries. One `fdatasync` of the `db` file after each
//! flush makes it durable, so sled's own flush thread is off and we flush ourselves.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{BackendError, Batch, Key, LogBackend};

/// sled's page cache. Reads are served from our own memory, so it only has to hold what a batch
/// touches.
const CACHE_CAPACITY: u64 = 8 << 20;
/// How long an open waits for a process that was just killed to let go of its lock.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(50);
/// A file that gives its space back when the disk is full, because sled must write to open.
const BALLAST_FILE: &str = "ballast";
const BALLAST_BYTES: u64 = 16 << 20;
const TREE: &str = "raft";

/// A sled database that syncs.
pub(crate) struct SledBackend {
    dir: PathBuf,
    /// Closes the files when it is dropped.
    _database: ::sled::Db,
    tree: ::sled::Tree,
    /// Any descriptor of the inode will do for `fdatasync`.
    file: File,
    syncs: Arc<AtomicU64>,
}

impl SledBackend {
    /// Opens or makes the database in `dir`. Blocks up to 2 s on the lock of a dying process.
    pub(crate) fn open(dir: &Path) -> Result<Self, BackendError> {
        let file_error = |what, path: &Path| {
            let path = path.to_path_buf();
            move |source| BackendError::File { what, path, source }
        };
        fs::create_dir_all(dir).map_err(file_error("create", dir))?;
        let ballast = dir.join(BALLAST_FILE);
        if free_bytes(dir).is_some_and(|free| free < BALLAST_BYTES) {
            release(&ballast);
        }
        let data = dir.join("sled");
        fs::create_dir_all(&data).map_err(file_error("create", &data))?;
        remove_unfinished_snapshots(&data).map_err(file_error("clean", &data))?;
        let (database, tree) = match open_locked(&data) {
            Err(error) if is_full(&error) && release(&ballast) => open_locked(&data)?,
            other => other?,
        };
        let path = data.join("db");
        let file = File::open(&path).map_err(file_error("open", &path))?;
        // The names of new files must outlive a power cut, too.
        for dir in [&data, dir] {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(file_error("sync", dir))?;
        }
        keep_ballast(dir, &ballast);
        Ok(Self { dir: data, _database: database, tree, file, syncs: Arc::default() })
    }

    /// Makes room on a full disk before anything else is written there; whether it did.
    pub(crate) fn make_room(dir: &Path) -> bool {
        release(&dir.join(BALLAST_FILE))
    }

    /// How many times the file was synced, for tests.
    #[cfg(test)]
    pub(crate) fn syncs(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.syncs)
    }

    fn database_error(&self, source: ::sled::Error) -> BackendError {
        BackendError::Database { path: self.dir.clone(), source }
    }

    fn write_unguarded(&self, batch: Batch, sync: bool) -> Result<(), BackendError> {
        let mut writes = ::sled::Batch::default();
        for (key, value) in batch {
            match value {
                Some(value) => writes.insert(key.to_bytes(), value),
                None => writes.remove(key.to_bytes()),
            }
        }
        self.tree.apply_batch(writes).map_err(|error| self.database_error(error))?;
        if sync {
            self.tree.flush().map_err(|error| self.database_error(error))?;
            self.file.sync_data().map_err(|source| BackendError::File {
                what: "sync",
                path: self.dir.join("db"),
                source,
            })?;
            self.syncs.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl LogBackend for SledBackend {
    fn load(&mut self) -> Result<BTreeMap<Key, Vec<u8>>, BackendError> {
        let mut all = BTreeMap::new();
        for item in self.tree.iter() {
            let (key, value) = item.map_err(|error| self.database_error(error))?;
            let key = Key::from_bytes(&key)
                .ok_or_else(|| BackendError::UnknownKey { path: self.dir.clone() })?;
            all.insert(key, value.to_vec());
        }
        Ok(all)
    }

    fn write(&mut self, batch: Batch, sync: bool) -> Result<(), BackendError> {
        catch_unwind(AssertUnwindSafe(|| self.write_unguarded(batch, sync)))
            .unwrap_or_else(|_| Err(BackendError::Panicked { path: self.dir.clone() }))
    }
}

/// Removes `snap.*.generating`: sled dies half-way through writing one and then takes it for a
/// valid one, because its filter looks for another suffix (`src/config.rs` of sled 0.34.7).
fn remove_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn open_locked(dir: &Path) -> Result<(::sled::Db, ::sled::Tree), BackendError> {
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match open_once(dir) {
            Err(error) if is_locked(&error) => {
                if Instant::now() >= until {
                    return Err(BackendError::InUse { path: dir.to_path_buf() });
                }
                std::thread::park_timeout(LOCK_RETRY);
            }
            other => return other,
        }
    }
}

fn open_once(dir: &Path) -> Result<(::sled::Db, ::sled::Tree), BackendError> {
    let path = dir.to_path_buf();
    let opened = catch_unwind(|| {
        let database = ::sled::Config::new()
            .path(dir)
            .cache_capacity(CACHE_CAPACITY)
            .flush_every_ms(None)
            .open()?;
        let tree = database.open_tree(TREE)?;
        Ok((database, tree))
    });
    match opened {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(source)) => Err(BackendError::Database { path, source }),
        Err(_panic) => Err(BackendError::Panicked { path }),
    }
}

/// sled tells that another process holds the lock by this text, with the kind `Other`.
fn is_locked(error: &BackendError) -> bool {
    matches!(error, BackendError::Database { source: ::sled::Error::Io(error), .. }
        if error.kind() == io::ErrorKind::WouldBlock
            || error.to_string().contains("could not acquire lock"))
}

/// Whether the disk or a quota is full.
pub(super) fn is_full(error: &BackendError) -> bool {
    let (BackendError::Database { source: ::sled::Error::Io(error), .. }
    | BackendError::File { source: error, .. }) = error
    else {
        return false;
    };
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn free_bytes(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Gives the ballast's space back; whether there was any.
fn release(ballast: &Path) -> bool {
    let released = fs::remove_file(ballast).is_ok();
    if released {
        tracing::warn!(path = %ballast.display(), "disk was full, ballast was released");
    }
    released
}

/// Makes the ballast, where there is ample space. Without it everything works but a restart on a
/// full disk.
fn keep_ballast(dir: &Path, ballast: &Path) {
    let whole = fs::metadata(ballast).is_ok_and(|file| file.len() == BALLAST_BYTES);
    if whole || free_bytes(dir).is_none_or(|free| free < 4 * BALLAST_BYTES) {
        return;
    }
    if let Err(error) = write_ballast(ballast) {
        tracing::warn!(path = %ballast.display(), error = %error, "ballast could not be written");
    }
}

/// Allocates the space where the file system can, writes it where it cannot.
fn write_ballast(ballast: &Path) -> io::Result<()> {
    let mut file = File::create(ballast)?;
    let mode = rustix::fs::FallocateFlags::empty();
    if rustix::fs::fallocate(&file, mode, 0, BALLAST_BYTES).is_ok() {
        return Ok(());
    }
    let block = vec![0; 1 << 20];
    for _ in 0..BALLAST_BYTES >> 20 {
        file.write_all(&block)?;
    }
    Ok(())
}
