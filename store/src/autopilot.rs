//! Who should vote: the leader asks once a second and makes at most one change.
//!
//! [`decide`] is a function of what is known now and for how long; [`Memory`] turns single
//! observations into those durations. Neither has a clock.
//!
//! # Invariants
//!
//! * A failure never makes the group smaller: a dead voter is swapped, or stays.
//! * A quorum of healthy voters exists before and after each change.
//! * Only admitted, eligible, healthy nodes whose log is caught up become voters.
//! * Under doubt nothing changes: no fresh word of a quorum, or many deaths at once.

mod choice;
mod memory;
mod reasons;
#[cfg(test)]
mod tests;

pub use memory::{Health, Memory, Observation, Seen};

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crypto::NodeId;
use model::DesiredRole;

use crate::status::RaftStatus;

use choice::Choice;

/// A voter is replaced when it was dead for so long: it had time to restart.
pub const DEAD: Duration = Duration::from_secs(10);
/// A candidate must have been healthy for so long, except in a young cluster.
pub const HEALTHY: Duration = Duration::from_secs(5);
/// A cluster is young for so long: everybody has just started, nothing can be known of them.
pub const YOUNG: Duration = Duration::from_secs(60);
/// A learner with fewer entries to go is caught up: a batch or two.
pub const LAG_MAX: u64 = 250;
/// It must have been so for so long.
pub const CAUGHT_UP: Duration = Duration::from_secs(1);
/// Between two changes of voters, so that the first shows its effect.
pub const BETWEEN_CHANGES: Duration = Duration::from_secs(5);
/// A quorum that answered longer ago may be one that has another leader: two elections.
pub const QUORUM_FRESH: Duration = Duration::from_secs(1);
/// Learners that are kept caught up, ready to replace a voter.
pub const STANDBY: usize = 2;

/// What the leader's Raft says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Raft {
    /// Who votes; in a joint configuration, all that vote in either set.
    pub voters: BTreeMap<u64, NodeId>,
    /// Who only receives the log.
    pub learners: BTreeMap<u64, NodeId>,
    /// In a joint configuration: the voters that it leads to.
    pub joint: Option<BTreeSet<u64>>,
    /// Whether the last change of members is committed.
    pub settled: bool,
    /// The leader, which is this node.
    pub leader: u64,
    /// Entries that each member does not have yet.
    pub lag: BTreeMap<u64, u64>,
    /// How long ago a quorum last answered.
    pub quorum_ack_age: Option<Duration>,
}

impl Raft {
    /// What a leader's status says; `None` if this node does not lead.
    #[must_use]
    pub fn of(status: &RaftStatus) -> Option<Self> {
        let leader = status.raft_id.filter(|_| status.is_leader())?;
        Some(Self {
            voters: status.voters.clone(),
            learners: status.learners.clone(),
            joint: status.joint.clone(),
            settled: status.membership_committed,
            leader,
            lag: status.lag.clone(),
            quorum_ack_age: status.quorum_ack_age(),
        })
    }
}

/// What is known of an admitted node, and for how long.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Facts {
    /// Its number in Raft.
    pub raft_id: u64,
    /// Whether it holds the cluster key.
    pub eligible: bool,
    /// What a user wants of it.
    pub role: DesiredRole,
    /// Whether a user drains it.
    pub draining: bool,
    /// Voters are spread over zones; empty if it has none.
    pub zone: String,
    /// Gossip and probes agree that it is dead.
    pub dead_for: Option<Duration>,
    /// It answers, without interruption. `None` if it is dead or suspected.
    pub healthy_for: Option<Duration>,
    /// Its log has nearly everything.
    pub caught_up_for: Option<Duration>,
    /// It was replaced, and is no candidate for so long.
    pub banned_for: Option<Duration>,
}

/// All that a decision rests on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Inputs {
    /// What Raft says.
    pub raft: Raft,
    /// Every admitted node.
    pub nodes: BTreeMap<NodeId, Facts>,
    /// Number of voters that a user wants; `None` for automatic.
    pub wanted: Option<u8>,
    /// Since the cluster was founded.
    pub cluster_age: Duration,
    /// Since the voters last changed; `None` if this leader has not seen it.
    pub since_change: Option<Duration>,
    /// Members that turned dead a short time ago.
    pub n_died_lately: usize,
}

/// One change of the members of Raft.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// Finish a joint configuration that was left behind, with these voters.
    FinishJoint(BTreeSet<u64>),
    /// Let a node receive the log.
    AddLearner {
        /// Its number.
        raft_id: u64,
        /// Who it is.
        node: NodeId,
    },
    /// Make these the voters, in one joint change.
    Voters(BTreeSet<u64>),
    /// A node need not receive the log any more.
    RemoveLearner {
        /// Its number.
        raft_id: u64,
    },
    /// Lead no more: this node is about to lose its vote.
    TransferLeader {
        /// Who should lead.
        raft_id: u64,
    },
}

/// What to do now, and why.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Decision {
    /// The change to make, if any.
    pub change: Option<Change>,
    /// For `status`: why each eligible node votes, stands by, or does neither.
    pub why: BTreeMap<NodeId, String>,
    /// How many voters there should be.
    pub target: usize,
    /// Why nothing may change now.
    pub frozen: Option<String>,
}

/// Decides what to change next. The same inputs give the same answer.
#[must_use]
pub fn decide(inputs: &Inputs) -> Decision {
    let choice = Choice::new(inputs);
    let frozen = frozen(inputs);
    let fresh = inputs.raft.quorum_ack_age.is_some_and(|age| age <= QUORUM_FRESH);
    let change = match &inputs.raft.joint {
        Some(voters) => fresh.then(|| Change::FinishJoint(voters.clone())),
        None if frozen.is_some() => None,
        None => choice.change_voters().or_else(|| choice.change_learners()),
    };
    Decision { change, why: reasons::reasons(inputs, &choice), target: choice.target, frozen }
}

/// Why nothing may change now.
fn frozen(inputs: &Inputs) -> Option<String> {
    let raft = &inputs.raft;
    if raft.joint.is_some() {
        return Some("a change of voters that was interrupted must be finished first".to_owned());
    }
    if !raft.settled {
        return Some("the last change of members is not confirmed yet".to_owned());
    }
    match raft.quorum_ack_age {
        Some(age) if age <= QUORUM_FRESH => {}
        Some(age) => return Some(format!("no quorum has answered for {} s", age.as_secs())),
        None => return Some("no quorum has answered yet".to_owned()),
    }
    let (died, members) = (inputs.n_died_lately, inputs.nodes.len());
    if members < died.saturating_mul(3) {
        return Some(format!(
            "{died} of {members} nodes turned dead just now: this may be the network"
        ));
    }
    None
}

/// Voters for so many eligible nodes.
const fn automatic(n_eligible: usize) -> usize {
    match n_eligible {
        0..3 => 1,
        3..7 => 3,
        7.. => 5,
    }
}

/// Voters that are wanted: a user's number, as far as there are nodes for it.
fn target(inputs: &Inputs) -> usize {
    let may_vote = |facts: &&Facts| facts.eligible && facts.role != DesiredRole::Worker;
    let n_eligible = inputs.nodes.values().filter(may_vote).count();
    match inputs.wanted.map(usize::from) {
        Some(5..) if 5 <= n_eligible => 5,
        Some(3..) if 3 <= n_eligible => 3,
        Some(_) => 1,
        None => automatic(n_eligible),
    }
}
