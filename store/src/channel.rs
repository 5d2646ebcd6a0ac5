//! How Raft's bytes reach another node: a small trait, so that tests need no sockets.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use crypto::NodeId;
use thiserror::Error;

/// Paths of the calls.
pub(crate) const APPEND: &str = "/raft/append";
pub(crate) const VOTE: &str = "/raft/vote";
pub(crate) const PRE_VOTE: &str = "/raft/pre_vote";
pub(crate) const TRANSFER: &str = "/raft/transfer";
pub(crate) const SNAPSHOT: &str = "/raft/snapshot";

/// A call did not give an answer.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
pub(crate) enum ChannelError {
    /// There is no way to the node, so the next try may wait a while.
    #[error("node {node} is out of reach: {why}")]
    Unreachable { node: NodeId, why: String },
    /// No answer in time.
    #[error("node {node} did not answer in time")]
    Timeout { node: NodeId },
    /// The connection broke on the way.
    #[error("the connection to node {node} broke: {why}")]
    Broken { node: NodeId, why: String },
    /// It answered that it will not.
    #[error("node {node} refused: {why}")]
    Refused { node: NodeId, why: String },
}

/// Calls to other nodes by their name.
#[async_trait]
pub(crate) trait Channel: Send + Sync + 'static {
    /// Asks and waits for the answer.
    async fn call(
        &self,
        node: NodeId,
        path: &'static str,
        body: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, ChannelError>;

    /// Sends a message with a file behind it and waits for the answer.
    async fn send_file(
        &self,
        node: NodeId,
        body: Vec<u8>,
        file: &Path,
        deadline: Duration,
    ) -> Result<Vec<u8>, ChannelError>;
}
