//! The docker runtime: containers by the Docker Engine of this machine.
//!
//! ```text
//!   engine   the way there: whether it answers, its version, what it lacks
//!   labels   which container is which task's
//!   plan     what a spec becomes            look     what the engine shows becomes
//!   errors   who is to blame                probe    whether there is an engine at all
//!   images, logs, connect
//! ```
//!
//! Nothing is written down here: what runs is what the engine lists under our labels. While
//! it is away nothing is known, and every call says [`RuntimeError::Away`]; a task is never
//! said to have ended before the engine showed so.

mod connect;
mod engine;
mod errors;
mod images;
mod labels;
mod logs;
mod look;
mod plan;
mod probe;

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, EventsOptionsBuilder, ListContainersOptionsBuilder,
    RemoveContainerOptionsBuilder, StopContainerOptionsBuilder,
};
use futures::{StreamExt as _, stream};
use model::TaskId;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use self::engine::Engine;
use self::errors::{Said, of_container};
use self::look::Listed;
use crate::images::Name;
use crate::supervised::{Job, drive};
use crate::{
    Container, EngineAt, Freed, Image, LOG_LINES_QUEUED_MAX, LogLine, LogQuery, Phase, Prepared,
    RegistryAuth, Runtime, RuntimeError, RuntimeInfo, TaskContainer,
};

pub use probe::{docker_answers, docker_socket};

/// Readers of output that wait to be taken by the driver: it takes them at once.
const JOBS_QUEUED_MAX: usize = 64;
/// Inspections at the same time: the engine serves them side by side.
const INSPECTING_MAX: usize = 8;
/// Connections that are being made at the same time: each has a thread until it stands.
const CONNECTING_MAX: usize = 64;
/// First and longest wait before an engine that went away is asked again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// What an engine needs to end a container after the grace is over.
const STOP_MARGIN: Duration = Duration::from_secs(25);
/// Events that change what a list shows; checks of health alone make three a time.
const EVENTS: &[&str] =
    &["create", "start", "die", "destroy", "oom", "pause", "unpause", "rename", "health_status"];

/// Which engine, and for whom.
#[derive(Clone, Debug)]
pub struct DockerConfig {
    /// Its socket: `/var/run/docker.sock`, or as [`docker_socket`] says.
    pub socket: PathBuf,
    /// Names this daemon: containers of other daemons on the same engine are left alone.
    pub machine: String,
    /// Whether to begin without an answer: a node whose tasks are there waits for it.
    pub may_wait: bool,
}

/// The runtime. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DockerRuntime {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    engine: Engine,
    machine: String,
    changes: watch::Sender<u64>,
    jobs: mpsc::Sender<Job>,
    connecting: Semaphore,
    /// What inspections told, by container.
    inspected: Mutex<HashMap<String, Phase>>,
}

impl DockerRuntime {
    /// Gets to know the engine; the future must run as long as the runtime is used.
    ///
    /// # Errors
    ///
    /// If there is no engine that we can use: none answers, unless that may be waited for;
    /// it is too old; it is in swarm mode itself.
    pub async fn open(
        config: DockerConfig,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<>), RuntimeError> {
        let (jobs, queue) = mpsc::channel(JOBS_QUEUED_MAX);
        let shared = Shared {
            engine: Engine::new(config.socket),
            machine: config.machine,
            changes: watch::Sender::new(0),
            jobs,
            connecting: Semaphore::new(CONNECTING_MAX),
            inspected: Mutex::default(),
        };
        match shared.engine.meet().await {
            Ok(()) => {
                let known = shared.engine.facts();
                let (version, api) = (known.version, known.api.to_string());
                info!(engine = shared.engine.name(), version, api, "engine answers");
                shared.tell_of_others().await;
            }
            Err(error @ RuntimeError::Away { .. }) if config.may_wait => {
                let error: &(dyn std::error::Error + 'static) = &error;
                warn!(error, "engine is away; its containers are looked at when it is back");
            }
            Err(error) => return Err(error),
        }
        let runtime = Self { shared: Arc::new(shared) };
        // Not the runtime itself: its queue would never end.
        let watched = Arc::downgrade(&runtime.shared);
        let driver = async move {
            tokio::select! {
                () = watch_events(watched) => {}
                () = drive(queue) => {}
            }
        };
        Ok((runtime, driver))
    }
}

/// Follows the engine's events until the runtime is gone. A stream that ends says nothing of
/// what happened meanwhile: then everything is looked at again.
async fn watch_events(watched: std::sync::Weak<Shared>) {
    let (first, longest) = BACKOFF;
    let mut backoff = first;
    let mut since = now_seconds();
    loop {
        let Some(shared) = watched.upgrade() else { return };
        match shared.engine.meet().await {
            Ok(()) => {
                backoff = first;
                // Whatever happened until now is in the list; what happens from now on is told.
                shared.forget_all();
                if let Err(error) = shared.follow_events(&mut since).await {
                    debug!(error = %error, "events of the engine broke off");
                }
                shared.forget_all();
            }
            Err(error) => {
                debug!(error = %error, retry_in = ?backoff, "engine is not back yet");
                backoff = (2 * backoff).min(longest);
            }
        }
        drop(shared);
        sleep(backoff).await;
    }
}

/// As the engine counts, a second earlier: an event twice costs a look, one too few a task.
fn now_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().saturating_sub(1)
}

