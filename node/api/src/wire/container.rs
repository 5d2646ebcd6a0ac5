//! What a task runs: `TaskSpec` with its container, resources and placement.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::network::NetworkAttachmentConfig;
use super::node::{Platform, Resources};
use super::zero;

/// What each task of a service runs.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TaskSpec {
    /// The container.
    #[serde(skip_serializing_if = "zero")]
    pub container_spec: Option<ContainerSpec>,
    /// A plugin instead of a container.
    #[serde(skip_serializing_if = "zero")]
    pub plugin_spec: Option<Value>,
    /// A container that exists instead of a new one.
    #[serde(skip_serializing_if = "zero")]
    pub network_attachment_spec: Option<Value>,
    /// What it may use, and what is set aside for it.
    #[serde(skip_serializing_if = "zero")]
    pub resources: Option<ResourceRequirements>,
    /// Whether and when a task that ended gets a successor.
    #[serde(skip_serializing_if = "zero")]
    pub restart_policy: Option<RestartPolicy>,
    /// Where it may run.
    #[serde(skip_serializing_if = "zero")]
    pub placement: Option<Placement>,
    /// Networks it joins.
    #[serde(skip_serializing_if = "zero")]
    pub networks: Vec<NetworkAttachmentConfig>,
    /// Where its output goes.
    #[serde(skip_serializing_if = "zero")]
    pub log_driver: Option<Driver>,
    /// Raised by `update --force` to replace tasks whose spec did not change.
    pub force_update: u64,
    /// `container`, `plugin` or `attachment`.
    #[serde(skip_serializing_if = "zero")]
    pub runtime: String,
}

/// The container of a task.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ContainerSpec {
    /// Image reference.
    #[serde(skip_serializing_if = "zero")]
    pub image: String,
    /// Labels of the container.
    #[serde(skip_serializing_if = "zero")]
    pub labels: BTreeMap<String, String>,
    /// Replaces the image's entrypoint.
    #[serde(skip_serializing_if = "zero")]
    pub command: Vec<String>,
    /// Replaces the image's command.
    #[serde(skip_serializing_if = "zero")]
    pub args: Vec<String>,
    /// Host name inside.
    #[serde(skip_serializing_if = "zero")]
    pub hostname: String,
    /// `NAME=value`.
    #[serde(skip_serializing_if = "zero")]
    pub env: Vec<String>,
    /// Working directory.
    #[serde(skip_serializing_if = "zero")]
    pub dir: String,
    /// `user[:group]`.
    #[serde(skip_serializing_if = "zero")]
    pub user: String,
    /// Additional groups.
    #[serde(skip_serializing_if = "zero")]
    pub groups: Vec<String>,
    /// Security options.
    #[serde(skip_serializing_if = "zero")]
    pub privileges: Option<Privileges>,
    /// Run a small init as process 1.
    #[serde(skip_serializing_if = "zero")]
    pub init: Option<bool>,
    /// Signal that asks it to stop.
    #[serde(skip_serializing_if = "zero")]
    pub stop_signal: String,
    /// Whether it has a terminal.
    #[serde(rename = "TTY", skip_serializing_if = "zero")]
    pub tty: bool,
    /// Whether stdin stays open.
    #[serde(skip_serializing_if = "zero")]
    pub open_stdin: bool,
    /// Whether its root file system is read-only.
    #[serde(skip_serializing_if = "zero")]
    pub read_only: bool,
    /// File systems mounted into it.
    #[serde(skip_serializing_if = "zero")]
    pub mounts: Vec<Mount>,
    /// Nanoseconds between the stop signal and SIGKILL.
    #[serde(skip_serializing_if = "zero")]
    pub stop_grace_period: Option<i64>,
    /// How its health is checked. Docker's schema spells it `HealthCheck`, its daemon does not.
    #[serde(alias = "HealthCheck", skip_serializing_if = "zero")]
    pub healthcheck: Option<HealthConfig>,
    /// Lines of its hosts file.
    #[serde(skip_serializing_if = "zero")]
    pub hosts: Vec<String>,
    /// Name servers and search domains.
    #[serde(rename = "DNSConfig", skip_serializing_if = "zero")]
    pub dns_config: Option<DnsConfig>,
    /// Secrets it needs.
    #[serde(skip_serializing_if = "zero")]
    pub secrets: Vec<SecretReference>,
    /// Configs it needs.
    #[serde(skip_serializing_if = "zero")]
    pub configs: Vec<ConfigReference>,
    /// `default`, or a Windows isolation.
    #[serde(skip_serializing_if = "zero")]
    pub isolation: String,
    /// Kernel parameters of its namespaces.
    #[serde(skip_serializing_if = "zero")]
    pub sysctls: BTreeMap<String, String>,
    /// Capabilities beyond the default ones.
    #[serde(skip_serializing_if = "zero")]
    pub capability_add: Vec<String>,
    /// Default capabilities that it does not get.
    #[serde(skip_serializing_if = "zero")]
    pub capability_drop: Vec<String>,
    /// Resource limits of its processes.
    #[serde(skip_serializing_if = "zero")]
    pub ulimits: Vec<Ulimit>,
    /// From -1000 to 1000.
    #[serde(skip_serializing_if = "zero")]
    pub oom_score_adj: i64,
}

