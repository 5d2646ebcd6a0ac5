//! What nodes say to one another besides gossip and Raft. Bytes are made in `crypto::wire`.
//!
//! | path | kind | who asks whom |
//! |---|---|---|
//! | `/leader` | unary | anyone an eligible node: who leads, which cluster |
//! | `/overview` | unary | a node the leader: who votes and why, who is down |
//! | `/standing` | unary | anyone a node: am I still part of the cluster |
//! | `/join` | unary | a token's holder an eligible node, relayed to the leader |
//! | `/admit` | unary | a node the leader: admit me, or take note of what is new |
//! | `/enlist` | unary | the leader an eligible node: keep the log under this number |
//! | `/renew` | unary | a worker an eligible node: a new certificate |
//! | `/agent/assignments` | stream | a node the leader |
//! | `/agent/report` | unary | a node the leader |
//! | `/api` | tunnel | an eligible node the leader: HTTP/1.1 of the Engine API |
//! | `/proxy` | tunnel | a node another: bytes of one connection to a task |
//! | `/logs` | stream | an eligible node the one that ran the task |
//! | `/relay` | tunnel | a node another: bytes of an inner Noise session to a third |
//! | `/gossip/big` | unary | gossip that does not fit datagrams |

use std::collections::BTreeMap;
use std::sync::Arc;

use crypto::{NodeId, SecretBytes};
use model::service::{Protocol, PublishMode};
use model::{
    Admission, Availability, ClusterId, ConfigId, SecretId, Task, TaskId, TaskStatus, UnixNanos,
};
use serde::{Deserialize, Serialize};

/// Path of [`LeaderAnswer`].
pub(crate) const LEADER: &str = "/leader";
/// Path of [`OverviewRequest`].
pub(crate) const OVERVIEW: &str = "/overview";
/// Path of [`StandingRequest`].
pub(crate) const STANDING: &str = "/standing";
/// Path of [`JoinRequest`].
pub(crate) const JOIN: &str = "/join";
/// Path of [`AdmitRequest`].
pub(crate) const ADMIT: &str = "/admit";
/// Path of [`EnlistRequest`].
pub(crate) const ENLIST: &str = "/enlist";
/// Path of [`RenewRequest`].
pub(crate) const RENEW: &str = "/renew";
/// Path of [`AssignmentsRequest`].
pub(crate) const ASSIGNMENTS: &str = "/agent/assignments";
/// Path of [`ReportRequest`].
pub(crate) const REPORT: &str = "/agent/report";
/// Path of the Engine API's tunnel.
pub(crate) const API: &str = "/api";
/// Path of [`ProxyRequest`].
pub(crate) const PROXY: &str = "/proxy";
/// Path of [`LogsRequest`].
pub(crate) const LOGS: &str = "/logs";
/// Path of [`RelayRequest`].
pub(crate) const RELAY: &str = "/relay";
/// Path of [`BigGossip`].
pub(crate) const BIG_GOSSIP: &str = "/gossip/big";

/// Asks who leads.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct LeaderRequest {}

/// Who leads, as far as the answering node knows.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct LeaderAnswer {
    /// The cluster's genesis, if it has happened.
    pub(crate) genesis: Option<[u8; 16]>,
    /// Generation of the cluster after repaired quorum losses.
    pub(crate) recovery_epoch: u32,
    /// The leader.
    pub(crate) leader: Option<NodeId>,
}

/// Asks the leader for what it sees.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct OverviewRequest {}

/// What the leader sees, for the status of all others.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Overview {
    /// Term.
    pub(crate) term: u64,
    /// Raft id and node of each voter.
    pub(crate) voters: BTreeMap<u64, NodeId>,
    /// Raft id and node of each learner.
    pub(crate) learners: BTreeMap<u64, NodeId>,
    /// Index of the last entry of the log.
    pub(crate) last_log: u64,
    /// Index of the last entry that was applied.
    pub(crate) applied: u64,
    /// Milliseconds since a majority last answered.
    pub(crate) quorum_age_millis: Option<u64>,
    /// What autopilot is doing or why it holds still.
    pub(crate) autopilot: Vec<String>,
    /// Every admitted node.
    pub(crate) nodes: Vec<NodeOverview>,
}

/// What the leader sees of one node.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct NodeOverview {
    /// Which.
    pub(crate) id: NodeId,
    /// Whether it holds the cluster key.
    pub(crate) eligible: bool,
    /// Whether it is Down.
    pub(crate) down: bool,
    /// Whether it takes tasks.
    pub(crate) availability: Availability,
    /// Why it votes, or why not.
    pub(crate) why: String,
}

/// A node that hears nobody asks whether it is still part of the cluster. Who asks is known from
/// the handshake.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct StandingRequest {}

/// Whether it is.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct StandingAnswer {
    /// It was removed. Only believed if a node with the cluster key says so.
    pub(crate) removed: bool,
}

/// A token's holder asks to be let in.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct JoinRequest {
    /// What it says of itself; keys and grant are taken from the handshake.
    pub(crate) admission: Admission,
}

