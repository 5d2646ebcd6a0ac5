//! Raft messages from other nodes.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crypto::NodeId;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};
use thiserror::Error;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::Raft;
use super::machine::snapshot_of;
use super::types::{entry, log_id, position, vote, vote_record};
use crate::channel::{APPEND, PRE_VOTE, TRANSFER, VOTE};
use crate::guard::{Guard, Mismatch};
use crate::records::{
    AppendRecord, AppendedRecord, AskRecord, InstallRecord, InstalledRecord, MessageRecord, Record,
    TransferRecord, TransferredRecord, VotedRecord,
};
use crate::snapshot::{self, SnapshotDir, SnapshotFile};
use crate::writer::Report;

/// Largest snapshot that is received: above any state that fits a manager's memory.
const SNAPSHOT_LIMIT: u64 = 8 << 30;

/// A message of another node was not answered.
#[derive(Debug, Error)]
pub(crate) enum ServeError {
    /// This node has no part in Raft.
    #[error("this node has no raft")]
    Outside,
    /// Not for us, or not from whom it says.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// It cannot be read.
    #[error("the message cannot be read: {0}")]
    Unreadable(String),
    /// This node's Raft has stopped.
    #[error("raft has stopped on this node: {0}")]
    Stopped(String),
    /// The snapshot could not be stored.
    #[error("the snapshot could not be stored: {0}")]
    Snapshot(String),
}

/// Answers for this node.
pub(crate) struct Server {
    raft: Raft,
    guard: Arc<Mutex<Guard>>,
    snapshots: SnapshotDir,
    receiving: AtomicU64,
}

impl Server {
    pub(crate) fn new(raft: Raft, guard: Arc<Mutex<Guard>>, snapshots: SnapshotDir) -> Self {
        Self { raft, guard, snapshots, receiving: AtomicU64::new(0) }
    }

    /// Answers a message of the node that the handshake named.
    pub(crate) async fn answer(
        &self,
        speaker: NodeId,
        path: &str,
        bytes: &[u8],
    ) -> Result<Vec<u8>, ServeError> {
        match path {
            APPEND => {
                let (from, body) = self.open::<AppendRecord>(speaker, bytes)?;
                self.close(from, self.append(body).await?)
            }
            VOTE => {
                let (from, body) = self.open::<AskRecord>(speaker, bytes)?;
                let answer = self.raft.vote(ask(&body)).await.map_err(stopped)?;
                self.close(from, voted(&answer))
            }
            PRE_VOTE => {
                let (from, body) = self.open::<AskRecord>(speaker, bytes)?;
                let answer = self.raft.pre_vote(ask(&body)).await.map_err(stopped)?;
                self.close(from, voted(&answer))
            }
            TRANSFER => {
                let (from, body) = self.open::<TransferRecord>(speaker, bytes)?;
                self.close(from, self.transfer(&body).await?)
            }
            other => Err(ServeError::Unreadable(format!("there is no path {other}"))),
        }
    }

    /// Receives a snapshot: the file is whole and on the disk before Raft sees it.
    pub(crate) async fn install(
        &self,
        speaker: NodeId,
        bytes: &[u8],
        file: impl AsyncRead + Unpin + Send,
    ) -> Result<Vec<u8>, ServeError> {
        let (from, body) = self.open::<InstallRecord>(speaker, bytes)?;
        if body.length > SNAPSHOT_LIMIT {
            return Err(ServeError::Snapshot(format!("{} bytes are too many", body.length)));
        }
        let tag = self.receiving.fetch_add(1, Ordering::Relaxed);
        let path = self.snapshots.receiving(tag);
        let result = self.install_at(&path, &body, file).await;
        if result.is_err() {
            // Left-overs are cleared at the next start in any case.
            drop(tokio::fs::remove_file(&path).await);
        }
        self.close(from, result?)
    }

