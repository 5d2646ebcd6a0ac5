//! What the server needs of a node, in the words of the API.
//!
//! The node implements [`Cluster`]; the server asks [`Cluster::route`] first for everything that
//! concerns the whole cluster, and carries the request to the leader if the answer is
//! [`Route::There`]. Every other method is therefore only called where it can be answered.

mod containers;
mod engine;
mod events;
pub mod files;
mod listed;
mod networks;

use std::fmt;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

pub use containers::Containers;
pub use engine::{Engine, Engines};
pub use events::{Events, EventsWanted};
pub use listed::Listed;
pub use networks::Networks;

use self::files::Files;
use crate::filters::Filters;
use crate::request_id::RequestId;
use crate::wire::image::{ImageDeleted, ImageProgress, ImageSummary};
use crate::wire::node::{Node, NodeSpec};
use crate::wire::service::{Service, ServiceSpec};
use crate::wire::status::StatusReport;
use crate::wire::swarm::{InitRequest, JoinRequest, Rotate, Swarm, SwarmSpec, UnlockKey};
use crate::wire::system::{Info, Version};
use crate::wire::task::Task;
use crate::wire::{Created, Updated};

/// Why a request was not done. Its text goes to the user as it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// What a user reads; Docker's text where Docker has one.
    pub message: String,
    /// What a program may do about it.
    pub kind: ProblemKind,
}

/// What a program may do about a problem; travels in the header `Skep-Problem`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ProblemKind {
    /// Nothing.
    #[default]
    Plain,
    /// No leader was found in time and nothing was changed: try later.
    NoLeader,
    /// This node does not lead and has done nothing: ask another.
    NotLeader,
    /// It may have happened or may still happen: repeat it with the same request id.
    Unconfirmed,
    /// This node is no part of a cluster yet.
    NoCluster,
}

impl ProblemKind {
    /// As the header `Skep-Problem` says it; `None` for plain ones.
    #[must_use]
    pub const fn as_header(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::NoLeader => Some("no-leader"),
            Self::NotLeader => Some("not-leader"),
            Self::Unconfirmed => Some("unconfirmed"),
            Self::NoCluster => Some("no-cluster"),
        }
    }

    /// The reverse; unknown words count as plain.
    #[must_use]
    pub fn from_header(text: &str) -> Self {
        let all = [Self::NoLeader, Self::NotLeader, Self::Unconfirmed, Self::NoCluster];
        all.into_iter().find(|kind| kind.as_header() == Some(text)).unwrap_or_default()
    }
}

impl Problem {
    /// Of any status.
    #[must_use]
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), kind: ProblemKind::Plain }
    }

    /// 400: the request is wrong.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// 404 in Docker's words: `service web not found`.
    #[must_use]
    pub fn not_found(kind: &str, reference: &str) -> Self {
        Self::new(404, format!("{kind} {reference} not found"))
    }

    /// 409: it exists, or is in use.
    #[must_use]
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, message)
    }

    /// 500 in Docker's words: somebody wrote the object since it was read.
    #[must_use]
    pub fn out_of_sequence() -> Self {
        Self::new(500, "update out of sequence")
    }

    /// 501: not built.
    #[must_use]
    pub fn not_implemented(message: impl Into<String>) -> Self {
        Self::new(501, message)
    }

    /// 503: not now.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, message)
    }

    /// 503: no leader was found in time and nothing was changed.
    #[must_use]
    pub fn no_leader() -> Self {
        Self {
            status: 503,
            message: "The swarm does not have a leader; nothing was changed. It's possible that \
                      too few managers are online. Make sure more than half of the managers are \
                      online (skep status shows them), then try again."
                .to_owned(),
            kind: ProblemKind::NoLeader,
        }
    }

    /// 503: this node does not lead and has done nothing.
    #[must_use]
    pub fn not_leader() -> Self {
        Self {
            status: 503,
            message: "this manager does not lead; nothing was changed".to_owned(),
            kind: ProblemKind::NotLeader,
        }
    }

    /// 503: proposed, outcome unknown.
    #[must_use]
    pub fn unconfirmed(request: RequestId) -> Self {
        Self {
            status: 503,
            message: format!(
                "not confirmed: it may still take effect; request id {request}. Repeating it \
                 with the same id has effect once."
            ),
            kind: ProblemKind::Unconfirmed,
        }
    }

    /// 503 in Docker's words: this node is no part of a cluster.
    #[must_use]
    pub fn no_cluster() -> Self {
        Self {
            status: 503,
            message: "This node is not a swarm manager. Use \"docker swarm init\" or \"docker \
                      swarm join\" to connect this node to swarm and try again."
                .to_owned(),
            kind: ProblemKind::NoCluster,
        }
    }

    /// 503 in Docker's words: this node is part of a cluster, or on its way into one.
    #[must_use]
    pub fn already_member() -> Self {
        Self::unavailable(
            "This node is already part of a swarm. Use \"docker swarm leave\" to leave this swarm \
             and join another one.",
        )
    }

    /// 503 in Docker's words: there is nothing to leave.
    #[must_use]
    pub fn not_part() -> Self {
        Self {
            kind: ProblemKind::NoCluster,
            ..Self::unavailable("This node is not part of a swarm")
        }
    }

    /// 503 in Docker's words: the key on disk is wrapped.
    #[must_use]
    pub fn locked() -> Self {
        Self::unavailable(
            "Swarm is encrypted and needs to be unlocked before it can be used. Please use \
             \"docker swarm unlock\" to unlock it.",
        )
    }

    /// 503 in Docker's words: this node is a worker.
    #[must_use]
    pub fn worker() -> Self {
        Self::unavailable(
            "This node is not a swarm manager. Worker nodes can't be used to view or modify \
             cluster state. Please run this command on a manager node or promote the current \
             node to a manager.",
        )
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// Where a request came from.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Origin {
    /// The socket of this machine: whoever may open it may do everything.
    #[default]
    Socket,
    /// A tunnel from another node, whose id the handshake proved.
    Node(String),
}

