//! A queue with a limit that forgets its oldest item rather than make anybody wait.
//!
//! Gossip repeats itself: the newest message says all that the dropped one said, and chitchat's
//! server loop must never wait for a handshake.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Both ends of a queue.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    items: Mutex<VecDeque<T>>,
    limit: usize,
    arrived: Notify,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Queue<T> {
    pub(crate) fn new(limit: usize) -> Self {
        let items = Mutex::new(VecDeque::new());
        Self { shared: Arc::new(Shared { items, limit, arrived: Notify::new() }) }
    }

    /// Never waits.
    pub(crate) fn push(&self, item: T) {
        let mut items = self.shared.items.lock().unwrap_or_else(PoisonError::into_inner);
        if items.len() >= self.shared.limit {
            items.pop_front();
        }
        items.push_back(item);
        drop(items);
        self.shared.arrived.notify_one();
    }

    /// Waits for the next item. Nothing is lost if the wait is given up. For one reader.
    pub(crate) async fn pop(&self) -> T {
        loop {
            if let Some(item) = self.try_pop() {
                return item;
            }
            self.shared.arrived.notified().await;
        }
    }

    pub(crate) fn try_pop(&self) -> Option<T> {
        self.shared.items.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn forgets_the_oldest_and_keeps_the_order() {
        let queue = Queue::new(2);
        for item in 1..=3 {
            queue.push(item);
        }
        assert_eq!((queue.pop().await, queue.pop().await, queue.try_pop()), (2, 3, None));
    }
}
