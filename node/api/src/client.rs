//! A client of the API over a unix socket: what the command line is made of.

mod files;
mod sending;
mod stream;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Limited};
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::time::Instant;

pub use self::stream::{Frame, Frames, Lines};

use self::sending::{Sending, segment, switch};

use crate::carry::{Carried, carry};
use crate::cluster::{LogOptions, Problem, ProblemKind, Pull, Upload};
use crate::filters::Filters;
use crate::header::{PROBLEM, STALE};
use crate::request_id::RequestId;
use crate::wire::image::{ImageDeleted, ImageProgress, ImageSummary};
use crate::wire::node::{Node, NodeSpec};
use crate::wire::service::{Service, ServiceSpec};
use crate::wire::status::{LeaveRequest, StatusReport};
use crate::wire::system::{Info, Version};
use crate::wire::task::Task;
use crate::wire::{Created, ErrorBody, Updated, from_slice};

/// How long a write whose outcome is unknown is repeated with the same id: several elections.
const CONFIRM: Duration = Duration::from_secs(15);
/// Between two repetitions.
const REPEAT: Duration = Duration::from_millis(250);
/// Largest answer: 1,000 nodes are 2 MB, 10,000 tasks about 10.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Talks to one node.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    stale: AtomicBool,
}

/// Why there is no answer, or a bad one.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens there, or we may not talk to it.
    #[error("cannot connect to the skep daemon at unix://{}", socket.display())]
    NotReachable {
        /// Where.
        socket: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The connection broke.
    #[error("the skep daemon did not answer {what}")]
    Broken {
        /// Which request.
        what: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is no JSON of ours.
    #[error("the skep daemon answered {what} with something else")]
    Malformed {
        /// Which request.
        what: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The daemon says no.
    #[error("{0}")]
    Refused(Problem),
    /// The operating system has no randomness for a request id.
    #[error("no randomness")]
    Random(#[source] getrandom::Error),
}

impl ClientError {
    /// The daemon's own words, if it answered.
    #[must_use]
    pub const fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused(problem) => Some(problem),
            Self::NotReachable { .. }
            | Self::Broken { .. }
            | Self::Malformed { .. }
            | Self::Random(_) => None,
        }
    }

    /// Whether the daemon answered with this status.
    #[must_use]
    pub fn is_status(&self, status: u16) -> bool {
        self.problem().is_some_and(|problem| problem.status == status)
    }
}

impl Client {
    /// Of the daemon behind this socket.
    #[must_use]
    pub const fn new(socket: PathBuf) -> Self {
        Self { socket, stale: AtomicBool::new(false) }
    }

    /// Where the daemon listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether any answer came from a node's memory because nobody leads.
    #[must_use]
    pub fn was_stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// `/version`.
    ///
    /// # Errors
    /// As every request.
    pub async fn version(&self) -> Result<Version, ClientError> {
        self.read(&Sending::get("/version")).await
    }

    /// `/info`.
    ///
    /// # Errors
    /// As every request.
    pub async fn info(&self) -> Result<Info, ClientError> {
        self.read(&Sending::get("/info")).await
    }

    /// `/skep/status`.
    ///
    /// # Errors
    /// As every request.
    pub async fn status(&self) -> Result<StatusReport, ClientError> {
        self.read(&Sending::get("/skep/status")).await
    }

    /// Asks the node to leave its cluster.
    ///
    /// # Errors
    /// As every request.
    pub async fn leave(&self, force: bool) -> Result<(), ClientError> {
        let send = Sending::new(Method::POST, "/skep/leave").json(&LeaveRequest { force })?;
        self.write(&send).await.map(drop)
    }

    /// Nobody joins with this token any more.
    ///
    /// # Errors
    /// As every request.
    pub async fn revoke_token(&self, id: &str) -> Result<(), ClientError> {
        let path = format!("/skep/tokens/{id}/revoke");
        self.write(&Sending::new(Method::POST, &path)).await.map(drop)
    }

    /// Nodes.
    ///
    /// # Errors
    /// As every request.
    pub async fn nodes(&self, filters: &Filters) -> Result<Vec<Node>, ClientError> {
        self.read(&Sending::get("/nodes").with("filters", filters.to_json())).await
    }

    /// One node.
    ///
    /// # Errors
    /// As every request.
    pub async fn node(&self, reference: &str) -> Result<Node, ClientError> {
        self.read(&Sending::get(&format!("/nodes/{}", segment(reference)))).await
    }

    /// Writes what is wanted of a node.
    ///
    /// # Errors
    /// As every request.
    pub async fn update_node(
        &self,
        id: &str,
        version: u64,
        spec: &NodeSpec,
    ) -> Result<(), ClientError> {
        let path = format!("/nodes/{}/update", segment(id));
        let send = Sending::new(Method::POST, &path).with("version", version.to_string());
        self.write(&send.json(spec)?).await.map(drop)
    }

    /// Removes a node.
    ///
    /// # Errors
    /// As every request.
    pub async fn remove_node(&self, reference: &str, force: bool) -> Result<(), ClientError> {
        let path = format!("/nodes/{}", segment(reference));
        let send = Sending::new(Method::DELETE, &path).with("force", switch(force));
        self.write(&send).await.map(drop)
    }

    /// Services; `status` asks for the counts of tasks.
    ///
    /// # Errors
    /// As every request.
    pub async fn services(
        &self,
        filters: &Filters,
        status: bool,
    ) -> Result<Vec<Service>, ClientError> {
        let send = Sending::get("/services").with("filters", filters.to_json());
        self.read(&send.with("status", if status { "true" } else { "" })).await
    }

    /// One service; `defaults` asks for what was not said, too.
    ///
    /// # Errors
    /// As every request.
    pub async fn service(&self, reference: &str, defaults: bool) -> Result<Service, ClientError> {
        let path = format!("/services/{}", segment(reference));
        let defaults = if defaults { "true" } else { "false" };
        self.read(&Sending::get(&path).with("insertDefaults", defaults)).await
    }

    /// Creates a service.
    ///
    /// # Errors
    /// As every request.
    pub async fn create_service(
        &self,
        spec: &ServiceSpec,
        registry_auth: Option<&str>,
    ) -> Result<Created, ClientError> {
        let mut send = Sending::new(Method::POST, "/services/create").json(spec)?;
        send.registry_auth = registry_auth;
        self.write_json(&send).await
    }

    /// Updates a service that was read before.
    ///
    /// # Errors
    /// As every request.
    pub async fn update_service(
        &self,
        service: &Service,
        spec: &ServiceSpec,
        registry_auth: Option<&str>,
    ) -> Result<Updated, ClientError> {
        let path = format!("/services/{}/update", segment(&service.id));
        let send = Sending::new(Method::POST, &path);
        let send = send.with("version", service.version.index.to_string());
        let from = if registry_auth.is_some() { "" } else { "spec" };
        let mut send = send.with("registryAuthFrom", from).json(spec)?;
        send.registry_auth = registry_auth;
        self.write_json(&send).await
    }

    /// Takes a service back to its previous spec.
    ///
    /// # Errors
    /// As every request.
    pub async fn roll_back_service(&self, service: &Service) -> Result<Updated, ClientError> {
        let path = format!("/services/{}/update", segment(&service.id));
        let send = Sending::new(Method::POST, &path);
        let send = send.with("version", service.version.index.to_string());
        let send = send.with("registryAuthFrom", "spec").with("rollback", "previous");
        self.write_json(&send.json(&service.spec)?).await
    }

    /// Removes a service.
    ///
    /// # Errors
    /// As every request.
    pub async fn remove_service(&self, reference: &str) -> Result<(), ClientError> {
        let path = format!("/services/{}", segment(reference));
        self.write(&Sending::new(Method::DELETE, &path)).await.map(drop)
    }

    /// Tasks.
    ///
    /// # Errors
    /// As every request.
    pub async fn tasks(&self, filters: &Filters) -> Result<Vec<Task>, ClientError> {
        self.read(&Sending::get("/tasks").with("filters", filters.to_json())).await
    }

    /// One task.
    ///
    /// # Errors
    /// As every request.
    pub async fn task(&self, reference: &str) -> Result<Task, ClientError> {
        self.read(&Sending::get(&format!("/tasks/{}", segment(reference)))).await
    }

    /// Log lines of a service, or of a task.
    ///
    /// # Errors
    /// As every request.
    pub async fn logs(
        &self,
        kind: LogsOf<'_>,
        options: LogOptions,
        shown: LogsShown,
    ) -> Result<Frames, ClientError> {
        let path = match kind {
            LogsOf::Service(reference) => format!("/services/{}/logs", segment(reference)),
            LogsOf::Task(reference) => format!("/tasks/{}/logs", segment(reference)),
        };
        let seconds = options.since_unix_nanos / 1_000_000_000;
        let nanos = options.since_unix_nanos % 1_000_000_000;
        let since = if options.since_unix_nanos == 0 {
            String::new()
        } else {
            format!("{seconds}.{nanos:09}")
        };
        let send = Sending::get(&path)
            .with("follow", switch(options.follow))
            .with("stdout", switch(options.stdout))
            .with("stderr", switch(options.stderr))
            .with("timestamps", switch(shown.timestamps))
            .with("details", switch(shown.details))
            .with("since", since)
            .with("tail", options.tail.map_or_else(|| "all".to_owned(), |n| n.to_string()));
        let response = self.send(&send, None).await?;
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let framed = content_type.is_none_or(|value| value != RAW_STREAM);
        Ok(Frames::new(Body::new(response.into_body()), framed))
    }

    /// Images of this node.
    ///
    /// # Errors
    /// As every request.
    pub async fn images(&self, filters: &Filters) -> Result<Vec<ImageSummary>, ClientError> {
        self.read(&Sending::get("/images/json").with("filters", filters.to_json())).await
    }

    /// Loads images from an archive.
    ///
    /// # Errors
    /// As every request.
    pub async fn load_image(&self, tar: Upload) -> Result<Lines<ImageProgress>, ClientError> {
        let send = Sending::new(Method::POST, "/images/load");
        let mut request = send.request(None)?;
        let tar_type = HeaderValue::from_static("application/x-tar");
        request.headers_mut().insert(header::CONTENT_TYPE, tar_type);
        *request.body_mut() = Body::from_stream(tokio_util::io::ReaderStream::new(tar));
        let response = self.exchange(&send, request).await?;
        Ok(Lines::new(Body::new(response.into_body())))
    }

    /// Pulls an image.
    ///
    /// # Errors
    /// As every request.
    pub async fn pull_image(&self, pull: &Pull) -> Result<Lines<ImageProgress>, ClientError> {
        let send = Sending::new(Method::POST, "/images/create");
        let send = send.with("fromImage", pull.reference.as_str());
        let mut send = send.with("platform", pull.platform.as_str());
        send.registry_auth = pull.registry_auth.as_deref();
        let response = self.send(&send, None).await?;
        Ok(Lines::new(Body::new(response.into_body())))
    }

    /// Removes an image, or one of its names.
    ///
    /// # Errors
    /// As every request.
    pub async fn remove_image(
        &self,
        reference: &str,
        force: bool,
    ) -> Result<Vec<ImageDeleted>, ClientError> {
        let path = format!("/images/{reference}");
        let send = Sending::new(Method::DELETE, &path).with("force", switch(force));
        let body = collect(&send, self.send(&send, None).await?).await?;
        from_slice(&body).map_err(|source| send.malformed(source))
    }

    async fn read<T: DeserializeOwned>(&self, send: &Sending<'_>) -> Result<T, ClientError> {
        let body = collect(send, self.send(send, None).await?).await?;
        from_slice(&body).map_err(|source| send.malformed(source))
    }

    async fn write_json<T: DeserializeOwned>(&self, send: &Sending<'_>) -> Result<T, ClientError> {
        let body = self.write(send).await?;
        from_slice(&body).map_err(|source| send.malformed(source))
    }

    /// Sends a write, and again with the same id while its outcome is unknown.
    async fn write(&self, send: &Sending<'_>) -> Result<Bytes, ClientError> {
        let id = RequestId::random().map_err(ClientError::Random)?;
        let deadline = Instant::now() + CONFIRM;
        loop {
            let error = match self.send(send, Some(id)).await {
                Ok(response) => return collect(send, response).await,
                Err(error) => error,
            };
            let unconfirmed =
                error.problem().is_some_and(|problem| problem.kind == ProblemKind::Unconfirmed);
            if !unconfirmed || deadline < Instant::now() + REPEAT {
                return Err(error);
            }
            tokio::time::sleep(REPEAT).await;
        }
    }

    async fn send(
        &self,
        send: &Sending<'_>,
        id: Option<RequestId>,
    ) -> Result<Response<Carried>, ClientError> {
        self.exchange(send, send.request(id)?).await
    }

    async fn exchange(
        &self,
        send: &Sending<'_>,
        request: Request<Body>,
    ) -> Result<Response<Carried>, ClientError> {
        let io = UnixStream::connect(&self.socket).await;
        let io =
            io.map_err(|source| ClientError::NotReachable { socket: self.socket.clone(), source })?;
        let response = carry(Box::new(io), request).await.map_err(|error| send.broken(error))?;
        if response.headers().contains_key(STALE) {
            self.stale.store(true, Ordering::Relaxed);
        }
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let kind = response.headers().get(PROBLEM).and_then(|value| value.to_str().ok());
        let kind = kind.map_or(ProblemKind::Plain, ProblemKind::from_header);
        let body = collect(send, response).await?;
        let message = from_slice::<ErrorBody>(&body).map_or_else(
            |_| String::from_utf8_lossy(&body).trim().to_owned(),
            |error| error.message,
        );
        Err(ClientError::Refused(Problem { status, message, kind }))
    }
}

/// Whose logs.
#[derive(Clone, Copy, Debug)]
pub enum LogsOf<'a> {
    /// Of all tasks of a service.
    Service(&'a str),
    /// Of one task.
    Task(&'a str),
}

/// What is shown in front of log lines.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogsShown {
    /// When it was written.
    pub timestamps: bool,
    /// Ids of node, service and task.
    pub details: bool,
}

/// Type of log streams without frames.
const RAW_STREAM: &str = "application/vnd.docker.raw-stream";

async fn collect(send: &Sending<'_>, response: Response<Carried>) -> Result<Bytes, ClientError> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|source| ClientError::Broken { what: send.what(), source })
}
