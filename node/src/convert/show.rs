//! From the model to the API's JSON: nodes, services and tasks.

use std::collections::BTreeSet;

use api::wire;
use api::wire::ObjectVersion;
use api::wire::node::TlsInfo;
use api::wire::time::format;
use crypto::NodeId;
use model::node::DesiredRole;
use model::{
    Grant, Node, NodeState, Service, ServiceMode, Slot, State, Task, TaskState, UnixNanos,
};

use super::show_spec::{endpoint, platform, port, shown_resources, shown_service_spec, task_spec};
use super::words;

/// Who votes and who leads, for Docker's manager status.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct RaftView {
    /// The leader.
    pub(crate) leader: Option<NodeId>,
    /// The voters.
    pub(crate) voters: BTreeSet<NodeId>,
    /// Nodes that gossip suspects.
    pub(crate) suspects: BTreeSet<NodeId>,
    /// Whose signature all of them trust.
    pub(crate) trust: TlsInfo,
}

/// A node.
pub(crate) fn node(node: &Node, raft: &RaftView) -> wire::node::Node {
    let description = &node.description;
    let addr = description.address.rsplit_once(':').map_or("", |(ip, _)| ip);
    let votes = raft.voters.contains(&node.id);
    wire::node::Node {
        id: node.id.to_string(),
        version: ObjectVersion { index: node.spec_version.0 },
        created_at: format(node.created_at.0),
        updated_at: format(node.updated_at.0),
        spec: wire::node::NodeSpec {
            name: node.spec.name.clone(),
            labels: node.spec.labels.clone(),
            role: role(node).to_owned(),
            availability: words::word(words::AVAILABILITY, node.spec.availability).to_owned(),
        },
        description: wire::node::NodeDescription {
            hostname: description.hostname.clone(),
            platform: platform(&description.platform),
            resources: shown_resources(&description.resources),
            engine: wire::node::EngineDescription {
                engine_version: description.version.clone(),
                labels: description.engine_labels.clone(),
                plugins: plugins(),
            },
            tls_info: raft.trust.clone(),
            csi_info: Vec::new(),
        },
        status: wire::node::NodeStatus {
            state: words::word(words::NODE_STATE, node.status.state).to_owned(),
            // As Docker: a node that is well has nothing to say.
            message: match node.status.state {
                NodeState::Ready => String::new(),
                NodeState::Unknown | NodeState::Down | NodeState::Disconnected => {
                    node.status.message.clone()
                }
            },
            addr: addr.trim_matches(['[', ']']).to_owned(),
        },
        manager_status: votes.then(|| wire::node::ManagerStatus {
            leader: raft.leader == Some(node.id),
            reachability: if raft.suspects.contains(&node.id) {
                "unreachable"
            } else {
                "reachable"
            }
            .to_owned(),
            addr: description.address.clone(),
        }),
    }
}

/// What tasks can use on every node, in Docker's words.
fn plugins() -> Vec<wire::node::PluginDescription> {
    let named = |(kind, name): (&str, &str)| wire::node::PluginDescription {
        kind: kind.to_owned(),
        name: name.to_owned(),
    };
    [("Log", "json-file"), ("Network", "overlay")].map(named).into()
}

/// Docker's role. Every node with the key counts as a manager that may be asked;
/// who votes just now is the manager status, and moves by itself.
fn role(node: &Node) -> &'static str {
    match (node.grant, node.spec.desired_role) {
        (Grant::Worker, _) | (Grant::Eligible, DesiredRole::Worker) => "worker",
        (Grant::Eligible, DesiredRole::Automatic | DesiredRole::Manager) => "manager",
    }
}

