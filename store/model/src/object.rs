//! The cluster object, networks, secrets and configs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crypto::NodeId;
use serde::{Deserialize, Serialize};

use crate::command::Refused;
use crate::id::{ClusterId, ConfigId, Index, NetworkId, SecretId, TokenId, UnixNanos};

/// The one object that every cluster has.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Cluster {
    /// Made at genesis.
    pub id: ClusterId,
    /// When.
    pub created_at: UnixNanos,
    /// Index of the last write of `spec`.
    pub spec_version: Index,
    /// Index of the last write of any field.
    pub modified: Index,
    /// What a user may set.
    pub spec: ClusterSpec,
    /// Current generation of gossip keys.
    pub psk_epoch: u32,
    /// Generation of the cluster after quorum losses that were repaired by hand.
    pub recovery_epoch: u32,
    /// Tokens that admit nobody any more.
    pub revoked_tokens: BTreeSet<TokenId>,
    /// How many nodes each token has admitted.
    pub token_uses: BTreeMap<TokenId, u32>,
    /// Nodes that were removed and may not come back, with the time of it.
    pub removed_nodes: BTreeMap<NodeId, UnixNanos>,
}

impl Cluster {
    /// Generation of gossip keys of a new cluster.
    pub const FIRST_PSK_EPOCH: u32 = 1;

    /// The token that `docker swarm join-token worker` prints: the same until it is rotated.
    #[must_use]
    pub fn worker_token(&self) -> TokenId {
        self.spec.worker_token.unwrap_or_else(|| first_token(self.id, b'w'))
    }

    /// The token that `docker swarm join-token manager` prints: the same until it is rotated.
    #[must_use]
    pub fn manager_token(&self) -> TokenId {
        self.spec.manager_token.unwrap_or_else(|| first_token(self.id, b'm'))
    }
}

/// A token id is a name and no secret: the cluster's, changed so that its two tokens differ.
fn first_token(cluster: ClusterId, role: u8) -> TokenId {
    let mut bytes = *cluster.as_bytes();
    bytes[0] ^= role;
    TokenId::from_bytes(bytes)
}

/// What a user may set of the cluster. Defaults are Docker Swarm's.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ClusterSpec {
    /// What people call it; Docker has `default`.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Voters: 1, 3 or 5; `None` lets autopilot choose by the number of eligible nodes.
    pub voters: Option<u8>,
    /// Ended tasks kept for each slot; negative keeps all.
    pub task_history_limit: i64,
    /// Join tokens as `docker swarm join-token` prints them: current token id of workers.
    pub worker_token: Option<TokenId>,
    /// The same for managers.
    pub manager_token: Option<TokenId>,
    /// Whether nodes that keep the cluster key on disk wrap it with the unlock key.
    pub autolock: bool,
    /// Generation of the unlock key.
    pub unlock_epoch: u32,
    /// Ranges that overlay networks get their subnets from, in CIDR form.
    pub address_pools: Vec<String>,
    /// Prefix length of those subnets.
    pub subnet_size: u8,
    /// UDP port of the overlay; 0 is the default one.
    pub data_path_port: u16,
    /// Fields of Docker's `swarm.Spec` that are shown as they were written and mean nothing here,
    /// as a JSON object.
    pub kept: String,
}

impl ClusterSpec {
    /// Docker Swarm's default of `task_history_limit`.
    pub const TASK_HISTORY_LIMIT: i64 = 5;
    /// Docker Swarm's default of `subnet_size`.
    pub const SUBNET_SIZE: u8 = 24;
    /// Docker Swarm's default of `address_pools`.
    pub const ADDRESS_POOL: &'static str = "10.0.0.0/8";
}

impl Default for ClusterSpec {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            labels: BTreeMap::new(),
            voters: None,
            task_history_limit: Self::TASK_HISTORY_LIMIT,
            worker_token: None,
            manager_token: None,
            autolock: false,
            unlock_epoch: 0,
            address_pools: vec![Self::ADDRESS_POOL.to_owned()],
            subnet_size: Self::SUBNET_SIZE,
            data_path_port: 0,
            kept: String::new(),
        }
    }
}

