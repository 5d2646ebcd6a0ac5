//! What a handle can ask of a running Raft, in our words.

use std::collections::{BTreeMap, BTreeSet};

use crypto::NodeId;
use model::{Applied, ClusterId, Refused};
use openraft::Instant as _;
use openraft::alias::WatchReceiverOf;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{
    ChangeMembershipError, ClientWriteError, Fatal, ForwardToLeader, InitializeError,
    LinearizableReadError, RaftError,
};
use openraft::raft::Precondition;
use openraft::{ChangeMembers, LogIdOptionExt, RaftMetrics, ReadPolicy, ServerState};
use tokio::time::Instant;

use super::Running;
use super::types::{Member, Types, log_id, position};
use crate::error::{ChangeError, OpenError};
use crate::records::{Blob, LogPosition};
use crate::status::{RaftRole, RaftStatus};

/// A write was not applied.
#[derive(Debug)]
pub(crate) enum Blocked {
    /// Not proposed: this node does not lead, or cannot write now.
    Elsewhere(Option<NodeId>),
    /// Proposed, then dropped by a change of leaders: another may still commit it.
    Unknown,
    /// Raft has stopped.
    Stopped { disk: bool },
}

/// A read was not confirmed.
#[derive(Debug)]
pub(crate) enum ReadBlocked {
    /// This node does not lead.
    Elsewhere(Option<NodeId>),
    /// No quorum answered.
    NoQuorum,
    /// Raft has stopped.
    Stopped,
}

type WriteFailure = RaftError<Types, ClientWriteError<Types>>;

fn node_of(forward: &ForwardToLeader<Types>) -> Option<NodeId> {
    forward.leader_node.map(|member| member.0)
}

impl Running {
    /// Proposes a command and waits for its outcome.
    pub(crate) async fn write(
        &self,
        command: Vec<u8>,
    ) -> Result<Result<Applied, Refused>, Blocked> {
        match self.raft.client_write(Blob(command.into())).await {
            Ok(answer) => answer.data.0.ok_or(Blocked::Unknown),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(Blocked::Elsewhere(node_of(&forward)))
            }
            Err(RaftError::APIError(
                ClientWriteError::LogEntryDiscarded(_)
                | ClientWriteError::ChangeMembershipError(_)
                | ClientWriteError::PreconditionFailed(_),
            )) => Err(Blocked::Unknown),
            Err(RaftError::Fatal(fatal)) => {
                Err(Blocked::Stopped { disk: matches!(fatal, Fatal::StorageError(_)) })
            }
        }
    }

    /// Waits until everything that was committed before is applied here, as a leader.
    pub(crate) async fn confirm(&self) -> Result<(), ReadBlocked> {
        match self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(ReadBlocked::Elsewhere(node_of(&forward)))
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
                Err(ReadBlocked::NoQuorum)
            }
            Err(RaftError::Fatal(_)) => Err(ReadBlocked::Stopped),
        }
    }

    /// Writes the first membership; the same again changes nothing.
    pub(crate) async fn initialize(&self, voters: &BTreeMap<u64, NodeId>) -> Result<(), OpenError> {
        let members: BTreeMap<u64, Member> =
            voters.iter().map(|(id, node)| (*id, Member(*node))).collect();
        match self.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(OpenError::Raft(error.to_string())),
        }
    }

    /// Adds a node that receives the log.
    pub(crate) async fn add_learner(&self, raft_id: u64, node: NodeId) -> Result<(), ChangeError> {
        // Not the blocking kind: that waits for ever for a node that does not answer.
        let result = self.raft.add_learner(raft_id, Member(node), false).await;
        result.map(drop).map_err(change_error)
    }

    /// Makes `voters` the voters by one joint change; who is none of them any more leaves.
    pub(crate) async fn change_voters(
        &self,
        voters: BTreeSet<u64>,
        based_on: LogPosition,
    ) -> Result<(), ChangeError> {
        let changes = ChangeMembers::ReplaceAllVoters(voters);
        self.change(changes, Some(based_on)).await
    }

    /// Removes a node that only receives the log.
    pub(crate) async fn remove_learner(&self, raft_id: u64) -> Result<(), ChangeError> {
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([raft_id])), None).await
    }

    async fn change(
        &self,
        changes: ChangeMembers<u64, Member>,
        based_on: Option<LogPosition>,
    ) -> Result<(), ChangeError> {
        let condition = based_on.map(|position| Precondition::LastMembershipLogId {
            last_membership_log_id: Some(log_id(&position)),
        });
        let result = self.raft.change_membership_if(changes, false, condition).await;
        result.map(drop).map_err(change_error)
    }

    /// Asks another voter to lead. Whether it does shows in the status.
    pub(crate) async fn transfer_leader(&self, raft_id: u64) -> Result<(), ChangeError> {
        self.raft.trigger().transfer_leader(raft_id).await.map_err(|_| ChangeError::Stopped)
    }

    /// Makes a snapshot now.
    #[cfg(test)]
    pub(crate) async fn make_snapshot(&self, purge_upto: u64) {
        self.raft.trigger().snapshot().await.unwrap();
        let made = |metrics: &RaftMetrics<Types>| metrics.snapshot.index() >= Some(purge_upto);
        let patience = Some(std::time::Duration::from_secs(10));
        self.raft.wait(patience).metrics(made, "snapshot").await.unwrap();
        self.raft.trigger().purge_log(purge_upto).await.unwrap();
    }

    /// How Raft stands now.
    pub(crate) fn status(&self) -> RaftStatus {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        status(&metrics, self)
    }

    /// Why Raft stopped by itself, if it did.
    pub(crate) fn failure(&self) -> Option<String> {
        let metrics = self.raft.metrics();
        let state = metrics.borrow_watched().running_state.clone();
        match state {
            Ok(()) | Err(Fatal::Stopped) => None,
            Err(fatal) => Some(fatal.to_string()),
        }
    }

    /// Follows changes of the status.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.raft.metrics())
    }

    /// Stops Raft; its files are closed when `log_end` says so.
    pub(crate) async fn shutdown(&self) {
        if self.raft.shutdown().await.is_err() {
            tracing::warn!("raft ended by a panic");
        }
    }
}

