//! Raft messages to other nodes.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crypto::NodeId;
use openraft::OptionalSend;
use openraft::alias::{SnapshotOf, VoteOf};
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};
use openraft::raft::{TransferLeaderError, TransferLeaderResponse};

use super::types::{Member, Types, entry_record, log_id, position, vote, vote_record};
use crate::channel::{APPEND, Channel, ChannelError, PRE_VOTE, TRANSFER, VOTE};
use crate::guard::{Guard, Mismatch};
use crate::records::{
    AppendRecord, AppendedRecord, AskRecord, InstallRecord, InstalledRecord, MessageRecord, Record,
    TransferRecord, TransferredRecord, VotedRecord,
};
use crate::snapshot::SnapshotFile;

/// openraft allows entries as long as a heartbeat, 120 ms; a megabyte over a slow link needs more.
/// Heartbeats themselves it cuts off on its own.
const APPEND_PATIENCE: Duration = Duration::from_secs(2);

/// Makes connections to members.
pub(crate) struct Network {
    pub(crate) channel: Arc<dyn Channel>,
    pub(crate) guard: Arc<Mutex<Guard>>,
    pub(crate) me: u64,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &Member) -> Peer {
        Peer {
            channel: Arc::clone(&self.channel),
            guard: Arc::clone(&self.guard),
            me: self.me,
            raft_id: target,
            node: node.0,
        }
    }
}

/// One member, as seen from here.
pub(crate) struct Peer {
    channel: Arc<dyn Channel>,
    guard: Arc<Mutex<Guard>>,
    me: u64,
    raft_id: u64,
    node: NodeId,
}

/// Why a call gave nothing.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("the answer was refused: {0}")]
    Mismatch(#[from] Mismatch),
    #[error("the message cannot be written or read")]
    Wire(#[from] crypto::wire::WireError),
}

impl Peer {
    fn message<Q>(&self, body: Q) -> MessageRecord<Q> {
        let guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        MessageRecord { address: guard.address_to(self.raft_id), body }
    }

    /// Reads an answer, and refuses one that does not come from whom it should.
    fn open<R>(&self, bytes: &[u8]) -> Result<R, CallError>
    where
        MessageRecord<R>: Record,
    {
        let answer = MessageRecord::<R>::from_bytes(bytes)?;
        let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
        if answer.address.from != self.raft_id {
            let (ours, theirs) = (self.raft_id, answer.address.from);
            return Err(Mismatch::Recipient { ours, theirs }.into());
        }
        guard.check(&answer.address, self.node, Some(self.node))?;
        Ok(answer.body)
    }

    async fn call<Q, R>(
        &self,
        path: &'static str,
        body: Q,
        deadline: Duration,
    ) -> Result<R, CallError>
    where
        MessageRecord<Q>: Record,
        MessageRecord<R>: Record,
    {
        let message = self.message(body).to_bytes()?;
        let answer = self.channel.call(self.node, path, message, deadline).await?;
        self.open(&answer)
    }

    fn error(&self, action: RPCTypes, timeout: Duration, error: &CallError) -> RPCError<Types> {
        match error {
            CallError::Channel(ChannelError::Timeout { .. }) => {
                RPCError::Timeout(Timeout { action, id: self.me, target: self.raft_id, timeout })
            }
            CallError::Channel(ChannelError::Broken { .. }) => {
                RPCError::Network(NetworkError::new(error))
            }
            CallError::Mismatch(_) | CallError::Channel(ChannelError::Refused { .. }) => {
                let mut guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner);
                if guard.should_warn(self.raft_id, Instant::now()) {
                    tracing::warn!(
                        raft.id = self.raft_id, peer.id = %self.node, error = %error,
                        "raft message or its answer was refused"
                    );
                }
                RPCError::Unreachable(Unreachable::new(error))
            }
            CallError::Wire(_) | CallError::Channel(ChannelError::Unreachable { .. }) => {
                RPCError::Unreachable(Unreachable::new(error))
            }
        }
    }

    async fn ask(
        &self,
        path: &'static str,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let body = AskRecord {
            vote: vote_record(&request.vote),
            last: request.last_log_id.as_ref().map(position),
            transfer: request.leadership_transfer,
        };
        let deadline = option.hard_ttl();
        let answer: VotedRecord = self
            .call(path, body, deadline)
            .await
            .map_err(|error| self.error(RPCTypes::Vote, deadline, &error))?;
        Ok(VoteResponse {
            vote: vote(&answer.vote),
            vote_granted: answer.granted,
            last_log_id: answer.last.as_ref().map(log_id),
        })
    }
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let body = AppendRecord {
            vote: vote_record(&request.vote),
            previous: request.prev_log_id.as_ref().map(position),
            entries: request.entries.iter().map(entry_record).collect(),
            commit: request.leader_commit.as_ref().map(position),
        };
        let deadline = option.hard_ttl().max(APPEND_PATIENCE);
        let answer: AppendedRecord = self
            .call(APPEND, body, deadline)
            .await
            .map_err(|error| self.error(RPCTypes::AppendEntries, deadline, &error))?;
        Ok(match answer {
            AppendedRecord::Success => AppendEntriesResponse::Success,
            AppendedRecord::Partial(upto) => {
                AppendEntriesResponse::PartialSuccess(upto.as_ref().map(log_id))
            }
            AppendedRecord::Conflict => AppendEntriesResponse::Conflict,
            AppendedRecord::HigherVote(higher) => AppendEntriesResponse::HigherVote(vote(&higher)),
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(VOTE, request, option).await
    }

    /// The default of this method grants every pre-vote.
    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(PRE_VOTE, request, option).await
    }

    async fn full_snapshot(
        &mut self,
        leader: VoteOf<Types>,
        snapshot: SnapshotOf<Types, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let path = snapshot.snapshot.path;
        // A newer snapshot may have taken its place just now; the next try finds that one.
        let length = match tokio::fs::metadata(&path).await {
            Ok(file) => file.len(),
            Err(error) => return Err(StreamingError::Network(NetworkError::new(&error))),
        };
        let body = InstallRecord { vote: vote_record(&leader), length };
        let deadline = option.hard_ttl();
        let send = async {
            let message = self.message(body).to_bytes()?;
            let answer = self.channel.send_file(self.node, message, &path, deadline).await?;
            self.open::<InstalledRecord>(&answer)
        };
        let answer = tokio::select! {
            closed = cancel => return Err(closed.into()),
            answer = send => answer
                .map_err(|error| self.error(RPCTypes::InstallSnapshot, deadline, &error))?,
        };
        Ok(SnapshotResponse { vote: vote(&answer.vote) })
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let body = TransferRecord {
            vote: vote_record(request.from_leader()),
            to: *request.to_node_id(),
            last: request.last_log_id().map(position),
        };
        let deadline = option.hard_ttl();
        let answer: TransferredRecord = self
            .call(TRANSFER, body, deadline)
            .await
            .map_err(|error| self.error(RPCTypes::TransferLeader, deadline, &error))?;
        Ok(match answer {
            TransferredRecord::Accepted => Ok(()),
            TransferredRecord::VoteChanged { expected, actual } => {
                Err(TransferLeaderError::VoteChanged {
                    expected: vote(&expected),
                    actual: vote(&actual),
                })
            }
            TransferredRecord::NotFlushed { expected, actual } => {
                Err(TransferLeaderError::LogNotFlushed {
                    expected: expected.as_ref().map(log_id),
                    actual: actual.as_ref().map(log_id),
                })
            }
        })
    }
}
