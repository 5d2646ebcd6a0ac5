//! Containers of this node's tasks.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::cluster::{Containers, LogLine, LogOptions, LogSource, LogStream, Problem};
use api::wire::local::{ContainerConfig, ContainerDetails, ContainerState, ContainerSummary};
use api::wire::time;
use async_trait::async_trait;
use model::{Task, UnixNanos};
use runtime::{Container, LogQuery, Phase};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::Front;
use super::status::unix_nanos;

/// Lines on their way to one client.
const LINES: usize = 256;

#[async_trait]
impl Containers for Front {
    async fn containers(&self) -> Result<Vec<ContainerSummary>, Problem> {
        let now = unix_nanos();
        let containers = self.local_containers().await?;
        Ok(containers.iter().map(|(it, task)| summary(it, task.as_deref(), self, now)).collect())
    }

    async fn container(&self, reference: &str) -> Result<ContainerDetails, Problem> {
        let (container, task) = self.find_container(reference).await?;
        Ok(details(&container, task.as_deref(), self))
    }

    async fn container_logs(
        &self,
        reference: &str,
        options: LogOptions,
    ) -> Result<LogStream, Problem> {
        let (container, task) = self.find_container(reference).await?;
        let query = LogQuery {
            follow: options.follow,
            tail: options.tail,
            since: Some(UnixNanos(options.since_unix_nanos)).filter(|since| since.0 != 0),
            stdout: options.stdout,
            stderr: options.stderr,
        };
        let written = self.runtime.logs(container.task, query).await;
        let mut written = written.map_err(|error| Problem::new(500, error.to_string()))?;
        let (out, lines) = mpsc::channel(LINES);
        let node = self.me.to_string();
        let copy = async move {
            while let Some(mut line) = written.recv().await {
                line.line.push(b'\n');
                let line = LogLine {
                    at_unix_nanos: line.at.0,
                    source: match line.stream {
                        runtime::LogStream::Stdout => LogSource::Stdout,
                        runtime::LogStream::Stderr => LogSource::Stderr,
                    },
                    node: node.clone(),
                    service: container.service.to_string(),
                    task: container.task.to_string(),
                    line: line.line.into(),
                };
                if out.send(line).await.is_err() {
                    return;
                }
            }
        };
        let started = self.pool.run(copy).await;
        started.map_err(|error| Problem::unavailable(error.to_string()))?;
        Ok(LogStream { tty: task.is_some_and(|task| task.spec.container.tty), lines })
    }
}

impl Front {
    /// Each with its task, as far as this node knows tasks.
    async fn local_containers(&self) -> Result<Vec<(Container, Option<Arc<Task>>)>, Problem> {
        let containers = self.runtime.list().await;
        let containers = containers.map_err(|error| Problem::new(500, error.to_string()))?;
        let state = self.store.as_ref().map(|store| Arc::clone(&store.state().borrow()));
        let with_task = |container: Container| {
            let task = state.as_ref().and_then(|state| state.task(container.task).cloned());
            (container, task)
        };
        Ok(containers.into_iter().map(with_task).collect())
    }

    async fn find_container(
        &self,
        reference: &str,
    ) -> Result<(Container, Option<Arc<Task>>), Problem> {
        let all = self.local_containers().await?;
        let wanted = reference.trim_start_matches('/');
        let each = all.iter().map(|found| (&*found.0.native_id, &*found.0.name, found));
        let found = api::lookup::find("container", wanted, each);
        found.cloned().map_err(|problem| match problem.status {
            404 => Problem::new(404, format!("No such container: {reference}")),
            _ => problem,
        })
    }
}

