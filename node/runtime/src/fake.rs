//! A runtime without processes: it fails, delays and exits on demand.
//!
//! [`Fake::new`] gives the runtime and a [`FakeControl`]; the test holds the second.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use model::{TaskId, UnixNanos};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use crate::{
    Container, Exit, Freed, Health, Image, LOG_LINES_QUEUED_MAX, LogLine, LogQuery, LogStream,
    Phase, Prepared, RegistryAuth, Runtime, RuntimeError, RuntimeInfo, TaskContainer,
};

/// What a fake failure blames.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FakeFailure {
    /// The spec: the task is to be rejected.
    Spec,
    /// The registry: try again.
    Registry,
    /// The node: try again.
    Node,
    /// The engine: wait for it.
    Engine,
}

impl FakeFailure {
    fn error(self) -> RuntimeError {
        match self {
            Self::Spec => RuntimeError::Spec { reason: "the fake runtime was told to".to_owned() },
            Self::Registry => RuntimeError::Unavailable {
                registry: "fake".to_owned(),
                reason: "the fake runtime was told to".to_owned(),
            },
            Self::Node => RuntimeError::Node { reason: "the fake runtime was told to".to_owned() },
            Self::Engine => RuntimeError::Away {
                engine: "fake".to_owned(),
                reason: "the fake runtime was told to".to_owned(),
            },
        }
    }
}

/// How the fake behaves from now on.
#[derive(Clone, Debug, Default)]
pub struct FakeBehaviour {
    /// `prepare` takes so long.
    pub prepare_delay: Duration,
    /// `start` takes so long.
    pub start_delay: Duration,
    /// A task takes so long to end after its stop signal; the grace cuts it short.
    pub stop_delay: Duration,
    /// What a health check says of a task that was just started; `None` if it has none.
    pub health: Option<Health>,
    /// `prepare` fails, so many times.
    pub prepare_failures: Option<(u32, FakeFailure)>,
    /// `start` fails, so many times.
    pub start_failures: Option<(u32, FakeFailure)>,
    /// Images that cannot be found.
    pub missing_images: BTreeSet<String>,
    /// Where `connect` leads; `None` refuses.
    pub connect_to: Option<SocketAddr>,
}

#[derive(Debug)]
struct Faked {
    container: Container,
    lines: Vec<LogLine>,
}

#[derive(Debug, Default)]
struct State {
    behaviour: FakeBehaviour,
    tasks: BTreeMap<TaskId, Faked>,
    calls: Vec<String>,
    last_pid: i64,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

impl Shared {
    /// No code under this lock can leave the state half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn end(&self, task: TaskId, phase: Phase) {
        if let Some(faked) = self.lock().tasks.get_mut(&task)
            && matches!(faked.container.phase, Phase::Created | Phase::Running { .. })
        {
            faked.container.phase = phase;
        }
        self.changed();
    }
}

/// The runtime.
#[derive(Clone, Debug)]
pub struct Fake {
    shared: Arc<Shared>,
}

/// The hand of the test.
#[derive(Clone, Debug)]
pub struct FakeControl {
    shared: Arc<Shared>,
}

impl Fake {
    /// A runtime with no containers, and the hand that steers it.
    #[must_use]
    pub fn new(behaviour: FakeBehaviour) -> (Self, FakeControl) {
        let state = Mutex::new(State { behaviour, ..State::default() });
        let shared = Arc::new(Shared { state, changes: watch::Sender::new(0) });
        (Self { shared: shared.clone() }, FakeControl { shared })
    }

    async fn delay(&self, of: impl Fn(&FakeBehaviour) -> Duration) {
        let delay = of(&self.shared.lock().behaviour);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }
}

impl FakeControl {
    /// Changes how the runtime behaves.
    pub fn behave(&self, change: impl FnOnce(&mut FakeBehaviour)) {
        change(&mut self.shared.lock().behaviour);
    }

    /// The task's process ends with this code.
    pub fn exit(&self, task: TaskId, code: i64) {
        self.shared.end(task, Phase::Exited(exit(code, None)));
    }

    /// The health check of a running task says this from now on.
    pub fn say_health(&self, task: TaskId, says: Health) {
        if let Some(Faked { container, .. }) = self.shared.lock().tasks.get_mut(&task)
            && let Phase::Running { health, .. } = &mut container.phase
        {
            *health = says;
        }
        self.shared.changed();
    }

    /// The task is gone and nobody knows how.
    pub fn lose(&self, task: TaskId) {
        self.shared.end(task, Phase::Lost);
    }

    /// The task writes a line to its standard output.
    pub fn print(&self, task: TaskId, line: &str) {
        if let Some(faked) = self.shared.lock().tasks.get_mut(&task) {
            let line = LogLine { at: now(), stream: LogStream::Stdout, line: line.into() };
            faked.lines.push(line);
        }
        self.shared.changed();
    }

    /// Tasks that run now.
    #[must_use]
    pub fn running(&self) -> BTreeSet<TaskId> {
        let state = self.shared.lock();
        let running = |faked: &&Faked| matches!(faked.container.phase, Phase::Running { .. });
        state.tasks.values().filter(running).map(|faked| faked.container.task).collect()
    }

    /// What the runtime was asked since it was made, oldest first: `prepare <task>`, ….
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        self.shared.lock().calls.clone()
    }
}

fn now() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

fn exit(code: i64, signal: Option<i32>) -> Exit {
    Exit { code, signal, oom: false, unhealthy: false, at: now(), error: String::new() }
}

