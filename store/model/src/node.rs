//! Nodes: who was admitted, what a user wants of it, what is known of it.

use std::collections::BTreeMap;

use crypto::NodeId;
use serde::{Deserialize, Serialize};

use crate::id::{Index, TokenId, UnixNanos};
use crate::service::{Platform, Resources};

/// A node's admission record. Without one a node may gossip and ask to be admitted, no more.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Node {
    /// Its name: the hash of its key.
    pub id: NodeId,
    /// Its ed25519 public key.
    pub ed25519: [u8; 32],
    /// Its X25519 public key.
    pub x25519: [u8; 32],
    /// What its grant allows, for good.
    pub grant: Grant,
    /// The token it was admitted with; `None` for a holder of the cluster key.
    pub token: Option<TokenId>,
    /// Its number in Raft: founders have slot + 1, others 1000 + log index of the admission.
    /// Workers have one too and never use it.
    pub raft_id: u64,
    /// Its boot count, as last announced; an older one is refused.
    pub incarnation: u64,
    /// What a user wants of it.
    pub spec: NodeSpec,
    /// What it says of itself.
    pub description: NodeDescription,
    /// What the leader thinks of its health.
    pub status: NodeStatus,
    /// Index of the last write of `spec`: Docker's `Version.Index`.
    pub spec_version: Index,
    /// Index of the last write of any field.
    pub modified: Index,
    /// When it was admitted.
    pub created_at: UnixNanos,
    /// When any field but the status was last written.
    pub updated_at: UnixNanos,
}

/// What a node's key or token allows.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Grant {
    /// It runs tasks.
    Worker,
    /// It holds the cluster key: it may vote, and it answers everything.
    Eligible,
}

/// What a user wants of a node.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NodeSpec {
    /// A name that the user gave it; usually empty.
    pub name: String,
    /// `node.labels.*` of constraints and spread.
    pub labels: BTreeMap<String, String>,
    /// Whether it gets and keeps tasks.
    pub availability: Availability,
    /// Docker's role as a wish: `Worker` keeps an eligible node out of the voters.
    pub desired_role: DesiredRole,
}

/// Whether a node gets and keeps tasks.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Availability {
    /// Both.
    Active,
    /// Keeps what it has.
    Pause,
    /// Neither; it does not vote either if others can.
    Drain,
}

/// Whether an eligible node may be chosen as a voter.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum DesiredRole {
    /// As autopilot decides: nobody said anything.
    Automatic,
    /// `node promote`: preferred.
    Manager,
    /// `node demote`, or a worker's grant: never.
    Worker,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct NodeDescription {
    /// Host name.
    pub hostname: String,
    /// Operating system and processor.
    pub platform: Platform,
    /// What it has.
    pub resources: Resources,
    /// `skep` version.
    pub version: String,
    /// Runtime: `embedded`, `docker`, `process`, `fake`, with its version.
    pub runtime: String,
    /// `engine.labels.*` of constraints: what its operator says of it.
    pub engine_labels: BTreeMap<String, String>,
    /// Advertised address of the control plane, `ip:port`.
    pub address: String,
    /// What does not work on this node, in words for `status`.
    pub lacks: Vec<String>,
}

/// What the leader thinks of a node's health.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct NodeStatus {
    /// Docker's word.
    pub state: NodeState,
    /// Why.
    pub message: String,
    /// Since when.
    pub since: UnixNanos,
}

/// Docker's words for the health of a node.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum NodeState {
    /// Admitted, not heard of yet.
    #[default]
    Unknown,
    /// Dead or cut off: its tasks have successors.
    Down,
    /// It answers.
    Ready,
    /// It said goodbye.
    Disconnected,
}