/// It is in.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct JoinAnswer {
    /// Its certificate.
    pub(crate) certificate: Vec<u8>,
    /// Gossip keys by epoch, newest first.
    pub(crate) psks: Vec<(u32, [u8; 32])>,
    /// The cluster key; only for a manager token.
    pub(crate) cluster_key: Option<[u8; 32]>,
    /// The cluster's genesis.
    pub(crate) genesis: [u8; 16],
    /// Addresses to gossip with.
    pub(crate) contacts: Vec<std::net::SocketAddr>,
}

impl std::fmt::Debug for JoinAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinAnswer").field("contacts", &self.contacts).finish_non_exhaustive()
    }
}

/// A node asks the leader to admit it, or says what is new of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct AdmitRequest {
    /// What it says of itself; keys and grant are taken from the handshake.
    pub(crate) admission: Admission,
}

/// It is admitted.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct AdmitAnswer {
    /// The cluster.
    pub(crate) cluster: ClusterId,
    /// Its number in Raft, whether or not it ever votes.
    pub(crate) raft_id: u64,
}

/// The leader asks an eligible node to keep the log.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct EnlistRequest {
    /// Its number in Raft.
    pub(crate) raft_id: u64,
    /// The cluster.
    pub(crate) cluster: ClusterId,
    /// Generation of the cluster after repaired quorum losses.
    pub(crate) recovery_epoch: u32,
}

/// It keeps the log from now on.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct EnlistAnswer {}

/// A worker asks for a new certificate. Who asks is known from the handshake.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct RenewRequest {}

/// The new certificate.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct RenewAnswer {
    /// As in [`JoinAnswer`].
    pub(crate) certificate: Vec<u8>,
}

/// A node asks what it should run. Who asks is known from the handshake.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct AssignmentsRequest {
    /// Its boot count; an older one gets nothing.
    pub(crate) incarnation: u64,
}

/// One message of the stream of assignments.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) enum AssignmentsPart {
    /// What a task of the next set needs, once for as long as one does: each is a message of
    /// its own, because many together would be longer than a message may be.
    File(FileId, FileContent),
    /// Everything that the node should do.
    Set(Assignments),
}

/// A secret or a config.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) enum FileId {
    /// A secret.
    Secret(SecretId),
    /// A config.
    Config(ConfigId),
}

/// What is in it, or why the leader cannot tell.
pub(crate) type FileContent = Result<Arc<SecretBytes>, String>;

/// Everything that one node should do, whole each time.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Assignments {
    /// The cluster; `None` only in a default value.
    pub(crate) cluster: Option<ClusterId>,
    /// Tasks that it runs or has to stop.
    pub(crate) tasks: Vec<AssignedTask>,
    /// Published ports and the tasks behind them, of the whole cluster.
    pub(crate) ingress: Vec<IngressEntry>,
    /// Nodes that were removed: their sessions are cut.
    pub(crate) removed: Vec<NodeId>,
    /// Secrets and configs of tasks that have no container yet. They come in messages of
    /// their own; the receiver puts them here.
    #[serde(skip)]
    pub(crate) files: BTreeMap<FileId, FileContent>,
}

/// A task and what its node needs to know beside it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct AssignedTask {
    /// The task.
    pub(crate) task: Task,
    /// Its service's name.
    pub(crate) service_name: String,
    /// `X-Registry-Auth` of its image, as long as it may have to be pulled.
    pub(crate) registry_login: Option<SecretBytes>,
}

/// One running task behind one published port; or an open port without a task.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct IngressEntry {
    /// Protocol.
    pub(crate) protocol: Protocol,
    /// Port of the nodes.
    pub(crate) published_port: u16,
    /// On which nodes.
    pub(crate) mode: PublishMode,
    /// The task, its node, and its port.
    pub(crate) backend: Option<(TaskId, NodeId, u16)>,
}

/// What a node saw of its tasks.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct ReportRequest {
    /// Its boot count.
    pub(crate) incarnation: u64,
    /// Last seen.
    pub(crate) statuses: Vec<(TaskId, TaskStatus)>,
}

/// The report is in the store.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct ReportAnswer {}

/// Bytes of HTTP/1.1 for the leader's API.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct ApiRequest {}

/// A connection for a task of the asked node.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct ProxyRequest {
    /// Which task.
    pub(crate) task: TaskId,
    /// Its port.
    pub(crate) port: u16,
}

/// Output of a task of the asked node.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct LogsRequest {
    /// Which task.
    pub(crate) task: TaskId,
    /// Go on until it has ended.
    pub(crate) follow: bool,
    /// Only so many of the last lines.
    pub(crate) tail: Option<u64>,
    /// Only lines from then on.
    pub(crate) since: Option<UnixNanos>,
    /// Standard output.
    pub(crate) stdout: bool,
    /// Standard error.
    pub(crate) stderr: bool,
}

/// One line of output.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct LogsLine {
    /// When it was read.
    pub(crate) at: UnixNanos,
    /// Whether it went to standard error.
    pub(crate) stderr: bool,
    /// Its bytes, without the line feed.
    pub(crate) line: Vec<u8>,
}

/// Bytes for a third node: a Noise session that the relay cannot read.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct RelayRequest {
    /// To whom.
    pub(crate) to: NodeId,
}

/// Gossip that does not fit datagrams.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct BigGossip {
    /// What a datagram would have carried.
    pub(crate) bytes: Vec<u8>,
}

/// It was handed over.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct BigGossipAnswer {}
