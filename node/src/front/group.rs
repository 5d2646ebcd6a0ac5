//! Who votes and who leads, from the best source there is. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use api::wire::status::RaftReport;
use crypto::NodeId;
use store::{RaftRole, RaftStatus};

use super::Notices;
use crate::overview::Seen;

/// The managers' agreement as a node knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    role: RaftRole,
    term: u64,
    pub(crate) leader: Option<NodeId>,
    pub(crate) voters: BTreeMap<u64, NodeId>,
    learners: BTreeMap<u64, NodeId>,
    last_log: u64,
    applied: u64,
    quorum_age_millis: Option<u64>,
    autopilot: Vec<String>,
    /// Why each node votes, or why not.
    pub(crate) why: BTreeMap<NodeId, String>,
    /// How long ago this was true for certain.
    stale: Option<Duration>,
}

impl Group {
    /// The leader knows by itself. Who takes part in Raft and hears a leader knows the members;
    /// the reasons are the leader's. Everybody else has the leader's word, or its last one.
    pub(crate) fn of(
        own: Option<&RaftStatus>,
        notices: &Notices,
        seen: Option<&Seen>,
    ) -> Option<Self> {
        let own = own.filter(|raft| raft.role != RaftRole::Outside);
        match (own, seen) {
            (Some(raft), _) if raft.role == RaftRole::Leader => Some(Self {
                autopilot: notices.autopilot.clone(),
                why: notices.why.clone(),
                ..Self::of_raft(raft)
            }),
            (Some(raft), Some(seen)) if raft.leader.is_some() || seen.stale.is_some() => {
                // A node that has just lost its leader shows what that one said last.
                Some(Self {
                    stale: seen.stale.filter(|_| raft.leader.is_none()),
                    autopilot: seen.overview.autopilot.clone(),
                    why: why_of(seen),
                    quorum_age_millis: seen
                        .overview
                        .quorum_age_millis
                        .filter(|_| seen.stale.is_none()),
                    ..Self::of_raft(raft)
                })
            }
            // A Raft of ours without a leader, and yet somebody leads: we were voted out.
            (_, Some(seen)) => Some(Self::of_overview(seen)),
            (Some(raft), None) => Some(Self::of_raft(raft)),
            (None, None) => None,
        }
    }

    fn of_raft(raft: &RaftStatus) -> Self {
        Self {
            role: raft.role,
            term: raft.term,
            leader: raft.leader.map(|(_, id)| id),
            voters: raft.voters.clone(),
            learners: raft.learners.clone(),
            last_log: raft.last_log,
            applied: raft.applied,
            quorum_age_millis: raft
                .quorum_ack_age()
                .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            ..Self::default()
        }
    }

    fn of_overview(seen: &Seen) -> Self {
        let overview = &seen.overview;
        Self {
            role: RaftRole::Outside,
            term: overview.term,
            leader: Some(seen.leader),
            voters: overview.voters.clone(),
            learners: overview.learners.clone(),
            last_log: overview.last_log,
            applied: overview.applied,
            quorum_age_millis: overview.quorum_age_millis,
            autopilot: overview.autopilot.clone(),
            why: why_of(seen),
            stale: seen.stale,
        }
    }

    /// Whether this node has a part in it.
    pub(crate) fn takes_part(&self) -> bool {
        self.role != RaftRole::Outside
    }

    /// What a node is in it.
    pub(crate) fn role_of(&self, id: NodeId) -> Option<&'static str> {
        if self.leader == Some(id) {
            Some("leader")
        } else if self.voters.values().any(|voter| *voter == id) {
            Some("manager")
        } else if self.learners.values().any(|learner| *learner == id) {
            Some("standby")
        } else {
            None
        }
    }

    pub(crate) fn report(self) -> RaftReport {
        let role = match self.role {
            RaftRole::Outside => "outside",
            RaftRole::Learner => "learner",
            RaftRole::Follower => "follower",
            RaftRole::Candidate => "candidate",
            RaftRole::Leader => "leader",
        };
        let named = |ids: &BTreeMap<u64, NodeId>| {
            ids.iter().map(|(raft_id, id)| (*raft_id, id.to_string())).collect()
        };
        RaftReport {
            role: role.to_owned(),
            term: self.term,
            leader: self.leader.map(|id| id.to_string()),
            voters: named(&self.voters),
            learners: named(&self.learners),
            last_log: self.last_log,
            applied: self.applied,
            quorum_age_millis: self.quorum_age_millis.filter(|_| self.stale.is_none()),
            stale_seconds: self.stale.map(|age| age.as_secs()),
            autopilot: self.autopilot,
        }
    }
}

fn why_of(seen: &Seen) -> BTreeMap<NodeId, String> {
    let reasons = seen.overview.nodes.iter().filter(|node| !node.why.is_empty());
    reasons.map(|node| (node.id, node.why.clone())).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::messages::Overview;

    fn id(n: u8) -> NodeId {
        NodeId::of_key(&[n; 32])
    }

    fn raft(role: RaftRole, leader: Option<u8>, voters: &[u8]) -> RaftStatus {
        RaftStatus {
            role,
            term: 3,
            leader: leader.map(|n| (u64::from(n), id(n))),
            voters: voters.iter().map(|n| (u64::from(*n), id(*n))).collect(),
            ..RaftStatus::default()
        }
    }

    fn seen(leader: u8, voters: &[u8], stale: Option<u64>) -> Seen {
        let overview = Overview {
            term: 4,
            voters: voters.iter().map(|n| (u64::from(*n), id(*n))).collect(),
            autopilot: vec!["said".to_owned()],
            ..Overview::default()
        };
        let stale = stale.map(Duration::from_secs);
        Seen { leader: id(leader), overview: Arc::new(overview), stale }
    }

    #[test]
    fn the_best_source_is_shown() {
        use RaftRole::{Candidate, Follower, Leader, Outside};
        let own = |role, leader| Some(raft(role, leader, &[1, 2, 3]));
        let just_now = Some(seen(9, &[7, 8, 9], None));
        let before = Some(seen(1, &[7, 8, 9], Some(12)));
        // own Raft, what the leader said → term, leader, first voter, stale
        for (own, seen, expected) in [
            (own(Leader, Some(1)), None, Some((3, Some(1), 1, None))),
            (own(Follower, Some(1)), just_now.clone(), Some((3, Some(1), 1, None))),
            (own(Follower, Some(1)), before.clone(), Some((3, Some(1), 1, None))),
            (own(Candidate, None), just_now.clone(), Some((4, Some(9), 7, None))),
            (own(Candidate, None), before.clone(), Some((3, None, 1, Some(12)))),
            (own(Candidate, None), None, Some((3, None, 1, None))),
            (own(Outside, None), just_now.clone(), Some((4, Some(9), 7, None))),
            (own(Outside, None), before, Some((4, Some(1), 7, Some(12)))),
            (None, just_now, Some((4, Some(9), 7, None))),
            (own(Outside, None), None, None),
            (None, None, None),
        ] {
            let group = Group::of(own.as_ref(), &Notices::default(), seen.as_ref());
            let shown = group.map(|group| {
                let report = group.report();
                (report.term, report.leader, report.voters, report.stale_seconds)
            });
            let expected = expected.map(|(term, leader, voter, stale)| {
                let voters: Vec<u8> = (voter..voter + 3).collect();
                let voters = voters.iter().map(|n| (u64::from(*n), id(*n).to_string())).collect();
                (term, leader.map(|n| id(n).to_string()), voters, stale)
            });
            assert_eq!(shown, expected, "{own:?} {seen:?}");
        }
    }
}
