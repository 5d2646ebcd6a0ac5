//! Services: what a user wants to run, in Docker Swarm's terms.
//!
//! Source of fields, defaults and limits: Docker Engine API, `ServiceSpec`.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::id::{ConfigId, Index, NetworkId, SecretId, ServiceId, UnixNanos};

/// A service as the cluster remembers it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Service {
    /// Its name in the store.
    pub id: ServiceId,
    /// What the user wants.
    pub spec: ServiceSpec,
    /// What the user wanted before; `rollback` swaps the two.
    pub previous_spec: Option<ServiceSpec>,
    /// Index of the last write of the spec: Docker's `Version.Index`.
    pub spec_version: Index,
    /// Index of the last write of any field.
    pub modified: Index,
    /// When it was created.
    pub created_at: UnixNanos,
    /// When the spec was last written.
    pub updated_at: UnixNanos,
    /// Published ports with the numbers that were allocated; same order as in
    /// `spec.endpoint.ports`. Only the planner writes it.
    pub ports: Vec<PortConfig>,
    /// How the last update goes. Only the planner writes it, except for a
    /// rollback that the user asked for.
    pub update_status: Option<UpdateStatus>,
    /// How often a job was started anew; 0 for other services.
    pub job_iteration: u64,
}

impl Service {
    /// What its registry login is sealed for.
    #[must_use]
    pub fn login_seal_context(id: ServiceId) -> Vec<u8> {
        [b"login ".as_slice(), id.as_bytes()].concat()
    }
}

/// What a user wants to run.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ServiceSpec {
    /// Unique among services.
    pub name: ServiceName,
    /// Labels of the service object.
    pub labels: BTreeMap<String, String>,
    /// What each task runs.
    pub task: TaskSpec,
    /// How many tasks, where.
    pub mode: ServiceMode,
    /// How an update replaces tasks; `None` means the defaults.
    pub update: Option<UpdateConfig>,
    /// How a rollback replaces tasks; `None` means the defaults.
    pub rollback: Option<UpdateConfig>,
    /// How clients reach it; `None` if the user sent none.
    pub endpoint: Option<EndpointSpec>,
}

/// How many tasks, where.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ServiceMode {
    /// So many tasks, anywhere.
    Replicated {
        /// Number of slots.
        replicas: u64,
    },
    /// One task on every node that fits.
    Global,
    /// So many tasks that each run to completion.
    ReplicatedJob {
        /// At the same time.
        max_concurrent: u64,
        /// In all.
        total_completions: u64,
    },
    /// One task that runs to completion on every node that fits.
    GlobalJob,
}

/// A name that Docker accepts: `^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$`, at most
/// 63 characters.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(String);

impl ServiceName {
    /// Longest name: it must fit a DNS label.
    pub const LENGTH_MAX: usize = 63;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> Self {
        name.0
    }
}

/// Why a text is no service name. The texts are Docker's.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum BadName {
    /// Nothing was given.
    #[error("name must be provided")]
    Empty,
    /// Over 63 characters.
    #[error("name must be 63 characters or fewer")]
    TooLong,
    /// A character or an order of characters that a DNS name cannot have.
    #[error("name must be valid as a DNS name component")]
    BadCharacter,
}

impl TryFrom<String> for ServiceName {
    type Error = BadName;

    fn try_from(name: String) -> Result<Self, BadName> {
        if name.is_empty() {
            return Err(BadName::Empty);
        }
        if Self::LENGTH_MAX < name.len() {
            return Err(BadName::TooLong);
        }
        let ends_well = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.chars().all(plain)
            && ends_well(name.chars().next())
            && ends_well(name.chars().last())
        {
            Ok(Self(name))
        } else {
            Err(BadName::BadCharacter)
        }
    }
}

/// What each task of a service runs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TaskSpec {
    /// The container.
    pub container: ContainerSpec,
    /// What it may use, and what is set aside for it.
    pub resources: ResourceRequirements,
    /// Whether and when a task that ended gets a successor; `None` means the defaults.
    pub restart: Option<RestartPolicy>,
    /// Where it may run.
    pub placement: Placement,
    /// Networks it joins.
    pub networks: Vec<NetworkAttachment>,
    /// Where its output goes; `None` means the node's default.
    pub log_driver: Option<LogDriver>,
    /// Raised by `update --force` to replace tasks whose spec did not change.
    pub force_update: u64,
}

