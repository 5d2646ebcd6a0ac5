//! What the embedded and the process runtime share: tasks whose supervisor is a shim.

mod client;
mod logs;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::TaskId;
use rustix::fs::FlockOperation;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::images::blocking;
use crate::pid::boot_id;
use crate::shim::memory::length_prefix;
use crate::shim::request::{Request, ShimState, TaskDir, Workload};
use crate::{
    Container, Exit, Health, Phase, Prepared, RuntimeError, TaskFile, cgroup, fs as files,
};

use self::client::Connection;
pub(crate) use self::logs::read_logs;

/// A shim makes its container in tens of milliseconds; a machine that swaps needs longer.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// A shim answers a command at once.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// The kernel ends a process at once after SIGKILL unless a disk or a network file
/// system does not answer.
const KILL_TIMEOUT: Duration = Duration::from_secs(20);
/// Jobs that wait to be taken by the driver: it takes them at once.
const JOBS_QUEUED_MAX: usize = 64;
/// A shim that was cut off in the middle of making its container ends within this.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const LOCK_RETRY: Duration = Duration::from_millis(20);
/// Bytes of the line in which a shim says why it failed.
const REASON_BYTES_MAX: u64 = 16 * 1024;

/// Sends what `shim::memory` receives; the pipe closes at the end.
async fn send_contents(mut pipe: ChildStdin, contents: &[TaskFile]) -> io::Result<()> {
    for file in contents {
        pipe.write_all(&length_prefix(file)).await?;
        pipe.write_all(file.data.as_bytes()).await?;
    }
    Ok(())
}

/// A piece of work for the driver.
pub(crate) type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// All tasks of one data directory.
#[derive(Debug)]
pub(crate) struct Tasks {
    dir: PathBuf,
    sockets: PathBuf,
    program: PathBuf,
    boot_id: String,
    changes: watch::Sender<u64>,
    jobs: mpsc::Sender<Job>,
    /// Tasks for whose end a job waits.
    watched: Mutex<BTreeSet<TaskId>>,
}

