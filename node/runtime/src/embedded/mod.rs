//! The embedded runtime: containers by libcontainer, each under a shim of its own.
//!
//! ```text
//!   DATA/images/       the image store
//!   DATA/tasks/<id>/   one task: request, state, root file system, output, end
//!   DATA/instance      a name for this data directory, so that two daemons on one
//!                      machine never touch each other's control groups
//!   RUN/<instance>/    sockets of the shims
//! ```

pub(crate) mod connect;
pub(crate) mod plan;

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::TaskId;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::cgroup::{self, CgroupSupport};
use crate::images::{ImageStore, Privilege, blocking};
use crate::shim::request::{Identity, LogLimits, Request, Workload};
use crate::supervised::{Tasks, instance_name, read_logs};
use crate::{
    Container, Freed, Image, LOG_LINES_QUEUED_MAX, LogLine, LogQuery, Phase, Prepared,
    RegistryAuth, Runtime, RuntimeError, RuntimeInfo, TaskContainer, machine,
};

/// Connections that are being made at the same time: each has a thread until it stands.
const CONNECTING_MAX: usize = 64;
/// Docker's: between the stop signal and SIGKILL, when nothing else was said.
const STOP_GRACE_NANOS: u64 = 10_000_000_000;

/// Where a runtime keeps things.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// Images, tasks and their output: `/var/lib/skep/runtime`.
    pub data_dir: PathBuf,
    /// Sockets: `/run/skep`. At most 60 bytes, because a socket's path may have 107.
    pub run_dir: PathBuf,
    /// The program whose `shim` command is [`crate::shim_main`]: `/proc/self/exe`.
    pub program: PathBuf,
    /// Whether we are root of a user namespace only: see [`crate::enter_user_namespace_if_needed`].
    pub rootless: bool,
}

/// Longest `run_dir`: with `/<instance>/<task>` it must fit `sockaddr_un`.
const RUN_DIR_BYTES_MAX: usize = 60;

/// The runtime. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    images: Arc<ImageStore>,
    tasks: Arc<Tasks>,
    support: CgroupSupport,
    /// Parent of the control groups of this data directory.
    group: String,
    rootless: bool,
    connecting: Semaphore,
}

impl Embedded {
    /// Opens the data directory; the future must run as long as the runtime is used.
    ///
    /// # Errors
    ///
    /// If a directory cannot be made or written.
    pub fn open(
        config: EmbeddedConfig,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<>), RuntimeError> {
        let data = make_dir(&config.data_dir)?;
        check_run_dir(&config.run_dir)?;
        let lacks = machine::lacks(&data, config.rootless);
        if !lacks.is_empty() {
            let reason = format!("this machine lacks something:\n  {}", lacks.join("\n  "));
            return Err(RuntimeError::Node { reason });
        }
        let who = if config.rootless { Privilege::OneUser } else { Privilege::Root };
        let images = Arc::new(ImageStore::open(&data.join("images"), who)?);
        let instance = instance_name(&data)?;
        let sockets = config.run_dir.join(&instance);
        let (tasks, driver) = Tasks::open(data.join("tasks"), sockets, config.program)?;
        let group = format!("/skep/{instance}");
        let support = cgroup::probe(&format!("{group}/probe"));
        let connecting = Semaphore::new(CONNECTING_MAX);
        let rootless = config.rootless;
        let shared = Shared { images, tasks, support, group, rootless, connecting };
        let runtime = Self { shared: Arc::new(shared) };
        runtime.sweep_groups();
        Ok((runtime, driver))
    }

    /// Removes control groups whose task has no directory any more.
    fn sweep_groups(&self) {
        for name in cgroup::children(&self.shared.group) {
            let task: Option<TaskId> = name.parse().ok();
            let known = task.is_some_and(|task| self.shared.tasks.task_dir(task).path().exists());
            if !known {
                cgroup::remove(&format!("{}/{name}", self.shared.group));
            }
        }
    }
}

/// Makes a directory; gives its absolute path without links, as libcontainer wants it.
pub(crate) fn make_dir(dir: &Path) -> Result<PathBuf, RuntimeError> {
    std::fs::create_dir_all(dir)
        .and_then(|()| dir.canonicalize())
        .map_err(|error| RuntimeError::io(format!("making {}", dir.display()), error))
}

pub(crate) fn check_run_dir(dir: &Path) -> Result<(), RuntimeError> {
    let length = dir.as_os_str().len();
    if dir.is_absolute() && length <= RUN_DIR_BYTES_MAX {
        return Ok(());
    }
    let reason = format!(
        "{}: the directory of sockets must be an absolute path of at most {RUN_DIR_BYTES_MAX} bytes",
        dir.display()
    );
    Err(RuntimeError::Node { reason })
}

