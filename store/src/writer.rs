//! The one thread that writes the log: what waits is written as one batch with one sync.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::watch;

use crate::backend::{BackendError, Batch, Key, LogBackend};

/// How many writes may wait. openraft itself has at most this many appends under way, each of up
/// to 4096 entries; more would only make latency.
const QUEUE: usize = 1024;
/// Removed in one go after a purge. Removing 26,000 keys at once stopped writes for 2 s.
const PURGE_STEP: u64 = 64;

/// Called when a write is on the disk, or never will be.
pub(crate) type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

enum Job {
    Write {
        batch: Batch,
        done: Done,
    },
    /// Written with the next batch: losing it costs nothing but time.
    Hint {
        batch: Batch,
    },
    /// Entries that are no longer needed; the mark itself is written by the caller.
    Purged {
        entries: RangeInclusive<u64>,
    },
}

/// Hands writes to the thread.
#[derive(Clone)]
pub(crate) struct Writer {
    jobs: mpsc::Sender<Job>,
    end: watch::Receiver<WriterEnd>,
    busy: Busy,
}

/// Since when the thread is in one write. sled may wait for ever after a disk error instead of
/// returning it, so somebody else must look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Busy(Arc<Mutex<Option<Instant>>>);

impl Busy {
    /// For how long the current write has been going on.
    pub(crate) fn elapsed(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.elapsed())
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// How the thread is.
#[derive(Clone, Debug, Default)]
pub(crate) enum WriterEnd {
    /// It writes.
    #[default]
    Running,
    /// Everybody let go of it; the file is closed.
    Closed,
    /// It met an error: nothing was acknowledged since, nothing will be.
    Failed(Arc<BackendError>),
}

/// The log can no longer be written.
#[derive(Clone, Debug, Error)]
#[error("the raft log stopped after an error")]
pub(crate) struct WriterGone;

impl Writer {
    /// Starts the thread. Entries in `stale` were purged before the last end and are still there.
    pub(crate) fn spawn(
        backend: Box<dyn LogBackend>,
        stale: Option<RangeInclusive<u64>>,
    ) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let (end_sender, end) = watch::channel(WriterEnd::Running);
        let busy = Busy::default();
        let thread = Thread {
            backend,
            busy: busy.clone(),
            queue,
            hint: Batch::new(),
            purge: stale.into_iter().collect(),
        };
        std::thread::Builder::new().name("raft-log".to_owned()).spawn(move || {
            thread.run(&end_sender);
        })?;
        Ok(Self { jobs, end, busy })
    }

    /// Queues a batch; `done` is called once it and everything before it is on the disk.
    pub(crate) async fn write(&self, batch: Batch, done: Done) {
        if let Err(error) = self.jobs.send(Job::Write { batch, done }).await
            && let Job::Write { done, .. } = error.0
        {
            done(Err(io::Error::other(WriterGone)));
        }
    }

    /// Writes a batch and waits until it is on the disk.
    pub(crate) async fn write_and_wait(&self, batch: Batch) -> io::Result<()> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // A receiver that is gone no longer cares.
        let done: Done = Box::new(move |result| drop(sender.send(result)));
        self.write(batch, done).await;
        receiver.await.unwrap_or_else(|_| Err(io::Error::other(WriterGone)))
    }

    /// Queues what may be lost.
    pub(crate) async fn hint(&self, batch: Batch) -> io::Result<()> {
        self.jobs.send(Job::Hint { batch }).await.map_err(|_| io::Error::other(WriterGone))
    }

    /// Lets the thread remove entries when it is idle.
    pub(crate) async fn purged(&self, entries: RangeInclusive<u64>) -> io::Result<()> {
        self.jobs.send(Job::Purged { entries }).await.map_err(|_| io::Error::other(WriterGone))
    }

    /// Since when it writes.
    pub(crate) fn busy(&self) -> Busy {
        self.busy.clone()
    }

    /// How the thread is.
    pub(crate) fn end(&self) -> watch::Receiver<WriterEnd> {
        self.end.clone()
    }
}

struct Thread {
    backend: Box<dyn LogBackend>,
    busy: Busy,
    queue: mpsc::Receiver<Job>,
    hint: Batch,
    /// Entries that still have to be removed; one range for each purge that is not done.
    purge: VecDeque<RangeInclusive<u64>>,
}