impl Tasks {
    /// Opens the directory, sweeps what is half made, and gives the future that must run.
    pub(crate) fn open(
        dir: PathBuf,
        sockets: PathBuf,
        program: PathBuf,
    ) -> Result<(Arc<Self>, impl Future<Output = ()> + Send + use<>), RuntimeError> {
        let io_error = |error| RuntimeError::io(format!("opening {}", dir.display()), error);
        fs::create_dir_all(&dir).map_err(io_error)?;
        fs::create_dir_all(&sockets).map_err(io_error)?;
        let (jobs, queue) = mpsc::channel(JOBS_QUEUED_MAX);
        let boot_id = boot_id().map_err(io_error)?;
        let (changes, watched) = (watch::Sender::new(0), Mutex::default());
        let tasks = Arc::new(Self { dir, sockets, program, boot_id, changes, jobs, watched });
        tasks.sweep_half_made();
        let emptied = Emptied(tasks.sockets.clone());
        let running = async move {
            drive(queue).await;
            drop(emptied);
        };
        Ok((tasks, running))
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    pub(crate) fn task_dir(&self, task: TaskId) -> TaskDir {
        TaskDir(self.dir.join(task.to_string()))
    }

    /// Path of a task's socket. It must be short.
    pub(crate) fn socket(&self, task: TaskId) -> PathBuf {
        self.sockets.join(task.to_string())
    }

    /// Hands work to the driver.
    pub(crate) async fn run(&self, job: Job) -> Result<(), RuntimeError> {
        let stopped = || RuntimeError::Node { reason: "the runtime is shutting down".to_owned() };
        self.jobs.send(job).await.map_err(|_| stopped())
    }

    /// What was prepared before, unless it is of no use any more.
    pub(crate) fn prepared(&self, task: TaskId) -> Result<Option<Prepared>, RuntimeError> {
        let dir = self.task_dir(task);
        let Some((request, _)) = self.read(&dir)? else { return Ok(None) };
        Ok(Some(Prepared { native_id: task.to_string(), image_digest: request.image_digest }))
    }

    /// Writes the request and has a shim make the task; it gets the contents of files through
    /// a pipe, in the order of the request.
    pub(crate) async fn prepare(
        self: &Arc<Self>,
        task: TaskId,
        request: Request,
        contents: &[TaskFile],
    ) -> Result<Prepared, RuntimeError> {
        let dir = self.task_dir(task);
        let image_digest = request.image_digest.clone();
        self.clear_half_made(&dir).await?;
        let (write_to, sockets) = (dir.clone(), self.sockets.clone());
        blocking(move || {
            let path = write_to.path();
            fs::create_dir_all(&sockets)
                .and_then(|()| fs::create_dir_all(path))
                .and_then(|()| files::write_json(&write_to.request(), &request))
                .map_err(|error| RuntimeError::io(format!("writing {}", path.display()), error))
        })
        .await?;
        let made = self.spawn_shim(&dir, contents).await;
        if made.is_err() {
            let own_words = fs::read_to_string(dir.shim_log()).unwrap_or_default();
            if !own_words.is_empty() {
                tracing::debug!(task.id = %task, text = own_words, "shim said more");
            }
            // The error that matters is the first one; the next start sweeps again.
            let _ = self.clear_half_made(&dir).await;
        }
        made?;
        self.watch(task).await?;
        self.changed();
        Ok(Prepared { native_id: task.to_string(), image_digest })
    }

    async fn spawn_shim(&self, dir: &TaskDir, contents: &[TaskFile]) -> Result<(), RuntimeError> {
        let io_error = |error| RuntimeError::io("starting the shim", error);
        let mut command = Command::new(&self.program);
        command.arg("shim").arg(dir.path()).env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(io_error)?;
        let answer = async {
            if let Some(pipe) = child.stdin.take() {
                // A shim that reads no further says why.
                let _ = send_contents(pipe, contents).await;
            }
            let mut line = String::new();
            if let Some(pipe) = child.stdout.take() {
                // Not to the end: a container that waits to be started holds the pipe too.
                BufReader::new(pipe.take(REASON_BYTES_MAX)).read_line(&mut line).await?;
            }
            child.wait().await.map(|_| line)
        };
        let Ok(answered) = timeout(READY_TIMEOUT, answer).await else {
            let reason = format!("the shim made no container in {} s", READY_TIMEOUT.as_secs());
            return Err(RuntimeError::Node { reason });
        };
        let line = answered.map_err(io_error)?;
        let line = line.trim();
        match line.split_once(' ').unwrap_or((line, "")) {
            ("ok", _) => Ok(()),
            ("spec", reason) => Err(RuntimeError::Spec { reason: reason.to_owned() }),
            ("node", reason) => Err(RuntimeError::Node { reason: reason.to_owned() }),
            _ => Err(RuntimeError::Node { reason: "the shim died while starting".to_owned() }),
        }
    }

    /// Starts what was prepared; gives its process id.
    pub(crate) async fn start(&self, task: TaskId) -> Result<i64, RuntimeError> {
        let dir = self.task_dir(task);
        let Some((_, state)) = self.read(&dir)? else {
            return Err(RuntimeError::NoSuchTask { task });
        };
        if !matches!(self.phase(&dir, &state)?, Phase::Created | Phase::Running { .. }) {
            return Err(RuntimeError::Node { reason: format!("task {task} has ended") });
        }
        self.command(task, "start").await?;
        self.changed();
        Ok(state.init.pid.into())
    }

    async fn command(&self, task: TaskId, command: &str) -> Result<(), RuntimeError> {
        let asked = async {
            let mut connection = Connection::open(&self.socket(task)).await?;
            connection.ask(command).await
        };
        let answer = timeout(COMMAND_TIMEOUT, asked)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|error| RuntimeError::io(format!("asking the shim of {task}"), error))?;
        match answer.strip_prefix("error ") {
            Some(reason) => Err(RuntimeError::Node { reason: reason.to_owned() }),
            None => Ok(()),
        }
    }

    /// Ends a task; returns when it has ended.
    pub(crate) async fn stop(&self, task: TaskId, grace: Duration) -> Result<(), RuntimeError> {
        let dir = self.task_dir(task);
        let Some((request, state)) = self.read(&dir)? else { return Ok(()) };
        if !state.shim.is_alive() || dir.exit().exists() {
            self.sweep(&dir, &request, &state).await;
            return Ok(());
        }
        let end = async {
            let mut connection = Connection::open(&self.socket(task)).await?;
            if !grace.is_zero() {
                connection.ask(&format!("signal {}", request.stop_signal)).await?;
                if timeout(grace, connection.closed()).await.is_ok() {
                    return io::Result::Ok(());
                }
            }
            connection.ask(&format!("signal {}", libc::SIGKILL)).await?;
            connection.closed().await;
            Ok(())
        };
        let deadline = Instant::now() + grace + KILL_TIMEOUT;
        let ended = timeout_at(deadline, end).await;
        if !matches!(ended, Ok(Ok(()))) && state.shim.is_alive() && !dir.exit().exists() {
            // The shim does not answer: its end is the container's end.
            state.shim.kill();
            self.sweep(&dir, &request, &state).await;
        }
        self.changed();
        Ok(())
    }

