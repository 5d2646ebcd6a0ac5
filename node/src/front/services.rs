//! Services, tasks and nodes: looking them up, listing them, writing them.

use std::sync::Arc;

use api::cluster::{Caller, Listed, NewService, Problem, ServiceUpdate};
use api::filters::Filters;
use api::lookup;
use api::wire::node::Node as ShownNode;
use api::wire::service::Service as Shown;
use api::wire::task::Task as ShownTask;
use api::wire::{Created, Updated};
use crypto::NodeId;
use model::{
    Command, Index, Node, Service, ServiceId, ServiceMode, State, Task, TaskState, UpdateTo,
};

use super::Front;
use super::lists::Version;
use super::networks::find_network;
use crate::convert;

impl Front {
    pub(super) async fn list_services(
        &self,
        caller: &Caller,
        filters: &Filters,
        status: bool,
    ) -> Result<Listed, Problem> {
        let state = self.state(caller).await?;
        let version = Version { index: state.index(), raft: convert::RaftView::default() };
        self.lists.get(format!("services {status} {}", filters.to_json()), version, || {
            let wanted = state.services().filter(|service| service_passes(service, filters));
            Ok(wanted
                .map(|service| convert::service(service, &state, status))
                .collect::<Vec<Shown>>())
        })
    }

    pub(super) async fn create(
        &self,
        caller: &Caller,
        new: NewService,
    ) -> Result<Created, Problem> {
        let warnings = warnings_of(&new.spec);
        let spec = self.read_spec(caller, new.spec).await?;
        // A repeated request must make the same service: its id comes from the request's.
        let id = ServiceId::from_bytes(caller.request.0);
        let command = match self.seal_login(id, new.registry_auth.as_deref())? {
            Some(login) => Command::CreateServiceWithLogin { id, spec, login },
            None => Command::CreateService { id, spec },
        };
        self.propose(caller, command).await?;
        Ok(Created { id: id.to_string(), warnings })
    }

    pub(super) async fn update(
        &self,
        caller: &Caller,
        reference: &str,
        update: ServiceUpdate,
    ) -> Result<Updated, Problem> {
        let state = self.state(caller).await?;
        let id = find_service(&state, reference)?.id;
        let (to, warnings) = if update.rollback {
            (UpdateTo::Previous, Vec::new())
        } else {
            let warnings = warnings_of(&update.spec);
            (UpdateTo::Spec(Box::new(self.read_spec(caller, update.spec).await?)), warnings)
        };
        let version = Index(update.version);
        // A login that is not sent stays.
        let command = match self.seal_login(id, update.registry_auth.as_deref())? {
            Some(login) => Command::UpdateServiceWithLogin { id, version, to, login },
            None => Command::UpdateService { id, version, to },
        };
        self.propose(caller, command).await?;
        Ok(Updated { warnings })
    }

    /// Only a spec with networks needs the state: it names them.
    async fn read_spec(
        &self,
        caller: &Caller,
        spec: api::wire::service::ServiceSpec,
    ) -> Result<model::ServiceSpec, Problem> {
        if spec.networks.is_empty() && spec.task_template.networks.is_empty() {
            return convert::service_spec(spec, &|name| Err(Problem::not_found("network", name)));
        }
        let state = self.state(caller).await?;
        convert::service_spec(spec, &|name| find_network(&state, name).map(|found| found.id))
    }
}

/// What is stored and shown and has no effect yet. Nothing here weakens a container.
fn warnings_of(spec: &api::wire::service::ServiceSpec) -> Vec<String> {
    let mut warnings = Vec::new();
    let container = spec.task_template.container_spec.as_ref();
    if container.is_some_and(|container| container.healthcheck.is_some()) {
        warnings.push(
            "Healthcheck is stored, not applied: tasks count as running once started".to_owned(),
        );
    }
    if !spec.task_template.networks.is_empty() || !spec.networks.is_empty() {
        warnings.push(
            "Networks are stored, not applied: tasks have no overlay network on this version"
                .to_owned(),
        );
    }
    if spec.task_template.log_driver.is_some() {
        warnings
            .push("LogDriver is stored, not applied: output is kept on the task's node".to_owned());
    }
    let ports = spec.endpoint_spec.iter().flat_map(|endpoint| &endpoint.ports);
    for port in ports.filter(|port| !port.protocol.is_empty() && port.protocol != "tcp") {
        warnings.push(format!(
            "port {}/{} is stored, not published: only TCP is",
            port.target_port, port.protocol
        ));
    }
    warnings
}

