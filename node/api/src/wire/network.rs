//! Networks as far as services and tasks speak of them, and published ports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ObjectVersion, zero};

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