    /// Forgets a task.
    pub(crate) async fn remove(&self, task: TaskId) -> Result<(), RuntimeError> {
        self.stop(task, Duration::ZERO).await?;
        let dir = self.task_dir(task);
        self.clear_half_made(&dir).await?;
        let socket = self.socket(task);
        blocking(move || {
            files::remove_file(&socket)
                .map_err(|error| RuntimeError::io(format!("removing task {task}"), error))
        })
        .await?;
        self.changed();
        Ok(())
    }

    /// All tasks; sweeps those that were lost, watches those that run.
    pub(crate) async fn list(self: &Arc<Self>) -> Result<Vec<Container>, RuntimeError> {
        let io_error = |error| RuntimeError::io("listing tasks", error);
        let mut containers = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(io_error)? {
            let name = entry.map_err(io_error)?.file_name();
            let Some(task) = task_of(&name) else { continue };
            let dir = self.task_dir(task);
            // Made by halves, or being removed right now: as good as not there.
            let Some((request, state)) = self.read(&dir)? else { continue };
            let phase = self.phase(&dir, &state)?;
            match &phase {
                Phase::Lost => self.sweep(&dir, &request, &state).await,
                Phase::Created | Phase::Running { .. } => self.watch(task).await?,
                Phase::Exited(_) => {}
            }
            let identity = request.identity;
            containers.push(Container {
                task,
                service: identity.service,
                cluster: identity.cluster,
                name: identity.name,
                native_id: task.to_string(),
                phase,
            });
        }
        containers.sort_by_key(|container| container.task);
        Ok(containers)
    }

    /// The request and the state of a task whose container was made.
    pub(crate) fn read(&self, dir: &TaskDir) -> Result<Option<(Request, ShimState)>, RuntimeError> {
        let io_error = |error| RuntimeError::io(format!("reading {}", dir.0.display()), error);
        let state = files::read_json(&dir.state()).map_err(io_error)?;
        let request = files::read_json(&dir.request()).map_err(io_error)?;
        Ok(request.zip(state))
    }

    /// Directories of images that tasks use.
    pub(crate) fn used_dirs(&self) -> Result<Vec<PathBuf>, RuntimeError> {
        let io_error = |error| RuntimeError::io("listing tasks", error);
        let mut used = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(io_error)? {
            let dir = TaskDir(entry.map_err(io_error)?.path());
            let request: Option<Request> = files::read_json(&dir.request()).map_err(io_error)?;
            if let Some(Workload::Container(container)) = request.map(|request| request.workload) {
                used.extend(container.lower_dirs);
            }
        }
        Ok(used)
    }

    /// What is known of a task, if it was made.
    pub(crate) fn running(&self, task: TaskId) -> Result<Option<(ShimState, Phase)>, RuntimeError> {
        let dir = self.task_dir(task);
        let Some((_, state)) = self.read(&dir)? else { return Ok(None) };
        let phase = self.phase(&dir, &state)?;
        Ok(Some((state, phase)))
    }

    /// Whether a task will write nothing any more.
    pub(crate) fn is_over(&self, dir: &TaskDir) -> bool {
        let state = self.read(dir).ok().flatten().map(|(_, state)| state);
        let phase = state.and_then(|state| self.phase(dir, &state).ok());
        !matches!(phase, Some(Phase::Created | Phase::Running { .. }))
    }

    fn phase(&self, dir: &TaskDir, state: &ShimState) -> Result<Phase, RuntimeError> {
        // In this order: a shim writes the exit before it ends.
        let alive = state.boot_id == self.boot_id && state.shim.is_alive();
        let exit: Option<Exit> = files::read_json(&dir.exit())
            .map_err(|error| RuntimeError::io(format!("reading {}", dir.0.display()), error))?;
        Ok(match exit {
            Some(exit) => Phase::Exited(exit),
            None if !alive => Phase::Lost,
            None if state.started_at.is_some() => {
                Phase::Running { pid: state.init.pid.into(), health: Health::Unchecked }
            }
            None => Phase::Created,
        })
    }

