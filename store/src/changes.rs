//! What was written lately, so that a watcher can go on where it left off.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{Change, Index};
use thiserror::Error;
use tokio::sync::watch;

/// Changes that are kept: at 100 writes a second ten minutes, and some 20 MB at most, since the
/// objects are shared with the state.
const CHANGES_MAX: usize = 65_536;

/// Why a subscription cannot go on.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum SubscribeError {
    /// Changes after the last that was seen are no longer kept. List everything, then subscribe
    /// from the index of that state.
    #[error("changes before index {first} are no longer kept")]
    Compacted {
        /// The oldest that can be asked for.
        first: Index,
    },
    /// The store has ended.
    #[error("the store has stopped")]
    Stopped,
}

/// The changes of one entry.
#[derive(Clone, Debug)]
pub struct EntryChanges {
    /// Index of the entry.
    pub index: Index,
    /// What it wrote, in order.
    pub changes: Arc<[Change]>,
}

/// The changes of the last entries.
#[derive(Debug)]
struct Kept {
    entries: VecDeque<EntryChanges>,
    count: usize,
    /// Everything up to here is forgotten.
    forgotten: Index,
}

/// Takes changes in, as they are applied.
#[derive(Clone, Debug)]
pub(crate) struct ChangeLog {
    kept: Arc<Mutex<Kept>>,
    latest: Arc<watch::Sender<Index>>,
    max: usize,
}

impl ChangeLog {
    pub(crate) fn new() -> Self {
        Self::with_max(CHANGES_MAX)
    }

    fn with_max(max: usize) -> Self {
        let kept = Kept { entries: VecDeque::new(), count: 0, forgotten: Index(0) };
        let latest = Arc::new(watch::Sender::new(Index(0)));
        Self { kept: Arc::new(Mutex::new(kept)), latest, max }
    }

    /// Adds what one entry wrote. Nobody is told before [`Self::publish`].
    pub(crate) fn push(&self, index: Index, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        let mut kept = lock(&self.kept);
        kept.count += changes.len();
        kept.entries.push_back(EntryChanges { index, changes: changes.into() });
        while kept.count > self.max {
            let Some(oldest) = kept.entries.pop_front() else { break };
            kept.count -= oldest.changes.len();
            kept.forgotten = oldest.index;
        }
    }

    /// Wakes who waits: everything up to `index` is in.
    pub(crate) fn publish(&self, index: Index) {
        self.latest.send_replace(index);
    }

    /// Forgets all: the state jumped to `index` by a snapshot.
    pub(crate) fn jump(&self, index: Index) {
        let mut kept = lock(&self.kept);
        *kept = Kept { entries: VecDeque::new(), count: 0, forgotten: index };
        drop(kept);
        self.publish(index);
    }

    /// Follows the changes after `from`; from now on if it is `None`.
    pub(crate) fn subscribe(&self, from: Option<Index>) -> Subscription {
        let latest = self.latest.subscribe();
        let after = from.unwrap_or_else(|| *latest.borrow());
        Subscription { kept: Arc::clone(&self.kept), latest, after }
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Follows the changes. It holds no queue: a slow reader finds its place again by index, or is
/// told that it fell too far behind.
#[derive(Debug)]
pub struct Subscription {
    kept: Arc<Mutex<Kept>>,
    latest: watch::Receiver<Index>,
    after: Index,
}

/// Entries that one call of [`Subscription::next`] returns at most, so that a reader far behind
/// does not hold up those that apply.
const STEP: usize = 256;

impl Subscription {
    /// The next entries that changed something, oldest first, never empty. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`SubscribeError::Compacted`] if the reader was too slow or its index is too old.
    pub async fn next(&mut self) -> Result<Vec<EntryChanges>, SubscribeError> {
        loop {
            let latest = *self.latest.borrow_and_update();
            let found = self.after(latest)?;
            if let Some(last) = found.last() {
                self.after = last.index;
                return Ok(found);
            }
            self.latest.changed().await.map_err(|_| SubscribeError::Stopped)?;
        }
    }

    /// Index up to which everything was returned.
    #[must_use]
    pub const fn seen(&self) -> Index {
        self.after
    }

    fn after(&self, latest: Index) -> Result<Vec<EntryChanges>, SubscribeError> {
        let kept = lock(&self.kept);
        if self.after < kept.forgotten {
            return Err(SubscribeError::Compacted { first: kept.forgotten });
        }
        let first = kept.entries.partition_point(|entry| entry.index <= self.after);
        let published = |entry: &&EntryChanges| entry.index <= latest;
        Ok(kept.entries.iter().skip(first).take_while(published).take(STEP).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use model::change::{Changed, Diff};
    use model::{ClusterId, Command, Entry, State, UnixNanos};

    use super::*;

    fn change(index: u64) -> Vec<Change> {
        let mut state = State::default();
        let id = ClusterId::from_bytes([1; 16]);
        let command = Command::Found { id, founders: vec![(1, crate::testing::admission(1))] };
        let entry = Entry { request: None, now: UnixNanos(1), command };
        state.apply(Index(index), &entry).unwrap();
        let changes = state.take_changes();
        assert!(matches!(changes[0].what, Changed::Cluster(Diff::Created(_))));
        changes
    }

    fn indexes(found: &[EntryChanges]) -> Vec<u64> {
        found.iter().map(|entry| entry.index.0).collect()
    }

    #[tokio::test]
    async fn a_reader_goes_on_where_it_left_off() {
        let log = ChangeLog::new();
        for index in [3, 5, 9] {
            log.push(Index(index), change(index));
        }
        log.publish(Index(10));
        for (from, expected) in [(0, vec![3, 5, 9]), (3, vec![5, 9]), (4, vec![5, 9]), (8, vec![9])]
        {
            let found = log.subscribe(Some(Index(from))).next().await.unwrap();
            assert_eq!(indexes(&found), expected, "from {from}");
        }
        let mut now = log.subscribe(None);
        log.push(Index(11), change(11));
        assert!(
            futures::FutureExt::now_or_never(now.next()).is_none(),
            "told before it was published"
        );
        log.publish(Index(11));
        assert_eq!(indexes(&now.next().await.unwrap()), [11]);
    }

    #[tokio::test]
    async fn a_reader_too_far_behind_is_told_so() {
        // A founding writes three objects: room for two of them.
        let log = ChangeLog::with_max(6);
        let mut slow = log.subscribe(Some(Index(0)));
        for index in 1..=3 {
            log.push(Index(index), change(index));
            log.publish(Index(index));
        }
        let compacted = SubscribeError::Compacted { first: Index(1) };
        assert_eq!(slow.next().await.unwrap_err(), compacted);
        assert_eq!(indexes(&log.subscribe(Some(Index(1))).next().await.unwrap()), [2, 3]);
        log.jump(Index(50));
        let compacted = SubscribeError::Compacted { first: Index(50) };
        assert_eq!(log.subscribe(Some(Index(3))).next().await.unwrap_err(), compacted);
    }
}
