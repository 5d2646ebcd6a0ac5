//! Owns every task of the node and ends them in stages.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use thiserror::Error;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// How long one stage may take to end. Connections that drain and a last fsync
/// fit; an operator who stops a daemon does not wait longer than four of these.
const GRACE: Duration = Duration::from_secs(3);

/// A task that ended without a reason was pulled down by another one within this, or by nobody.
const REASON: Duration = Duration::from_millis(100);

/// The order in which a node goes quiet: first nobody may ask, then nothing is
/// decided, then nothing is written, and last of all we leave the conversation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// The API socket, published ports, and what other nodes ask of us.
    Front,
    /// Planner, agent, health, autopilot.
    Reconcile,
    /// The replicated store.
    Store,
    /// Gossip.
    Membership,
}

impl Stage {
    const DOWN: [Self; 4] = [Self::Front, Self::Reconcile, Self::Store, Self::Membership];
}

/// A task ended before it was told to.
#[derive(Debug, Error)]
pub enum Stopped {
    /// It returned without a reason.
    #[error("task `{name}` ended by itself")]
    Ended {
        /// Its name.
        name: &'static str,
    },
    /// It could not go on.
    #[error("{why} (task `{name}`)")]
    GaveUp {
        /// Its name.
        name: &'static str,
        /// What it said, with what to do.
        why: String,
    },
    /// It panicked or was aborted.
    #[error("task `{name}` failed")]
    Failed {
        /// Its name.
        name: &'static str,
        /// How.
        #[source]
        source: JoinError,
    },
}

struct Running {
    stop: CancellationToken,
    tasks: JoinSet<Outcome>,
}

struct Outcome {
    name: &'static str,
    result: Result<Result<(), String>, JoinError>,
}

/// Owns the tasks.
pub struct Supervisor {
    stages: [Running; 4],
    grace: Duration,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor").field("grace", &self.grace).finish_non_exhaustive()
    }
}

impl Default for Supervisor {
    fn default() -> Self {
        let running = || Running { stop: CancellationToken::new(), tasks: JoinSet::new() };
        Self { stages: [running(), running(), running(), running()], grace: GRACE }
    }
}

impl Supervisor {
    /// The token that ends a stage; hand it to what runs in it.
    #[must_use]
    pub fn stop(&self, stage: Stage) -> CancellationToken {
        self.stages[stage as usize].stop.clone()
    }

    /// Runs a task that ends only when its stage does.
    pub fn spawn(
        &mut self,
        stage: Stage,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.spawn_fallible(stage, name, async move {
            task.await;
            Ok(())
        });
    }

    /// Runs a task that may fail, and takes the node down if it does.
    pub fn spawn_fallible(
        &mut self,
        stage: Stage,
        name: &'static str,
        task: impl Future<Output = Result<(), String>> + Send + 'static,
    ) {
        let mut inner = JoinSet::new();
        inner.spawn(task);
        self.stages[stage as usize].tasks.spawn(async move {
            let result = inner.join_next().await.unwrap_or(Ok(Ok(())));
            Outcome { name, result }
        });
    }

    /// Waits for `shutdown` or for the first task to fall, then ends the rest.
    ///
    /// # Errors
    ///
    /// [`Stopped`] when a task fell before it was told to.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), Stopped> {
        let result = tokio::select! {
            () = shutdown => Ok(()),
            fallen = self.first_fallen() => Err(fallen),
        };
        match &result {
            Ok(()) => info!("stopping"),
            Err(stopped) => error!(error = stopped as &dyn std::error::Error, "stopping"),
        }
        for stage in Stage::DOWN {
            self.end(stage).await;
        }
        result
    }

    /// Who fell first. A task that gives up takes with it what others listen to, and those may
    /// be seen to end first: a reason counts for more than an end.
    async fn first_fallen(&mut self) -> Stopped {
        let first = self.next_fallen().await;
        if !matches!(first, Stopped::Ended { .. }) {
            return first;
        }
        let reason = async {
            loop {
                let next = self.next_fallen().await;
                if !matches!(next, Stopped::Ended { .. }) {
                    return next;
                }
            }
        };
        timeout(REASON, reason).await.unwrap_or(first)
    }

    async fn next_fallen(&mut self) -> Stopped {
        let [front, reconcile, store, membership] = &mut self.stages;
        let outcome = tokio::select! {
            Some(outcome) = front.tasks.join_next() => outcome,
            Some(outcome) = reconcile.tasks.join_next() => outcome,
            Some(outcome) = store.tasks.join_next() => outcome,
            Some(outcome) = membership.tasks.join_next() => outcome,
            else => std::future::pending().await,
        };
        match outcome {
            Ok(Outcome { name, result: Ok(Ok(())) }) => Stopped::Ended { name },
            Ok(Outcome { name, result: Ok(Err(why)) }) => Stopped::GaveUp { name, why },
            Ok(Outcome { name, result: Err(source) }) => Stopped::Failed { name, source },
            Err(source) => Stopped::Failed { name: "supervisor", source },
        }
    }

    async fn end(&mut self, stage: Stage) {
        let grace = self.grace;
        let running = &mut self.stages[stage as usize];
        running.stop.cancel();
        let drained = timeout(grace, async { while running.tasks.join_next().await.is_some() {} });
        if drained.await.is_err() {
            warn!(?stage, ?grace, left = running.tasks.len(), "tasks aborted");
            running.tasks.shutdown().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn stages_end_in_order_and_a_stuck_task_does_not_hold_up_the_node() {
        let mut supervisor = Supervisor::default();
        let order = Arc::new(AtomicU32::new(0));
        for (expected, stage) in Stage::DOWN.into_iter().enumerate() {
            let (stop, order) = (supervisor.stop(stage), Arc::clone(&order));
            supervisor.spawn(stage, "ordered", async move {
                stop.cancelled().await;
                let seen = order.fetch_add(1, Ordering::SeqCst);
                assert_eq!(usize::try_from(seen), Ok(expected));
            });
        }
        supervisor.spawn(Stage::Front, "stuck", std::future::pending());
        supervisor.run(std::future::ready(())).await.unwrap();
        assert_eq!(order.load(Ordering::SeqCst), 4);
    }

    #[tokio::test]
    async fn who_falls_first_is_named() {
        for panics in [false, true] {
            let mut supervisor = Supervisor::default();
            supervisor.spawn_fallible(Stage::Store, "disk", async move {
                assert!(!panics, "planted");
                Err("no space left".to_owned())
            });
            let stopped = supervisor.run(std::future::pending()).await.unwrap_err().to_string();
            assert!(stopped.contains("`disk`"), "{stopped}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reason_counts_for_more_than_an_end() {
        let mut supervisor = Supervisor::default();
        supervisor.spawn(Stage::Front, "listens", std::future::ready(()));
        supervisor.spawn_fallible(Stage::Reconcile, "beginning", async {
            tokio::time::sleep(REASON / 2).await;
            Err("two seeds are this node".to_owned())
        });
        let stopped = supervisor.run(std::future::pending()).await.unwrap_err().to_string();
        assert_eq!(stopped, "two seeds are this node (task `beginning`)");

        let mut supervisor = Supervisor::default();
        supervisor.spawn(Stage::Front, "listens", std::future::ready(()));
        let stopped = supervisor.run(std::future::pending()).await.unwrap_err().to_string();
        assert_eq!(stopped, "task `listens` ended by itself");
    }
}