    /// Has a job wait for the end of a task, once.
    async fn watch(self: &Arc<Self>, task: TaskId) -> Result<(), RuntimeError> {
        if !self.watched().insert(task) {
            return Ok(());
        }
        let tasks = self.clone();
        self.run(Box::pin(async move {
            if let Ok(mut connection) = Connection::open(&tasks.socket(task)).await {
                connection.closed().await;
            }
            tasks.watched().remove(&task);
            tasks.changed();
        }))
        .await
    }

    fn watched(&self) -> std::sync::MutexGuard<'_, BTreeSet<TaskId>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes from the node what a dead shim could not remove.
    async fn sweep(&self, dir: &TaskDir, request: &Request, state: &ShimState) {
        if state.boot_id == self.boot_id {
            state.init.kill();
        }
        let group = match &request.workload {
            Workload::Container(container) => container.cgroup.clone(),
            Workload::Process(_) => None,
        };
        let (socket, dir) = (request.control.clone(), dir.clone());
        let swept = blocking(move || {
            group.iter().for_each(|group| cgroup::remove(group));
            files::remove_file(&socket)
                .map_err(|error| RuntimeError::io(format!("sweeping {}", dir.0.display()), error))
        });
        if let Err(error) = swept.await {
            tracing::warn!(error = %crate::shim::chain(&error), "could not sweep a lost task");
        }
    }

    /// Waits until no shim has the directory, then removes it.
    async fn clear_half_made(&self, dir: &TaskDir) -> Result<(), RuntimeError> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        while dir.path().exists() && is_locked(dir) {
            if deadline <= Instant::now() {
                let reason = format!("a shim still holds {}", dir.0.display());
                return Err(RuntimeError::Node { reason });
            }
            tokio::time::sleep(LOCK_RETRY).await;
        }
        let path = dir.0.clone();
        blocking(move || {
            files::remove_dir(&path)
                .map_err(|error| RuntimeError::io(format!("removing {}", path.display()), error))
        })
        .await
    }

    /// A daemon that was killed while it prepared a task leaves a directory without state.
    fn sweep_half_made(&self) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let dir = TaskDir(entry.path());
            let half_made = task_of(&entry.file_name()).is_some() && !dir.state().exists();
            if half_made && !is_locked(&dir) {
                // What cannot be removed now is tried again at the next start.
                let _ = files::remove_dir(dir.path());
            }
        }
    }
}

fn task_of(name: &OsStr) -> Option<TaskId> {
    name.to_str().and_then(|text| text.parse().ok())
}

fn is_locked(dir: &TaskDir) -> bool {
    let Ok(file) = fs::File::open(dir.lock()) else { return false };
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
}

/// Runs jobs until nobody can send one any more; ends with those that run then.
/// The directory of sockets: it goes with the runtime, unless a shim lives on in it.
struct Emptied(PathBuf);

impl Drop for Emptied {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0); // It is refused where a socket is left.
    }
}

/// Runs jobs until nobody can send one any more; ends with those that run then.
pub(crate) async fn drive(mut queue: mpsc::Receiver<Job>) {
    let mut jobs = JoinSet::new();
    loop {
        tokio::select! {
            job = queue.recv() => match job {
                Some(job) => { jobs.spawn(job); }
                None => return,
            },
            Some(_) = jobs.join_next(), if !jobs.is_empty() => {}
        }
    }
}

/// A name for this data directory that no other one has, kept in it.
pub(crate) fn instance_name(dir: &Path) -> Result<String, RuntimeError> {
    let path = dir.join("instance");
    let io_error = |error| RuntimeError::io(format!("reading {}", path.display()), error);
    match fs::read_to_string(&path) {
        Ok(name) if name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit()) => Ok(name),
        Ok(_) => Err(io_error(io::Error::new(io::ErrorKind::InvalidData, "not 16 hex digits"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = files::random_hex();
            files::write_atomically(&path, name.as_bytes()).map_err(io_error)?;
            Ok(name)
        }
        Err(error) => Err(io_error(error)),
    }
}
