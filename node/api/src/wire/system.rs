//! `/version` and `/info`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::node::{GenericResource, TlsInfo};
use super::{ObjectVersion, nullable, zero};

/// `/version`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Version {
    /// Product name, shown in front of the server's versions.
    #[serde(skip_serializing_if = "zero")]
    pub platform: Option<PlatformName>,
    /// What it is made of.
    #[serde(skip_serializing_if = "zero")]
    pub components: Vec<Component>,
    /// Version of the server.
    pub version: String,
    /// Newest API version it speaks.
    pub api_version: String,
    /// Oldest API version it speaks.
    #[serde(rename = "MinAPIVersion", skip_serializing_if = "zero")]
    pub min_api_version: String,
    /// Commit it was built from.
    pub git_commit: String,
    /// Docker's Go version; ours says which Rust.
    pub go_version: String,
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub arch: String,
    /// Of the kernel.
    #[serde(skip_serializing_if = "zero")]
    pub kernel_version: String,
    /// Whether experimental features are on.
    #[serde(skip_serializing_if = "zero")]
    pub experimental: bool,
    /// When it was built.
    #[serde(skip_serializing_if = "zero")]
    pub build_time: String,
}

/// Product name.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PlatformName {
    /// The name.
    pub name: String,
}

/// A part of the server.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Component {
    /// Which.
    pub name: String,
    /// Its version.
    pub version: String,
    /// More.
    #[serde(skip_serializing_if = "zero")]
    pub details: BTreeMap<String, String>,
}

/// `/info`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Info {
    /// Id of the daemon.
    #[serde(rename = "ID")]
    pub id: String,
    /// Containers on this node.
    pub containers: u64,
    /// Those that run.
    pub containers_running: u64,
    /// Those that are paused.
    pub containers_paused: u64,
    /// Those that ended.
    pub containers_stopped: u64,
    /// Images on this node.
    pub images: u64,
    /// Storage driver.
    pub driver: String,
    /// Its state, in pairs.
    #[serde(with = "nullable")]
    pub driver_status: Vec<[String; 2]>,
    /// Pairs that `docker info` prints verbatim.
    #[serde(skip_serializing_if = "zero")]
    pub system_status: Vec<[String; 2]>,
    /// Plugins by kind.
    pub plugins: Plugins,
    /// Whether memory can be limited.
    pub memory_limit: bool,
    /// Whether swap can be limited.
    pub swap_limit: bool,
    /// Whether CPU periods can be set.
    pub cpu_cfs_period: bool,
    /// Whether CPU quotas can be set.
    pub cpu_cfs_quota: bool,
    /// Whether CPU shares can be set.
    #[serde(rename = "CPUShares")]
    pub cpu_shares: bool,
    /// Whether CPUs can be pinned.
    #[serde(rename = "CPUSet")]
    pub cpu_set: bool,
    /// Whether the number of processes can be limited.
    pub pids_limit: bool,
    /// Whether the kernel forwards packets.
    #[serde(rename = "IPv4Forwarding")]
    pub ipv4_forwarding: bool,
    /// Whether the daemon prints debug lines.
    pub debug: bool,
    /// Open files.
    #[serde(rename = "NFd")]
    pub n_fd: i64,
    /// Whether the OOM killer can be switched off.
    pub oom_kill_disable: bool,
    /// Tasks of the daemon.
    #[serde(rename = "NGoroutines")]
    pub n_goroutines: i64,
    /// Clock of the node.
    pub system_time: String,
    /// Where output goes by default.
    pub logging_driver: String,
    /// `cgroupfs` or `systemd`.
    pub cgroup_driver: String,
    /// `1` or `2`.
    #[serde(skip_serializing_if = "zero")]
    pub cgroup_version: String,
    /// Who listens to events.
    #[serde(rename = "NEventsListener")]
    pub n_events_listener: i64,
    /// Of the kernel.
    pub kernel_version: String,
    /// Distribution.
    pub operating_system: String,
    /// Its version.
    #[serde(rename = "OSVersion")]
    pub os_version: String,
    /// `linux`.
    #[serde(rename = "OSType")]
    pub os_type: String,
    /// `x86_64`, `aarch64`.
    pub architecture: String,
    /// Registry of short names.
    pub index_server_address: String,
    /// Registries.
    pub registry_config: Option<Value>,
    /// Processors.
    #[serde(rename = "NCPU")]
    pub n_cpu: u64,
    /// Bytes.
    pub mem_total: i64,
    /// Countable resources.
    #[serde(with = "nullable")]
    pub generic_resources: Vec<GenericResource>,
    /// Data directory.
    pub docker_root_dir: String,
    /// Proxy.
    pub http_proxy: String,
    /// Proxy.
    pub https_proxy: String,
    /// Hosts without the proxy.
    pub no_proxy: String,
    /// Host name.
    pub name: String,
    /// What its operator says of it.
    pub labels: Vec<String>,
    /// Whether experimental features are on.
    pub experimental_build: bool,
    /// Version of the server.
    pub server_version: String,
    /// OCI runtimes.
    pub runtimes: BTreeMap<String, Value>,
    /// Which of them is used.
    pub default_runtime: String,
    /// The cluster.
    pub swarm: SwarmInfo,
    /// Whether containers survive a restart of the daemon.
    pub live_restore_enabled: bool,
    /// Windows isolation.
    pub isolation: String,
    /// Small init of containers.
    pub init_binary: String,
    /// Version of a component.
    pub containerd_commit: Commit,
    /// Version of a component.
    pub runc_commit: Commit,
    /// Version of a component.
    pub init_commit: Commit,
    /// `name=seccomp,profile=builtin`, …
    pub security_options: Vec<String>,
    /// Fields that only Docker's engine has.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
    /// What somebody should look at.
    #[serde(with = "nullable")]
    pub warnings: Vec<String>,
}

