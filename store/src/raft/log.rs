//! The log as openraft wants it: a cache in memory, a writer thread behind it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend};

use super::types::{
    Entry, LogId, Types, Vote, entry, entry_record, log_id, position, vote, vote_record,
};
use crate::backend::{BackendError, Batch, Key, LogBackend};
use crate::records::{EntryRecord, MarkRecord, Record, VoteRecord};
use crate::writer::{Writer, stale_entries};

/// Commands in one message to a follower: with its frame well below 4 MiB, and short enough that
/// a slow link does not starve heartbeats.
const MESSAGE_BYTES: usize = 1 << 20;
/// What an entry costs beside its command.
const ENTRY_OVERHEAD: usize = 64;

/// The log. Clones are the same log.
#[derive(Clone)]
pub(crate) struct Log {
    kept: Arc<RwLock<Kept>>,
    writer: Writer,
}

/// What is in memory: the whole log above the purge mark. Its size is bounded by purging, at
/// 5,000 entries behind a snapshot that is made each 10,000.
#[derive(Default)]
struct Kept {
    entries: BTreeMap<u64, Entry>,
    vote: Option<Vote>,
    purged: Option<LogId>,
    committed: Option<LogId>,
}

impl Kept {
    fn last(&self) -> Option<LogId> {
        self.entries.last_key_value().map(|(_, entry)| entry.log_id()).or(self.purged)
    }
}