fn fail(failures: &mut Option<(u32, FakeFailure)>) -> Result<(), RuntimeError> {
    match failures {
        Some((0, _)) | None => Ok(()),
        Some((count, failure)) => {
            *count -= 1;
            Err(failure.error())
        }
    }
}

#[async_trait]
impl Runtime for Fake {
    fn info(&self) -> RuntimeInfo {
        RuntimeInfo {
            name: "fake".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            lacks: vec!["no containers: this runtime only pretends".to_owned()],
            ..RuntimeInfo::default()
        }
    }

    async fn prepare(&self, container: &TaskContainer) -> Result<Prepared, RuntimeError> {
        let task = container.task;
        self.shared.lock().calls.push(format!("prepare {task}"));
        self.delay(|behaviour| behaviour.prepare_delay).await;
        let mut state = self.shared.lock();
        fail(&mut state.behaviour.prepare_failures)?;
        let image = &container.spec.container.image;
        if state.behaviour.missing_images.contains(image) {
            let reason = "the fake runtime was told that it is missing".to_owned();
            return Err(RuntimeError::NoSuchImage { reference: image.clone(), reason });
        }
        let made = Container {
            task,
            service: container.service,
            cluster: container.cluster,
            name: container.name.clone(),
            native_id: task.to_string(),
            phase: Phase::Created,
        };
        state.tasks.entry(task).or_insert(Faked { container: made, lines: Vec::new() });
        drop(state);
        self.shared.changed();
        Ok(Prepared { native_id: task.to_string(), image_digest: String::new() })
    }

    async fn start(&self, task: TaskId) -> Result<i64, RuntimeError> {
        self.shared.lock().calls.push(format!("start {task}"));
        self.delay(|behaviour| behaviour.start_delay).await;
        let mut state = self.shared.lock();
        fail(&mut state.behaviour.start_failures)?;
        let pid = state.last_pid + 1;
        let health = state.behaviour.health.unwrap_or(Health::Unchecked);
        let Some(faked) = state.tasks.get_mut(&task) else {
            return Err(RuntimeError::NoSuchTask { task });
        };
        match &faked.container.phase {
            Phase::Running { pid, .. } => return Ok(*pid),
            Phase::Created => {
                faked.container.phase = Phase::Running { pid, health };
            }
            Phase::Exited(_) | Phase::Lost => {
                return Err(RuntimeError::Node { reason: format!("task {task} has ended") });
            }
        }
        state.last_pid = pid;
        drop(state);
        self.shared.changed();
        Ok(pid)
    }

    async fn stop(&self, task: TaskId, grace: Duration) -> Result<(), RuntimeError> {
        self.shared.lock().calls.push(format!("stop {task}"));
        let delay = self.shared.lock().behaviour.stop_delay;
        tokio::time::sleep(delay.min(grace)).await;
        let signal = if delay <= grace { 15 } else { 9 };
        let phase = self.shared.lock().tasks.get(&task).map(|faked| faked.container.phase.clone());
        let unhealthy = matches!(phase, Some(Phase::Running { health: Health::Unhealthy, .. }));
        let exit = exit(128 + i64::from(signal), Some(signal));
        self.shared.end(task, Phase::Exited(Exit { unhealthy, ..exit }));
        Ok(())
    }

    async fn remove(&self, task: TaskId) -> Result<(), RuntimeError> {
        let mut state = self.shared.lock();
        state.calls.push(format!("remove {task}"));
        state.tasks.remove(&task);
        drop(state);
        self.shared.changed();
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Container>, RuntimeError> {
        Ok(self.shared.lock().tasks.values().map(|faked| faked.container.clone()).collect())
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    async fn logs(
        &self,
        task: TaskId,
        query: LogQuery,
    ) -> Result<mpsc::Receiver<LogLine>, RuntimeError> {
        let state = self.shared.lock();
        let Some(faked) = state.tasks.get(&task) else {
            return Err(RuntimeError::NoSuchTask { task });
        };
        let wanted = query.tail.and_then(|tail| usize::try_from(tail).ok()).unwrap_or(usize::MAX);
        let (sender, receiver) = mpsc::channel(LOG_LINES_QUEUED_MAX);
        let skip = faked.lines.len().saturating_sub(wanted.min(LOG_LINES_QUEUED_MAX));
        for line in &faked.lines[skip..] {
            if query.since.is_none_or(|since| since <= line.at)
                && sender.try_send(line.clone()).is_err()
            {
                break;
            }
        }
        Ok(receiver)
    }

    async fn connect(&self, task: TaskId, port: u16) -> io::Result<TcpStream> {
        let target = {
            let mut state = self.shared.lock();
            state.calls.push(format!("connect {task} {port}"));
            let phase = state.tasks.get(&task).map(|faked| &faked.container.phase);
            let Some(Phase::Running { .. }) = phase else {
                return Err(io::ErrorKind::NotFound.into());
            };
            state.behaviour.connect_to
        };
        match target {
            Some(address) => TcpStream::connect(address).await,
            None => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        Ok(Vec::new())
    }

    async fn load_image(&self, _archive: &Path) -> Result<Vec<Image>, RuntimeError> {
        Err(FakeFailure::Spec.error())
    }

    async fn pull_image(
        &self,
        reference: &str,
        _auth: Option<RegistryAuth>,
    ) -> Result<Image, RuntimeError> {
        let reason = "the fake runtime has no images".to_owned();
        Err(RuntimeError::NoSuchImage { reference: reference.to_owned(), reason })
    }

    async fn remove_image(&self, _reference: &str) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn collect_images(&self) -> Result<Freed, RuntimeError> {
        Ok(Freed::default())
    }
}