impl Shared {
    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn inspected(&self) -> MutexGuard<'_, HashMap<String, Phase>> {
        self.inspected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_all(&self) {
        self.inspected().clear();
        self.changed();
    }

    /// Follows the engine's events until they end.
    async fn follow_events(&self, since: &mut u64) -> Result<(), RuntimeError> {
        let mut filters = labels::filters(&self.machine, None);
        filters.insert("type".to_owned(), vec!["container".to_owned()]);
        filters.insert("event".to_owned(), EVENTS.iter().map(|&event| event.to_owned()).collect());
        let options = EventsOptionsBuilder::default().since(&since.to_string()).filters(&filters);
        let mut events = self.engine.client()?.events(Some(options.build()));
        while let Some(event) = events.next().await {
            let event = event.map_err(|error| {
                let error = self.engine.said(&error);
                if let RuntimeError::Away { reason, .. } = &error {
                    self.engine.note_away(reason);
                }
                error
            })?;
            *since = event.time.and_then(|time| u64::try_from(time).ok()).unwrap_or(*since);
            if let Some(id) = event.actor.and_then(|actor| actor.id) {
                self.inspected().remove(&id);
            }
            self.changed();
        }
        Ok(())
    }

    /// Our containers in the engine's list; of one task, or of all.
    async fn listed(&self, task: Option<TaskId>) -> Result<Vec<Listed>, RuntimeError> {
        let filters = labels::filters(&self.machine, task);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let listed =
            self.engine.ask(|client| async move { client.list_containers(Some(options)).await });
        let listed = listed.await.map_err(|said| self.failed("", said))?;
        Ok(listed.into_iter().filter_map(look::listed).collect())
    }

    /// Says which containers on this engine are another node's. It may be a neighbour; but a node
    /// whose disk was wiped comes back as another one, and nobody looks after what it left.
    async fn tell_of_others(&self) {
        let filters = [("label".to_owned(), vec![labels::MACHINE.to_owned()])].into();
        let options = ListContainersOptionsBuilder::default().filters(&filters).build();
        let listed =
            self.engine.ask(|client| async move { client.list_containers(Some(options)).await });
        // Without an answer there is nothing to say; what we need of the engine fails by itself.
        let listed = listed.await.unwrap_or_default();
        let machine = |labels: &HashMap<String, String>| labels.get(labels::MACHINE).cloned();
        let machines = listed.iter().filter_map(|listed| listed.labels.as_ref().and_then(machine));
        let others: BTreeSet<String> = machines.filter(|it| *it != self.machine).collect();
        for machine in others {
            let cure = format!(
                "docker rm -f $(docker ps -aq --filter label={}={machine})",
                labels::MACHINE
            );
            warn!(machine, cure, "another daemon's containers run on this engine");
        }
    }

    /// The container of a task.
    async fn find(&self, task: TaskId) -> Result<Option<Listed>, RuntimeError> {
        Ok(self.listed(Some(task)).await?.into_iter().next())
    }

    async fn inspect(&self, id: &str) -> Result<Option<ContainerInspectResponse>, RuntimeError> {
        let inspected =
            self.engine.ask(|client| async move { client.inspect_container(id, None).await });
        match inspected.await {
            Ok(inspected) => Ok(Some(inspected)),
            Err(said) if said.is_missing() => Ok(None),
            Err(said) => Err(self.failed("", said)),
        }
    }