/// The log could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// It could not be read.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// Its writer could not be started.
    #[error("cannot start the thread of the raft log")]
    Thread(#[source] io::Error),
    /// It was read and makes no sense.
    #[error("the raft log holds bytes that are none of ours")]
    Garbled(#[source] io::Error),
}

fn garbled<E: Into<Box<dyn std::error::Error + Send + Sync>>>(error: E) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Log {
    /// Loads the log and starts its writer.
    pub(crate) fn load(mut backend: Box<dyn LogBackend>) -> Result<Self, LoadError> {
        let all = backend.load()?;
        let kept = parse(&all).map_err(LoadError::Garbled)?;
        let stale = stale_entries(&all, kept.purged.map(|id| id.index));
        let writer = Writer::spawn(backend, stale).map_err(LoadError::Thread)?;
        Ok(Self { kept: Arc::new(RwLock::new(kept)), writer })
    }

    /// Its writer, to watch.
    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Up to where it was purged: a snapshot must reach that far.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.read().purged
    }

    fn read(&self) -> RwLockReadGuard<'_, Kept> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Kept> {
        self.kept.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(all: &BTreeMap<Key, Vec<u8>>) -> io::Result<Kept> {
    let mut kept = Kept::default();
    let mark = |bytes: &[u8]| -> io::Result<Option<LogId>> {
        Ok(MarkRecord::from_bytes(bytes).map_err(garbled)?.0.as_ref().map(log_id))
    };
    for (key, bytes) in all {
        match key {
            Key::Entry(index) => {
                let record = EntryRecord::from_bytes(bytes).map_err(garbled)?;
                kept.entries.insert(*index, entry(record)?);
            }
            Key::Vote => kept.vote = Some(vote(&VoteRecord::from_bytes(bytes).map_err(garbled)?)),
            Key::Purged => kept.purged = mark(bytes)?,
            Key::Committed => kept.committed = mark(bytes)?,
        }
    }
    if let Some(purged) = kept.purged {
        kept.entries = kept.entries.split_off(&(purged.index + 1));
    }
    let first = kept.entries.keys().next().copied().unwrap_or(0);
    if !kept.entries.keys().copied().eq(first..first + kept.entries.len() as u64) {
        return Err(garbled("the log has a hole"));
    }
    // The mark may be ahead of a log whose tail was lost with a snapshot's; it is only a hint.
    if kept.committed.map(|id| id.index) > kept.last().map(|id| id.index) {
        kept.committed = None;
    }
    Ok(kept)
}

fn put<R: Record>(batch: &mut Batch, key: Key, record: &R) -> io::Result<()> {
    batch.insert(key, Some(record.to_bytes().map_err(garbled)?));
    Ok(())
}

fn size(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(command) => command.0.len() + ENTRY_OVERHEAD,
        EntryPayload::Blank | EntryPayload::Membership(_) => ENTRY_OVERHEAD,
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(self.read().entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        let mut bytes = 0;
        let kept = self.read();
        let fits = kept.entries.range(start..end).map(|(_, entry)| entry).take_while(|entry| {
            // The first one goes in any case.
            let fits = bytes == 0 || bytes + size(entry) <= MESSAGE_BYTES;
            bytes += size(entry);
            fits
        });
        Ok(fits.cloned().collect())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.read().vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let kept = self.read();
        Ok(LogState { last_purged_log_id: kept.purged, last_log_id: kept.last() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let mut batch = Batch::new();
        put(&mut batch, Key::Vote, &vote_record(vote))?;
        self.writer.write_and_wait(batch).await?;
        self.change().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.change().committed = committed;
        let mut batch = Batch::new();
        put(&mut batch, Key::Committed, &MarkRecord(committed.as_ref().map(position)))?;
        self.writer.hint(batch).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.read().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut batch = Batch::new();
        {
            let mut kept = self.change();
            for entry in entries {
                put(&mut batch, Key::Entry(entry.log_id.index), &entry_record(&entry))?;
                kept.entries.insert(entry.log_id.index, entry);
            }
        }
        self.writer.write(batch, Box::new(|result| callback.io_completed(result))).await;
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let first = last.map_or(0, |id| id.index + 1);
        let removed = self.change().entries.split_off(&first);
        // At once and never lazily: the same indexes are written again right after.
        let batch = removed.into_keys().map(|index| (Key::Entry(index), None)).collect();
        self.writer.write_and_wait(batch).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let removed = {
            let mut kept = self.change();
            if kept.purged.is_some_and(|purged| purged.index >= upto.index) {
                return Ok(());
            }
            kept.purged = Some(upto);
            let rest = kept.entries.split_off(&(upto.index + 1));
            std::mem::replace(&mut kept.entries, rest)
        };
        let mut batch = Batch::new();
        put(&mut batch, Key::Purged, &MarkRecord(Some(position(&upto))))?;
        self.writer.write_and_wait(batch).await?;
        match (removed.keys().next(), removed.keys().next_back()) {
            (Some(first), Some(last)) => self.writer.purged(*first..=*last).await,
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::StorageError;
    use openraft::testing::log::{StoreBuilder, Suite};
    use openraft::type_config::TypeConfigExt;
    use tempfile::TempDir;

    use super::*;
    use crate::backend::sled::SledBackend;
    use crate::raft::machine::{Machine, Published};
    use crate::snapshot::SnapshotDir;

    struct Builder;

    impl StoreBuilder<Types, Log, Machine, TempDir> for Builder {
        async fn build(&self) -> Result<(TempDir, Log, Machine), StorageError<Types>> {
            let dir = tempfile::tempdir().unwrap();
            let log = open(&dir);
            let snapshots = SnapshotDir::open(&dir.path().join("snapshots")).unwrap();
            let machine = Machine::load([7; 16], snapshots, Published::new()).unwrap();
            Ok((dir, log, machine))
        }
    }

    fn open(dir: &TempDir) -> Log {
        let backend = SledBackend::open(&dir.path().join("log")).unwrap();
        Log::load(Box::new(backend)).unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn does_what_openraft_expects_of_a_log() {
        Suite::test_all(Builder).await.unwrap();
    }

    fn entry_at(index: u64) -> Entry {
        Entry {
            log_id: openraft::testing::log_id::<Types>(1, 1, index),
            payload: EntryPayload::Blank,
        }
    }

    async fn append(log: &mut Log, indexes: std::ops::Range<u64>) {
        let (sender, done) = Types::oneshot();
        let callback = IOFlushed::signal(sender);
        log.append(indexes.map(entry_at), callback).await.unwrap();
        done.await.unwrap().unwrap();
    }

    /// sled waits for ever for files that are gone, and all of its databases share a lock: close
    /// before the folder goes.
    async fn close(log: Log) {
        let mut end = log.writer().end();
        drop(log);
        end.wait_for(|end| matches!(end, crate::writer::WriterEnd::Closed)).await.unwrap();
    }

    #[tokio::test]
    async fn what_was_flushed_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(&dir);
        let vote = Vote::new_committed(4, 2);
        log.save_vote(&vote).await.unwrap();
        append(&mut log, 0..200).await;
        log.truncate_after(Some(entry_at(149).log_id)).await.unwrap();
        append(&mut log, 150..160).await;
        log.purge(entry_at(99).log_id).await.unwrap();
        log.save_committed(Some(entry_at(140).log_id)).await.unwrap();
        append(&mut log, 160..170).await;
        close(log).await;

        let mut log = open(&dir);
        assert_eq!(log.read_vote().await.unwrap(), Some(vote));
        assert_eq!(log.purged(), Some(entry_at(99).log_id));
        assert_eq!(log.read_committed().await.unwrap(), Some(entry_at(140).log_id));
        let entries = log.try_get_log_entries(..).await.unwrap();
        assert_eq!(entries, (100..170).map(entry_at).collect::<Vec<_>>());
        close(log).await;
    }

    #[tokio::test]
    async fn one_message_to_a_follower_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(&dir);
        let command = |index: u64, bytes: usize| Entry {
            payload: EntryPayload::Normal(crate::records::Blob(vec![0; bytes].into())),
            ..entry_at(index)
        };
        let sizes = [1_500_000, 600_000, 400_000, 600_000, 10];
        let entries = sizes.iter().zip(0..).map(|(bytes, index)| command(index, *bytes));
        log.append(entries.collect::<Vec<_>>(), IOFlushed::noop()).await.unwrap();
        for (start, expected) in [(0, 1), (1, 2), (2, 3), (3, 2), (4, 1)] {
            let got = log.limited_get_log_entries(start, 5).await.unwrap();
            assert_eq!(got.len(), expected, "from {start}");
        }
        close(log).await;
    }

    #[tokio::test]
    async fn a_poisoned_snapshot_of_sled_does_not_keep_the_log_shut() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(&dir);
        append(&mut log, 0..10).await;
        close(log).await;
        let poison = dir.path().join("log/sled/snap.0000000000000FFF.generating");
        std::fs::write(&poison, b"half a snapshot").unwrap();
        let mut log = open(&dir);
        assert_eq!(log.try_get_log_entries(..).await.unwrap().len(), 10);
        assert!(!poison.exists());
        close(log).await;
    }
}
