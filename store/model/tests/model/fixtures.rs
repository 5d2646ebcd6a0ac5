//! A small cluster, and short ways to write commands.

use std::collections::BTreeMap;
use std::sync::Arc;

use crypto::NodeId;
use model::service::{
    ContainerSpec, EndpointMode, EndpointSpec, Placement, PortConfig, Protocol, PublishMode,
    ResourceRequirements,
};
use model::{
    Admission, Applied, ClusterId, Command, Decision, Entry, Grant, Index, NewTask,
    NodeDescription, NodeState, Refused, RequestId, ServiceId, ServiceMode, ServiceName,
    ServiceSpec, Slot, State, Task, TaskId, TaskSpec, TaskState, TaskStatus, UnixNanos,
};

pub(crate) const SECOND: u64 = 1_000_000_000;

/// A state and the entries that led to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) entries: Vec<Entry>,
}

impl World {
    /// Three founders, of seeds 1, 2 and 3.
    pub(crate) fn founded() -> Self {
        let mut world = Self::default();
        world.ok(found(&[1, 2, 3]));
        world
    }

    pub(crate) fn apply(&mut self, command: Command) -> Result<Applied, Refused> {
        self.apply_as(None, command)
    }

    pub(crate) fn apply_as(
        &mut self,
        request: Option<RequestId>,
        command: Command,
    ) -> Result<Applied, Refused> {
        let index = Index(self.entries.len() as u64 + 1);
        let entry = Entry { request, now: UnixNanos(index.0 * SECOND), command };
        self.entries.push(entry.clone());
        self.state.apply(index, &entry)
    }

    pub(crate) fn ok(&mut self, command: Command) -> Applied {
        let text = format!("{command:?}");
        self.apply(command).unwrap_or_else(|refused| panic!("{refused}: {text}"))
    }

    pub(crate) fn plan(&mut self, decisions: Vec<Decision>) -> Result<Applied, Refused> {
        self.apply(Command::AdoptPlan { based_on: self.state.revision(), decisions })
    }

    /// A service with one task, running on node 1.
    pub(crate) fn running() -> (Self, ServiceId, TaskId) {
        let mut world = Self::founded();
        let service = service_id(1);
        world.ok(Command::CreateService { id: service, spec: spec("web") });
        let task = world.new_task(service, 1);
        let id = task.id;
        world.plan(vec![create(task)]).unwrap();
        world.plan(vec![Decision::Assign { task: id, node: node_id(1) }]).unwrap();
        world.ok(report(1, id, TaskState::Running));
        (world, service, id)
    }

    pub(crate) fn new_task(&self, service: ServiceId, slot: u64) -> Task {
        let slot = Slot::Replica(slot);
        let seen = self.state.service(service).unwrap();
        Task {
            id: TaskId::derive(service, slot, self.state.revision()),
            service,
            slot,
            node: None,
            desired: TaskState::Running,
            status: status(TaskState::New),
            spec: Arc::new(seen.spec.task.clone()),
            spec_version: seen.spec_version,
            ports: Vec::new(),
            job_iteration: 0,
            created: Index(0),
            modified: Index(0),
            created_at: UnixNanos(0),
            updated_at: UnixNanos(0),
        }
    }
}

pub(crate) fn key(seed: u8) -> [u8; 32] {
    [seed; 32]
}

pub(crate) fn node_id(seed: u8) -> NodeId {
    NodeId::of_key(&key(seed))
}

pub(crate) fn service_id(seed: u8) -> ServiceId {
    ServiceId::from_bytes([seed; 16])
}

pub(crate) fn admission(seed: u8) -> Admission {
    Admission {
        id: node_id(seed),
        ed25519: key(seed),
        x25519: key(seed),
        grant: Grant::Eligible,
        token: None,
        availability: model::Availability::Active,
        incarnation: 1,
        description: NodeDescription { hostname: format!("host-{seed}"), ..Default::default() },
    }
}

pub(crate) fn found(seeds: &[u8]) -> Command {
    let founders = seeds.iter().map(|seed| (u64::from(*seed), admission(*seed))).collect();
    Command::Found { id: ClusterId::from_bytes([7; 16]), founders }
}

pub(crate) fn spec(name: &str) -> ServiceSpec {
    ServiceSpec {
        name: ServiceName::try_from(name.to_owned()).unwrap(),
        labels: BTreeMap::new(),
        task: TaskSpec {
            container: ContainerSpec { image: "nginx:1".to_owned(), ..Default::default() },
            resources: ResourceRequirements::default(),
            restart: None,
            placement: Placement::default(),
            networks: Vec::new(),
            log_driver: None,
            force_update: 0,
        },
        mode: ServiceMode::Replicated { replicas: 1 },
        update: None,
        rollback: None,
        endpoint: None,
    }
}

pub(crate) fn port(published_port: u16, publish_mode: PublishMode) -> PortConfig {
    PortConfig {
        name: String::new(),
        protocol: Protocol::Tcp,
        target_port: 80,
        published_port,
        publish_mode,
    }
}

pub(crate) fn published(name: &str, ports: Vec<PortConfig>) -> ServiceSpec {
    let endpoint = Some(EndpointSpec { mode: EndpointMode::Vip, ports });
    ServiceSpec { endpoint, ..spec(name) }
}

pub(crate) fn status(state: TaskState) -> TaskStatus {
    TaskStatus {
        state,
        at: UnixNanos(0),
        message: state.as_str().to_owned(),
        error: String::new(),
        container: None,
        host_ports: Vec::new(),
    }
}

pub(crate) fn create(task: Task) -> Decision {
    Decision::CreateTask(Box::new(NewTask { task }))
}

pub(crate) fn report(node: u8, task: TaskId, state: TaskState) -> Command {
    Command::ReportTasks {
        node: node_id(node),
        incarnation: 1,
        statuses: vec![(task, status(state))],
    }
}

pub(crate) fn node_state(node: u8, state: NodeState) -> Command {
    Command::SetNodeStates(vec![(node_id(node), state, "said the test".to_owned())])
}
