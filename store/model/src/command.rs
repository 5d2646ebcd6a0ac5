//! Commands: everything that can be written, and how it is refused.
//!
//! The enums are append-only: bincode writes the position of a variant, and a
//! log outlives the program that wrote it.

use crypto::NodeId;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::change::ObjectKey;
use crate::id::{
    ClusterId, ConfigId, Index, NetworkId, Revision, SecretId, ServiceId, TaskId, TokenId,
    UnixNanos,
};
use crate::node::{Availability, Grant, NodeDescription, NodeSpec, NodeState};
use crate::object::{ClusterSpec, NetworkSpec};
use crate::service::{PortConfig, ServiceSpec, UpdateStatus};
use crate::task::{Task, TaskState, TaskStatus};

/// Names one wish of one client: repeating it has effect once.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct RequestId(pub [u8; 16]);

/// One entry of the log.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Entry {
    /// For repeated requests; `None` where repetition is harmless.
    pub request: Option<RequestId>,
    /// Clock of the proposing leader.
    pub now: UnixNanos,
    /// What to write.
    pub command: Command,
}

/// What can be written. Append only.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Command {
    /// First entry after genesis; later ones are refused.
    Found {
        /// The cluster.
        id: ClusterId,
        /// Its founding voters with their Raft ids (slot + 1).
        founders: Vec<(u64, Admission)>,
    },
    /// Admits a node, or takes note of its new incarnation, address or description.
    Admit(Admission),
    /// Writes what a user wants of a node.
    UpdateNode {
        /// Which.
        id: NodeId,
        /// Version that the user saw.
        version: Index,
        /// The whole new spec.
        spec: NodeSpec,
    },
    /// Writes what the leader thinks of nodes, with its reasons.
    SetNodeStates(Vec<(NodeId, NodeState, String)>),
    /// Removes a node; it may not come back.
    RemoveNode {
        /// Which.
        id: NodeId,
        /// Also if it is not down.
        force: bool,
    },
    /// Creates a service.
    CreateService {
        /// Drawn at random by the proposer.
        id: ServiceId,
        /// What the user wants.
        spec: ServiceSpec,
    },
    /// Writes the spec of a service.
    UpdateService {
        /// Which.
        id: ServiceId,
        /// Version that the user saw.
        version: Index,
        /// The new spec, or the previous one.
        to: UpdateTo,
    },
    /// Removes a service and, in time, its tasks.
    RemoveService {
        /// Which.
        id: ServiceId,
    },
    /// Adopts a plan: whole, or not at all.
    AdoptPlan {
        /// Revision of the state that the plan was made for.
        based_on: Revision,
        /// What it decided.
        decisions: Vec<Decision>,
    },
    /// What a node saw of its tasks.
    ReportTasks {
        /// Who reports; other nodes' tasks are left alone.
        node: NodeId,
        /// Its boot count; an old one's reports are dropped.
        incarnation: u64,
        /// Last seen; a state that would go back is dropped.
        statuses: Vec<(TaskId, TaskStatus)>,
    },
    /// Writes what a user may set of the cluster.
    UpdateCluster {
        /// Version that the user saw.
        version: Index,
        /// The whole new spec.
        spec: ClusterSpec,
    },
    /// A token admits nobody any more.
    RevokeToken(TokenId),
    /// Raises the generation of gossip keys.
    RaisePskEpoch,
    /// Creates a network.
    CreateNetwork {
        /// Drawn at random by the proposer.
        id: NetworkId,
        /// What the user wants.
        spec: NetworkSpec,
    },
    /// Removes a network that no service uses.
    RemoveNetwork(NetworkId),
    /// Creates a secret.
    CreateSecret {
        /// Drawn at random by the proposer.
        id: SecretId,
        /// Unique.
        name: String,
        /// Labels.
        labels: std::collections::BTreeMap<String, String>,
        /// Ciphertext.
        sealed: Vec<u8>,
    },
    /// Removes a secret that no service uses.
    RemoveSecret(SecretId),
    /// Creates a config.
    CreateConfig {
        /// Drawn at random by the proposer.
        id: ConfigId,
        /// Unique.
        name: String,
        /// Labels.
        labels: std::collections::BTreeMap<String, String>,
        /// Ciphertext.
        sealed: Vec<u8>,
    },
    /// Removes a config that no service uses.
    RemoveConfig(ConfigId),
    /// Writes the labels of a secret: all of it that may change.
    UpdateSecret {
        /// Which.
        id: SecretId,
        /// Version that the user saw.
        version: Index,
        /// All its labels.
        labels: std::collections::BTreeMap<String, String>,
    },
    /// Writes the labels of a config: all of it that may change.
    UpdateConfig {
        /// Which.
        id: ConfigId,
        /// Version that the user saw.
        version: Index,
        /// All its labels.
        labels: std::collections::BTreeMap<String, String>,
    },
    /// [`Command::CreateService`], and how to log in at the registry of its image.
    CreateServiceWithLogin {
        /// Drawn at random by the proposer.
        id: ServiceId,
        /// What the user wants.
        spec: ServiceSpec,
        /// Ciphertext.
        login: Vec<u8>,
    },
    /// [`Command::UpdateService`], and how to log in at the registry of its image.
    UpdateServiceWithLogin {
        /// Which.
        id: ServiceId,
        /// Version that the user saw.
        version: Index,
        /// The new spec, or the previous one.
        to: UpdateTo,
        /// Ciphertext.
        login: Vec<u8>,
    },
}

