//! The leader's autopilot loop: sees, lets `store::autopilot` decide, acts.

use std::sync::Arc;
use std::time::Duration;

use crypto::NodeId;
use membership::Liveness;
use model::{Availability, Grant, NodeState, State};
use store::RaftStatus;
use store::autopilot::{self, Change, Decision, Health, Memory, Observation, Raft, Seen};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::{debug, info, warn};

use crate::front::status::unix_nanos;
use crate::lead::Lead;
use crate::messages::{ENLIST, EnlistAnswer, EnlistRequest};
use crate::peers::Link;

/// Between two decisions.
const PERIOD: Duration = Duration::from_millis(500);

/// A node opens its log within this, or is tried again.
const ENLIST_MAX: Duration = Duration::from_secs(5);

/// A change of members; the store has limits of its own inside.
const CHANGE_MAX: Duration = Duration::from_secs(20);

impl Lead {
    /// Chooses voters until the term ends.
    pub(crate) async fn vote(&self) {
        let began = Instant::now();
        let mut memory = Memory::default();
        let mut said = Decision::default();
        let mut period = interval(PERIOD);
        period.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            period.tick().await;
            let status = Arc::clone(&self.store.status().borrow());
            let state = Arc::clone(&self.store.state().borrow());
            let Some(seen) = self.observe(&status, &state) else { continue };
            let decision = autopilot::decide(&memory.observe(began.elapsed(), &seen));
            self.say(&mut said, &decision);
            if let Some(change) = decision.change {
                info!(change = ?change, "members change");
                match timeout(CHANGE_MAX, self.change(&status, change)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(why)) => warn!(why, "change of members failed"),
                    Err(_) => warn!("change of members took too long"),
                }
            }
        }
    }

    fn observe(&self, status: &RaftStatus, state: &State) -> Option<Observation> {
        let raft = Raft::of(status)?;
        let cluster = state.cluster()?;
        let nodes = state.nodes().map(|node| (node.id, self.seen(node)));
        Some(Observation {
            raft,
            nodes: nodes.collect(),
            wanted: cluster.spec.voters,
            cluster_age: Duration::from_nanos(unix_nanos().since(cluster.created_at)),
        })
    }

    fn seen(&self, node: &model::Node) -> Seen {
        let view = self.view.borrow();
        let member = view.members.get(&node.id);
        let alive =
            node.id == self.me || member.is_some_and(|member| member.liveness == Liveness::Alive);
        let health = match node.status.state {
            NodeState::Down => Health::Dead,
            NodeState::Ready if alive => Health::Alive,
            NodeState::Ready | NodeState::Unknown | NodeState::Disconnected => Health::Suspect,
        };
        Seen {
            raft_id: node.raft_id,
            eligible: node.grant == Grant::Eligible,
            role: node.spec.desired_role,
            draining: node.spec.availability == Availability::Drain,
            zone: member.map(|member| member.payload.zone.clone()).unwrap_or_default(),
            health,
        }
    }

    /// Tells `status` and, if it is news, the log.
    fn say(&self, said: &mut Decision, decision: &Decision) {
        if said.frozen != decision.frozen {
            match &decision.frozen {
                Some(why) => debug!(why, "autopilot holds still"),
                None => debug!("autopilot is free to act"),
            }
        }
        let target = decision.target;
        let mut lines = vec![format!("{target} voters wanted")];
        lines.extend(decision.frozen.iter().map(|why| format!("holds still: {why}")));
        self.notices.send_if_modified(|notices| {
            let news = notices.autopilot != lines || notices.why != decision.why;
            if news {
                let notices = Arc::make_mut(notices);
                notices.autopilot = lines;
                notices.why.clone_from(&decision.why);
            }
            news
        });
        said.clone_from(decision);
    }

    async fn change(&self, status: &RaftStatus, change: Change) -> Result<(), String> {
        let changed = match change {
            Change::AddLearner { raft_id, node } => {
                self.enlist(status, raft_id, node).await?;
                self.store.add_learner(raft_id, node).await
            }
            Change::FinishJoint(voters) | Change::Voters(voters) => {
                let based_on = status.membership.ok_or("no membership is known")?;
                self.store.change_voters(voters, based_on).await
            }
            Change::RemoveLearner { raft_id } => self.store.remove_learner(raft_id).await,
            Change::TransferLeader { raft_id } => self.store.transfer_leader(raft_id).await,
        };
        changed.map_err(|error| error.to_string())
    }

    /// Asks a node to keep the log from now on.
    async fn enlist(&self, status: &RaftStatus, raft_id: u64, node: NodeId) -> Result<(), String> {
        let cluster = status.cluster.ok_or("no cluster is known")?;
        let recovery_epoch = status.recovery_epoch;
        let client =
            self.peers.client(node, Link::Control).await.map_err(|error| error.to_string())?;
        let request = EnlistRequest { raft_id, cluster, recovery_epoch };
        let answer = client.unary::<_, EnlistAnswer>(ENLIST, &request, ENLIST_MAX).await;
        answer.map(|_| ()).map_err(|error| error.to_string())
    }
}
