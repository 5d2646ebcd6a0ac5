//! Owns short tasks that come and go: driven connections, streams of log lines.

use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Tasks that wait to be started; the owner starts them at once.
const WAITING: usize = 64;

/// Tasks at the same time: connections to a thousand nodes and log streams of a
/// few dozen users. More would be a leak.
const TASKS_MAX: usize = 16_384;

/// Handle: runs futures to their end, or to the end of the node.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    tasks: mpsc::Sender<BoxFuture<'static, ()>>,
}

/// The pool is full, or the node is stopping.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this node is stopping or has too much to do")]
pub(crate) struct PoolClosed;

impl Pool {
    /// Builds the handle and the future that must be run for it to work.
    pub(crate) fn new(stop: CancellationToken) -> (Self, impl Future<Output = ()>) {
        let (tasks, waiting) = mpsc::channel(WAITING);
        (Self { tasks }, own(waiting, stop))
    }

    /// Runs a future to its end.
    pub(crate) async fn run(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), PoolClosed> {
        self.tasks.send(Box::pin(task)).await.map_err(|_| PoolClosed)
    }
}

async fn own(mut waiting: mpsc::Receiver<BoxFuture<'static, ()>>, stop: CancellationToken) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return, // Dropping the set aborts what is left.
            Some(_) = running.join_next() => {}
            task = waiting.recv(), if running.len() < TASKS_MAX => match task {
                Some(task) => { running.spawn(task); }
                None => return,
            },
        }
    }
}