/// What a service is updated to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum UpdateTo {
    /// The whole new spec.
    Spec(Box<ServiceSpec>),
    /// The previous spec.
    Previous,
}

/// A node that asks to be admitted, or says what is new.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Admission {
    /// Who.
    pub id: NodeId,
    /// Its ed25519 public key.
    pub ed25519: [u8; 32],
    /// Its X25519 public key.
    pub x25519: [u8; 32],
    /// What its key or token allows.
    pub grant: Grant,
    /// Token and its limit of uses (0: none), unless it holds the key.
    pub token: Option<(TokenId, u32)>,
    /// Its boot count.
    pub incarnation: u64,
    /// What it says of itself.
    pub description: NodeDescription,
    /// Whether it takes tasks at first; an admitted node's is the user's to change.
    pub availability: Availability,
}

/// One step of a plan. Append only.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Decision {
    /// Fills a slot.
    CreateTask(Box<NewTask>),
    /// Gives a task its node.
    Assign {
        /// Which.
        task: TaskId,
        /// Where.
        node: NodeId,
    },
    /// Raises what is wanted of a task.
    Desire {
        /// Which.
        task: TaskId,
        /// Never lower than before.
        desired: TaskState,
    },
    /// A task that has no node yet: how far it is and why it waits.
    Wait {
        /// Which.
        task: TaskId,
        /// `New` or `Pending`.
        state: TaskState,
        /// Docker's word.
        message: String,
        /// Why no node fits; empty if none was asked yet.
        reason: String,
    },
    /// Forgets a task that has ended.
    Forget(TaskId),
    /// What became of a task on a node that was away for too long is unknown.
    Orphan(TaskId),
    /// Published ports of a service.
    Ports {
        /// Whose.
        service: ServiceId,
        /// In the order of its spec.
        ports: Vec<PortConfig>,
    },
    /// How an update goes.
    Update {
        /// Of which service.
        service: ServiceId,
        /// Where it stands.
        status: UpdateStatus,
    },
    /// An update failed and its policy says to go back: the previous spec comes back.
    RollBack {
        /// Which service.
        service: ServiceId,
        /// How it goes from here.
        status: UpdateStatus,
    },
}

/// A task to be made.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NewTask {
    /// The task; `created`, `modified` and the times are set when it is applied.
    pub task: Task,
}

/// What a command did.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Applied {
    /// Index of the entry: the new version of what it wrote.
    pub index: Index,
    /// The Raft id of an admitted node.
    pub raft_id: Option<u64>,
    /// What was created. A repeated request draws another id and gets the first one's answer.
    pub created: Option<ObjectKey>,
}

/// Why a command did nothing. An ordinary outcome: the same on every node.
///
/// The texts are Docker Swarm's where it has one.
#[derive(Clone, Debug, Deserialize, Eq, Error, PartialEq, Serialize)]
pub enum Refused {
    /// The plan was made for another revision; plan again.
    #[error("the plan was made for revision {}, the state is at {}", based_on.0, current.0)]
    Outdated {
        /// Revision of the plan.
        based_on: Revision,
        /// Revision of the state.
        current: Revision,
    },
    /// Somebody else wrote it since the user read it.
    #[error("update out of sequence")]
    OutOfSequence,
    /// No such object.
    #[error("{kind} {name} not found")]
    NotFound {
        /// `service`, `node`, …
        kind: String,
        /// As it was asked for.
        name: String,
    },
    /// The name is taken.
    #[error("{}", name_taken(.kind, .name))]
    NameTaken {
        /// `service`, …
        kind: String,
        /// The name.
        name: String,
    },
    /// A published port is taken.
    #[error(
        "port '{port}' is already in use by service '{service}' ({service_id}) as an ingress port"
    )]
    PortTaken {
        /// Number.
        port: u16,
        /// Name of the service that has it.
        service: String,
        /// Id of that service.
        service_id: String,
    },
    /// It is in use.
    #[error(
        "{kind} '{name}' is in use by the following service{}: {by}",
        if .by.contains(',') { "s" } else { "" }
    )]
    InUse {
        /// `secret`, …
        kind: String,
        /// Its name.
        name: String,
        /// Names of services, separated by `, `.
        by: String,
    },
    /// The state forbids it; the text says why and what to do.
    #[error("{0}")]
    Precondition(String),
    /// The request makes no sense; the text says why.
    #[error("{0}")]
    Invalid(String),
    /// The node, token or incarnation has no right to it.
    #[error("{0}")]
    Forbidden(String),
    /// There is no cluster yet, or there is one already.
    #[error("{0}")]
    NotFounded(String),
    /// Docker answers 501 to it; the text says what.
    #[error("{0}")]
    Unsupported(String),
    /// There is an ingress network, and a cluster has one at most.
    #[error("ingress network ({0}) is already present")]
    IngressTaken(String),
}

/// Docker words it differently for each kind.
fn name_taken(kind: &str, name: &str) -> String {
    match kind {
        "service" => {
            format!("name conflicts with an existing object: service {name} already exists")
        }
        "network" => format!("network with name {name} already exists"),
        _ => format!("{kind} {name} already exists"),
    }
}