/// Who asks, and in which circumstances.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Where it came from.
    pub origin: Origin,
    /// Names the wish: repeating it has effect once. Made up by the server if the client named
    /// none.
    pub request: RequestId,
    /// The node may answer from its own memory, because [`Cluster::route`] said so.
    pub stale: bool,
}

/// Where a request about the whole cluster is answered.
pub enum Route {
    /// By this node, which leads.
    Here,
    /// By this node from what it remembers, because nobody leads: reads only.
    Stale,
    /// By the server at the other end, over HTTP/1.1: the leader's.
    There(Box<dyn Io>),
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Here => "Here",
            Self::Stale => "Stale",
            Self::There(_) => "There",
        })
    }
}

/// Bytes both ways.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Bytes that a client sends.
pub type Upload = Pin<Box<dyn AsyncRead + Send>>;

/// What `/_ping` says in its `Swarm` header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SwarmState {
    /// No part of a cluster.
    Inactive,
    /// On its way into one.
    Pending,
    /// Part of one, and its key on disk is wrapped.
    Locked,
    /// Part of one, and it answers cluster requests.
    Manager,
    /// Part of one.
    Worker,
}

impl SwarmState {
    /// Docker's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Locked => "locked",
            Self::Manager => "active/manager",
            Self::Worker => "active/worker",
        }
    }
}

/// A service to create.
#[derive(Clone, Debug)]
pub struct NewService {
    /// What the user wants.
    pub spec: ServiceSpec,
    /// `X-Registry-Auth` as it came: base64url of JSON.
    pub registry_auth: Option<String>,
}

/// A service to update.
#[derive(Clone, Debug)]
pub struct ServiceUpdate {
    /// Version of the spec that the user read.
    pub version: u64,
    /// What the user wants now; ignored by a rollback.
    pub spec: ServiceSpec,
    /// Back to the previous spec.
    pub rollback: bool,
    /// `X-Registry-Auth` as it came: base64url of JSON.
    pub registry_auth: Option<String>,
    /// Take the credentials of the previous spec, not of the current one.
    pub auth_from_previous: bool,
}

/// Which log lines.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LogOptions {
    /// Go on as lines come.
    pub follow: bool,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
    /// At most so many old lines of each task.
    pub tail: Option<u64>,
    /// Not before, in nanoseconds since 1970; 0 means all.
    pub since_unix_nanos: u64,
}

/// The answer to a request for logs.
#[derive(Debug)]
pub struct LogStream {
    /// Whether the tasks have terminals: their bytes come as they are.
    pub tty: bool,
    /// The lines; ends when there are no more. The sender notices that the client is gone when
    /// the channel closes.
    pub lines: mpsc::Receiver<LogLine>,
}

/// A line that a task wrote.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogLine {
    /// When, in nanoseconds since 1970.
    pub at_unix_nanos: u64,
    /// Where to.
    pub source: LogSource,
    /// On which node.
    pub node: String,
    /// Of which service.
    pub service: String,
    /// Which task.
    pub task: String,
    /// The line with its end.
    pub line: Bytes,
}

/// Where a task wrote a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogSource {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Not the task: `Error grabbing logs: …`.
    System,
}

/// An image to pull.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pull {
    /// `name`, `name:tag` or `name@sha256:…`, as the user wrote it.
    pub reference: String,
    /// `linux/arm64`; empty: this machine's.
    pub platform: String,
    /// `X-Registry-Auth` as it came: base64url of JSON.
    pub registry_auth: Option<String>,
}