    async fn install_at(
        &self,
        path: &Path,
        body: &InstallRecord,
        file: impl AsyncRead + Unpin + Send,
    ) -> Result<InstalledRecord, ServeError> {
        receive(path, body.length, file)
            .await
            .map_err(|error| ServeError::Snapshot(Report(&error).to_string()))?;
        // Checked here, where a damaged file is the sender's problem: openraft stops the node
        // for good if an install fails.
        let checked = path.to_path_buf();
        let header = tokio::task::spawn_blocking(move || snapshot::load(&checked))
            .await
            .map_err(|error| ServeError::Snapshot(error.to_string()))?
            .map_err(|error| ServeError::Snapshot(Report(&error).to_string()))?
            .0;
        let snapshot = snapshot_of(SnapshotFile { header, path: path.to_path_buf() })
            .map_err(|error| ServeError::Snapshot(error.to_string()))?;
        let answer = self
            .raft
            .install_full_snapshot(vote(&body.vote), snapshot)
            .await
            .map_err(|error| ServeError::Stopped(error.to_string()))?;
        Ok(InstalledRecord { vote: vote_record(&answer.vote) })
    }

    async fn append(&self, body: AppendRecord) -> Result<AppendedRecord, ServeError> {
        let entries = body.entries.into_iter().map(entry).collect::<Result<_, _>>();
        let request = AppendEntriesRequest {
            vote: vote(&body.vote),
            prev_log_id: body.previous.as_ref().map(log_id),
            entries: entries.map_err(|error| ServeError::Unreadable(error.to_string()))?,
            leader_commit: body.commit.as_ref().map(log_id),
        };
        Ok(match self.raft.append_entries(request).await.map_err(stopped)? {
            AppendEntriesResponse::Success => AppendedRecord::Success,
            AppendEntriesResponse::PartialSuccess(upto) => {
                AppendedRecord::Partial(upto.as_ref().map(position))
            }
            AppendEntriesResponse::Conflict => AppendedRecord::Conflict,
            AppendEntriesResponse::HigherVote(higher) => {
                AppendedRecord::HigherVote(vote_record(&higher))
            }
        })
    }

    async fn transfer(&self, body: &TransferRecord) -> Result<TransferredRecord, ServeError> {
        let last = body.last.as_ref().map(log_id);
        let request = TransferLeaderRequest::new(vote(&body.vote), body.to, last);
        let answer = self.raft.handle_transfer_leader(request).await;
        Ok(match answer.map_err(|error| ServeError::Stopped(error.to_string()))? {
            Ok(()) => TransferredRecord::Accepted,
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                TransferredRecord::VoteChanged {
                    expected: vote_record(&expected),
                    actual: vote_record(&actual),
                }
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
                TransferredRecord::NotFlushed {
                    expected: expected.as_ref().map(position),
                    actual: actual.as_ref().map(position),
                }
            }
        })
    }

    fn open<Q>(&self, speaker: NodeId, bytes: &[u8]) -> Result<(u64, Q), ServeError>
    where
        MessageRecord<Q>: Record,
    {
        let message = MessageRecord::<Q>::from_bytes(bytes)
            .map_err(|error| ServeError::Unreadable(Report(&error).to_string()))?;
        let from = message.address.from;
        let member = {
            use openraft::async_runtime::watch::WatchReceiver;
            let metrics = self.raft.server_metrics();
            let metrics = metrics.borrow_watched();
            metrics.membership_config.membership().get_node(&from).map(|member| member.0)
        };
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        guard.check(&message.address, speaker, member)?;
        Ok((from, message.body))
    }

    fn close<R>(&self, to: u64, body: R) -> Result<Vec<u8>, ServeError>
    where
        MessageRecord<R>: Record,
    {
        let guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        MessageRecord { address: guard.address_to(to), body }
            .to_bytes()
            .map_err(|error| ServeError::Unreadable(error.to_string()))
    }
}

fn stopped(error: impl std::fmt::Display) -> ServeError {
    ServeError::Stopped(error.to_string())
}

fn ask(body: &AskRecord) -> VoteRequest<super::types::Types> {
    let mut request = VoteRequest::new(vote(&body.vote), body.last.as_ref().map(log_id));
    request.leadership_transfer = body.transfer;
    request
}

fn voted(answer: &VoteResponse<super::types::Types>) -> VotedRecord {
    VotedRecord {
        vote: vote_record(&answer.vote),
        granted: answer.vote_granted,
        last: answer.last_log_id.as_ref().map(position),
    }
}

async fn receive(
    path: &Path,
    length: u64,
    from: impl AsyncRead + Unpin + Send,
) -> std::io::Result<()> {
    let mut file = File::create(path).await?;
    let copied = tokio::io::copy(&mut from.take(length), &mut file).await?;
    if copied != length {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    file.flush().await?;
    file.sync_all().await
}