/// The container of a task. Fields follow Docker's `ContainerSpec`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ContainerSpec {
    /// Image reference, with or without digest.
    pub image: String,
    /// Labels of the container.
    pub labels: BTreeMap<String, String>,
    /// Overrides the image's entrypoint if not empty.
    pub command: Vec<String>,
    /// Overrides the image's command if not empty.
    pub args: Vec<String>,
    /// Host name inside.
    pub hostname: String,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Working directory; empty means the image's.
    pub dir: String,
    /// `user[:group]`; empty means the image's.
    pub user: String,
    /// Additional groups.
    pub groups: Vec<String>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether stdin stays open.
    pub open_stdin: bool,
    /// Whether its root file system is read-only.
    pub read_only: bool,
    /// Run a small init as process 1.
    pub init: Option<bool>,
    /// File systems mounted into it.
    pub mounts: Vec<Mount>,
    /// Signal that asks it to stop; empty means the image's, then SIGTERM.
    pub stop_signal: String,
    /// Nanoseconds between the stop signal and SIGKILL; `None` means 10 s.
    pub stop_grace_nanos: Option<u64>,
    /// How its health is checked; `None` means as the image says.
    pub health_check: Option<HealthCheck>,
    /// Lines of its hosts file, `IP name [alias…]`.
    pub hosts: Vec<String>,
    /// Name servers and search domains.
    pub dns: Option<DnsConfig>,
    /// Secrets it needs.
    pub secrets: Vec<SecretReference>,
    /// Configs it needs.
    pub configs: Vec<ConfigReference>,
    /// Kernel parameters of its namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Capabilities beyond the default ones.
    pub cap_add: Vec<String>,
    /// Default capabilities that it does not get.
    pub cap_drop: Vec<String>,
    /// Resource limits of its processes.
    pub ulimits: Vec<Ulimit>,
    /// From -1000 to 1000.
    pub oom_score_adj: i64,
    /// Security options.
    pub privileges: Option<Privileges>,
    /// `default`, or a Windows isolation that no node here has.
    pub isolation: String,
}

/// One mount. Fields follow Docker's `Mount`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Mount {
    /// What kind.
    pub kind: MountKind,
    /// Host path or volume name.
    pub source: String,
    /// Path in the container.
    pub target: String,
    /// Whether it can be written.
    pub read_only: bool,
    /// `default`, `consistent`, `cached` or `delegated`; stored, without effect on Linux.
    pub consistency: String,
    /// Bind options, JSON as Docker writes it; empty if none.
    pub bind_options: String,
    /// Volume options, JSON as Docker writes it; empty if none.
    pub volume_options: String,
    /// Size limit of a tmpfs in bytes; 0 means none.
    pub tmpfs_size_bytes: i64,
    /// File mode of a tmpfs; 0 means the default.
    pub tmpfs_mode: u32,
    /// Mount options of a tmpfs, `[name]` or `[name, value]` each.
    pub tmpfs_options: Vec<Vec<String>>,
}

/// Kinds of mount.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum MountKind {
    /// A path of the host.
    #[default]
    Bind,
    /// A named volume of the node.
    Volume,
    /// Memory.
    Tmpfs,
}

/// How a container's health is checked. Zero means: as the image says.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct HealthCheck {
    /// `NONE`, or `CMD` and arguments, or `CMD-SHELL` and a line.
    pub test: Vec<String>,
    /// Nanoseconds between two checks.
    pub interval_nanos: u64,
    /// Nanoseconds until a check counts as failed.
    pub timeout_nanos: u64,
    /// Failures in a row until the container is unhealthy.
    pub retries: u64,
    /// Nanoseconds after start in which failures do not count.
    pub start_period_nanos: u64,
    /// Nanoseconds between two checks in the start period.
    pub start_interval_nanos: u64,
}

