//! One worker per key: two pulls that share a layer must not write the same file.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Locks that exist while somebody holds or wants them.
#[derive(Debug, Default)]
pub(crate) struct KeyedLocks {
    locks: Mutex<BTreeMap<String, Weak<Semaphore>>>,
}

/// Holds a key until it is dropped.
#[derive(Debug)]
pub(crate) struct KeyGuard {
    _permit: Option<OwnedSemaphorePermit>,
}

impl KeyedLocks {
    /// Waits until nobody else holds `key`.
    pub(crate) async fn lock(&self, key: &str) -> KeyGuard {
        let semaphore = self.semaphore(key);
        // Nobody closes these semaphores, so there is always a permit at last.
        KeyGuard { _permit: semaphore.acquire_owned().await.ok() }
    }

    fn semaphore(&self, key: &str) -> Arc<Semaphore> {
        let mut locks: MutexGuard<'_, _> =
            self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() != 0);
        if let Some(lock) = locks.get(key).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(Semaphore::new(1));
        locks.insert(key.to_owned(), Arc::downgrade(&lock));
        lock
    }
}