/// Plugins by kind.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Plugins {
    /// Volume drivers.
    pub volume: Vec<String>,
    /// Network drivers.
    pub network: Vec<String>,
    /// Authorization plugins.
    #[serde(with = "nullable")]
    pub authorization: Vec<String>,
    /// Log drivers.
    pub log: Vec<String>,
}

/// Version of a component.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Commit {
    /// Commit.
    #[serde(rename = "ID")]
    pub id: String,
}

/// The cluster, as `/info` shows it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SwarmInfo {
    /// This node; empty outside a cluster.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// Its address.
    pub node_addr: String,
    /// `inactive`, `pending`, `active`, `error` or `locked`.
    pub local_node_state: String,
    /// Whether cluster requests are answered here.
    pub control_available: bool,
    /// What is wrong.
    pub error: String,
    /// The managers.
    #[serde(with = "nullable")]
    pub remote_managers: Vec<SwarmPeer>,
    /// How many nodes.
    #[serde(skip_serializing_if = "zero")]
    pub nodes: u64,
    /// How many managers.
    #[serde(skip_serializing_if = "zero")]
    pub managers: u64,
    /// The cluster object.
    #[serde(skip_serializing_if = "zero")]
    pub cluster: Option<ClusterInfo>,
    /// What somebody should look at.
    #[serde(skip_serializing_if = "zero")]
    pub warnings: Vec<String>,
}

/// A manager.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SwarmPeer {
    /// Id.
    #[serde(rename = "NodeID")]
    pub node_id: String,
    /// Address with the port.
    pub addr: String,
}

/// The cluster object.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ClusterInfo {
    /// Id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version.
    pub version: ObjectVersion,
    /// When it was founded.
    pub created_at: String,
    /// When its spec was last written.
    pub updated_at: String,
    /// Its `swarm.Spec`.
    pub spec: Value,
    /// Whom it trusts.
    #[serde(rename = "TLSInfo")]
    pub tls_info: TlsInfo,
    /// Whether keys are being replaced.
    pub root_rotation_in_progress: bool,
    /// Where overlay networks get their addresses from.
    #[serde(with = "nullable")]
    pub default_addr_pool: Vec<String>,
    /// Prefix length of overlay networks.
    pub subnet_size: u32,
    /// Port of the overlay.
    pub data_path_port: u32,
}