/// Name servers and search domains.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct DnsConfig {
    /// Addresses.
    pub nameservers: Vec<String>,
    /// Domains.
    pub search: Vec<String>,
    /// Resolver options.
    pub options: Vec<String>,
}

/// A file that a secret or config becomes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct FileTarget {
    /// File name or path.
    pub name: String,
    /// Owner.
    pub uid: String,
    /// Group.
    pub gid: String,
    /// Permissions.
    pub mode: u32,
}

/// A secret that a container needs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SecretReference {
    /// Which.
    pub id: SecretId,
    /// Its name when the reference was made.
    pub name: String,
    /// Where it shows.
    pub file: Option<FileTarget>,
}

/// A config that a container needs.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ConfigReference {
    /// Which.
    pub id: ConfigId,
    /// Its name when the reference was made.
    pub name: String,
    /// Where it shows; `None` for a config used by the runtime.
    pub file: Option<FileTarget>,
}

/// A resource limit of a process.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Ulimit {
    /// `nofile`, `nproc`, …
    pub name: String,
    /// Soft limit.
    pub soft: i64,
    /// Hard limit.
    pub hard: i64,
}

/// Security options. JSON fields are stored as Docker writes them.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Privileges {
    /// Whether a process may gain privileges.
    pub no_new_privileges: bool,
    /// Seccomp options as JSON; empty if none.
    pub seccomp: String,
    /// AppArmor options as JSON; empty if none.
    pub apparmor: String,
    /// SELinux context as JSON; empty if none.
    pub selinux: String,
    /// Windows credentials as JSON; empty if none.
    pub credential_spec: String,
}

/// What a task may use, and what is set aside for it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct ResourceRequirements {
    /// Hard limits.
    pub limits: Option<Limits>,
    /// Set aside on the node by the scheduler.
    pub reservations: Option<Resources>,
}

/// Hard limits; 0 means none.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Limits {
    /// Billionths of a CPU.
    pub nano_cpus: i64,
    /// Bytes.
    pub memory_bytes: i64,
    /// Number of processes.
    pub pids: i64,
}

/// An amount of resources of a node or of a task.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Resources {
    /// Billionths of a CPU.
    pub nano_cpus: i64,
    /// Bytes.
    pub memory_bytes: i64,
    /// Countable resources by kind.
    pub generic: BTreeMap<String, GenericResource>,
}

/// A countable resource.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum GenericResource {
    /// So many, alike.
    Discrete(i64),
    /// These, by name.
    Named(Vec<String>),
}

/// Whether and when a task that ended gets a successor.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RestartPolicy {
    /// After which endings.
    pub condition: RestartCondition,
    /// Nanoseconds to wait; `None` means 5 s.
    pub delay_nanos: Option<u64>,
    /// Attempts in the window; 0 means without end.
    pub max_attempts: u64,
    /// Nanoseconds that the count looks back; 0 means for ever.
    pub window_nanos: u64,
}

impl RestartPolicy {
    /// Docker's default: after any ending, after 5 s, without end.
    pub const DEFAULT: Self = Self {
        condition: RestartCondition::Any,
        delay_nanos: None,
        max_attempts: 0,
        window_nanos: 0,
    };
    /// Docker's default delay in nanoseconds.
    pub const DELAY_NANOS: u64 = 5_000_000_000;
}

/// Endings after which a task gets a successor.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum RestartCondition {
    /// None.
    None,
    /// All but a clean exit.
    OnFailure,
    /// All.
    Any,
}

/// Where tasks may run.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Placement {
    /// All of these must hold: `key==value` or `key!=value`.
    pub constraints: Vec<String>,
    /// Labels to spread over, first is most important: `node.labels.zone`.
    pub spread: Vec<String>,
    /// Tasks of the service on one node; 0 means no limit.
    pub max_replicas_per_node: u64,
    /// Platforms of the image; empty means any.
    pub platforms: Vec<Platform>,
}

/// Operating system and processor.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Platform {
    /// `x86_64`, `aarch64`, `amd64`, …
    pub architecture: String,
    /// `linux`.
    pub os: String,
}

