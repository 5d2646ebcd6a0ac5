//! Tasks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::container::TaskSpec;
use super::network::{NetworkAttachment, PortConfig};
use super::node::GenericResource;
use super::{ObjectVersion, nullable, zero};

/// A task: one slot's one attempt.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Task {
    /// Id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version.
    pub version: ObjectVersion,
    /// When it was made.
    pub created_at: String,
    /// When it was last written.
    pub updated_at: String,
    /// A name, usually empty.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What it runs.
    pub spec: TaskSpec,
    /// Whose it is.
    #[serde(rename = "ServiceID", skip_serializing_if = "zero")]
    pub service_id: String,
    /// Its place in the service; 0 for global ones.
    #[serde(skip_serializing_if = "zero")]
    pub slot: u64,
    /// Where it runs.
    #[serde(rename = "NodeID", skip_serializing_if = "zero")]
    pub node_id: String,
    /// How far it is.
    pub status: TaskStatus,
    /// How far it should be.
    #[serde(skip_serializing_if = "zero")]
    pub desired_state: String,
    /// Networks it has joined.
    #[serde(skip_serializing_if = "zero")]
    pub networks_attachments: Vec<NetworkAttachment>,
    /// Countable resources given to it.
    #[serde(skip_serializing_if = "zero")]
    pub generic_resources: Vec<GenericResource>,
    /// Run of the job that it belongs to.
    #[serde(skip_serializing_if = "zero")]
    pub job_iteration: Option<ObjectVersion>,
    /// Cluster volumes.
    #[serde(with = "nullable")]
    pub volumes: Vec<Value>,
}

/// How far a task is.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TaskStatus {
    /// When that was seen.
    pub timestamp: String,
    /// `new`, `pending`, `assigned`, `accepted`, `preparing`, `ready`, `starting`, `running`,
    /// `complete`, `shutdown`, `failed`, `rejected`, `remove` or `orphaned`.
    #[serde(skip_serializing_if = "zero")]
    pub state: String,
    /// In a word.
    #[serde(skip_serializing_if = "zero")]
    pub message: String,
    /// What went wrong, or why it waits.
    #[serde(skip_serializing_if = "zero")]
    pub err: String,
    /// The container, once there is one.
    #[serde(skip_serializing_if = "zero")]
    pub container_status: Option<ContainerStatus>,
    /// Ports published in host mode.
    pub port_status: PortStatus,
}

/// The container of a task.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerStatus {
    /// The runtime's name for it.
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    /// Process id on the node.
    #[serde(rename = "PID")]
    pub pid: i64,
    /// Exit code.
    pub exit_code: i64,
}

/// Ports that a node published for a task.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PortStatus {
    /// With their numbers.
    #[serde(skip_serializing_if = "zero")]
    pub ports: Vec<PortConfig>,
}
