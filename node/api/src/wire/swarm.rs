//! The cluster object, and the way into and out of a cluster.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::system::ClusterInfo;
use super::zero;

/// Body of `POST /swarm/init`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct InitRequest {
    /// `0.0.0.0:2377`, where the command line was not told.
    pub listen_addr: String,
    /// Address, or interface, with or without a port; empty: found out.
    pub advertise_addr: String,
    /// Address of the overlay; empty: that of the control traffic.
    pub data_path_addr: String,
    /// UDP port of the overlay; 0: the default.
    pub data_path_port: u32,
    /// Begin anew from what this node remembers, with it alone.
    pub force_new_cluster: bool,
    /// What a user may set.
    pub spec: SwarmSpec,
    /// Whether the key on disk is wrapped.
    pub auto_lock_managers: bool,
    /// `active`, `pause`, `drain`; empty: active.
    pub availability: String,
    /// Ranges that overlay networks get their subnets from.
    pub default_addr_pool: Vec<String>,
    /// Prefix length of those subnets; 0: the default.
    pub subnet_size: u32,
}

/// Body of `POST /swarm/join`.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JoinRequest {
    /// `0.0.0.0:2377`, where the command line was not told.
    pub listen_addr: String,
    /// Address, or interface, with or without a port; empty: found out.
    pub advertise_addr: String,
    /// Address of the overlay; empty: that of the control traffic.
    pub data_path_addr: String,
    /// Nodes of the cluster, `host[:port]`.
    pub remote_addrs: Vec<String>,
    /// What `swarm join-token` printed.
    pub join_token: String,
    /// `active`, `pause`, `drain`; empty: active.
    pub availability: String,
}

impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the token, which is a secret.
        f.debug_struct("JoinRequest")
            .field("remote_addrs", &self.remote_addrs)
            .finish_non_exhaustive()
    }
}

/// Body of `POST /swarm/unlock`, and answer of `GET /swarm/unlockkey`.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct UnlockKey {
    /// `SWMKEY-1-…`; empty where nothing is locked.
    pub unlock_key: String,
}

impl std::fmt::Debug for UnlockKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UnlockKey(secret)")
    }
}

/// Answer of `GET /swarm`.
#[derive(Clone, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Swarm {
    /// What `/info` shows too.
    #[serde(flatten)]
    pub info: ClusterInfo,
    /// What lets other nodes in.
    pub join_tokens: JoinTokens,
}

impl std::fmt::Debug for Swarm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Swarm").field("info", &self.info).finish_non_exhaustive()
    }
}

/// What lets other nodes in.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct JoinTokens {
    /// As a worker, for good.
    pub worker: String,
    /// As a node that may manage.
    pub manager: String,
}

impl std::fmt::Debug for JoinTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JoinTokens(secret)")
    }
}

/// Body of `POST /swarm/update`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SwarmSpec {
    /// What people call it.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Orchestration.
    pub orchestration: Orchestration,
    /// Settings of Docker's Raft.
    pub raft: Value,
    /// Settings of Docker's dispatcher.
    pub dispatcher: Value,
    /// Settings of Docker's certificate authority.
    #[serde(rename = "CAConfig")]
    pub ca_config: Value,
    /// Defaults of tasks.
    pub task_defaults: Value,
    /// Whether keys on disk are wrapped.
    pub encryption_config: EncryptionConfig,
}

/// Part of [`SwarmSpec`].
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Orchestration {
    /// Ended tasks kept for each slot; negative keeps all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_history_retention_limit: Option<i64>,
}

/// Part of [`SwarmSpec`].
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EncryptionConfig {
    /// Whether nodes that keep the cluster key on disk wrap it.
    pub auto_lock_managers: bool,
}

/// What an update of the cluster asks for beside its new spec.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rotate {
    /// A new token for workers.
    pub worker_token: bool,
    /// A new token for managers.
    pub manager_token: bool,
    /// A new unlock key.
    pub unlock_key: bool,
}
