//! Raft's bytes over `crypto::stream`: calls are unary, a snapshot travels through a tunnel.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use crypto::stream::{Client, Code, Context, Offer, Router, RpcError, Status};
use crypto::{NodeId, Role, Standing};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::backend::sled::SledBackend;
use crate::channel::{APPEND, Channel, ChannelError, PRE_VOTE, SNAPSHOT, TRANSFER, VOTE};
use crate::config::Config;
use crate::error::{OpenError, StoreFailed};
use crate::raft::{LOG_DIR, OpenLog, ServeError};
use crate::records::Blob;
use crate::store::{Ground, STUCK_AFTER, Store};
use crate::writer::Report;

/// The longest answer to a snapshot: a vote.
const ANSWER_BYTES_MAX: u64 = 4096;

/// A node could not be dialled.
#[derive(Clone, Debug, Error)]
#[error("node {node} is out of reach: {why}")]
pub struct DialError {
    node: NodeId,
    why: String,
}

impl DialError {
    /// Why a node is out of reach.
    #[must_use]
    pub fn new(node: NodeId, why: impl Into<String>) -> Self {
        Self { node, why: why.into() }
    }
}

/// Makes or finds the control connection to a node. The identity at its other end is that node's.
#[async_trait]
pub trait Dial: Send + Sync {
    /// A connection that is open.
    ///
    /// # Errors
    ///
    /// [`DialError`] if there is no way to the node now.
    async fn dial(&self, node: NodeId) -> Result<Client, DialError>;
}

/// [`Channel`] over connections.
struct Streams {
    dial: Arc<dyn Dial>,
}

#[async_trait]
impl Channel for Streams {
    async fn call(
        &self,
        node: NodeId,
        path: &'static str,
        body: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, ChannelError> {
        let called = async {
            let client = self.client(node).await?;
            let answer = client.unary::<_, Blob>(path, &Blob(body.into()), deadline).await;
            answer.map(|Blob(bytes)| bytes.into()).map_err(|error| channel_error(node, error))
        };
        timeout(deadline, called).await.map_err(|_| ChannelError::Timeout { node })?
    }

    async fn send_file(
        &self,
        node: NodeId,
        body: Vec<u8>,
        file: &Path,
        deadline: Duration,
    ) -> Result<Vec<u8>, ChannelError> {
        let broken = |error: std::io::Error| ChannelError::Broken { node, why: error.to_string() };
        let sent = async {
            let mut file = tokio::fs::File::open(file).await.map_err(broken)?;
            let client = self.client(node).await?;
            let tunnel = client.tunnel(SNAPSHOT, &Blob(body.into()), deadline).await;
            let mut tunnel = tunnel.map_err(|error| channel_error(node, error))?;
            tokio::io::copy(&mut file, &mut tunnel).await.map_err(broken)?;
            tunnel.shutdown().await.map_err(broken)?;
            let mut answer = Vec::new();
            let mut reading = tunnel.take(ANSWER_BYTES_MAX);
            reading.read_to_end(&mut answer).await.map_err(broken)?;
            if answer.is_empty() {
                let why = "it did not take the snapshot".to_owned();
                return Err(ChannelError::Refused { node, why });
            }
            Ok(answer)
        };
        timeout(deadline, sent).await.map_err(|_| ChannelError::Timeout { node })?
    }
}

impl Streams {
    async fn client(&self, node: NodeId) -> Result<Client, ChannelError> {
        let dialled = self.dial.dial(node).await;
        dialled.map_err(|error| ChannelError::Unreachable { node, why: error.why })
    }
}

fn channel_error(node: NodeId, error: RpcError) -> ChannelError {
    match error {
        RpcError::Status(Status { code: Code::Unavailable | Code::Timeout, message }) => {
            ChannelError::Broken { node, why: message }
        }
        RpcError::Status(status) => ChannelError::Refused { node, why: status.message },
        RpcError::Deadline { .. } => ChannelError::Timeout { node },
        other @ (RpcError::Closed { .. }
        | RpcError::Transport { .. }
        | RpcError::TooLarge { .. }
        | RpcError::Unsendable { .. }
        | RpcError::Malformed { .. }) => {
            ChannelError::Broken { node, why: Report(&other).to_string() }
        }
    }
}

impl Store {
    /// Gives back the space that is kept for opening a full disk; whether there was any.
    ///
    /// For a node that cannot write its own small files any more, before it opens the store.
    #[must_use]
    pub fn make_room(dir: &Path) -> bool {
        SledBackend::make_room(&dir.join(LOG_DIR))
    }

    /// Opens the folder, and starts Raft if this node has a part in it. The future runs until
    /// `stop`; if it ends with an error, the process must end, too.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if the folder is another node's or cluster's, or cannot be read.
    pub async fn open(
        config: Config,
        dial: Arc<dyn Dial>,
        stop: CancellationToken,
    ) -> Result<(Self, impl Future<Output = Result<(), StoreFailed>> + Send + use<>), OpenError>
    {
        let open_log: OpenLog = Arc::new(|dir| Ok(Box::new(SledBackend::open(dir)?)));
        let channel = Arc::new(Streams { dial });
        let ground = Ground { channel, open_log, stuck_after: STUCK_AFTER };
        Self::open_on(config, ground, stop).await
    }

    /// Adds the paths at which other managers speak to this node's Raft.
    #[must_use]
    pub fn router(&self, router: Router) -> Router {
        let unary = [APPEND, VOTE, PRE_VOTE, TRANSFER].into_iter().fold(router, |router, path| {
            let store = self.clone();
            router.unary(path, move |context, Blob(bytes)| {
                let store = store.clone();
                async move {
                    let speaker = manager(&context)?;
                    let answer = store.answer(speaker, path, &bytes).await;
                    let answer = answer.map_err(|error| refused(&error))?;
                    Ok(Blob(answer.into()))
                }
            })
        });
        let store = self.clone();
        unary.tunnel(SNAPSHOT, move |context, Blob(bytes), offer: Offer| {
            let store = store.clone();
            async move {
                let speaker = manager(&context)?;
                let mut tunnel = offer.accept()?;
                let answer = store.install(speaker, &bytes, &mut tunnel).await;
                let answer = answer.map_err(|error| refused(&error))?;
                let sent = async {
                    tunnel.write_all(&answer).await?;
                    tunnel.shutdown().await
                };
                sent.await.map_err(|error: std::io::Error| Status::unavailable(error.to_string()))
            }
        })
    }
}

/// Raft is for nodes with the cluster key and a certificate that has not expired.
fn manager(context: &Context) -> Result<NodeId, Status> {
    let peer = &context.peer;
    if peer.candidate || peer.role != Role::Eligible || peer.standing != Standing::Valid {
        return Err(Status::denied("only nodes with the cluster key speak Raft"));
    }
    Ok(peer.id)
}

fn refused(error: &ServeError) -> Status {
    let code = match error {
        ServeError::Outside | ServeError::Stopped(_) => Code::Unavailable,
        ServeError::Mismatch(_) | ServeError::Unreadable(_) | ServeError::Snapshot(_) => {
            Code::Refused
        }
    };
    Status::new(code, error.to_string())
}