/// What the server needs of a node. Objects are named by full id, exact name or unique prefix
/// of the id (`reference`); [`crate::lookup`] has that rule.
#[async_trait]
pub trait Cluster:
    Containers + Engines + Events + Files + Networks + Send + Sync + 'static
{
    /// For `/_ping`: from memory, at once.
    fn swarm_state(&self) -> SwarmState;

    /// Where a request about the whole cluster is answered. Waits for a leader as long as it is
    /// willing to (2 s); asked only for requests from the socket.
    async fn route(&self, caller: &Caller, write: bool) -> Result<Route, Problem>;

    /// `GET /version`.
    async fn version(&self) -> Result<Version, Problem>;
    /// `GET /info`.
    async fn info(&self) -> Result<Info, Problem>;
    /// `GET /skep/status`: soon, also outside a cluster and without a leader.
    async fn status(&self) -> Result<StatusReport, Problem>;
    /// `POST /skep/leave`, `POST /swarm/leave`: of this node.
    async fn leave(&self, caller: &Caller, force: bool) -> Result<(), Problem>;

    /// `GET /swarm`, with the tokens that let others in.
    async fn swarm(&self, caller: &Caller) -> Result<Swarm, Problem>;
    /// `POST /swarm/init`: a new cluster of this node. Its id.
    async fn init_swarm(&self, request: InitRequest) -> Result<String, Problem>;
    /// `POST /swarm/join`: returns when this node was admitted.
    async fn join_swarm(&self, request: JoinRequest) -> Result<(), Problem>;
    /// `POST /swarm/update`.
    async fn update_swarm(
        &self,
        caller: &Caller,
        version: u64,
        spec: SwarmSpec,
        rotate: Rotate,
    ) -> Result<(), Problem>;
    /// `GET /swarm/unlockkey`.
    async fn unlock_key(&self, caller: &Caller) -> Result<UnlockKey, Problem>;
    /// `POST /swarm/unlock`: of this node.
    async fn unlock(&self, key: UnlockKey) -> Result<(), Problem>;
    /// `POST /skep/tokens/{id}/revoke`: nobody joins with that token any more.
    async fn revoke_token(&self, caller: &Caller, id: &str) -> Result<(), Problem>;

    /// `GET /nodes`.
    async fn nodes(&self, caller: &Caller, filters: &Filters) -> Result<Listed, Problem>;
    /// `GET /nodes/{reference}`.
    async fn node(&self, caller: &Caller, reference: &str) -> Result<Node, Problem>;
    /// `POST /nodes/{reference}/update`.
    async fn update_node(
        &self,
        caller: &Caller,
        reference: &str,
        version: u64,
        spec: NodeSpec,
    ) -> Result<(), Problem>;
    /// `DELETE /nodes/{reference}`.
    async fn remove_node(
        &self,
        caller: &Caller,
        reference: &str,
        force: bool,
    ) -> Result<(), Problem>;

    /// `GET /services`; `status` asks for the counts of tasks.
    async fn services(
        &self,
        caller: &Caller,
        filters: &Filters,
        status: bool,
    ) -> Result<Listed, Problem>;
    /// `GET /services/{reference}`; the server fills in defaults where asked to.
    async fn service(&self, caller: &Caller, reference: &str) -> Result<Service, Problem>;
    /// `POST /services/create`.
    async fn create_service(&self, caller: &Caller, new: NewService) -> Result<Created, Problem>;
    /// `POST /services/{reference}/update`.
    async fn update_service(
        &self,
        caller: &Caller,
        reference: &str,
        update: ServiceUpdate,
    ) -> Result<Updated, Problem>;
    /// `DELETE /services/{reference}`.
    async fn remove_service(&self, caller: &Caller, reference: &str) -> Result<(), Problem>;
    /// `GET /services/{reference}/logs`.
    async fn service_logs(
        &self,
        caller: &Caller,
        reference: &str,
        options: LogOptions,
    ) -> Result<LogStream, Problem>;

    /// `GET /tasks`. Services and nodes in the filters are ids or names.
    async fn tasks(&self, caller: &Caller, filters: &Filters) -> Result<Listed, Problem>;
    /// `GET /tasks/{reference}`.
    async fn task(&self, caller: &Caller, reference: &str) -> Result<Task, Problem>;
    /// `GET /tasks/{reference}/logs`.
    async fn task_logs(
        &self,
        caller: &Caller,
        reference: &str,
        options: LogOptions,
    ) -> Result<LogStream, Problem>;

    /// `GET /images/json`: of this node.
    async fn images(&self, filters: &Filters) -> Result<Vec<ImageSummary>, Problem>;
    /// `POST /images/load`: a tar of `docker save` or an OCI layout, also compressed by gzip.
    async fn load_image(&self, tar: Upload) -> Result<mpsc::Receiver<ImageProgress>, Problem>;
    /// `POST /images/create`.
    async fn pull_image(&self, pull: Pull) -> Result<mpsc::Receiver<ImageProgress>, Problem>;
    /// `DELETE /images/{reference}`.
    async fn remove_image(
        &self,
        reference: &str,
        force: bool,
    ) -> Result<Vec<ImageDeleted>, Problem>;
}
