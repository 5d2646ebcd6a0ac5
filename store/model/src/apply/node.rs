//! Founding, admission, wishes about nodes, their health, and their removal.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use crypto::NodeId;

use crate::change::ObjectKey;
use crate::command::{Admission, Applied, Refused};
use crate::id::{ClusterId, Index, TaskId, TokenId, UnixNanos};
use crate::node::{DesiredRole, Grant, Node, NodeDescription, NodeSpec, NodeState, NodeStatus};
use crate::object::{Cluster, ClusterSpec};
use crate::state::State;

use super::{At, not_found, start_afresh, touched};

/// Founders have the ids below: a ballot has far fewer seeds than this.
const RAFT_ID_BASE: u64 = 1_000;
/// The upper bits of a Raft id count repairs of the cluster by hand.
const RECOVERY_EPOCH_SHIFT: u32 = 48;
/// Longest description in bytes: every node of the cluster keeps those of all others.
const DESCRIPTION_BYTES_MAX: usize = 16 * 1024;
/// Removed nodes that are remembered. Their certificates end within 8 days, and more removals
/// than this within 8 days are not the life of a cluster of hundreds.
const REMOVED_MAX: usize = 10_000;

impl State {
    pub(super) fn found(
        &mut self,
        at: At,
        id: ClusterId,
        founders: &[(u64, Admission)],
    ) -> Result<Applied, Refused> {
        let raft_ids: BTreeSet<u64> = founders.iter().map(|(raft_id, _)| *raft_id).collect();
        let ids: BTreeSet<NodeId> = founders.iter().map(|(_, founder)| founder.id).collect();
        if founders.is_empty() || raft_ids.len() < founders.len() || ids.len() < founders.len() {
            return Err(Refused::Invalid("founders must be one or more, all different".to_owned()));
        }
        for (raft_id, founder) in founders {
            check_identity(founder)?;
            if *raft_id == 0 || RAFT_ID_BASE <= *raft_id || founder.grant != Grant::Eligible {
                let id = founder.id;
                return Err(Refused::Invalid(format!("node {id} cannot be a founder")));
            }
        }
        self.put_cluster(Cluster {
            id,
            created_at: at.now,
            spec_version: at.index,
            modified: at.index,
            spec: ClusterSpec::default(),
            psk_epoch: Cluster::FIRST_PSK_EPOCH,
            recovery_epoch: 0,
            revoked_tokens: BTreeSet::new(),
            token_uses: BTreeMap::new(),
            removed_nodes: BTreeMap::new(),
        });
        for (raft_id, founder) in founders {
            self.put_node(new_node(at, *raft_id, founder));
        }
        self.create_ingress(at, id);
        self.revise();
        Ok(at.created(ObjectKey::Cluster))
    }

    pub(super) fn admit(
        &mut self,
        at: At,
        cluster: &Cluster,
        admission: &Admission,
    ) -> Result<Applied, Refused> {
        check_identity(admission)?;
        let id = admission.id;
        if cluster.removed_nodes.contains_key(&id) {
            let cure = start_afresh(id);
            return Err(Refused::Forbidden(format!(
                "node {id} was removed from the cluster; {cure}"
            )));
        }
        if let Some(node) = self.nodes.get(&id).cloned() {
            return self.readmit(at, &node, admission);
        }
        let cluster = match admission.token {
            Some((token, limit)) => Some(use_token(at, cluster, token, limit)?),
            None => None,
        };
        let epoch = self.cluster.as_ref().map_or(0, |cluster| cluster.recovery_epoch);
        let raft_id = (u64::from(epoch) << RECOVERY_EPOCH_SHIFT) | (RAFT_ID_BASE + at.index.0);
        if let Some(cluster) = cluster {
            self.put_cluster(cluster);
        }
        self.put_node(new_node(at, raft_id, admission));
        self.revise();
        Ok(Applied { raft_id: Some(raft_id), ..at.created(ObjectKey::Node(id)) })
    }

    /// An admitted node started again, or says what is new.
    fn readmit(&mut self, at: At, node: &Node, new: &Admission) -> Result<Applied, Refused> {
        let id = node.id;
        if new.incarnation < node.incarnation {
            return Err(Refused::Forbidden(format!(
                "node {id} was last seen with incarnation {}, not {}: a copy of its data \
                 directory runs elsewhere, or an old copy was restored; {}",
                node.incarnation,
                new.incarnation,
                start_afresh(id)
            )));
        }
        if new.x25519 != node.x25519 || new.grant != node.grant {
            return Err(Refused::Forbidden(format!(
                "node {id} was admitted with another key or token, and that stays; {}",
                start_afresh(id)
            )));
        }
        let applied = Applied { raft_id: Some(node.raft_id), ..at.applied() };
        let described_anew = new.description != node.description;
        if described_anew || new.incarnation != node.incarnation {
            self.put_node(Node {
                incarnation: new.incarnation,
                description: new.description.clone(),
                modified: at.index,
                updated_at: at.now,
                ..node.clone()
            });
        }
        if described_anew {
            self.revise();
        }
        Ok(applied)
    }

