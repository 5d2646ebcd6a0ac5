//! Snapshot files: a header, records in checked blocks, and a hash of the whole.
//!
//! ```text
//! magic (8) | block* | 0u32 | blake3 of everything before (32)
//! block  = length u32 | crc32 u32 | bytes
//! bytes  = (length u32 | record)*
//! ```
//! The first record is the header. Numbers are little endian. A file appears under its name only
//! when it is whole and on the disk.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{State, StateBuilder};
use thiserror::Error;

use crate::records::{LogPosition, Record, SnapshotRecord};

const MAGIC: &[u8; 8] = b"SKEPSNP1";
/// A block is closed when it is this long, so that damage is found before much was read.
const BLOCK_BYTES: usize = 1 << 20;
/// No block may claim more: a block plus the longest record.
const BLOCK_LIMIT: usize = BLOCK_BYTES + RECORD_LIMIT + 4;
/// The longest record: one chunk of the state.
const RECORD_LIMIT: usize = 16 << 20;
/// Old ones stay while they may still be read for a follower.
const KEEP: usize = 2;
const SUFFIX: &str = ".snapshot";
const UNFINISHED: &str = ".tmp";

/// A snapshot could not be written or read.
#[derive(Debug, Error)]
pub enum SnapshotError {
    /// A file operation failed.
    #[error("cannot {what} {}", path.display())]
    File {
        /// `write`, `read`, …
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("snapshot {} is damaged: {what}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The header is none of ours, or the records make no state.
    #[error("snapshot {} holds what this version cannot read", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The folder of snapshot files.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotDir {
    dir: PathBuf,
    current: Arc<Mutex<Option<SnapshotFile>>>,
}

/// A snapshot file that was written or checked.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotFile {
    pub(crate) header: SnapshotRecord,
    pub(crate) path: PathBuf,
}

impl SnapshotDir {
    /// Makes the folder where there is none, and clears what was never finished.
    pub(crate) fn open(dir: &Path) -> Result<Self, SnapshotError> {
        fs::create_dir_all(dir).map_err(file_error("create", dir))?;
        for path in list(dir)? {
            if path.to_string_lossy().ends_with(UNFINISHED) {
                fs::remove_file(&path).map_err(file_error("remove", &path))?;
            }
        }
        Ok(Self { dir: dir.to_path_buf(), current: Arc::default() })
    }

    /// Where to write a snapshot that comes from elsewhere, until it was checked. The name is
    /// free as long as one snapshot with this `tag` is under way.
    pub(crate) fn receiving(&self, tag: u64) -> PathBuf {
        self.dir.join(format!("received-{tag}{UNFINISHED}"))
    }

    /// Writes a snapshot and makes it the newest. Blocks; syncs file and folder.
    pub(crate) fn write(
        &self,
        header: SnapshotRecord,
        state: &State,
    ) -> Result<SnapshotFile, SnapshotError> {
        let path = self.dir.join(format!("building{UNFINISHED}"));
        let chunks = state.chunks().map(|chunk| chunk.map_err(io::Error::other));
        write_file(&path, &header, chunks).map_err(file_error("write", &path))?;
        self.adopt(SnapshotFile { header, path })
    }

    /// Gives a whole, synced file its name, and removes the oldest. Blocks.
    pub(crate) fn adopt(&self, file: SnapshotFile) -> Result<SnapshotFile, SnapshotError> {
        let path = self.dir.join(name(&file.header));
        if path != file.path {
            fs::rename(&file.path, &path).map_err(file_error("rename", &file.path))?;
        }
        let sync = |dir: &Path| File::open(dir).and_then(|dir| dir.sync_all());
        sync(&self.dir).map_err(file_error("sync", &self.dir))?;
        let mut all = self.all()?;
        let outdated = all.len().saturating_sub(KEEP);
        for old in all.drain(..outdated).filter(|old| *old != path) {
            fs::remove_file(&old).map_err(file_error("remove", &old))?;
        }
        let adopted = SnapshotFile { header: file.header, path };
        *self.lock() = Some(adopted.clone());
        Ok(adopted)
    }

