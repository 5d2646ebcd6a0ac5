//! Runs the containers of one node: what a runtime must do, and the runtimes that do it.
//!
//! [`Runtime`] is all that the agent sees. Behind it:
//!
//! ```text
//!   embedded   containers by libcontainer, each under a shim that outlives the daemon
//!   docker     containers by the Docker Engine of this machine
//!   process    the demo image as a plain process, where containers are impossible
//!   fake       no processes at all: fails, delays and exits on demand, for tests
//! ```
//!
//! # Invariants
//!
//! * A container never runs with less isolation than was asked for: what a runtime
//!   cannot honour it refuses, with [`RuntimeError::Spec`].
//! * What a runtime lacks as a whole it says in [`RuntimeInfo::lacks`].
//! * Every operation may be repeated: a caller that crashed between asking and
//!   remembering asks again.
//! * Nothing here knows of other nodes.

pub mod fake;

mod cgroup;
mod container;
mod docker;
mod embedded;
mod error;
mod file;
mod fs;
mod image;
mod images;
mod machine;
mod pid;
mod plain;
mod shim;
mod supervised;
mod user_namespace;

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use model::TaskId;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

pub use container::{
    Container, EngineAt, Exit, Health, LogLine, LogQuery, LogStream, Phase, Prepared, RuntimeInfo,
    TaskContainer,
};
pub use docker::{DockerConfig, DockerRuntime, docker_answers, docker_socket};
pub use embedded::{Embedded, EmbeddedConfig};
pub use error::{Blame, RuntimeError};
pub use file::{FileKind, TaskFile};
pub use image::{Freed, Image, RegistryAuth};
pub use images::{DEMO_IMAGE, login_from_docker_config};
pub use plain::ProcessRuntime;
pub use shim::shim_main;
pub use user_namespace::{Root, UserNamespaceError, enter_user_namespace_if_needed};

/// Lines of output that wait for a slow reader before the sender waits for it.
pub const LOG_LINES_QUEUED_MAX: usize = 256;

/// Makes, runs and ends the containers of one node.
#[async_trait]
pub trait Runtime: Debug + Send + Sync {
    /// What this runtime is and what it lacks.
    fn info(&self) -> RuntimeInfo;

    /// Gets the image and makes the container, so that [`Runtime::start`] is quick.
    /// A second call for the same task changes nothing.
    async fn prepare(&self, container: &TaskContainer) -> Result<Prepared, RuntimeError>;

    /// Starts what was prepared and returns its process id on this node. Whether it is
    /// well is what [`Runtime::list`] says.
    /// A second call for a running task changes nothing.
    async fn start(&self, task: TaskId) -> Result<i64, RuntimeError>;

    /// Sends the stop signal, and SIGKILL after `grace`; returns when the task has ended.
    /// Does nothing for a task that has ended or never was.
    async fn stop(&self, task: TaskId, grace: Duration) -> Result<(), RuntimeError>;

    /// Forgets the container and its logs; kills it first if it runs.
    /// Does nothing for a task that never was.
    async fn remove(&self, task: TaskId) -> Result<(), RuntimeError>;

    /// Every container of ours, whoever started it: this is how a new daemon finds
    /// what the last one left running.
    async fn list(&self) -> Result<Vec<Container>, RuntimeError>;

    /// Changes whenever [`Runtime::list`] may have a new answer. The number means nothing.
    fn changes(&self) -> watch::Receiver<u64>;

    /// What the task wrote. The channel closes at the end, or, with `follow`, when
    /// the task has ended and all was sent.
    async fn logs(
        &self,
        task: TaskId,
        query: LogQuery,
    ) -> Result<mpsc::Receiver<LogLine>, RuntimeError>;

    /// Connects to a TCP port inside the container.
    ///
    /// # Errors
    ///
    /// As `TcpStream::connect`; `NotFound` if the task does not run here.
    async fn connect(&self, task: TaskId, port: u16) -> io::Result<TcpStream>;

    /// The images of this node.
    async fn images(&self) -> Result<Vec<Image>, RuntimeError>;

    /// Takes in an archive: `docker save`, or an OCI layout as a tar or a directory.
    async fn load_image(&self, archive: &Path) -> Result<Vec<Image>, RuntimeError>;

    /// Gets an image from its registry, even if this node has one of that name.
    async fn pull_image(
        &self,
        reference: &str,
        auth: Option<RegistryAuth>,
    ) -> Result<Image, RuntimeError>;

    /// Forgets a name; the bytes go with [`Runtime::collect_images`].
    async fn remove_image(&self, reference: &str) -> Result<(), RuntimeError>;

    /// Deletes what no name and no container needs.
    async fn collect_images(&self) -> Result<Freed, RuntimeError>;
}