/// An overlay network.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Network {
    /// Its name in the store.
    pub id: NetworkId,
    /// What the user wants.
    pub spec: NetworkSpec,
    /// VXLAN network identifier; 0 until allocated.
    pub vni: u32,
    /// Subnets in use, with those that were allocated.
    pub subnets: Vec<Subnet>,
    /// Index of the last write of `spec`.
    pub spec_version: Index,
    /// Index of the last write of any field.
    pub modified: Index,
    /// When it was created.
    pub created_at: UnixNanos,
}

/// What a user wants of a network.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct NetworkSpec {
    /// Unique among networks.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `overlay`.
    pub driver: String,
    /// Options of the driver.
    pub driver_opts: BTreeMap<String, String>,
    /// Whether IPv6 is on.
    pub ipv6: bool,
    /// Whether it has no way out.
    pub internal: bool,
    /// Whether containers outside of services may join.
    pub attachable: bool,
    /// Whether it is the one of published ports.
    pub ingress: bool,
    /// Subnets that the user gave.
    pub subnets: Vec<Subnet>,
}

/// A range of addresses, each field as text in CIDR or address form; empty if not given.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Subnet {
    /// `10.0.1.0/24`.
    pub subnet: String,
    /// Part that tasks get addresses from.
    pub range: String,
    /// Address of the gateway.
    pub gateway: String,
}

/// A secret. Its data is sealed with the state key; nobody prints it.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct Secret {
    /// Its name in the store.
    pub id: SecretId,
    /// Unique among secrets.
    pub name: String,
    /// Labels: the only part that can be updated.
    pub labels: BTreeMap<String, String>,
    /// Ciphertext.
    pub sealed: Vec<u8>,
    /// Index of the last write of name or labels.
    pub spec_version: Index,
    /// Index of the last write of any field.
    pub modified: Index,
    /// When it was created.
    pub created_at: UnixNanos,
    /// When it was last written.
    pub updated_at: UnixNanos,
}

impl Secret {
    /// Docker's limit: data is shorter.
    pub const DATA_BYTES_LIMIT: usize = 512_000;

    /// What its data is sealed for.
    #[must_use]
    pub fn seal_context(id: SecretId) -> Vec<u8> {
        [b"secret ".as_slice(), id.as_bytes()].concat()
    }

    /// Whether data may be so long.
    ///
    /// # Errors
    ///
    /// [`Refused::Invalid`] in Docker's words.
    pub fn check_length(length: usize) -> Result<(), Refused> {
        check_length("secret", length, Self::DATA_BYTES_LIMIT)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A config. Its data is shown to users; it is sealed on disk like a secret's.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct Config {
    /// Its name in the store.
    pub id: ConfigId,
    /// Unique among configs.
    pub name: String,
    /// Labels: the only part that can be updated.
    pub labels: BTreeMap<String, String>,
    /// Ciphertext.
    pub sealed: Vec<u8>,
    /// Index of the last write of name or labels.
    pub spec_version: Index,
    /// Index of the last write of any field.
    pub modified: Index,
    /// When it was created.
    pub created_at: UnixNanos,
    /// When it was last written.
    pub updated_at: UnixNanos,
}

impl Config {
    /// Docker's limit: data is shorter.
    pub const DATA_BYTES_LIMIT: usize = 1_024_000;

    /// What its data is sealed for.
    #[must_use]
    pub fn seal_context(id: ConfigId) -> Vec<u8> {
        [b"config ".as_slice(), id.as_bytes()].concat()
    }

    /// Whether data may be so long.
    ///
    /// # Errors
    ///
    /// [`Refused::Invalid`] in Docker's words.
    pub fn check_length(length: usize) -> Result<(), Refused> {
        check_length("config", length, Self::DATA_BYTES_LIMIT)
    }
}

fn check_length(kind: &str, length: usize, limit: usize) -> Result<(), Refused> {
    if 0 < length && length < limit {
        return Ok(());
    }
    Err(Refused::Invalid(format!("{kind} data must be larger than 0 and less than {limit} bytes")))
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