/// Security options of a container; the objects are kept as Docker writes them.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Privileges {
    /// Windows credentials.
    pub credential_spec: Option<Value>,
    /// SELinux context.
    #[serde(rename = "SELinuxContext")]
    pub selinux_context: Option<Value>,
    /// Seccomp profile.
    #[serde(skip_serializing_if = "zero")]
    pub seccomp: Option<Value>,
    /// AppArmor profile.
    #[serde(rename = "AppArmor", skip_serializing_if = "zero")]
    pub app_armor: Option<Value>,
    /// Whether a process may not gain privileges.
    pub no_new_privileges: bool,
}

/// One mount.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Mount {
    /// `bind`, `volume`, `tmpfs`, `npipe`, `cluster` or `image`.
    #[serde(rename = "Type", skip_serializing_if = "zero")]
    pub kind: String,
    /// Host path or volume name.
    #[serde(skip_serializing_if = "zero")]
    pub source: String,
    /// Path in the container.
    #[serde(skip_serializing_if = "zero")]
    pub target: String,
    /// Whether it cannot be written.
    #[serde(skip_serializing_if = "zero")]
    pub read_only: bool,
    /// `default`, `consistent`, `cached` or `delegated`.
    #[serde(skip_serializing_if = "zero")]
    pub consistency: String,
    /// Propagation and the like.
    #[serde(skip_serializing_if = "zero")]
    pub bind_options: Option<Value>,
    /// Labels and driver of a volume.
    #[serde(skip_serializing_if = "zero")]
    pub volume_options: Option<Value>,
    /// Sub-path of an image.
    #[serde(skip_serializing_if = "zero")]
    pub image_options: Option<Value>,
    /// Size and mode of a tmpfs.
    #[serde(skip_serializing_if = "zero")]
    pub tmpfs_options: Option<TmpfsOptions>,
    /// Options of a cluster volume.
    #[serde(skip_serializing_if = "zero")]
    pub cluster_options: Option<Value>,
}

/// Size and mode of a tmpfs.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TmpfsOptions {
    /// Bytes.
    #[serde(skip_serializing_if = "zero")]
    pub size_bytes: i64,
    /// File mode, decimal.
    #[serde(skip_serializing_if = "zero")]
    pub mode: u32,
    /// Mount options.
    #[serde(skip_serializing_if = "zero")]
    pub options: Vec<Vec<String>>,
}

/// How a container's health is checked; durations are nanoseconds.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HealthConfig {
    /// `NONE`, or `CMD` and arguments, or `CMD-SHELL` and a line.
    #[serde(skip_serializing_if = "zero")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(skip_serializing_if = "zero")]
    pub interval: i64,
    /// Until a check counts as failed.
    #[serde(skip_serializing_if = "zero")]
    pub timeout: i64,
    /// After start, in which failures do not count.
    #[serde(skip_serializing_if = "zero")]
    pub start_period: i64,
    /// Between two checks in the start period.
    #[serde(skip_serializing_if = "zero")]
    pub start_interval: i64,
    /// Failures in a row until it is unhealthy.
    #[serde(skip_serializing_if = "zero")]
    pub retries: i64,
}

