//! Calls, strangers and relays, over sessions in memory.

mod calls;
mod limits;
mod relay;
mod strangers;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::testing::connect;
use super::{Client, Router, Status};

/// A client of `router`; both sides run as long as the set lives.
async fn running(router: Router) -> (Client, JoinSet<()>) {
    let (client, both) = connect(router).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(both);
    (client, tasks)
}

/// A handler that never ends, and says when it began and when it was dropped.
#[derive(Clone, Default)]
struct Stuck {
    begun: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

impl Stuck {
    fn hold(&self) -> impl Future<Output = Result<u8, Status>> + Send + use<> {
        struct Guard(Arc<AtomicUsize>);
        impl Drop for Guard {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        self.begun.fetch_add(1, Ordering::SeqCst);
        let guard = Guard(Arc::clone(&self.dropped));
        async move {
            let (_never, wait) = oneshot::channel::<u8>();
            let _guard = guard;
            std::future::pending::<()>().await;
            wait.await.map_err(|_| Status::internal("unreachable"))
        }
    }

    /// Lets everything else run until the counters say so. Ends: time is paused, so an idle
    /// runtime jumps ahead.
    async fn until(counter: &AtomicUsize, n: usize) {
        for _ in 0..1000 {
            if counter.load(Ordering::SeqCst) == n {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        panic!("the counter is {} and not {n}", counter.load(Ordering::SeqCst));
    }
}