    pub(super) fn update_node(
        &mut self,
        at: At,
        id: NodeId,
        version: Index,
        spec: &NodeSpec,
    ) -> Result<Applied, Refused> {
        let node = self.nodes.get(&id).cloned().ok_or_else(|| not_found("node", id))?;
        if version != node.spec_version {
            return Err(Refused::OutOfSequence);
        }
        let mut spec = spec.clone();
        match (node.grant, spec.desired_role) {
            (Grant::Worker, DesiredRole::Manager) => {
                return Err(Refused::Precondition(format!(
                    "node {id} joined with a worker token and cannot become a manager: let it \
                     join again with a manager token; {}",
                    start_afresh(id)
                )));
            }
            (Grant::Worker, DesiredRole::Automatic) => spec.desired_role = DesiredRole::Worker,
            (Grant::Eligible, DesiredRole::Worker) if !self.other_may_vote(id) => {
                return Err(Refused::Precondition(
                    "attempting to demote the last manager of the swarm".to_owned(),
                ));
            }
            _ => {}
        }
        self.put_node(Node {
            spec,
            spec_version: at.index,
            modified: at.index,
            updated_at: at.now,
            ..Node::clone(&node)
        });
        self.revise();
        Ok(at.applied())
    }

    fn other_may_vote(&self, id: NodeId) -> bool {
        self.nodes.values().any(|node| {
            node.id != id
                && node.grant == Grant::Eligible
                && node.spec.desired_role != DesiredRole::Worker
        })
    }

    /// A node that was removed meanwhile is passed over: the leader looks again anyway.
    pub(super) fn set_node_states(
        &mut self,
        at: At,
        states: &[(NodeId, NodeState, String)],
    ) -> Result<Applied, Refused> {
        let mut planning = false;
        for (id, state, message) in states {
            let Some(node) = self.nodes.get(id).cloned() else { continue };
            if node.status.state == *state && node.status.message == *message {
                continue;
            }
            let turned = node.status.state != *state;
            planning |= turned;
            let since = if turned { at.now } else { node.status.since };
            let status = NodeStatus { state: *state, message: message.clone(), since };
            self.put_node(Node { status, modified: at.index, ..Node::clone(&node) });
        }
        if planning {
            self.revise();
        }
        Ok(at.applied())
    }

    pub(super) fn remove_node(
        &mut self,
        at: At,
        cluster: &Cluster,
        id: NodeId,
        force: bool,
    ) -> Result<Applied, Refused> {
        let node = self.nodes.get(&id).ok_or_else(|| not_found("node", id))?;
        if !force && !matches!(node.status.state, NodeState::Down | NodeState::Disconnected) {
            let text = format!("node {id} is not down and can't be removed");
            return Err(Refused::Precondition(text));
        }
        if node.grant == Grant::Eligible && !self.other_may_vote(id) {
            return Err(Refused::Precondition(format!(
                "node {id} is the last one that can manage the cluster and can't be removed"
            )));
        }
        self.put_cluster(with_removed(cluster, at, id));
        let tasks: Vec<TaskId> = self
            .tasks_of_node(id)
            .filter(|task| !task.status.state.is_terminal())
            .map(|task| task.id)
            .collect();
        for task in tasks {
            self.orphan(at, task, "Task belonged to a node that has been deleted");
        }
        self.drop_node(id);
        self.revise();
        Ok(at.applied())
    }
}

fn with_removed(cluster: &Cluster, at: At, id: NodeId) -> Cluster {
    let mut cluster = touched(cluster, at);
    cluster.removed_nodes.insert(id, at.now);
    while REMOVED_MAX < cluster.removed_nodes.len() {
        let oldest: Option<(UnixNanos, NodeId)> =
            cluster.removed_nodes.iter().map(|(id, when)| (*when, *id)).min();
        if let Some((_, oldest)) = oldest {
            cluster.removed_nodes.remove(&oldest);
        }
    }
    cluster
}

fn use_token(at: At, cluster: &Cluster, token: TokenId, limit: u32) -> Result<Cluster, Refused> {
    if cluster.revoked_tokens.contains(&token) {
        return Err(Refused::Forbidden(format!("token {token} was revoked: ask for a new one")));
    }
    let uses = cluster.token_uses.get(&token).copied().unwrap_or(0);
    if limit != 0 && limit <= uses {
        return Err(Refused::Forbidden(format!(
            "token {token} has admitted {uses} nodes, which is its limit: ask for a new one"
        )));
    }
    let mut cluster = touched(cluster, at);
    cluster.token_uses.insert(token, uses.saturating_add(1));
    Ok(cluster)
}

fn check_identity(admission: &Admission) -> Result<(), Refused> {
    let id = admission.id;
    if NodeId::of_key(&admission.ed25519) != id {
        return Err(Refused::Forbidden(format!("node id {id} does not belong to its key")));
    }
    let bytes = description_bytes(&admission.description);
    if DESCRIPTION_BYTES_MAX < bytes {
        return Err(Refused::Invalid(format!(
            "node {id} describes itself with {bytes} bytes, at most {DESCRIPTION_BYTES_MAX} are \
             allowed: give it fewer or shorter labels"
        )));
    }
    Ok(())
}

fn description_bytes(description: &NodeDescription) -> usize {
    crypto::wire::encode(0, 0, description).map_or(usize::MAX, |bytes| bytes.len())
}

fn new_node(at: At, raft_id: u64, admission: &Admission) -> Node {
    let desired_role = match admission.grant {
        Grant::Worker => DesiredRole::Worker,
        Grant::Eligible => DesiredRole::Automatic,
    };
    Node {
        id: admission.id,
        ed25519: admission.ed25519,
        x25519: admission.x25519,
        grant: admission.grant,
        token: admission.token.map(|(token, _)| token),
        raft_id,
        incarnation: admission.incarnation,
        spec: NodeSpec {
            name: String::new(),
            labels: BTreeMap::new(),
            availability: admission.availability,
            desired_role,
        },
        description: admission.description.clone(),
        status: NodeStatus { state: NodeState::Unknown, message: String::new(), since: at.now },
        spec_version: at.index,
        modified: at.index,
        created_at: at.now,
        updated_at: at.now,
    }
}
