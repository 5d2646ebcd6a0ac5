//! `/skep/status`: what this node knows, from its own memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::wire::status::{ClusterStatus, Member as Shown, RaftReport, StatusReport, ThisNode};
use crypto::NodeId;
use membership::{Liveness, Member, View};
use model::node::Availability;
use model::{Grant, NodeState, State, UnixNanos};
use store::{RaftRole, RaftStatus};
use tokio::time::Instant;

use super::{Front, Notices};
use crate::admission;

/// Fewer eligible nodes than this and one loss stops every change.
const ELIGIBLE_MIN: u64 = 3;

/// Now, by this node's clock.
pub(crate) fn unix_nanos() -> UnixNanos {
    let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    UnixNanos(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX))
}

impl Front {
    pub(super) fn build_status(&self) -> StatusReport {
        let view = Arc::clone(&self.view.borrow());
        let notices = Arc::clone(&self.notices.borrow());
        let state = self.store.as_ref().map(|store| Arc::clone(&store.state().borrow()));
        let raft = self.store.as_ref().map(|store| Arc::clone(&store.status().borrow()));
        let admitted = *self.admitted.borrow();
        let cluster = admitted
            .map(|admitted| cluster(admitted.cluster, &view, state.as_deref(), raft.as_deref()));
        let mut warnings = notices.warnings.clone();
        if let Some(cluster) = cluster.as_ref().filter(|cluster| cluster.n_eligible < ELIGIBLE_MIN)
        {
            let n_eligible = cluster.n_eligible;
            warnings.push(format!(
                "{n_eligible} eligible manager{}: losing one stops changes; start more nodes with the cluster key, three are enough",
                if n_eligible == 1 { "" } else { "s" }
            ));
        }
        warnings.extend(notices.ports.iter().cloned());
        warnings.extend(membership_warnings(&view));
        StatusReport {
            node: self.this_node(admitted.is_some()),
            cluster,
            waiting: notices.waiting.clone(),
            members: members(&view, state.as_deref(), raft.as_deref(), &notices),
            raft: raft
                .filter(|raft| raft.role != RaftRole::Outside)
                .map(|raft| report(&raft, &notices)),
            warnings,
            // As it is now: an engine may be away.
            lacks: self.runtime.info().lacks,
        }
    }

    fn this_node(&self, admitted: bool) -> ThisNode {
        let state = match (self.leave.is_cancelled(), admitted) {
            (true, _) => "stopping",
            (false, true) => "active",
            (false, false) => "waiting",
        };
        ThisNode {
            id: self.me.to_string(),
            hostname: self.description.hostname.clone(),
            address: self.description.address.clone(),
            version: self.description.version.clone(),
            runtime: admission::runtime_text(&self.runtime.info()),
            state: state.to_owned(),
            eligible: self.eligible,
            incarnation: self.incarnation,
            uptime_seconds: self.started.elapsed().as_secs(),
        }
    }
}

fn cluster(
    id: model::ClusterId,
    view: &View,
    state: Option<&State>,
    raft: Option<&RaftStatus>,
) -> ClusterStatus {
    // A node without the state counts whom it hears.
    let (n_nodes, n_eligible) = match state.filter(|state| state.cluster().is_some()) {
        Some(state) => {
            let up = |node: &&Arc<model::Node>| node.status.state != NodeState::Down;
            let eligible = state.nodes().filter(up).filter(|node| node.grant == Grant::Eligible);
            (state.nodes().count(), eligible.count())
        }
        None => (view.members.len(), view.alive().filter(|member| member.eligible).count()),
    };
    let n_managers = raft.map_or(0, |raft| raft.voters.len());
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    ClusterStatus {
        id: id.to_string(),
        n_nodes: count(n_nodes),
        n_eligible: count(n_eligible),
        n_managers: count(n_managers),
    }
}

fn membership_warnings(view: &View) -> Vec<String> {
    let mut warnings = Vec::new();
    if membership::view::IDS_WARN <= view.n_known_ids {
        let n_ids = view.n_known_ids;
        warnings.push(format!("gossip carries {n_ids} ids and refuses new ones from 900 on"));
    }
    if view.self_suspect {
        warnings.push(
            "this node hears less than half of the others: it may be the one cut off".to_owned(),
        );
    }
    if view.rival_incarnation.is_some() {
        warnings.push(
            "another machine runs with a copy of this node's data directory: stop one of the two"
                .to_owned(),
        );
    }
    warnings
}

fn members(
    view: &View,
    state: Option<&State>,
    raft: Option<&RaftStatus>,
    notices: &Notices,
) -> Vec<Shown> {
    let mut shown: BTreeMap<NodeId, Shown> =
        view.members.values().map(|member| (member.id, heard(member, view.me))).collect();
    for node in state.iter().flat_map(|state| state.nodes()) {
        let entry = shown.entry(node.id).or_insert_with(|| Shown {
            id: node.id.to_string(),
            hostname: node.description.hostname.clone(),
            address: node.description.address.clone(),
            liveness: "unseen".to_owned(),
            ..Shown::default()
        });
        if node.status.state == NodeState::Down {
            entry.liveness = "down".to_owned();
        }
        node.description.version.clone_into(&mut entry.version);
        availability(node.spec.availability).clone_into(&mut entry.availability);
    }
    for (id, entry) in &mut shown {
        let grant = state.and_then(|state| state.node(*id)).map(|node| node.grant);
        let eligible =
            view.members.get(id).map_or_else(|| grant == Some(Grant::Eligible), |m| m.eligible);
        role(*id, eligible, raft).clone_into(&mut entry.role);
        if let Some(why) = notices.why.get(id) {
            entry.why.clone_from(why);
        }
    }
    shown.into_values().collect()
}

fn heard(member: &Member, me: NodeId) -> Shown {
    let (liveness, since) = match member.liveness {
        Liveness::Alive => ("alive", member.first_seen),
        Liveness::Suspect { since } => ("suspect", since),
        Liveness::Left => ("left", member.first_seen),
    };
    Shown {
        id: member.id.to_string(),
        hostname: member.payload.hostname.clone(),
        address: member.address.to_string(),
        liveness: liveness.to_owned(),
        since_seconds: Instant::now().saturating_duration_since(since).as_secs(),
        rtt_millis: member.rtt.filter(|_| member.id != me).map(|rtt| rtt.as_secs_f64() * 1_000.0),
        zone: member.payload.zone.clone(),
        version: member.payload.version.clone(),
        ..Shown::default()
    }
}

const fn availability(availability: Availability) -> &'static str {
    match availability {
        Availability::Active => "active",
        Availability::Pause => "pause",
        Availability::Drain => "drain",
    }
}

fn role(id: NodeId, eligible: bool, raft: Option<&RaftStatus>) -> &'static str {
    let Some(raft) = raft.filter(|_| eligible) else {
        return if eligible { "eligible" } else { "worker" };
    };
    if raft.leader.is_some_and(|(_, leader)| leader == id) {
        "leader"
    } else if raft.voters.values().any(|voter| *voter == id) {
        "manager"
    } else if raft.learners.values().any(|learner| *learner == id) {
        "standby"
    } else {
        "eligible"
    }
}

fn report(raft: &RaftStatus, notices: &Notices) -> RaftReport {
    let role = match raft.role {
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
        term: raft.term,
        leader: raft.leader.map(|(_, id)| id.to_string()),
        voters: named(&raft.voters),
        learners: named(&raft.learners),
        last_log: raft.last_log,
        applied: raft.applied,
        quorum_age_millis: raft
            .quorum_ack_age()
            .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        autopilot: notices.autopilot.clone(),
    }
}