/// Follows changes of the status.
pub(crate) struct Changes(WatchReceiverOf<Types, RaftMetrics<Types>>);

impl Changes {
    /// Returns at the next change; `false` when Raft has ended.
    pub(crate) async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

fn change_error(error: WriteFailure) -> ChangeError {
    let error = match error {
        RaftError::APIError(error) => error,
        RaftError::Fatal(_) => return ChangeError::Stopped,
    };
    match error {
        ClientWriteError::ForwardToLeader(forward) => {
            ChangeError::NotLeader { leader: node_of(&forward) }
        }
        ClientWriteError::LogEntryDiscarded(_) => ChangeError::Unconfirmed,
        ClientWriteError::PreconditionFailed(_) => ChangeError::Outdated,
        ClientWriteError::ChangeMembershipError(error) => match error {
            ChangeMembershipError::InProgress(_)
            | ChangeMembershipError::UncommittedLeaderLog(_) => ChangeError::InProgress,
            ChangeMembershipError::LearnerNotFound(missing) => {
                ChangeError::NoMember(missing.node_id)
            }
            other @ (ChangeMembershipError::EmptyMembership(_)
            | ChangeMembershipError::UnsupportedMembershipTransition(_)
            | ChangeMembershipError::NodeMetadataChanged(_)) => {
                ChangeError::Invalid(other.to_string())
            }
        },
    }
}

fn role(state: ServerState) -> RaftRole {
    match state {
        ServerState::Learner => RaftRole::Learner,
        ServerState::Follower => RaftRole::Follower,
        ServerState::Candidate => RaftRole::Candidate,
        ServerState::Leader => RaftRole::Leader,
        ServerState::Shutdown => RaftRole::Outside,
    }
}

fn status(metrics: &RaftMetrics<Types>, running: &Running) -> RaftStatus {
    let stored = &metrics.membership_config;
    let members = stored.membership();
    let node = |id: u64| members.get_node(&id).map(|member| (id, member.0));
    let configs = members.get_joint_config();
    let last_log = metrics.last_log_index.unwrap_or(0);
    let lag = |(id, matched): (&u64, &Option<super::types::LogId>)| {
        (*id, last_log.saturating_sub(matched.index().unwrap_or(0)))
    };
    let others = |(id, _): &(&u64, _)| **id != running.identity.raft_id;
    RaftStatus {
        cluster: Some(ClusterId::from_bytes(running.identity.genesis)),
        recovery_epoch: running.identity.recovery_epoch,
        raft_id: Some(running.identity.raft_id),
        role: role(metrics.state),
        term: metrics.current_term,
        leader: metrics.current_leader.and_then(node),
        voters: members.voter_ids().filter_map(node).collect(),
        learners: members.learner_ids().filter_map(node).collect(),
        joint: if configs.len() > 1 { configs.last().cloned() } else { None },
        membership: stored.log_id().as_ref().map(position),
        membership_committed: stored.log_id() == metrics.committed_membership_config.log_id(),
        last_log,
        applied: metrics.last_applied.index().unwrap_or(0),
        lag: metrics
            .replication
            .iter()
            .flat_map(|peers| peers.iter().filter(others).map(lag))
            .collect(),
        quorum_acked: metrics
            .last_quorum_acked
            .and_then(|at| Instant::now().checked_sub(at.elapsed())),
    }
}
