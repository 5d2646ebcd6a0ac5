//! The process runtime: the demo image as a plain process, without any isolation.
//!
//! For machines where containers are impossible. It refuses every other image, and
//! `RuntimeInfo` says what it is. Tasks have shims, directories and output like
//! containers, so they are adopted and collected in the same way.

use std::fs;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::TaskId;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use crate::embedded::{check_run_dir, make_dir, plan, request, send_logs};
use crate::images::{DEMO_PROGRAM, ImageStore, Privilege, Ready, blocking};
use crate::shim::request::{ProcessRequest, Workload};
use crate::supervised::{Tasks, instance_name};
use crate::{
    Container, DEMO_IMAGE, EmbeddedConfig, Freed, Image, LogLine, LogQuery, Phase, Prepared,
    RegistryAuth, Runtime, RuntimeError, RuntimeInfo, TaskContainer, fs as files,
};

/// What the demo listens on in a container.
const DEMO_PORT: u16 = 80;

/// The runtime. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ProcessRuntime {
    images: Arc<ImageStore>,
    tasks: Arc<Tasks>,
    demo: PathBuf,
}

impl ProcessRuntime {
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
        let root = rustix::process::geteuid().is_root();
        let who = if root { Privilege::Root } else { Privilege::OneUser };
        let images = Arc::new(ImageStore::open(&data.join("images"), who)?);
        let sockets = config.run_dir.join(instance_name(&data)?);
        let (tasks, driver) = Tasks::open(data.join("processes"), sockets, config.program)?;
        let demo = data.join("demo");
        files::write_atomically(&demo, DEMO_PROGRAM)
            .and_then(|()| fs::set_permissions(&demo, fs::Permissions::from_mode(0o755)))
            .map_err(|error| RuntimeError::io(format!("writing {}", demo.display()), error))?;
        Ok((Self { images, tasks, demo }, driver))
    }

    fn workload(
        &self,
        task: &TaskContainer,
        image: &Ready,
    ) -> Result<ProcessRequest, RuntimeError> {
        let mut args = plan::args(&task.spec.container, image)?;
        if args.remove(0) != crate::images::DEMO_PATH {
            let reason = "the process runtime runs the demo's own program only".to_owned();
            return Err(RuntimeError::Spec { reason });
        }
        let env = plan::env(task, image);
        let mut env: Vec<(String, String)> = env
            .iter()
            .filter_map(|variable| variable.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let port = env.iter().find(|(name, _)| name == "PORT").map(|(_, value)| value.parse());
        let image_port = port.and_then(Result::ok).unwrap_or(DEMO_PORT);
        let host_port = free_port().map_err(|error| RuntimeError::io("finding a port", error))?;
        env.retain(|(name, _)| name != "PORT" && name != "HOST");
        env.push(("PORT".to_owned(), host_port.to_string()));
        // Only the proxy of this node may reach it.
        env.push(("HOST".to_owned(), Ipv4Addr::LOCALHOST.to_string()));
        Ok(ProcessRequest { program: self.demo.clone(), args, env, image_port, host_port })
    }
}

/// A port that nobody has now. Should somebody take it first, the task fails and its
/// successor gets another one.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[async_trait]
impl Runtime for ProcessRuntime {
    fn info(&self) -> RuntimeInfo {
        RuntimeInfo {
            name: "process".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            rootless: !rustix::process::geteuid().is_root(),
            limits: false,
            isolation: false,
            lacks: vec![format!(
                "no isolation and no limits: tasks are plain processes of this node, and \
                         only {DEMO_IMAGE} runs"
            )],
            engine: None,
        }
    }

    async fn prepare(&self, container: &TaskContainer) -> Result<Prepared, RuntimeError> {
        if let Some(prepared) = self.tasks.prepared(container.task)? {
            return Ok(prepared);
        }
        plan::check(&container.spec, false)?;
        let named = &container.spec.container;
        if !named.secrets.is_empty() || !named.configs.is_empty() {
            let reason = "the process runtime has no place for secrets and configs: a plain \
                          process sees the files of the node";
            return Err(RuntimeError::Spec { reason: reason.to_owned() });
        }
        let image = &container.spec.container.image;
        let refused = || RuntimeError::Spec {
            reason: format!("the process runtime runs only {DEMO_IMAGE}, not {image}"),
        };
        if !self.images.is_demo_name(image) {
            return Err(refused());
        }
        let ready = self.images.ready(image, None).await?;
        if !ready.is_demo {
            return Err(refused());
        }
        let stop_signal = plan::stop_signal(&container.spec, &ready)?;
        let workload = Workload::Process(self.workload(container, &ready)?);
        let control = self.tasks.socket(container.task);
        let request = request(container, control, stop_signal, ready.digest, workload);
        self.tasks.prepare(container.task, request, &[]).await
    }

    async fn start(&self, task: TaskId) -> Result<i64, RuntimeError> {
        self.tasks.start(task).await
    }

    async fn stop(&self, task: TaskId, grace: Duration) -> Result<(), RuntimeError> {
        self.tasks.stop(task, grace).await
    }

    async fn remove(&self, task: TaskId) -> Result<(), RuntimeError> {
        self.tasks.remove(task).await
    }

    async fn list(&self) -> Result<Vec<Container>, RuntimeError> {
        self.tasks.list().await
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.tasks.changes()
    }

    async fn logs(
        &self,
        task: TaskId,
        query: LogQuery,
    ) -> Result<mpsc::Receiver<LogLine>, RuntimeError> {
        send_logs(&self.tasks, task, query).await
    }

    async fn connect(&self, task: TaskId, port: u16) -> io::Result<TcpStream> {
        let running = self.tasks.running(task).map_err(io::Error::other)?;
        let Some((_, Phase::Running { .. })) = running else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let read = self.tasks.read(&self.tasks.task_dir(task)).map_err(io::Error::other)?;
        let request = read.map(|(request, _)| request.workload);
        let Some(Workload::Process(process)) = request else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if process.image_port != port {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, process.host_port))).await
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        self.images.list()
    }

    async fn load_image(&self, archive: &Path) -> Result<Vec<Image>, RuntimeError> {
        let (images, archive) = (self.images.clone(), archive.to_owned());
        blocking(move || images.load(&archive)).await
    }

    async fn pull_image(
        &self,
        reference: &str,
        auth: Option<RegistryAuth>,
    ) -> Result<Image, RuntimeError> {
        let _lease = self.images.lease().await;
        self.images.pull(reference, auth.as_ref()).await
    }

    async fn remove_image(&self, reference: &str) -> Result<(), RuntimeError> {
        self.images.remove(reference)
    }

    async fn collect_images(&self) -> Result<Freed, RuntimeError> {
        self.images.collect(|| Ok(Vec::new())).await
    }
}