    /// A container as the agent sees it; `None` if it is gone by now.
    async fn look(&self, listed: Listed, seen: u64) -> Result<Option<Container>, RuntimeError> {
        let before = self.inspected().get(&listed.id).cloned();
        let phase = match look::remembered(listed.state, before.as_ref()) {
            Some(phase) => phase,
            None => {
                let inspected = self.inspect(&listed.id).await?;
                let Some(phase) = inspected.as_ref().and_then(look::phase) else { return Ok(None) };
                // What changed since the question was asked is not remembered.
                if *self.changes.borrow() == seen {
                    self.inspected().insert(listed.id.clone(), phase.clone());
                }
                phase
            }
        };
        Ok(Some(Container {
            task: listed.owner.task,
            service: listed.owner.service,
            cluster: listed.owner.cluster,
            name: listed.name,
            native_id: listed.id,
            phase,
        }))
    }

    fn failed(&self, image: &str, said: Said) -> RuntimeError {
        of_container(&self.engine.name(), image, said)
    }

    /// Makes the container; gives its id. One that is there already is it.
    async fn create(&self, task: &TaskContainer, is_demo: bool) -> Result<String, RuntimeError> {
        let image = &task.spec.container.image;
        let mut body = plan::create(task, is_demo, &self.engine.facts())?;
        let labels = body.labels.get_or_insert_default();
        labels.insert(labels::MACHINE.to_owned(), self.machine.clone());
        let options = CreateContainerOptionsBuilder::default().name(&task.name).build();
        let created = self
            .engine
            .ask(|client| async move { client.create_container(Some(options), body).await })
            .await;
        match created {
            Ok(created) => {
                for warning in created.warnings {
                    warn!(task.id = %task.task, warning, "engine made the container with a warning");
                }
                Ok(created.id)
            }
            // A try of ours whose answer was lost.
            Err(said) if said.is_conflict() => match self.find(task.task).await? {
                Some(listed) => Ok(listed.id),
                None => {
                    let reason = format!(
                        "another container has the name {}: remove it with `docker rm`",
                        task.name
                    );
                    Err(RuntimeError::Node { reason })
                }
            },
            Err(said) => Err(self.failed(image, said)),
        }
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    fn info(&self) -> RuntimeInfo {
        let engine = &self.shared.engine;
        let facts = engine.facts();
        let version = match facts.version.as_str() {
            "" => "(not seen yet)".to_owned(),
            version => format!("{version} (API {})", facts.api),
        };
        let mut lacks = facts.lacks();
        if let Some(trouble) = engine.trouble() {
            lacks = vec![format!("{trouble}; tasks keep their state until it is back")];
        }
        RuntimeInfo {
            name: "docker".to_owned(),
            version,
            rootless: facts.rootless,
            limits: facts.limits,
            isolation: true,
            lacks,
            engine: facts.api.short().map(|api| EngineAt { socket: engine.socket(), api }),
        }
    }

    async fn prepare(&self, container: &TaskContainer) -> Result<Prepared, RuntimeError> {
        let shared = &self.shared;
        let image = &container.spec.container.image;
        // Refused before a download rather than after it.
        plan::create(container, false, &shared.engine.facts())?;
        let auth = container.registry_auth.as_ref();
        let image_digest = images::ready(&shared.engine, image, auth).await?;
        let is_demo = Name::parse(image).is_ok_and(|name| images::is_demo(&name));
        let native_id = shared.create(container, is_demo).await?;
        shared.changed();
        Ok(Prepared { native_id, image_digest })
    }

    async fn start(&self, task: TaskId) -> Result<i64, RuntimeError> {
        let shared = &self.shared;
        let gone = || RuntimeError::NoSuchTask { task };
        let listed = shared.find(task).await?.ok_or_else(gone)?;
        // The engine would start it a second time.
        if listed.state == look::Listing::Ended {
            return Err(RuntimeError::Node { reason: format!("task {task} has ended") });
        }
        let id = listed.id.as_str();
        let started =
            shared.engine.ask(|client| async move { client.start_container(id, None).await });
        match started.await {
            Ok(()) => {}
            Err(said) if said.is_missing() => return Err(gone()),
            Err(said) => {
                let error = shared.failed("", said);
                let RuntimeError::Spec { reason } = error else { return Err(error) };
                // Swarm's words.
                let reason = format!("starting container failed: {reason}");
                return Err(RuntimeError::Spec { reason });
            }
        }
        shared.inspected().remove(id);
        let inspected = shared.inspect(id).await?.ok_or_else(gone)?;
        shared.changed();
        match look::phase(&inspected) {
            Some(Phase::Running { pid, .. }) => Ok(pid),
            // It was quick.
            _ => Ok(0),
        }
    }

    async fn stop(&self, task: TaskId, grace: Duration) -> Result<(), RuntimeError> {
        let shared = &self.shared;
        let Some(listed) = shared.find(task).await? else { return Ok(()) };
        if !matches!(listed.state, look::Listing::Running(_)) {
            return Ok(());
        }
        let seconds = grace.as_millis().div_ceil(1000);
        let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        let id = listed.id.as_str();
        let stopped = shared.engine.ask(|client| async move {
            client.with_timeout(grace + STOP_MARGIN).stop_container(id, Some(options)).await
        });
        let stopped = stopped.await;
        shared.changed();
        match stopped {
            Ok(()) => Ok(()),
            Err(said) if said.is_missing() => Ok(()),
            Err(said) => Err(shared.failed("", said)),
        }
    }

    async fn remove(&self, task: TaskId) -> Result<(), RuntimeError> {
        let shared = &self.shared;
        for listed in shared.listed(Some(task)).await? {
            // Volumes without a name go with it, as with Swarm.
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            let id = listed.id.as_str();
            let removed = shared
                .engine
                .ask(|client| async move { client.remove_container(id, Some(options)).await })
                .await;
            match removed {
                Ok(()) => {}
                // Gone, or on its way out.
                Err(said) if said.is_missing() || said.is_conflict() => {}
                Err(said) => return Err(shared.failed("", said)),
            }
            shared.inspected().remove(id);
        }
        shared.changed();
        Ok(())
    }

    async fn list(&self) -> Result<Vec<Container>, RuntimeError> {
        let shared = &self.shared;
        let seen = *shared.changes.borrow();
        let listed = shared.listed(None).await?;
        let ids: Vec<String> = listed.iter().map(|listed| listed.id.clone()).collect();
        shared.inspected().retain(|id, _| ids.contains(id));
        let looks = stream::iter(listed).map(|listed| shared.look(listed, seen));
        let mut looks = looks.buffered(INSPECTING_MAX);
        let mut containers = Vec::new();
        while let Some(look) = looks.next().await {
            containers.extend(look?);
        }
        containers.sort_by_key(|container| container.task);
        Ok(containers)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    async fn logs(
        &self,
        task: TaskId,
        query: LogQuery,
    ) -> Result<mpsc::Receiver<LogLine>, RuntimeError> {
        let listed = self.shared.find(task).await?;
        let id = listed.ok_or(RuntimeError::NoSuchTask { task })?.id;
        let (sender, receiver) = mpsc::channel(LOG_LINES_QUEUED_MAX);
        let shared = Arc::downgrade(&self.shared);
        let job = Box::pin(async move {
            let Some(shared) = shared.upgrade() else { return };
            logs::send(&shared.engine, &id, query, sender).await;
        });
        let stopped = |_| RuntimeError::Node { reason: "the runtime is shutting down".to_owned() };
        self.shared.jobs.send(job).await.map_err(stopped)?;
        Ok(receiver)
    }

    async fn connect(&self, task: TaskId, port: u16) -> io::Result<TcpStream> {
        let shared = &self.shared;
        let listed = shared.find(task).await.map_err(io::Error::other)?;
        let listed = listed.ok_or(io::ErrorKind::NotFound)?;
        let inspected = shared.inspect(&listed.id).await.map_err(io::Error::other)?;
        let inspected = inspected.ok_or(io::ErrorKind::NotFound)?;
        let Some(Phase::Running { pid, .. }) = look::phase(&inspected) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let _permit = shared.connecting.acquire().await.map_err(io::Error::other)?;
        connect::connect(&listed.id, pid, &look::addresses(&inspected), port).await
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        images::list(&self.shared.engine).await
    }

    async fn load_image(&self, archive: &Path) -> Result<Vec<Image>, RuntimeError> {
        images::load_file(&self.shared.engine, archive).await
    }

    async fn pull_image(
        &self,
        reference: &str,
        auth: Option<RegistryAuth>,
    ) -> Result<Image, RuntimeError> {
        images::pull_again(&self.shared.engine, reference, auth.as_ref()).await
    }

    async fn remove_image(&self, reference: &str) -> Result<(), RuntimeError> {
        images::remove(&self.shared.engine, reference).await
    }

    async fn collect_images(&self) -> Result<Freed, RuntimeError> {
        images::collect(&self.shared.engine).await
    }
}
