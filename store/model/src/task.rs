//! Tasks: one slot's one attempt. A task never moves and never restarts.

use std::sync::Arc;

use crypto::NodeId;
use serde::{Deserialize, Serialize};

use crate::id::{Index, ServiceId, Slot, TaskId, UnixNanos};
use crate::service::{PortConfig, TaskSpec};

/// A task as the cluster remembers it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Task {
    /// Its name.
    pub id: TaskId,
    /// Whose it is.
    pub service: ServiceId,
    /// Its place in the service.
    pub slot: Slot,
    /// Where it runs; once set, never changed.
    pub node: Option<NodeId>,
    /// What the planner wants; never decreases. Only the planner writes it.
    pub desired: TaskState,
    /// What was last seen of it; its state only goes forward. The planner writes it until the
    /// task is assigned, then its node does.
    pub status: TaskStatus,
    /// What it runs, frozen when it was made.
    pub spec: Arc<TaskSpec>,
    /// `spec_version` of the service when it was made.
    pub spec_version: Index,
    /// Published ports it serves, frozen when it was made.
    pub ports: Vec<PortConfig>,
    /// Run of the job that it belongs to; 0 for other services.
    pub job_iteration: u64,
    /// Index of the entry that made it.
    pub created: Index,
    /// Index of the last write of any field.
    pub modified: Index,
    /// When it was made.
    pub created_at: UnixNanos,
    /// When any field was last written.
    pub updated_at: UnixNanos,
}

/// What was last seen of a task.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TaskStatus {
    /// How far it is.
    pub state: TaskState,
    /// When that was seen, by the clock of whoever saw it.
    pub at: UnixNanos,
    /// Docker's word for it.
    pub message: String,
    /// What went wrong, or why it waits; empty if nothing.
    pub error: String,
    /// The container, once there is one.
    pub container: Option<ContainerStatus>,
    /// Ports that the node published for it in host mode.
    pub host_ports: Vec<PortConfig>,
}

/// The container of a task.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ContainerStatus {
    /// Its name in the runtime.
    pub id: String,
    /// Process id on its node; 0 if it does not run.
    pub pid: i64,
    /// Exit code; 0 until it ended.
    pub exit_code: i64,
}

/// How far a task is. The numbers are Docker Swarm's; the order is the order of time.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum TaskState {
    /// Made.
    New = 0,
    /// Its ports and addresses are allocated; no node fits yet.
    Pending = 64,
    /// It has a node.
    Assigned = 192,
    /// The node knows of it.
    Accepted = 256,
    /// The node pulls the image and makes the container.
    Preparing = 320,
    /// It could start; it waits until that is desired.
    Ready = 384,
    /// It starts; its health check has not succeeded yet.
    Starting = 448,
    /// It runs.
    Running = 512,
    /// It ended by itself with exit code 0.
    Complete = 576,
    /// It was told to stop and did.
    Shutdown = 640,
    /// It ended by itself with another exit code, or was unhealthy.
    Failed = 704,
    /// Its node could not even start it.
    Rejected = 768,
    /// Only ever desired: stop it and forget it.
    Remove = 800,
    /// Its node was away for too long; what became of it is unknown.
    Orphaned = 832,
}

impl TaskState {
    /// Whether it has ended for good.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        (self as u16) > (Self::Running as u16)
    }

    /// Docker's word, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Pending => "pending",
            Self::Assigned => "assigned",
            Self::Accepted => "accepted",
            Self::Preparing => "preparing",
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Shutdown => "shutdown",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Remove => "remove",
            Self::Orphaned => "orphaned",
        }
    }
}
