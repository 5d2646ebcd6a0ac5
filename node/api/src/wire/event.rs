//! Events: what happened, one JSON object each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Something that happened to an object of the cluster.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Event {
    /// `service`, `node`, `network`, `secret` or `config`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// `create`, `update` or `remove`.
    #[serde(rename = "Action")]
    pub action: String,
    /// To whom.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// `swarm`.
    pub scope: String,
    /// Unix seconds.
    pub time: u64,
    /// The same in nanoseconds.
    #[serde(rename = "timeNano")]
    pub time_nano: u64,
}

/// To whom something happened.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Actor {
    /// Id of the object.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name, and what changed: `replicas.old`, `replicas.new`, …
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}