/// A service, with the counts of its tasks if they are asked for.
pub(crate) fn service(service: &Service, state: &State, counts: bool) -> wire::service::Service {
    let spec = service.spec.endpoint.as_ref().map(endpoint);
    let job =
        matches!(service.spec.mode, ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob);
    wire::service::Service {
        id: service.id.to_string(),
        version: ObjectVersion { index: service.spec_version.0 },
        created_at: format(service.created_at.0),
        updated_at: format(service.updated_at.0),
        spec: shown_service_spec(&service.spec),
        previous_spec: service
            .previous_spec
            .as_ref()
            .map(|spec| Box::new(shown_service_spec(spec))),
        endpoint: wire::network::Endpoint {
            spec: spec.unwrap_or_default(),
            ports: service.ports.iter().map(port).collect(),
            virtual_ips: Vec::new(),
        },
        update_status: service.update_status.as_ref().map(update_status),
        service_status: counts.then(|| status(service, state)),
        job_status: job.then(|| wire::service::JobStatus {
            job_iteration: ObjectVersion { index: service.job_iteration },
            last_execution: format(service.updated_at.0),
        }),
    }
}

fn update_status(status: &model::service::UpdateStatus) -> wire::service::UpdateStatus {
    wire::service::UpdateStatus {
        state: words::word(words::UPDATE_STATE, status.state).to_owned(),
        started_at: Some(format(status.started_at.0)),
        completed_at: status.completed_at.map(|UnixNanos(at)| format(at)),
        message: status.message.clone(),
    }
}

/// As Docker counts: what runs on nodes that are up, and what should.
fn status(service: &Service, state: &State) -> wire::service::ServiceStatus {
    let mut shown = wire::service::ServiceStatus::default();
    for task in state.tasks_of_service(service.id) {
        let up = task
            .node
            .and_then(|id| state.node(id))
            .is_some_and(|node| node.status.state != NodeState::Down);
        let wanted = task.desired <= TaskState::Running;
        shown.desired_tasks += u64::from(wanted);
        shown.running_tasks += u64::from(up && wanted && task.status.state == TaskState::Running);
        shown.completed_tasks += u64::from(task.status.state == TaskState::Complete);
    }
    match service.spec.mode {
        ServiceMode::Replicated { replicas } => shown.desired_tasks = replicas,
        ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
            let left = total_completions.saturating_sub(shown.completed_tasks);
            shown.desired_tasks = left.min(max_concurrent);
        }
        ServiceMode::Global | ServiceMode::GlobalJob => {}
    }
    shown
}

/// A task.
pub(crate) fn task(task: &Task) -> wire::task::Task {
    wire::task::Task {
        id: task.id.to_string(),
        version: ObjectVersion { index: task.modified.0 },
        created_at: format(task.created_at.0),
        updated_at: format(task.updated_at.0),
        name: String::new(),
        labels: std::collections::BTreeMap::new(),
        // As Docker: the kind of runtime is said of the service only.
        spec: wire::container::TaskSpec { runtime: String::new(), ..task_spec(&task.spec) },
        service_id: task.service.to_string(),
        slot: match task.slot {
            Slot::Replica(number) => number,
            Slot::Node(_) => 0,
        },
        node_id: task.node.map(|node| node.to_string()).unwrap_or_default(),
        status: task_status(task),
        desired_state: task.desired.as_str().to_owned(),
        networks_attachments: Vec::new(),
        generic_resources: Vec::new(),
        job_iteration: (task.job_iteration != 0)
            .then_some(ObjectVersion { index: task.job_iteration }),
        volumes: Vec::new(),
    }
}

fn task_status(task: &Task) -> wire::task::TaskStatus {
    let status = &task.status;
    wire::task::TaskStatus {
        timestamp: format(status.at.0),
        state: status.state.as_str().to_owned(),
        message: status.message.clone(),
        err: status.error.clone(),
        container_status: status.container.as_ref().map(|container| wire::task::ContainerStatus {
            container_id: container.id.clone(),
            pid: container.pid,
            exit_code: container.exit_code,
        }),
        port_status: wire::task::PortStatus { ports: status.host_ports.iter().map(port).collect() },
    }
}
