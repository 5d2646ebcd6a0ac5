//! What can go wrong, by operation.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crypto::NodeId;
use model::{ClusterId, Refused};
use thiserror::Error;

use crate::backend::BackendError;
use crate::identity::IdentityError;
use crate::snapshot::SnapshotError;

/// The store could not be opened, or its Raft not started.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder is of another cluster.
    #[error(
        "{} is of cluster {found}, this node is of cluster {expected}; \
         use another data directory, or move this one away",
        dir.display()
    )]
    OtherCluster {
        /// Which folder.
        dir: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// Whose it should be.
        expected: ClusterId,
    },
    /// The folder is of another node.
    #[error(
        "{} is of node {found}, this is node {expected}; \
         a data directory must not be copied to another node",
        dir.display()
    )]
    OtherNode {
        /// Which folder.
        dir: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Whose it should be.
        expected: NodeId,
    },
    /// This node has another Raft id.
    #[error("{} has raft id {found}, not {expected}", dir.display())]
    OtherRaftId {
        /// Which folder.
        dir: PathBuf,
        /// What it has.
        found: u64,
        /// What was asked for.
        expected: u64,
    },
    /// This node is none of the founders.
    #[error("node {node} is no founder of cluster {cluster}")]
    NoFounder {
        /// This node.
        node: NodeId,
        /// The cluster.
        cluster: ClusterId,
    },
    /// The identity file.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The log.
    #[error(transparent)]
    Log(#[from] BackendError),
    /// The log holds what this version did not write.
    #[error("the raft log in {} cannot be read", dir.display())]
    LogContents {
        /// Which folder.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The log begins after the newest snapshot ends.
    #[error(
        "in {} the log begins after entry {purged}, but the newest whole snapshot ends at \
         {snapshot}; move the data directory away, and the node joins again as a new one",
        dir.display()
    )]
    Gap {
        /// Which folder.
        dir: PathBuf,
        /// Last entry that is no longer in the log.
        purged: u64,
        /// Last entry in the snapshot; 0 if there is none.
        snapshot: u64,
    },
    /// Election and heartbeat times do not fit together.
    #[error("the raft times make no sense: {0}")]
    Timing(String),
    /// Raft did not start.
    #[error("raft did not start: {0}")]
    Raft(String),
}

/// Why the store ended before it was told to. The process must end, too, and not with success.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum StoreFailed {
    /// The log could not be written.
    #[error("the raft log failed{}", .0.cure())]
    Log(#[source] Arc<BackendError>),
    /// The disk does not answer.
    #[error("the disk has not finished a write of the raft log for {seconds} s")]
    Stuck {
        /// For how long.
        seconds: u64,
    },
    /// Raft stopped.
    #[error("raft stopped: {0}")]
    Raft(String),
}

/// A command was not applied, or it is not known whether it was.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum ProposeError {
    /// Another node leads. Nothing was changed.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, if that is known.
        leader: Option<NodeId>,
    },
    /// Nobody led until the deadline. Nothing was changed.
    #[error("there is no leader; nothing was changed")]
    NoLeader,
    /// It was proposed and not confirmed until the deadline: it may still take effect.
    #[error("the change was not confirmed; it may still take effect")]
    Unconfirmed,
    /// It was looked at and refused, alike on every node. Nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The disk of this node failed; if the command was proposed, it may still take effect.
    #[error("the disk of this node failed; the change was not confirmed")]
    Disk,
    /// The store is ending; if the command was proposed, it may still take effect.
    #[error("the store has stopped; the change was not confirmed")]
    Stopped,
}

/// A read could not be made certain.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[non_exhaustive]
pub enum ReadError {
    /// Another node leads.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, if that is known.
        leader: Option<NodeId>,
    },
    /// No quorum confirmed a leader until the deadline.
    #[error("there is no leader")]
    NoLeader,
    /// The store is ending.
    #[error("the store has stopped")]
    Stopped,
}

/// The members of Raft were not changed, or it is not known whether they were.
#[derive(Clone, Debug, Error, Eq, PartialEq)]
#[non_exhaustive]
pub enum ChangeError {
    /// Another node leads.
    #[error("this node does not lead")]
    NotLeader {
        /// Who does, if that is known.
        leader: Option<NodeId>,
    },
    /// The members are not those that the change was made for.
    #[error("the members have changed since; look again")]
    Outdated,
    /// The last change is not committed yet.
    #[error("another change of members is under way")]
    InProgress,
    /// A voter must be a learner first.
    #[error("raft id {0} is no member; add it as a learner first")]
    NoMember(u64),
    /// It makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Not confirmed until the deadline: it may still take effect.
    #[error("the change of members was not confirmed; it may still take effect")]
    Unconfirmed,
    /// The store is ending.
    #[error("the store has stopped")]
    Stopped,
}