impl Thread {
    fn run(mut self, end: &watch::Sender<WriterEnd>) {
        loop {
            let first = match self.next_job() {
                Ok(Some(job)) => job,
                Ok(None) => {
                    // The file is closed before anybody is told that it is.
                    drop(self);
                    end.send_replace(WriterEnd::Closed);
                    return;
                }
                Err(error) => return self.fail(error, Vec::new(), end),
            };
            if let Err((error, waiting)) = self.write_with_all_that_waits(first) {
                return self.fail(error, waiting, end);
            }
        }
    }

    /// The next job; removes purged entries while there is none. `None` when everybody let go.
    fn next_job(&mut self) -> Result<Option<Job>, BackendError> {
        while let Some(entries) = self.purge.pop_front() {
            match self.queue.try_recv() {
                Err(TryRecvError::Empty) => {}
                other => {
                    self.purge.push_front(entries);
                    return Ok(other.ok());
                }
            }
            let (first, last) = entries.into_inner();
            let until = last.min(first.saturating_add(PURGE_STEP - 1));
            let batch = (first..=until).map(|index| (Key::Entry(index), None)).collect();
            self.put(batch, false)?;
            if until < last {
                self.purge.push_front(until + 1..=last);
            }
        }
        Ok(self.queue.blocking_recv())
    }

    fn put(&mut self, batch: Batch, sync: bool) -> Result<(), BackendError> {
        self.busy.set(Some(Instant::now()));
        let result = self.backend.write(batch, sync);
        self.busy.set(None);
        result
    }

    /// One batch, one sync, then the callbacks in order.
    fn write_with_all_that_waits(&mut self, first: Job) -> Result<(), (BackendError, Vec<Done>)> {
        let mut batch = std::mem::take(&mut self.hint);
        let mut waiting = Vec::new();
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Write { batch: more, done } => {
                    batch.extend(more);
                    waiting.push(done);
                }
                Job::Hint { batch: more } => batch.extend(more),
                Job::Purged { entries } => self.purge.push_back(entries),
            }
            next = if waiting.len() < QUEUE { self.queue.try_recv().ok() } else { None };
        }
        if waiting.is_empty() {
            self.hint = batch;
            return Ok(());
        }
        match self.put(batch, true) {
            Err(error) => Err((error, waiting)),
            Ok(()) => {
                for done in waiting {
                    done(Ok(()));
                }
                Ok(())
            }
        }
    }

    /// After an error nobody is told that anything was written: an fsync that failed once may
    /// succeed the next time without the data being there.
    fn fail(mut self, error: BackendError, waiting: Vec<Done>, end: &watch::Sender<WriterEnd>) {
        let error = Arc::new(error);
        tracing::error!(error = %Report(&error), "raft log failed, this node stops");
        self.queue.close();
        // Before Raft fails for it: this is the reason that somebody can do something about.
        end.send_replace(WriterEnd::Failed(error));
        let refuse = |done: Done| done(Err(io::Error::other(WriterGone)));
        waiting.into_iter().for_each(refuse);
        while let Some(job) = self.queue.blocking_recv() {
            if let Job::Write { done, .. } = job {
                refuse(done);
            }
        }
        // sled flushes when it is dropped, and waits for ever for a disk that does not work.
        std::mem::forget(self.backend);
    }
}

/// An error with its sources, for the log.
pub(crate) struct Report<'a, E>(pub(crate) &'a E);