/// Everything about a request but the workload.
pub(crate) fn request(
    container: &TaskContainer,
    control: PathBuf,
    stop_signal: i32,
    image_digest: String,
    workload: Workload,
) -> Request {
    let grace = container.spec.container.stop_grace_nanos.unwrap_or(STOP_GRACE_NANOS);
    Request {
        identity: Identity {
            task: container.task,
            service: container.service,
            cluster: container.cluster,
            node: container.node,
            name: container.name.clone(),
        },
        control,
        stop_signal,
        stop_grace_millis: grace / 1_000_000,
        image_digest,
        logs: LogLimits::DEFAULT,
        workload,
    }
}

/// Starts sending a task's output.
pub(crate) async fn send_logs(
    tasks: &Arc<Tasks>,
    task: TaskId,
    query: LogQuery,
) -> Result<mpsc::Receiver<LogLine>, RuntimeError> {
    let dir = tasks.task_dir(task);
    if tasks.read(&dir)?.is_none() {
        return Err(RuntimeError::NoSuchTask { task });
    }
    let (sender, receiver) = mpsc::channel(LOG_LINES_QUEUED_MAX);
    let (of_task, owner) = (dir.clone(), tasks.clone());
    let is_over = move || owner.is_over(&of_task);
    tasks.run(Box::pin(read_logs(dir, query, is_over, sender))).await?;
    Ok(receiver)
}

#[async_trait]
impl Runtime for Embedded {
    fn info(&self) -> RuntimeInfo {
        let shared = &self.shared;
        let mut lacks: Vec<String> = shared.support.lacks().into_iter().collect();
        lacks.push(
            "no network between containers: each has its own network namespace, reached \
             through published ports"
                .to_owned(),
        );
        lacks.push("no health checks: a container counts as healthy while it runs".to_owned());
        if shared.rootless {
            lacks.push(
                "no other users: without root, containers run as root of a user namespace of one \
                 user"
                    .to_owned(),
            );
        }
        RuntimeInfo {
            name: "embedded".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            rootless: shared.rootless,
            limits: shared.support.all_limits(),
            isolation: true,
            lacks,
            engine: None,
        }
    }

    async fn prepare(&self, container: &TaskContainer) -> Result<Prepared, RuntimeError> {
        let shared = &self.shared;
        if let Some(prepared) = shared.tasks.prepared(container.task)? {
            return Ok(prepared);
        }
        // Refused before a download rather than after it.
        plan::check(&container.spec, shared.rootless)?;
        plan::check_files(container, shared.rootless)?;
        // Until the request is written nothing else keeps the image from being deleted.
        let _lease = shared.images.lease().await;
        let image = &container.spec.container.image;
        let ready = shared.images.ready(image, container.registry_auth.as_ref()).await?;
        let stop_signal = plan::stop_signal(&container.spec, &ready)?;
        let node = plan::Node {
            support: &shared.support,
            rootless: shared.rootless,
            group: format!("{}/{}", shared.group, container.task),
        };
        let workload = Workload::Container(Box::new(plan::container(container, &ready, node)?));
        let control = shared.tasks.socket(container.task);
        let request = request(container, control, stop_signal, ready.digest, workload);
        shared.tasks.prepare(container.task, request, &container.files).await
    }

    async fn start(&self, task: TaskId) -> Result<i64, RuntimeError> {
        self.shared.tasks.start(task).await
    }

    async fn stop(&self, task: TaskId, grace: Duration) -> Result<(), RuntimeError> {
        self.shared.tasks.stop(task, grace).await
    }

    async fn remove(&self, task: TaskId) -> Result<(), RuntimeError> {
        self.shared.tasks.remove(task).await
    }

    async fn list(&self) -> Result<Vec<Container>, RuntimeError> {
        self.shared.tasks.list().await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.shared.tasks.changes()
    }

    async fn logs(
        &self,
        task: TaskId,
        query: LogQuery,
    ) -> Result<mpsc::Receiver<LogLine>, RuntimeError> {
        send_logs(&self.shared.tasks, task, query).await
    }

    async fn connect(&self, task: TaskId, port: u16) -> io::Result<TcpStream> {
        let tasks = &self.shared.tasks;
        let known = tasks.running(task).map_err(io::Error::other)?;
        let Some((state, Phase::Running { .. })) = known else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let _permit = self.shared.connecting.acquire().await.map_err(io::Error::other)?;
        connect::connect(state.shim, port).await
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        self.shared.images.list()
    }

    async fn load_image(&self, archive: &Path) -> Result<Vec<Image>, RuntimeError> {
        let _lease = self.shared.images.lease().await;
        let (images, archive) = (self.shared.images.clone(), archive.to_owned());
        blocking(move || images.load(&archive)).await
    }

    async fn pull_image(
        &self,
        reference: &str,
        auth: Option<RegistryAuth>,
    ) -> Result<Image, RuntimeError> {
        let _lease = self.shared.images.lease().await;
        self.shared.images.pull(reference, auth.as_ref()).await
    }

    async fn remove_image(&self, reference: &str) -> Result<(), RuntimeError> {
        self.shared.images.remove(reference)
    }

    async fn collect_images(&self) -> Result<Freed, RuntimeError> {
        let tasks = self.shared.tasks.clone();
        self.shared.images.collect(move || tasks.used_dirs()).await
    }
}
