//! Nodes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ObjectVersion, zero};

/// A node.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Node {
    /// Id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Version of its spec.
    pub version: ObjectVersion,
    /// When it was admitted.
    pub created_at: String,
    /// When it was last written.
    pub updated_at: String,
    /// What a user wants of it.
    pub spec: NodeSpec,
    /// What it says of itself.
    pub description: NodeDescription,
    /// Its health.
    pub status: NodeStatus,
    /// Present on managers only.
    #[serde(skip_serializing_if = "zero")]
    pub manager_status: Option<ManagerStatus>,
}

/// What a user wants of a node.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeSpec {
    /// A name, usually empty.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `worker` or `manager`.
    #[serde(skip_serializing_if = "zero")]
    pub role: String,
    /// `active`, `pause` or `drain`.
    #[serde(skip_serializing_if = "zero")]
    pub availability: String,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeDescription {
    /// Host name.
    #[serde(skip_serializing_if = "zero")]
    pub hostname: String,
    /// Operating system and processor.
    pub platform: Platform,
    /// What it has.
    pub resources: Resources,
    /// What runs containers there.
    pub engine: EngineDescription,
    /// Whom it trusts.
    #[serde(rename = "TLSInfo")]
    pub tls_info: TlsInfo,
    /// Storage plugins.
    #[serde(rename = "CSIInfo", skip_serializing_if = "zero")]
    pub csi_info: Vec<Value>,
}

/// Operating system and processor.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Platform {
    /// `x86_64`, `aarch64`, …
    #[serde(skip_serializing_if = "zero")]
    pub architecture: String,
    /// `linux`.
    #[serde(rename = "OS", skip_serializing_if = "zero")]
    pub os: String,
}

/// An amount of resources.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Resources {
    /// Billionths of a CPU.
    #[serde(rename = "NanoCPUs", skip_serializing_if = "zero")]
    pub nano_cpus: i64,
    /// Bytes.
    #[serde(skip_serializing_if = "zero")]
    pub memory_bytes: i64,
    /// Countable resources.
    #[serde(skip_serializing_if = "zero")]
    pub generic_resources: Vec<GenericResource>,
}

/// A countable resource: one of the two is set.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct GenericResource {
    /// This one, by name.
    #[serde(skip_serializing_if = "zero")]
    pub named_resource_spec: Option<NamedGenericResource>,
    /// So many, alike.
    #[serde(skip_serializing_if = "zero")]
    pub discrete_resource_spec: Option<DiscreteGenericResource>,
}

/// A resource with a name.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NamedGenericResource {
    /// Kind.
    #[serde(skip_serializing_if = "zero")]
    pub kind: String,
    /// Name.
    #[serde(skip_serializing_if = "zero")]
    pub value: String,
}

/// A number of resources.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DiscreteGenericResource {
    /// Kind.
    #[serde(skip_serializing_if = "zero")]
    pub kind: String,
    /// How many.
    #[serde(skip_serializing_if = "zero")]
    pub value: i64,
}

/// What runs containers on a node.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct EngineDescription {
    /// Its version.
    #[serde(skip_serializing_if = "zero")]
    pub engine_version: String,
    /// What its operator says of the node: `engine.labels.*` in constraints.
    #[serde(skip_serializing_if = "zero")]
    pub labels: BTreeMap<String, String>,
    /// Its plugins.
    #[serde(skip_serializing_if = "zero")]
    pub plugins: Vec<PluginDescription>,
}

/// A plugin.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct PluginDescription {
    /// `Log`, `Network`, `Volume`, …
    #[serde(rename = "Type", skip_serializing_if = "zero")]
    pub kind: String,
    /// Name.
    #[serde(skip_serializing_if = "zero")]
    pub name: String,
}

/// Certificates in Docker's form; byte strings are base64.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct TlsInfo {
    /// PEM.
    #[serde(skip_serializing_if = "zero")]
    pub trust_root: String,
    /// Name of the issuer.
    #[serde(skip_serializing_if = "zero")]
    pub cert_issuer_subject: String,
    /// Key of the issuer.
    #[serde(skip_serializing_if = "zero")]
    pub cert_issuer_public_key: String,
}

/// Health of a node.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct NodeStatus {
    /// `unknown`, `down`, `ready` or `disconnected`.
    #[serde(skip_serializing_if = "zero")]
    pub state: String,
    /// Why.
    #[serde(skip_serializing_if = "zero")]
    pub message: String,
    /// Its address, without a port.
    #[serde(skip_serializing_if = "zero")]
    pub addr: String,
}

/// What a manager has beyond other nodes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ManagerStatus {
    /// Whether it leads.
    #[serde(skip_serializing_if = "zero")]
    pub leader: bool,
    /// `unknown`, `unreachable` or `reachable`.
    #[serde(skip_serializing_if = "zero")]
    pub reachability: String,
    /// Its address with the port.
    #[serde(skip_serializing_if = "zero")]
    pub addr: String,
}
