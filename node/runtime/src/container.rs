//! The nouns of a runtime: what a task's container is told, and what is seen of it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crypto::NodeId;
use model::{ClusterId, ServiceId, TaskId, TaskSpec, UnixNanos};
use serde::{Deserialize, Serialize};

use crate::file::TaskFile;
use crate::image::RegistryAuth;

/// What a runtime is and what it lacks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RuntimeInfo {
    /// `embedded`, `process`, `fake`, …
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether it runs without being root on this machine.
    pub rootless: bool,
    /// Whether limits of memory, CPU and processes have an effect.
    pub limits: bool,
    /// Whether containers are kept apart from the node at all.
    pub isolation: bool,
    /// What it cannot do here, one sentence each, for people.
    pub lacks: Vec<String>,
    /// The Docker Engine that runs the containers, if one does.
    pub engine: Option<EngineAt>,
}

/// Where a Docker Engine answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EngineAt {
    /// Its socket.
    pub socket: PathBuf,
    /// Newest API version that it speaks.
    pub api: (u16, u16),
}

/// All that a runtime needs to know of a task.
#[derive(Clone, Debug)]
pub struct TaskContainer {
    /// Which task.
    pub task: TaskId,
    /// Its service.
    pub service: ServiceId,
    /// Its service's name.
    pub service_name: String,
    /// Its slot, as Docker writes it: a number, or a node id.
    pub slot: String,
    /// The node it runs on.
    pub node: NodeId,
    /// That node's host name.
    pub node_hostname: String,
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// `<service>.<slot>.<task id>`.
    pub name: String,
    /// What it runs.
    pub spec: Arc<TaskSpec>,
    /// How to log in at the registry of its image.
    pub registry_auth: Option<RegistryAuth>,
    /// Secrets and configs that the spec names: each must be in the container, and secrets
    /// must never be on a disk.
    pub files: Vec<TaskFile>,
}

/// A container that was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Prepared {
    /// Its name in the runtime.
    pub native_id: String,
    /// The digest of the image's manifest, `sha256:…`; empty if it has none (a directory).
    pub image_digest: String,
}

/// A container as it is seen now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Container {
    /// Which task it runs.
    pub task: TaskId,
    /// Its service.
    pub service: ServiceId,
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// `<service>.<slot>.<task id>`.
    pub name: String,
    /// Its name in the runtime.
    pub native_id: String,
    /// How far it is.
    pub phase: Phase,
}

/// How far a container is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Made, its process waits to be started.
    Created,
    /// Its process runs.
    Running {
        /// Process id on this node.
        pid: i64,
        /// What its health check says.
        health: Health,
    },
    /// Its process ended.
    Exited(Exit),
    /// It is not running and nobody saw how it ended: its supervisor was killed, or
    /// the machine was restarted.
    Lost,
}

/// What the health check of a running container says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Health {
    /// There is none, or this runtime does not run it: that it runs is all there is to say.
    Unchecked,
    /// It has one, which has not succeeded yet.
    Starting,
    /// It is fine.
    Healthy,
    /// It failed so often that the container counts as broken.
    Unhealthy,
}

/// How a container ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Exit {
    /// Exit code; 128 + signal if a signal ended it.
    pub code: i64,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the kernel killed it for using too much memory.
    pub oom: bool,
    /// Whether its health check had given it up before it ended.
    #[serde(default)]
    pub unhealthy: bool,
    /// When.
    pub at: UnixNanos,
    /// What the runtime has to say about it; usually empty.
    pub error: String,
}

/// Which lines of output are wanted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LogQuery {
    /// Go on until the task has ended.
    pub follow: bool,
    /// Only so many of the last lines that exist now.
    pub tail: Option<u64>,
    /// Only lines written at this time or later.
    pub since: Option<UnixNanos>,
    /// Lines of standard output.
    pub stdout: bool,
    /// Lines of standard error.
    pub stderr: bool,
}

impl LogQuery {
    /// Everything that exists now.
    pub const ALL: Self =
        Self { follow: false, tail: None, since: None, stdout: true, stderr: true };
}

/// Where a line of output was written to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of output, without its line feed.
#[derive(Clone, Eq, PartialEq)]
pub struct LogLine {
    /// When it was read.
    pub at: UnixNanos,
    /// Where it was written to.
    pub stream: LogStream,
    /// Its bytes.
    pub line: Vec<u8>,
}

impl fmt::Debug for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.stream, String::from_utf8_lossy(&self.line))
    }
}
