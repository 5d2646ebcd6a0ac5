//! Makes the containers of one node match what the cluster assigned to it.
//!
//! The agent compares levels: the whole set of assignments with everything that the
//! runtime shows, again and again. A restart, a lost message and a new leader are no
//! special cases.
//!
//! ```text
//!   assignments ─┐
//!                ├─> step::next_step ─> runtime ─> status ─> record on disk ─> reports
//!   runtime.list ┘
//! ```
//!
//! # Invariants
//!
//! * Nothing is removed before a leader was heard in this life of the process: until
//!   then the agent goes on with the assignments that it recorded in its last life.
//! * A status is on disk before anybody hears of it, unless the disk fails, and it only
//!   goes forward.
//! * One step per task at a time; a slow pull never holds up the stop of another task.
//! * Secrets and configs are in memory only; a task that names some waits for a leader to
//!   send them, also after a restart.
//! * A container that ended stays, with its logs, until its task is forgotten.
//!
//! * A task with a health check counts as running once it was healthy, and is stopped and
//!   fails when it no longer is. The checks are the runtime's; the embedded one has none
//!   yet, and there a task counts as running once its process was started.

mod files;
mod reconciler;
mod record;
mod status;
mod step;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crypto::NodeId;
use model::{ClusterId, Task, TaskId, TaskStatus};
use runtime::{RegistryAuth, Runtime};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::reconciler::Reconciler;
use crate::record::Record;

pub use crate::files::TaskFiles;
pub use crate::record::OpenError;

/// The latest status of every task that this node knows of.
pub type Reports = Arc<BTreeMap<TaskId, TaskStatus>>;

/// Who this agent works for, and where it writes.
#[derive(Clone, Debug)]
pub struct Config {
    /// Directory of its record; it is made if it is missing.
    pub dir: PathBuf,
    /// The node that it runs on.
    pub node: NodeId,
    /// That node's host name.
    pub hostname: String,
    /// The cluster; containers of other clusters are left alone.
    pub cluster: ClusterId,
}

/// One task for this node, with what it needs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Assignment {
    /// The task.
    pub task: Task,
    /// Name of its service.
    pub service_name: String,
    /// How to log in at the registry of its image; never written to disk.
    pub registry_auth: Option<RegistryAuth>,
    /// Its secrets and configs. They have no written form: whatever is recorded, they are not.
    #[serde(skip)]
    pub files: TaskFiles,
}

/// All tasks for this node: whoever is missing is to go.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct AssignmentSet {
    /// Whether a leader said this. Until then the set counts as not there, whatever is in it.
    pub heard: bool,
    /// The tasks of this node, those that ended and are not forgotten included.
    pub tasks: BTreeMap<TaskId, Assignment>,
}

/// A handle on the agent.
#[derive(Clone, Debug)]
pub struct Agent {
    reports: watch::Receiver<Reports>,
}

impl Agent {
    /// Reads the record of the last life, and returns the agent and the future that does
    /// its work until `stop`; containers live on after it.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if the directory cannot be read or written.
    pub fn open(
        config: Config,
        runtime: Arc<dyn Runtime>,
        assignments: watch::Receiver<Arc<AssignmentSet>>,
        stop: CancellationToken,
    ) -> Result<(Self, impl Future<Output = ()> + Send), OpenError> {
        let (record, held) = Record::open(&config.dir)?;
        let reports = watch::Sender::new(Arc::new(held.statuses.clone()));
        let agent = Self { reports: reports.subscribe() };
        let reconciler = Reconciler::new(config, runtime, (record, held), reports);
        Ok((agent, reconciler.run(assignments, stop)))
    }

    /// The latest status of every task: send them to the leader, all of them whenever there
    /// is a new one, the changed ones otherwise. A task that is forgotten is missing.
    #[must_use]
    pub fn reports(&self) -> watch::Receiver<Reports> {
        self.reports.clone()
    }
}
