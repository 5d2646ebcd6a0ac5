//! How Raft stands, for `status`, autopilot and whoever looks for the leader.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crypto::NodeId;
use model::ClusterId;
use tokio::time::Instant;

use crate::records::LogPosition;

/// What this node is in Raft.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum RaftRole {
    /// It has no part in it: not founded, not enlisted, or stopped.
    #[default]
    Outside,
    /// It receives the log and does not vote.
    Learner,
    /// It votes and follows.
    Follower,
    /// It votes and looks for a leader.
    Candidate,
    /// It leads.
    Leader,
}

/// How Raft stands, as this node sees it.
#[derive(Clone, Debug, Default)]
pub struct RaftStatus {
    /// The cluster; `None` outside.
    pub cluster: Option<ClusterId>,
    /// Generation after repaired quorum losses.
    pub recovery_epoch: u32,
    /// This node's number; `None` outside.
    pub raft_id: Option<u64>,
    /// This node's part.
    pub role: RaftRole,
    /// Term of the last vote.
    pub term: u64,
    /// Who leads: Raft id and node.
    pub leader: Option<(u64, NodeId)>,
    /// Who votes; in a joint configuration, all that vote in either set.
    pub voters: BTreeMap<u64, NodeId>,
    /// Who only receives the log.
    pub learners: BTreeMap<u64, NodeId>,
    /// In a joint configuration: the voters that it leads to.
    pub joint: Option<BTreeSet<u64>>,
    /// The entry that set the members: what a change of members must be based on.
    pub membership: Option<LogPosition>,
    /// Whether that entry is committed.
    pub membership_committed: bool,
    /// Index of the last entry in the log.
    pub last_log: u64,
    /// Index of the last entry that was applied.
    pub applied: u64,
    /// On the leader: entries that each other member does not have yet.
    pub lag: BTreeMap<u64, u64>,
    /// On the leader: when a quorum last answered.
    pub quorum_acked: Option<Instant>,
}

impl RaftStatus {
    /// On the leader: how long ago a quorum last answered. A leader that votes alone is its own
    /// quorum: nobody else is asked, so nobody answers.
    #[must_use]
    pub fn quorum_ack_age(&self) -> Option<Duration> {
        let alone = self.voters.len() == 1 && self.is_leader();
        if alone { Some(Duration::ZERO) } else { self.quorum_acked.map(|at| at.elapsed()) }
    }

    /// Whether this node leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.role == RaftRole::Leader
    }

    /// Whether anything but the time of the last quorum answer differs.
    pub(crate) fn differs(&self, other: &Self) -> bool {
        let facts = |status: &Self| {
            (
                (status.cluster, status.recovery_epoch, status.raft_id, status.role),
                (status.term, status.leader, status.membership, status.membership_committed),
                (status.last_log, status.applied, status.quorum_acked.is_some()),
            )
        };
        facts(self) != facts(other)
            || self.voters != other.voters
            || self.learners != other.learners
            || self.joint != other.joint
            || self.lag != other.lag
    }
}
