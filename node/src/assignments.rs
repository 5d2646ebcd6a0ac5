//! From the state to what one node should do. Pure: the streams are in `dispatch` and `follow`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crypto::{Authority, NodeId};
use model::service::{FileTarget, PortConfig, PublishMode};
use model::{Config, Secret, Service, State, Task, TaskState};

use crate::messages::{AssignedTask, Assignments, FileContent, FileId, IngressEntry};

/// Everything that `node` should do.
pub(crate) fn assignments_of(state: &State, node: NodeId) -> Assignments {
    let tasks = state.tasks_of_node(node).filter(|task| concerns_its_node(task));
    let tasks = tasks.map(|task| AssignedTask {
        task: Task::clone(task),
        service_name: service_name(state, task),
        registry_login: None,
    });
    let cluster = state.cluster();
    Assignments {
        cluster: cluster.map(|cluster| cluster.id),
        tasks: tasks.collect(),
        ingress: ingress_of(state),
        removed: cluster
            .map(|cluster| cluster.removed_nodes.keys().copied().collect())
            .unwrap_or_default(),
        files: BTreeMap::new(),
    }
}

/// Adds how to log in at registries, for tasks whose image may still have to be pulled.
pub(crate) fn with_logins(
    mut assignments: Assignments,
    state: &State,
    authority: &Authority,
) -> Assignments {
    let pulls = |task: &Task| task.status.state < TaskState::Starting;
    for assigned in assignments.tasks.iter_mut().filter(|assigned| pulls(&assigned.task)) {
        let service = assigned.task.service;
        let Some(sealed) = state.login(service) else { continue };
        // Without it the pull fails and says so.
        let login = authority.unseal(&Service::login_seal_context(service), sealed);
        assigned.registry_login = login.ok();
    }
    assignments
}

/// Secrets and configs that the node needs for these tasks: those of containers that it is still
/// to make. Both ends of a stream compute it from the same set.
pub(crate) fn files_needed(assignments: &Assignments) -> BTreeSet<FileId> {
    let to_be_made = |assigned: &&AssignedTask| {
        let task = &assigned.task;
        task.status.state < TaskState::Starting && task.desired < TaskState::Shutdown
    };
    let tasks = assignments.tasks.iter().filter(to_be_made);
    tasks.flat_map(|assigned| files_of(&assigned.task)).map(|file| file.id).collect()
}

/// A file that a task's spec names.
pub(crate) struct NamedFile<'a> {
    pub(crate) id: FileId,
    pub(crate) name: &'a str,
    pub(crate) target: &'a FileTarget,
}

/// What a task's spec names and a container shows as a file.
pub(crate) fn files_of(task: &Task) -> impl Iterator<Item = NamedFile<'_>> {
    let container = &task.spec.container;
    let secrets = container.secrets.iter().filter_map(|secret| {
        let target = secret.file.as_ref()?;
        Some(NamedFile { id: FileId::Secret(secret.id), name: &secret.name, target })
    });
    let configs = container.configs.iter().filter_map(|config| {
        let target = config.file.as_ref()?;
        Some(NamedFile { id: FileId::Config(config.id), name: &config.name, target })
    });
    secrets.chain(configs)
}

/// Opens a secret or config for the node that needs it.
pub(crate) fn content_of(state: &State, id: FileId, authority: &Authority) -> FileContent {
    let (context, sealed) = match id {
        FileId::Secret(id) => {
            let secret = state.secret(id).ok_or("it does not exist any more")?;
            (Secret::seal_context(id), &secret.sealed)
        }
        FileId::Config(id) => {
            let config = state.config(id).ok_or("it does not exist any more")?;
            (Config::seal_context(id), &config.sealed)
        }
    };
    authority.unseal(&context, sealed).map(Arc::new).map_err(|error| error.to_string())
}

/// A task that has ended is kept on its node, logs and all, until it is forgotten.
fn concerns_its_node(task: &Arc<Task>) -> bool {
    TaskState::Assigned <= task.status.state && task.status.state != TaskState::Orphaned
}

fn service_name(state: &State, task: &Task) -> String {
    let service = state.service(task.service);
    // A removed service leaves tasks to be stopped; their containers have names already.
    service.map_or_else(|| task.service.to_string(), |service| service.spec.name.to_string())
}

/// Published ports of all services, with the running tasks behind them.
fn ingress_of(state: &State) -> Vec<IngressEntry> {
    let mut entries = Vec::new();
    for service in state.services() {
        for port in &service.ports {
            entries.push(entry(port, None));
        }
        for task in state.tasks_of_service(service.id).filter(|task| takes_connections(task)) {
            let Some(node) = task.node else { continue };
            for port in &task.ports {
                entries.push(entry(port, Some((task.id, node, port.target_port))));
            }
        }
    }
    entries.sort_unstable();
    entries.dedup();
    entries
}

fn entry(port: &PortConfig, backend: Option<(model::TaskId, NodeId, u16)>) -> IngressEntry {
    IngressEntry {
        protocol: port.protocol,
        published_port: port.published_port,
        mode: port.publish_mode,
        backend: backend
            .filter(|_| port.publish_mode == PublishMode::Ingress || port.published_port != 0),
    }
}

/// A task that is about to be stopped gets no new connection.
fn takes_connections(task: &Arc<Task>) -> bool {
    task.status.state == TaskState::Running && task.desired <= TaskState::Running
}

#[cfg(test)]
mod tests;
