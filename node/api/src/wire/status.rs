//! `/skep/status`: who is here, who votes, who leads, and why. Ours, not Docker's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a node knows, by itself and from the leader: it answers without one too.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct StatusReport {
    /// The node that answers.
    pub node: ThisNode,
    /// The cluster; `None` before genesis or admission.
    pub cluster: Option<ClusterStatus>,
    /// What is still missing before this node is part of a cluster, one line each:
    /// `waiting for seeds: 2 of 3 (c:7964: no answer, 41 s)`.
    pub waiting: Vec<String>,
    /// Everybody this node knows, itself included, by id.
    pub members: Vec<Member>,
    /// The managers' agreement; `None` as long as this node has heard nothing of it.
    pub raft: Option<RaftReport>,
    /// What somebody should look at, one line each.
    pub warnings: Vec<String>,
    /// What does not work on this node, and what would cure it, one line each.
    pub lacks: Vec<String>,
}

/// The node that answers.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ThisNode {
    /// Id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Host name.
    pub hostname: String,
    /// Advertised address, and where it came from.
    pub address: String,
    /// `skep` version.
    pub version: String,
    /// `embedded 0.1.0`, `docker 28.2.2`, …
    pub runtime: String,
    /// `waiting`, `active`, `removed`, `stopping`.
    pub state: String,
    /// Whether it holds the cluster key.
    pub eligible: bool,
    /// Boot count.
    pub incarnation: u64,
    /// Seconds since the daemon started.
    pub uptime_seconds: u64,
}

/// The cluster.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ClusterStatus {
    /// Id.
    #[serde(rename = "ID")]
    pub id: String,
    /// How many nodes were admitted.
    pub n_nodes: u64,
    /// How many of them hold the cluster key.
    pub n_eligible: u64,
    /// How many are managers now.
    pub n_managers: u64,
}

/// A member as this node sees it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Member {
    /// Id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Host name.
    pub hostname: String,
    /// Advertised address.
    pub address: String,
    /// `alive`, `suspect`, `down` or `left`.
    pub liveness: String,
    /// Seconds since it is so.
    pub since_seconds: u64,
    /// Round-trip time in milliseconds; `None` for ourselves and before the first answer.
    pub rtt_millis: Option<f64>,
    /// `leader`, `manager`, `standby`, `eligible` or `worker`.
    pub role: String,
    /// Why it votes, or why not.
    pub why: String,
    /// `active`, `pause` or `drain`.
    pub availability: String,
    /// `zone` label.
    pub zone: String,
    /// `skep` version.
    pub version: String,
}

/// The managers' agreement.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct RaftReport {
    /// `outside`, `learner`, `follower`, `candidate` or `leader`: this node's part in it.
    pub role: String,
    /// Term.
    pub term: u64,
    /// Node id of the leader.
    pub leader: Option<String>,
    /// Raft id and node id of each voter.
    pub voters: BTreeMap<u64, String>,
    /// Raft id and node id of each learner.
    pub learners: BTreeMap<u64, String>,
    /// Index of the last entry of the log.
    pub last_log: u64,
    /// Index of the last entry that was applied.
    pub applied: u64,
    /// Milliseconds since a majority last answered the leader.
    pub quorum_age_millis: Option<u64>,
    /// Seconds since a leader said so, if none can be asked now.
    pub stale_seconds: Option<u64>,
    /// What autopilot is doing or why it holds still, one line each.
    pub autopilot: Vec<String>,
}

/// Asks a node to leave its cluster: `POST /skep/leave`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct LeaveRequest {
    /// Leave even if the cluster cannot go on without this node.
    pub force: bool,
}