    /// The newest snapshot that was written, adopted or found.
    pub(crate) fn current(&self) -> Option<SnapshotFile> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<SnapshotFile>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest whole snapshot, with its state. Blocks.
    pub(crate) fn newest(&self) -> Result<Option<(SnapshotFile, State)>, SnapshotError> {
        let mut damage = None;
        for path in self.all()?.into_iter().rev() {
            match load(&path) {
                Ok((header, state)) => {
                    let file = SnapshotFile { header, path };
                    *self.lock() = Some(file.clone());
                    return Ok(Some((file, state)));
                }
                Err(error) => {
                    let shown = crate::writer::Report(&error).to_string();
                    tracing::warn!(path = %path.display(), error = shown, "snapshot was skipped");
                    damage.get_or_insert(error);
                }
            }
        }
        damage.map_or(Ok(None), Err)
    }

    /// Snapshot files, oldest first.
    fn all(&self) -> Result<Vec<PathBuf>, SnapshotError> {
        let mut all = list(&self.dir)?;
        all.retain(|path| path.to_string_lossy().ends_with(SUFFIX));
        all.sort();
        Ok(all)
    }
}

fn file_error<'a>(
    what: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> SnapshotError + 'a {
    move |source| SnapshotError::File { what, path: path.to_path_buf(), source }
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, SnapshotError> {
    let read = || fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>();
    read().map_err(file_error("list", dir))
}

/// Sorts as the index does.
fn name(header: &SnapshotRecord) -> String {
    let LogPosition { term, leader, index } = header.last.unwrap_or_default();
    format!("{index:020}-{term}-{leader}{SUFFIX}")
}

/// Hashes what passes through to the file.
struct Hashing<W> {
    inner: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Hashing<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.inner.write_all(bytes)
    }

    fn put_block(&mut self, block: &[u8]) -> io::Result<()> {
        self.put(&length(block.len())?)?;
        self.put(&crc32fast::hash(block).to_le_bytes())?;
        self.put(block)
    }
}