fn summary(
    container: &Container,
    task: Option<&Task>,
    front: &Front,
    now: UnixNanos,
) -> ContainerSummary {
    let state = state(container, task);
    let spec = task.map(|task| &task.spec.container);
    let command = spec.map(|spec| [&*spec.command, &*spec.args].concat().join(" "));
    let since = task.map_or(0, |task| now.since(task.created_at) / 1_000_000_000);
    ContainerSummary {
        id: container.native_id.clone(),
        names: vec![format!("/{}", container.name)],
        image: spec.map(|spec| spec.image.clone()).unwrap_or_default(),
        image_id: String::new(),
        command: command.unwrap_or_default(),
        created: task
            .and_then(|task| i64::try_from(task.created_at.0 / 1_000_000_000).ok())
            .unwrap_or(0),
        ports: Vec::new(),
        labels: labels(container, task, front),
        status: match &container.phase {
            Phase::Created => "Created".to_owned(),
            Phase::Running { .. } => format!("Up {since} seconds"),
            Phase::Exited(exit) => {
                let ago = now.since(exit.at) / 1_000_000_000;
                format!("Exited ({}) {ago} seconds ago", exit.code)
            }
            Phase::Lost => "Dead".to_owned(),
        },
        state: state.status,
        host_config: object(json!({"NetworkMode": "default"})),
        network_settings: object(json!({"Networks": {}})),
        mounts: Vec::new(),
    }
}

fn details(container: &Container, task: Option<&Task>, front: &Front) -> ContainerDetails {
    let spec = task.map(|task| task.spec.container.clone()).unwrap_or_default();
    let mut command = spec.command.iter().chain(&spec.args);
    ContainerDetails {
        id: container.native_id.clone(),
        created: time::format(task.map_or(0, |task| task.created_at.0)),
        path: command.next().cloned().unwrap_or_default(),
        args: command.cloned().collect(),
        state: state(container, task),
        image: String::new(),
        name: format!("/{}", container.name),
        restart_count: 0,
        driver: "overlayfs".to_owned(),
        platform: "linux".to_owned(),
        host_config: object(json!({"NetworkMode": "default"})),
        mounts: Vec::new(),
        config: ContainerConfig {
            hostname: spec.hostname.clone(),
            user: spec.user.clone(),
            tty: spec.tty,
            env: spec.env.clone(),
            cmd: spec.args.clone(),
            image: spec.image.clone(),
            working_dir: spec.dir.clone(),
            entrypoint: spec.command.clone(),
            labels: labels(container, task, front),
        },
        network_settings: object(json!({"Networks": {}})),
    }
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(fields) = value { fields } else { Map::new() }
}

fn state(container: &Container, task: Option<&Task>) -> ContainerState {
    let mut state = ContainerState {
        started_at: time::format(task.map_or(0, |task| task.status.at.0)),
        finished_at: time::ZERO.to_owned(),
        ..ContainerState::default()
    };
    let status = match &container.phase {
        Phase::Created => {
            time::ZERO.clone_into(&mut state.started_at);
            "created"
        }
        Phase::Running { pid, .. } => {
            state.running = true;
            state.pid = *pid;
            "running"
        }
        Phase::Exited(exit) => {
            state.exit_code = exit.code;
            state.oom_killed = exit.oom;
            exit.error.clone_into(&mut state.error);
            state.finished_at = time::format(exit.at.0);
            "exited"
        }
        Phase::Lost => {
            state.dead = true;
            "dead"
        }
    };
    status.clone_into(&mut state.status);
    state
}

/// The user's, and those by which Docker's tools find tasks.
fn labels(container: &Container, task: Option<&Task>, front: &Front) -> BTreeMap<String, String> {
    let mut labels = task.map(|task| task.spec.container.labels.clone()).unwrap_or_default();
    let service = container.name.split('.').next().unwrap_or_default();
    let ours = [
        ("com.docker.swarm.node.id", front.me.to_string()),
        ("com.docker.swarm.service.id", container.service.to_string()),
        ("com.docker.swarm.service.name", service.to_owned()),
        ("com.docker.swarm.task", String::new()),
        ("com.docker.swarm.task.id", container.task.to_string()),
        ("com.docker.swarm.task.name", container.name.clone()),
    ];
    labels.extend(ours.map(|(name, value)| (name.to_owned(), value)));
    labels
}
