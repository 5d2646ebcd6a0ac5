//! What the store needs to be told.

use std::path::PathBuf;
use std::time::Duration;

use crypto::NodeId;
use model::ClusterId;

/// What the store needs to be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its folder; nobody else writes there.
    pub dir: PathBuf,
    /// This node.
    pub node: NodeId,
    /// Boot count of this node: higher at each start.
    pub incarnation: u64,
    /// The cluster that this node is known to be of: a folder of another one is refused.
    pub cluster: Option<ClusterId>,
    /// How patient Raft is.
    pub timing: Timing,
    /// When the log is cut.
    pub compaction: Compaction,
}

impl Config {
    /// The defaults.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, node: NodeId, incarnation: u64) -> Self {
        Self {
            dir: dir.into(),
            node,
            incarnation,
            cluster: None,
            timing: Timing::default(),
            compaction: Compaction::default(),
        }
    }
}

/// How patient Raft is. A dead leader is replaced after about `election_max` plus an election
/// timeout, so the two stay close together. Heartbeats are most of what an idle daemon does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timing {
    /// Shortest time without a leader before a vote.
    pub election_min: Duration,
    /// Longest; also how long a vote for another is refused after the last word of the leader.
    pub election_max: Duration,
    /// How often a leader speaks up. Round trips between voters must be shorter.
    pub heartbeat: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            election_min: Duration::from_millis(420),
            election_max: Duration::from_millis(600),
            heartbeat: Duration::from_millis(120),
        }
    }
}

/// When the log is cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Compaction {
    /// Entries after which a snapshot is made.
    pub snapshot_each: u64,
    /// Entries that stay behind a snapshot, for followers that are a little late.
    pub keep: u64,
}

impl Default for Compaction {
    fn default() -> Self {
        Self { snapshot_each: 10_000, keep: 5_000 }
    }
}
