//! Containers of one node, as far as a node without Docker Engine shows them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A container in a list.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerSummary {
    /// Its name in the runtime.
    pub id: String,
    /// With a slash in front.
    pub names: Vec<String>,
    /// Image reference.
    pub image: String,
    /// Image id; empty if it is not known.
    #[serde(rename = "ImageID")]
    pub image_id: String,
    /// What it runs.
    pub command: String,
    /// Unix seconds.
    pub created: i64,
    /// Published ports.
    pub ports: Vec<Value>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `created`, `running`, `exited` or `dead`.
    pub state: String,
    /// In words.
    pub status: String,
    /// `NetworkMode`.
    pub host_config: Map<String, Value>,
    /// `Networks`.
    pub network_settings: Map<String, Value>,
    /// Mounts.
    pub mounts: Vec<Value>,
}

/// A container, looked at.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerDetails {
    /// Its name in the runtime.
    pub id: String,
    /// When it was made.
    pub created: String,
    /// Program.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// How far it is.
    pub state: ContainerState,
    /// Image id; empty if it is not known.
    pub image: String,
    /// With a slash in front.
    pub name: String,
    /// How often it was started anew: never, tasks get successors instead.
    pub restart_count: u64,
    /// Storage driver.
    pub driver: String,
    /// `linux`.
    pub platform: String,
    /// `NetworkMode`.
    pub host_config: Map<String, Value>,
    /// Mounts.
    pub mounts: Vec<Value>,
    /// What it was made of.
    pub config: ContainerConfig,
    /// `Networks`.
    pub network_settings: Map<String, Value>,
}

/// How far a container is.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerState {
    /// `created`, `running`, `exited` or `dead`.
    pub status: String,
    /// Whether its process runs.
    pub running: bool,
    /// Never.
    pub paused: bool,
    /// Never.
    pub restarting: bool,
    /// Whether the kernel killed it for using too much memory.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Whether nobody saw how it ended.
    pub dead: bool,
    /// Process id; 0 if it does not run.
    pub pid: i64,
    /// Exit code; 0 until it ended.
    pub exit_code: i64,
    /// What went wrong.
    pub error: String,
    /// When it started.
    pub started_at: String,
    /// When it ended.
    pub finished_at: String,
}

/// What a container was made of.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// Host name inside.
    pub hostname: String,
    /// `user[:group]`.
    pub user: String,
    /// Whether it has a terminal.
    pub tty: bool,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Replaces the image's command.
    pub cmd: Vec<String>,
    /// Image reference.
    pub image: String,
    /// Working directory.
    pub working_dir: String,
    /// Replaces the image's entrypoint.
    pub entrypoint: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}