impl<E: std::error::Error> std::fmt::Display for Report<'_, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// Which entries a purge left behind: those at or below the mark.
pub(crate) fn stale_entries(
    kept: &BTreeMap<Key, Vec<u8>>,
    purged: Option<u64>,
) -> Option<RangeInclusive<u64>> {
    let purged = purged?;
    match kept.keys().next() {
        Some(Key::Entry(first)) if *first <= purged => Some(*first..=purged),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::backend::sled::SledBackend;

    fn entry(index: u64) -> Batch {
        Batch::from([(Key::Entry(index), Some(vec![1; 100]))])
    }

    /// Forgets what was not synced, and fails from the given write on.
    #[derive(Clone, Default)]
    struct Fake(Arc<Mutex<FakeState>>);

    #[derive(Default)]
    struct FakeState {
        kept: BTreeMap<Key, Vec<u8>>,
        batches: Vec<(usize, bool)>,
        fail_from: Option<usize>,
    }

    impl LogBackend for Fake {
        fn load(&mut self) -> Result<BTreeMap<Key, Vec<u8>>, BackendError> {
            Ok(self.0.lock().unwrap().kept.clone())
        }

        fn write(&mut self, batch: Batch, sync: bool) -> Result<(), BackendError> {
            let mut state = self.0.lock().unwrap();
            state.batches.push((batch.len(), sync));
            if state.fail_from.is_some_and(|from| state.batches.len() > from) {
                return Err(BackendError::Panicked { path: "fake".into() });
            }
            for (key, value) in batch {
                match value {
                    Some(value) => state.kept.insert(key, value),
                    None => state.kept.remove(&key),
                };
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn each_acknowledged_batch_costs_exactly_one_fdatasync() {
        let dir = tempfile::tempdir().unwrap();
        let backend = SledBackend::open(dir.path()).unwrap();
        let syncs = backend.syncs();
        let writer = Writer::spawn(Box::new(backend), None).unwrap();
        for index in 0..20 {
            writer.hint(Batch::from([(Key::Committed, Some(vec![1]))])).await.unwrap();
            writer.write_and_wait(entry(index)).await.unwrap();
            assert_eq!(syncs.load(Ordering::Relaxed), index + 1);
        }
        // Those that come together share one.
        let together = (20..1020).map(|index| writer.write_and_wait(entry(index)));
        for result in futures::future::join_all(together).await {
            result.unwrap();
        }
        let shared = syncs.load(Ordering::Relaxed) - 20;
        assert!((1..500).contains(&shared), "1000 writes took {shared} syncs");
        let mut end = writer.end();
        drop(writer);
        end.wait_for(|end| matches!(end, WriterEnd::Closed)).await.unwrap();
    }

    #[tokio::test]
    async fn nothing_is_acknowledged_after_an_error() {
        let fake = Fake::default();
        fake.0.lock().unwrap().fail_from = Some(2);
        let writer = Writer::spawn(Box::new(fake.clone()), None).unwrap();
        let mut end = writer.end();
        writer.write_and_wait(entry(1)).await.unwrap();
        writer.write_and_wait(entry(2)).await.unwrap();
        for index in 3..10 {
            writer.write_and_wait(entry(index)).await.unwrap_err();
        }
        end.wait_for(|end| matches!(end, WriterEnd::Failed(_))).await.unwrap();
        assert_eq!(fake.0.lock().unwrap().batches.len(), 3, "written on after an error");
    }

    #[tokio::test]
    async fn purged_entries_go_in_small_steps_and_rewritten_ones_stay() {
        let fake = Fake::default();
        let writer = Writer::spawn(Box::new(fake.clone()), None).unwrap();
        let mut end = writer.end();
        for index in 0..300 {
            writer.write(entry(index), Box::new(|_| ())).await;
        }
        // Truncated from 290 on and written again: only a purge may remove late.
        let removed = (290..300).map(|index| (Key::Entry(index), None)).collect();
        writer.write_and_wait(removed).await.unwrap();
        writer.purged(0..=280).await.unwrap();
        for index in 290..300 {
            writer.write_and_wait(entry(index)).await.unwrap();
        }
        writer.purged(281..=285).await.unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while fake.0.lock().unwrap().kept.contains_key(&Key::Entry(285)) {
            assert!(Instant::now() < until, "never purged");
            tokio::task::yield_now().await;
        }
        drop(writer);
        end.wait_for(|end| matches!(end, WriterEnd::Closed)).await.unwrap();
        let state = fake.0.lock().unwrap();
        let left: Vec<_> = state.kept.keys().copied().collect();
        let expected: Vec<_> = (286..300).map(Key::Entry).collect();
        assert_eq!(left, expected);
        assert!(state.batches.iter().all(|(writes, sync)| *sync || *writes <= 64));
    }

    #[test]
    fn finds_what_a_purge_left_behind() {
        let kept: BTreeMap<_, _> = [3, 4, 5].map(|index| (Key::Entry(index), vec![])).into();
        for (purged, expected) in
            [(None, None), (Some(2), None), (Some(3), Some(3..=3)), (Some(9), Some(3..=9))]
        {
            assert_eq!(stale_entries(&kept, purged), expected, "{purged:?}");
        }
    }
}