/// Name servers and search domains.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DnsConfig {
    /// Addresses.
    #[serde(skip_serializing_if = "zero")]
    pub nameservers: Vec<String>,
    /// Domains.
    #[serde(skip_serializing_if = "zero")]
    pub search: Vec<String>,
    /// Resolver options.
    #[serde(skip_serializing_if = "zero")]
    pub options: Vec<String>,
}

/// The file that a secret or config becomes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct FileTarget {
    /// File name or path.
    pub name: String,
    /// Owner.
    #[serde(rename = "UID")]
    pub uid: String,
    /// Group.
    #[serde(rename = "GID")]
    pub gid: String,
    /// Permissions, decimal.
    pub mode: u32,
}

/// A secret that a container needs.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SecretReference {
    /// Where it shows.
    pub file: Option<FileTarget>,
    /// Which.
    #[serde(rename = "SecretID")]
    pub secret_id: String,
    /// Its name when the reference was made.
    pub secret_name: String,
}

/// A config that a container needs.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConfigReference {
    /// Where it shows.
    #[serde(skip_serializing_if = "zero")]
    pub file: Option<FileTarget>,
    /// That the runtime uses it.
    #[serde(skip_serializing_if = "zero")]
    pub runtime: Option<Value>,
    /// Which.
    #[serde(rename = "ConfigID")]
    pub config_id: String,
    /// Its name when the reference was made.
    pub config_name: String,
}

/// A resource limit of a process.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Ulimit {
    /// `nofile`, `nproc`, …
    pub name: String,
    /// Hard limit.
    pub hard: i64,
    /// Soft limit.
    pub soft: i64,
}

/// What a task may use, and what is set aside for it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ResourceRequirements {
    /// Hard limits.
    #[serde(skip_serializing_if = "zero")]
    pub limits: Option<Limit>,
    /// Set aside on the node by the scheduler.
    #[serde(skip_serializing_if = "zero")]
    pub reservations: Option<Resources>,
}

/// Hard limits; 0 means none.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Limit {
    /// Billionths of a CPU.
    #[serde(rename = "NanoCPUs", skip_serializing_if = "zero")]
    pub nano_cpus: i64,
    /// Bytes.
    #[serde(skip_serializing_if = "zero")]
    pub memory_bytes: i64,
    /// Number of processes.
    #[serde(skip_serializing_if = "zero")]
    pub pids: i64,
}

/// Whether and when a task that ended gets a successor; durations are nanoseconds.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RestartPolicy {
    /// `none`, `on-failure` or `any`.
    #[serde(skip_serializing_if = "zero")]
    pub condition: String,
    /// How long to wait.
    #[serde(skip_serializing_if = "zero")]
    pub delay: Option<i64>,
    /// Attempts in the window; 0 means without end.
    #[serde(skip_serializing_if = "zero")]
    pub max_attempts: Option<u64>,
    /// How far the count looks back; 0 means for ever.
    #[serde(skip_serializing_if = "zero")]
    pub window: Option<i64>,
}

/// Where tasks may run.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Placement {
    /// All of these must hold.
    #[serde(skip_serializing_if = "zero")]
    pub constraints: Vec<String>,
    /// What to spread over, first is most important.
    #[serde(skip_serializing_if = "zero")]
    pub preferences: Vec<PlacementPreference>,
    /// Tasks of the service on one node; 0 means no limit.
    #[serde(skip_serializing_if = "zero")]
    pub max_replicas: u64,
    /// Platforms of the image; empty means any.
    #[serde(skip_serializing_if = "zero")]
    pub platforms: Vec<Platform>,
}

/// One thing to spread over.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PlacementPreference {
    /// The only kind there is.
    pub spread: Option<SpreadOver>,
}

/// A label to spread over.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SpreadOver {
    /// `node.labels.zone`, …
    pub spread_descriptor: String,
}

/// A driver and its options.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Driver {
    /// Which.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
    /// Its options.
    #[serde(skip_serializing_if = "zero")]
    pub options: BTreeMap<String, String>,
}
