//! Networks as far as services and tasks speak of them, and published ports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ObjectVersion, nullable, zero};

/// A published port.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PortConfig {
    /// A name, usually empty.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    #[serde(skip_serializing_if = "zero")]
    pub protocol: String,
    /// In the container.
    #[serde(skip_serializing_if = "zero")]
    pub target_port: u32,
    /// On the nodes; 0 means: choose one.
    #[serde(skip_serializing_if = "zero")]
    pub published_port: u32,
    /// `ingress` or `host`.
    #[serde(skip_serializing_if = "zero")]
    pub publish_mode: String,
}

/// How clients reach a service, as the user wants it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EndpointSpec {
    /// `vip` or `dnsrr`.
    #[serde(skip_serializing_if = "zero")]
    pub mode: String,
    /// Published ports.
    #[serde(skip_serializing_if = "zero")]
    pub ports: Vec<PortConfig>,
}

/// How clients reach a service, as it is.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Endpoint {
    /// As the user wants it.
    pub spec: EndpointSpec,
    /// Published ports with their numbers.
    #[serde(skip_serializing_if = "zero")]
    pub ports: Vec<PortConfig>,
    /// One for each network.
    #[serde(rename = "VirtualIPs", skip_serializing_if = "zero")]
    pub virtual_ips: Vec<VirtualIp>,
}

/// The address of a service on a network.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct VirtualIp {
    /// Which network.
    #[serde(rename = "NetworkID", skip_serializing_if = "zero")]
    pub network_id: String,
    /// Address with its prefix length, `10.0.1.2/24`.
    #[serde(skip_serializing_if = "zero")]
    pub addr: String,
}

/// A network that tasks are to join.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkAttachmentConfig {
    /// Id or name.
    #[serde(skip_serializing_if = "zero")]
    pub target: String,
    /// Additional names on it.
    #[serde(skip_serializing_if = "zero")]
    pub aliases: Vec<String>,
    /// Options of the driver.
    #[serde(skip_serializing_if = "zero")]
    pub driver_opts: BTreeMap<String, String>,
}

/// A network that a task has joined.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkAttachment {
    /// Which.
    pub network: SwarmNetwork,
    /// Addresses with their prefix lengths.
    #[serde(skip_serializing_if = "zero")]
    pub addresses: Vec<String>,
}

/// A cluster-wide network as it shows inside tasks.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct SwarmNetwork {
    /// Id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version.
    pub version: ObjectVersion,
    /// When it was created.
    pub created_at: String,
    /// When its spec was last written.
    pub updated_at: String,
    /// Its `NetworkSpec`.
    pub spec: Value,
    /// State of its driver.
    pub driver_state: Value,
    /// Its address ranges.
    #[serde(rename = "IPAMOptions", skip_serializing_if = "zero")]
    pub ipam_options: Option<Value>,
}

/// A network, as `/networks` shows it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Network {
    /// Name.
    pub name: String,
    /// Id.
    pub id: String,
    /// When it was created.
    pub created: String,
    /// `swarm` or `local`.
    pub scope: String,
    /// `overlay`, `bridge`, …
    pub driver: String,
    /// Whether IPv4 is on, on this node.
    #[serde(rename = "EnableIPv4")]
    pub enable_ipv4: bool,
    /// Whether IPv6 is on.
    #[serde(rename = "EnableIPv6")]
    pub enable_ipv6: bool,
    /// Its addresses.
    #[serde(rename = "IPAM")]
    pub ipam: Ipam,
    /// Whether it has no way out.
    pub internal: bool,
    /// Whether containers outside of services may join.
    pub attachable: bool,
    /// Whether it is the one of published ports.
    pub ingress: bool,
    /// The network that its configuration comes from.
    pub config_from: ConfigFrom,
    /// Whether it is only a configuration.
    pub config_only: bool,
    /// Containers on this node that joined it; `null` for networks of the cluster.
    pub containers: Option<BTreeMap<String, Value>>,
    /// Options of the driver; `null` for networks of the cluster that have none.
    pub options: Option<BTreeMap<String, String>>,
    /// Labels; `null` for networks of the cluster that have none.
    pub labels: Option<BTreeMap<String, String>>,
    /// Nodes that have it.
    #[serde(skip_serializing_if = "zero")]
    pub peers: Vec<Value>,
    /// Services on it, where they are asked for.
    #[serde(skip_serializing_if = "zero")]
    pub services: BTreeMap<String, Value>,
}

/// Address ranges of a network.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Ipam {
    /// `default`.
    pub driver: String,
    /// Its options; `null` if there are none.
    pub options: Option<BTreeMap<String, String>>,
    /// Ranges.
    #[serde(with = "nullable")]
    pub config: Vec<IpamConfig>,
}

/// One address range.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct IpamConfig {
    /// `10.0.1.0/24`.
    #[serde(skip_serializing_if = "zero")]
    pub subnet: String,
    /// Part of it that addresses are given from.
    #[serde(rename = "IPRange", skip_serializing_if = "zero")]
    pub ip_range: String,
    /// Address of the gateway.
    #[serde(skip_serializing_if = "zero")]
    pub gateway: String,
    /// Addresses that are not given out.
    #[serde(skip_serializing_if = "zero")]
    pub auxiliary_addresses: BTreeMap<String, String>,
}

/// The network that a configuration comes from.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ConfigFrom {
    /// Its name.
    pub network: String,
}

/// A network to create.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NewNetwork {
    /// Name.
    pub name: String,
    /// `overlay`, `bridge`, …; empty means `bridge`.
    pub driver: String,
    /// `swarm` or `local`; empty means as the driver is.
    pub scope: String,
    /// Whether IPv6 is on.
    #[serde(rename = "EnableIPv6", skip_serializing_if = "zero")]
    pub enable_ipv6: Option<bool>,
    /// Its addresses.
    #[serde(rename = "IPAM")]
    pub ipam: Option<Ipam>,
    /// Whether it has no way out.
    pub internal: bool,
    /// Whether containers outside of services may join.
    pub attachable: bool,
    /// Whether it is the one of published ports.
    pub ingress: bool,
    /// Whether it is only a configuration.
    pub config_only: bool,
    /// The network that its configuration comes from.
    pub config_from: Option<ConfigFrom>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

impl NewNetwork {
    /// Whether it belongs to the cluster, not to one node.
    #[must_use]
    pub fn is_of_cluster(&self) -> bool {
        self.driver == "overlay" || self.scope == "swarm" || self.ingress
    }
}

/// Answer of a request that creates a network.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworkCreated {
    /// Id.
    pub id: String,
    /// What the user should know.
    pub warning: String,
}

/// Answer of a request that removes the networks that nobody uses.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NetworksPruned {
    /// Their names.
    #[serde(with = "nullable")]
    pub networks_deleted: Vec<String>,
}
