//! `/skep/status`: what this node knows, and what the leader says where it can be asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use api::wire::status::{ClusterStatus, Member as Shown, StatusReport, ThisNode};
use crypto::NodeId;
use membership::{Liveness, Member, View};
use model::node::Availability;
use model::{Grant, NodeState, State, UnixNanos};
use tokio::time::Instant;

use super::Front;
use super::group::Group;
use crate::admission;
use crate::messages::NodeOverview;
use crate::overview::Seen;

/// Fewer eligible nodes than this and one loss stops every change.
const ELIGIBLE_MIN: u64 = 3;

/// Now, by this node's clock.
pub(crate) fn unix_nanos() -> UnixNanos {
    let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    UnixNanos(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX))
}

impl Front {
    pub(super) async fn build_status(&self) -> StatusReport {
        let seen = self.overviews.now().await;
        let view = Arc::clone(&self.view.borrow());
        let notices = Arc::clone(&self.notices.borrow());
        let state = self.store.as_ref().map(|store| Arc::clone(&store.state().borrow()));
        let admitted = *self.admitted.borrow();
        let group = self.group(seen.as_ref());
        // An overview is newer than the state of a node that has no part in Raft any more.
        let own = state.filter(|state| {
            let follows = group.as_ref().is_some_and(Group::takes_part);
            state.cluster().is_some() && (follows || seen.is_none())
        });
        let nodes = nodes(own.as_deref(), seen.as_ref());
        let n_managers = group.as_ref().map_or(0, |group| group.voters.len());
        let cluster =
            admitted.map(|admitted| cluster(admitted.cluster, &view, nodes.as_ref(), n_managers));
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
            members: members(&view, own.as_deref(), nodes.as_ref(), group.as_ref()),
            raft: group.map(Group::report),
            warnings,
            // As it is now: an engine may be away.
            lacks: self.runtime.info().lacks,
        }
    }

    /// Who votes and who leads, as far as this node knows.
    pub(super) fn group(&self, seen: Option<&Seen>) -> Option<Group> {
        let raft = self.store.as_ref().map(|store| Arc::clone(&store.status().borrow()));
        Group::of(raft.as_deref(), &self.notices.borrow(), seen)
    }

    fn this_node(&self, admitted: bool) -> ThisNode {
        let state = if self.leave.is_cancelled() {
            "stopping"
        } else if *self.removed.borrow() {
            "removed"
        } else if admitted {
            "active"
        } else {
            "waiting"
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

/// What is known of each admitted node: from our own state, or from the leader.
fn nodes(own: Option<&State>, seen: Option<&Seen>) -> Option<BTreeMap<NodeId, NodeOverview>> {
    let of_state = own.map(|state| {
        let nodes = state.nodes().map(|node| NodeOverview {
            id: node.id,
            eligible: node.grant == Grant::Eligible,
            down: node.status.state == NodeState::Down,
            availability: node.spec.availability,
            why: String::new(),
        });
        nodes.collect::<Vec<_>>()
    });
    let nodes = of_state.or_else(|| seen.map(|seen| seen.overview.nodes.clone()))?;
    Some(nodes.into_iter().map(|node| (node.id, node)).collect())
}

fn cluster(
    id: model::ClusterId,
    view: &View,
    nodes: Option<&BTreeMap<NodeId, NodeOverview>>,
    n_managers: usize,
) -> ClusterStatus {
    // Before a leader was heard we count whom we hear.
    let (n_nodes, n_eligible) = match nodes {
        Some(nodes) => {
            let up = nodes.values().filter(|node| node.eligible && !node.down);
            (nodes.len(), up.count())
        }
        None => (view.members.len(), view.alive().filter(|member| member.eligible).count()),
    };
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
    own: Option<&State>,
    nodes: Option<&BTreeMap<NodeId, NodeOverview>>,
    group: Option<&Group>,
) -> Vec<Shown> {
    let mut shown: BTreeMap<NodeId, Shown> =
        view.members.values().map(|member| (member.id, heard(member, view.me))).collect();
    for node in nodes.iter().flat_map(|nodes| nodes.values()) {
        let entry = shown.entry(node.id).or_insert_with(|| unheard(node.id, own));
        if node.down {
            "down".clone_into(&mut entry.liveness);
        }
        if let Some(node) = own.and_then(|state| state.node(node.id)) {
            node.description.version.clone_into(&mut entry.version);
        }
        availability(node.availability).clone_into(&mut entry.availability);
    }
    for (id, entry) in &mut shown {
        let eligible = view.members.get(id).map_or_else(
            || nodes.and_then(|nodes| nodes.get(id)).is_some_and(|node| node.eligible),
            |member| member.eligible,
        );
        let role = group.filter(|_| eligible).and_then(|group| group.role_of(*id));
        role.unwrap_or(if eligible { "eligible" } else { "worker" }).clone_into(&mut entry.role);
        if let Some(why) = group.and_then(|group| group.why.get(id)) {
            entry.why.clone_from(why);
        }
    }
    shown.into_values().collect()
}

/// An admitted node that gossip does not know.
fn unheard(id: NodeId, own: Option<&State>) -> Shown {
    let described = own.and_then(|state| state.node(id)).map(|node| &node.description);
    let text = |text: Option<&String>| text.cloned().unwrap_or_default();
    Shown {
        id: id.to_string(),
        hostname: text(described.map(|node| &node.hostname)),
        address: text(described.map(|node| &node.address)),
        liveness: "unseen".to_owned(),
        ..Shown::default()
    }
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