fn length(length: usize) -> io::Result<[u8; 4]> {
    u32::try_from(length)
        .map(u32::to_le_bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn write_file(
    path: &Path,
    header: &SnapshotRecord,
    records: impl Iterator<Item = io::Result<Vec<u8>>>,
) -> io::Result<()> {
    let header = header.to_bytes().map_err(io::Error::other)?;
    let inner = BufWriter::new(File::create(path)?);
    let mut out = Hashing { inner, hasher: blake3::Hasher::new() };
    out.put(MAGIC)?;
    let mut block = Vec::new();
    for record in std::iter::once(Ok(header)).chain(records) {
        let record = record?;
        if record.len() > RECORD_LIMIT {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a record is too long"));
        }
        block.extend_from_slice(&length(record.len())?);
        block.extend_from_slice(&record);
        if block.len() >= BLOCK_BYTES {
            out.put_block(&block)?;
            block.clear();
        }
    }
    if !block.is_empty() {
        out.put_block(&block)?;
    }
    out.put(&0_u32.to_le_bytes())?;
    let hash = *out.hasher.finalize().as_bytes();
    out.inner.write_all(&hash)?;
    let file = out.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()
}

/// Reads a snapshot and checks every byte of it. Blocks.
pub(crate) fn load(path: &Path) -> Result<(SnapshotRecord, State), SnapshotError> {
    let unreadable = |source: Box<dyn std::error::Error + Send + Sync>| SnapshotError::Unreadable {
        path: path.to_path_buf(),
        source,
    };
    let mut header = None;
    let mut builder = StateBuilder::default();
    read_file(path, |record| {
        if header.is_none() {
            header = Some(SnapshotRecord::from_bytes(record).map_err(|e| unreadable(e.into()))?);
            return Ok(());
        }
        builder.push(record).map_err(|error| unreadable(error.into()))
    })?;
    let state = builder.finish().map_err(|error| unreadable(error.into()))?;
    let header = header
        .ok_or_else(|| SnapshotError::Damaged { path: path.to_path_buf(), what: "it is empty" })?;
    Ok((header, state))
}

fn read_file(
    path: &Path,
    mut each: impl FnMut(&[u8]) -> Result<(), SnapshotError>,
) -> Result<(), SnapshotError> {
    let damaged = |what| SnapshotError::Damaged { path: path.to_path_buf(), what };
    let file = File::open(path).map_err(file_error("open", path))?;
    let mut reader = Checked { inner: BufReader::new(file), hasher: blake3::Hasher::new(), path };
    if reader.take(MAGIC.len())? != MAGIC {
        return Err(damaged("it does not begin as a snapshot"));
    }
    loop {
        let length = reader.number()?;
        if length == 0 {
            break;
        }
        if length > BLOCK_LIMIT {
            return Err(damaged("a block is too long"));
        }
        let sum = reader.number()?;
        let block = reader.take(length)?;
        if crc32fast::hash(&block) as usize != sum {
            return Err(damaged("a checksum is wrong"));
        }
        let mut rest = &block[..];
        while !rest.is_empty() {
            let (record, after) =
                split(rest).ok_or_else(|| damaged("a record ends beyond its block"))?;
            each(record)?;
            rest = after;
        }
    }
    let computed = *reader.hasher.finalize().as_bytes();
    if reader.take(computed.len())? != computed {
        return Err(damaged("its hash is wrong"));
    }
    Ok(())
}

fn split(block: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = block.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

struct Checked<'a> {
    inner: BufReader<File>,
    hasher: blake3::Hasher,
    path: &'a Path,
}

impl Checked<'_> {
    fn take(&mut self, length: usize) -> Result<Vec<u8>, SnapshotError> {
        let mut bytes = vec![0; length];
        self.inner.read_exact(&mut bytes).map_err(|source| {
            let path = self.path.to_path_buf();
            if source.kind() == io::ErrorKind::UnexpectedEof {
                SnapshotError::Damaged { path, what: "it ends too soon" }
            } else {
                SnapshotError::File { what: "read", path, source }
            }
        })?;
        self.hasher.update(&bytes);
        Ok(bytes)
    }

    fn number(&mut self) -> Result<usize, SnapshotError> {
        let bytes = self.take(4)?;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::MembershipRecord;

    fn header(index: u64) -> SnapshotRecord {
        SnapshotRecord {
            genesis: [7; 16],
            last: Some(LogPosition { term: 1, leader: 1, index }),
            membership_at: None,
            membership: MembershipRecord::default(),
        }
    }

    fn state(nodes: u64) -> State {
        crate::testing::state_with_nodes(nodes)
    }

    #[test]
    fn a_snapshot_survives_the_disk_and_the_newest_two_stay() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = SnapshotDir::open(temporary.path()).unwrap();
        assert!(dir.newest().unwrap().is_none());
        for index in [5, 100, 20_000] {
            dir.write(header(index), &state(index.min(300))).unwrap();
        }
        fs::write(dir.receiving(1), b"half").unwrap();
        let dir = SnapshotDir::open(temporary.path()).unwrap();
        assert_eq!(list(temporary.path()).unwrap().len(), 2);
        let (newest, found) = dir.newest().unwrap().unwrap();
        assert_eq!(newest.header, header(20_000));
        assert!(found == state(300));
    }

    #[test]
    fn long_records_share_and_fill_blocks() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("long");
        let long = (0..3_000_000_u32).map(|byte| byte as u8).collect();
        let records: Vec<Vec<u8>> =
            [vec![1, 2, 3], vec![], long, vec![9; 700_000], vec![8; 700_000]].into();
        write_file(&path, &header(1), records.iter().cloned().map(Ok)).unwrap();
        let mut found = Vec::new();
        read_file(&path, |record| {
            found.push(record.to_vec());
            Ok(())
        })
        .unwrap();
        assert!(found[1..] == records);
    }

    #[test]
    fn damage_anywhere_is_found_and_the_one_before_is_used() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = SnapshotDir::open(temporary.path()).unwrap();
        dir.write(header(1), &state(1)).unwrap();
        let newest = dir.write(header(2), &state(2)).unwrap();
        let whole = fs::read(&newest.path).unwrap();
        for position in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[position] ^= 0x10;
            fs::write(&newest.path, &damaged).unwrap();
            assert!(load(&newest.path).is_err(), "byte {position}");
            fs::write(&newest.path, &whole[..position]).unwrap();
            assert!(load(&newest.path).is_err(), "cut at {position}");
        }
        assert_eq!(dir.newest().unwrap().unwrap().0.header, header(1));
    }
}