/// A network that tasks join.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NetworkAttachment {
    /// Which, resolved when the spec was written.
    pub network: NetworkId,
    /// As the user wrote it.
    pub target: String,
    /// Additional names of the service on it.
    pub aliases: Vec<String>,
    /// Options of the driver.
    pub driver_opts: BTreeMap<String, String>,
}

/// Where output goes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct LogDriver {
    /// `json-file`, …
    pub name: String,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

/// How an update or a rollback replaces tasks.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct UpdateConfig {
    /// Slots at the same time; 0 means all.
    pub parallelism: u64,
    /// Nanoseconds between two batches.
    pub delay_nanos: u64,
    /// What happens when a new task fails.
    pub failure_action: FailureAction,
    /// Nanoseconds that a new task is watched for failure; `None` means 5 s.
    pub monitor_nanos: Option<u64>,
    /// Share of failures to bear, in millionths, 0 to 1,000,000.
    pub max_failure_ratio_ppm: u32,
    /// Which of the two goes first.
    pub order: UpdateOrder,
}

impl UpdateConfig {
    /// Docker's defaults.
    pub const DEFAULT: Self = Self {
        parallelism: 1,
        delay_nanos: 0,
        failure_action: FailureAction::Pause,
        monitor_nanos: None,
        max_failure_ratio_ppm: 0,
        order: UpdateOrder::StopFirst,
    };
    /// Docker's default of `monitor_nanos`.
    pub const MONITOR_NANOS: u64 = 5_000_000_000;
}

/// What happens when an updated task fails.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum FailureAction {
    /// The update stops where it is.
    Pause,
    /// The update goes on.
    Continue,
    /// The previous spec comes back.
    Rollback,
}

/// Whether the old task stops before the new one starts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum UpdateOrder {
    /// Old one first.
    StopFirst,
    /// New one first.
    StartFirst,
}

/// How an update goes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct UpdateStatus {
    /// Where it stands.
    pub state: UpdateState,
    /// When it began.
    pub started_at: UnixNanos,
    /// When it ended.
    pub completed_at: Option<UnixNanos>,
    /// Docker's words for it.
    pub message: String,
}

/// Where an update stands.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum UpdateState {
    /// Tasks are being replaced.
    Updating,
    /// Stopped after a failure, until the next update.
    Paused,
    /// Done.
    Completed,
    /// Going back.
    RollbackStarted,
    /// Going back failed as well.
    RollbackPaused,
    /// Back.
    RollbackCompleted,
}

/// How clients reach a service.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EndpointSpec {
    /// How its name resolves.
    pub mode: EndpointMode,
    /// Published ports as the user wrote them; 0 asks for any.
    pub ports: Vec<PortConfig>,
}

/// How the name of a service resolves.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum EndpointMode {
    /// To one virtual address.
    #[default]
    Vip,
    /// To the addresses of its tasks.
    Dnsrr,
}

/// One published port.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PortConfig {
    /// Its name; usually empty.
    pub name: String,
    /// Which protocol.
    pub protocol: Protocol,
    /// Port in the container.
    pub target_port: u16,
    /// Port of the nodes; 0 asks for any of 30000 to 32767.
    pub published_port: u16,
    /// On which nodes.
    pub publish_mode: PublishMode,
}

/// Transport protocols.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// On which nodes a port is published.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum PublishMode {
    /// On all of them.
    Ingress,
    /// On those that run a task.
    Host,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_docker_accepts() {
        for (name, expected) in [
            ("web", Ok(())),
            ("Web-1_a", Ok(())),
            ("a", Ok(())),
            ("", Err(BadName::Empty)),
            ("-web", Err(BadName::BadCharacter)),
            ("web_", Err(BadName::BadCharacter)),
            ("we b", Err(BadName::BadCharacter)),
            ("wéb", Err(BadName::BadCharacter)),
        ] {
            assert_eq!(ServiceName::try_from(name.to_owned()).map(|_| ()), expected, "{name}");
        }
        assert_eq!(ServiceName::try_from("a".repeat(64)), Err(BadName::TooLong));
    }
}