pub(super) fn find_service<'a>(
    state: &'a State,
    reference: &str,
) -> Result<&'a Arc<Service>, Problem> {
    find("service", reference, state.services(), |service| {
        (service.id.to_string(), service.spec.name.to_string())
    })
}

pub(super) fn find_task<'a>(state: &'a State, reference: &str) -> Result<&'a Arc<Task>, Problem> {
    find("task", reference, state.tasks(), |task| (task.id.to_string(), String::new()))
}

pub(super) fn find_node<'a>(
    state: &'a State,
    me: NodeId,
    reference: &str,
) -> Result<&'a Arc<Node>, Problem> {
    if reference == "self" {
        return state.node(me).ok_or_else(|| Problem::not_found("node", reference));
    }
    find("node", reference, state.nodes(), |node| {
        let name = &node.spec.name;
        let name = if name.is_empty() { &node.description.hostname } else { name };
        (node.id.to_string(), name.clone())
    })
}

/// The one that a reference names.
pub(super) fn find<'a, T>(
    kind: &str,
    reference: &str,
    all: impl Iterator<Item = &'a Arc<T>>,
    names: impl Fn(&T) -> (String, String),
) -> Result<&'a Arc<T>, Problem> {
    let named: Vec<_> = all.map(|object| (names(object), object)).collect();
    let each = named.iter().map(|((id, name), object)| (id.as_str(), name.as_str(), *object));
    lookup::find(kind, reference, each)
}

fn service_passes(service: &Service, filters: &Filters) -> bool {
    let mode = match service.spec.mode {
        ServiceMode::Replicated { .. } => "replicated",
        ServiceMode::Global => "global",
        ServiceMode::ReplicatedJob { .. } => "replicated-job",
        ServiceMode::GlobalJob => "global-job",
    };
    filters.accepts_prefix("id", &service.id.to_string())
        && filters.accepts_prefix("name", service.spec.name.as_str())
        && filters.accepts("mode", mode)
        && filters.accepts("runtime", "container")
        && filters.accepts_labels("label", &service.spec.labels)
}

pub(super) fn node_passes(node: &ShownNode, filters: &Filters) -> bool {
    let name = &node.spec.name;
    let name = if name.is_empty() { &node.description.hostname } else { name };
    filters.accepts_prefix("id", &node.id)
        && filters.accepts_prefix("name", name)
        && filters.accepts("role", &node.spec.role)
        && filters.accepts("membership", "accepted")
        && filters.accepts_labels("label", &node.description.engine.labels)
        && filters.accepts_labels("node.label", &node.spec.labels)
}

pub(super) fn list_tasks(
    state: &State,
    me: NodeId,
    filters: &Filters,
) -> Result<Vec<ShownTask>, Problem> {
    let services =
        resolve(filters, "service", |name| find_service(state, name).map(|service| service.id));
    let nodes = resolve(filters, "node", |name| find_node(state, me, name).map(|node| node.id));
    let passes = |task: &&Arc<Task>| {
        let service = state.service(task.service);
        let current = service.is_some_and(|service| planner::is_up_to_date(state, service, task));
        let name = service.map_or("", |service| service.spec.name.as_str());
        let desired = if task.desired <= TaskState::Running { "running" } else { "shutdown" };
        services.as_ref().is_none_or(|ids| ids.contains(&task.service))
            && nodes.as_ref().is_none_or(|ids| task.node.is_some_and(|node| ids.contains(&node)))
            && filters.accepts_prefix("id", &task.id.to_string())
            && filters.accepts_prefix("name", name)
            && (filters.accepts("desired-state", desired)
                || filters.accepts("desired-state", task.desired.as_str()))
            && (!filters.has("_up-to-date") || current)
            && filters.accepts_labels("label", &task.spec.container.labels)
    };
    let one_service = services.as_ref().and_then(|ids| match ids.as_slice() {
        [id] => Some(*id),
        _ => None,
    });
    // The index spares the others: a list of one service's tasks is what the CLI polls.
    Ok(match one_service {
        Some(id) => {
            state.tasks_of_service(id).filter(passes).map(|task| convert::task(task)).collect()
        }
        None => state.tasks().filter(passes).map(|task| convert::task(task)).collect(),
    })
}

/// Ids of the objects that a filter names; a name that nobody has matches nothing.
fn resolve<T>(
    filters: &Filters,
    key: &str,
    find: impl Fn(&str) -> Result<T, Problem>,
) -> Option<Vec<T>> {
    let named = filters.has(key).then(|| filters.values(key));
    named.map(|names| names.iter().filter_map(|name| find(name).ok()).collect())
}
