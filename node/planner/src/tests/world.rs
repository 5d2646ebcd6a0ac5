//! A small cluster of texts: a script of events in, what the planner decided out.
//!
//! Everything goes through `State::apply`, so a plan that the state refuses fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crypto::NodeId;
use model::service::{
    ContainerSpec, EndpointMode, EndpointSpec, FailureAction, Placement, Platform, PortConfig,
    Protocol, PublishMode, ResourceRequirements, Resources, RestartCondition, RestartPolicy,
    UpdateConfig, UpdateOrder,
};
use model::{
    Admission, Availability, ClusterId, Command, Decision, Entry, Grant, Index, NodeDescription,
    NodeState, ServiceId, ServiceMode, ServiceName, ServiceSpec, Slot, State, Task, TaskId,
    TaskSpec, TaskState, TaskStatus, UnixNanos, UpdateTo,
};

use crate::{Plan, Snapshot, plan};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_000 * SECOND;

#[derive(Debug)]
pub(super) struct World {
    pub(super) state: State,
    pub(super) now: UnixNanos,
    pub(super) suspects: BTreeSet<NodeId>,
    index: u64,
    nodes: BTreeMap<String, NodeId>,
    /// Every task that was ever made, as `service.slot/attempt`.
    names: BTreeMap<TaskId, String>,
    attempts: BTreeMap<(ServiceId, Slot), u32>,
    out: String,
}

/// Runs a script and returns what it printed.
pub(super) fn run(script: &str) -> String {
    let mut world = World::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        world.line(line);
    }
    world.out
}

impl World {
    pub(super) fn new() -> Self {
        let mut world = Self {
            state: State::default(),
            now: UnixNanos(START),
            suspects: BTreeSet::new(),
            index: 0,
            nodes: BTreeMap::new(),
            names: BTreeMap::new(),
            attempts: BTreeMap::new(),
            out: String::new(),
        };
        // The founder runs no tasks: it is drained at once.
        let founder = admission(&identity(255), NodeDescription::default(), Grant::Eligible);
        let id = founder.id;
        world.apply(Command::Found {
            id: ClusterId::from_bytes([1; 16]),
            founders: vec![(1, founder)],
        });
        world.set_availability(id, Availability::Drain);
        world
    }

    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (verb, rest) = words.split_first().expect("a word");
        if ["plan", "run", "show"].contains(verb) && !self.out.is_empty() {
            self.out.push_str("--\n");
        }
        match (*verb, rest) {
            ("node", [name, options @ ..]) => self.node(name, options),
            ("service", [name, options @ ..]) => self.service(name, options),
            ("update", [name, options @ ..]) => self.update(name, options),
            ("rollback", [name]) => self.rollback(name),
            ("remove", [name]) => {
                let id = service_id(name);
                self.apply(Command::RemoveService { id });
            }
            ("history", [limit]) => {
                let cluster = self.state.cluster().expect("a cluster").clone();
                let mut spec = cluster.spec.clone();
                spec.task_history_limit = limit.parse().expect("a number");
                self.apply(Command::UpdateCluster { version: cluster.spec_version, spec });
            }
            ("plan", []) => _ = self.plan(),
            ("agents", []) => self.agents(),
            ("run", []) => self.settle(),
            ("after", [seconds]) => self.after(seconds.parse().expect("seconds")),
            ("down", [node]) => self.set_state(node, NodeState::Down),
            ("up", [node]) => self.set_state(node, NodeState::Ready),
            ("suspect", [node]) => _ = self.suspects.insert(self.nodes[*node]),
            ("drain", [node]) => self.set_availability(self.nodes[*node], Availability::Drain),
            ("pause", [node]) => self.set_availability(self.nodes[*node], Availability::Pause),
            ("active", [node]) => self.set_availability(self.nodes[*node], Availability::Active),
            ("label", [node, label]) => self.label(node, label),
            ("rm", [node]) => {
                let id = self.nodes[*node];
                self.apply(Command::RemoveNode { id, force: true });
            }
            ("report", [task, state]) => self.report(task, state),
            ("show", [service]) => self.show(service),
            _ => panic!("no such line: {line}"),
        }
    }

    /// Adopts a plan and writes it down. A plan that is not cut is a fixpoint.
    pub(super) fn plan(&mut self) -> Plan {
        let same = self.propose();
        let made = self.adopt();
        assert_eq!(made, same, "the same state gives the same plan");
        if !made.more {
            let again = self.propose();
            assert_eq!(again.decisions, vec![], "a plan is a fixpoint");
            assert_eq!(again.wake_at, made.wake_at, "and waits for the same");
            assert_eq!(again.waiting.len(), made.waiting.len());
        }
        made
    }

    pub(super) fn adopt(&mut self) -> Plan {
        let made = self.propose();
        self.write(&made);
        if !made.decisions.is_empty() {
            let command =
                Command::AdoptPlan { based_on: made.based_on, decisions: made.decisions.clone() };
            self.apply(command);
        }
        made
    }

    pub(super) fn propose(&self) -> Plan {
        plan(&Snapshot { state: &self.state, now: self.now, suspects: &self.suspects })
    }

    fn write(&mut self, made: &Plan) {
        for decision in &made.decisions {
            if let Decision::CreateTask(new) = decision {
                let task = &new.task;
                let attempt = self.attempts.entry((task.service, task.slot)).or_default();
                *attempt += 1;
                let attempt = *attempt;
                let slot = self.slot_text(task.slot);
                let name = format!("{}.{slot}/{attempt}", self.service_text(task.service));
                self.names.insert(task.id, name);
            }
        }
        for decision in &made.decisions {
            let text = self.decision_text(decision);
            writeln!(self.out, "{text}").expect("a string takes all");
        }
        if let Some(at) = made.wake_at {
            let seconds = at.since(self.now).div_ceil(SECOND);
            writeln!(self.out, "wake in {seconds} s").expect("a string takes all");
        }
    }

    fn decision_text(&self, decision: &Decision) -> String {
        let name = |task: &TaskId| self.names[task].clone();
        match decision {
            Decision::CreateTask(new) => {
                let Task { id, node, desired, status, .. } = &new.task;
                let place = node.map_or_else(
                    || format!("waits: {}", status.error),
                    |node| format!("on {}", self.node_text(node)),
                );
                format!("create {} {} {place}", name(id), desired.as_str())
            }
            Decision::Assign { task, node } => {
                format!("assign {} to {}", name(task), self.node_text(*node))
            }
            Decision::Desire { task, desired } => format!("{} {}", desired.as_str(), name(task)),
            Decision::Wait { task, reason, .. } => format!("{} waits: {reason}", name(task)),
            Decision::Forget(task) => format!("forget {}", name(task)),
            Decision::Orphan(task) => format!("orphan {}", name(task)),
            Decision::Ports { service, ports } => {
                let ports: Vec<String> = ports
                    .iter()
                    .map(|port| format!("{}:{}", port.published_port, port.target_port))
                    .collect();
                format!("ports {} {}", self.service_text(*service), ports.join(" "))
            }
            Decision::Update { service, status } | Decision::RollBack { service, status } => {
                let mut message = status.message.clone();
                for (id, name) in &self.names {
                    message = message.replace(&id.to_string(), name);
                }
                format!("{} {:?}: {message}", self.service_text(*service), status.state)
            }
        }
    }

    fn service_text(&self, id: ServiceId) -> String {
        match self.state.service(id) {
            Some(service) => service.spec.name.to_string(),
            None => "removed".to_owned(),
        }
    }

    fn node_text(&self, id: NodeId) -> &str {
        self.nodes.iter().find(|(_, other)| **other == id).map_or("?", |(name, _)| name)
    }

    fn slot_text(&self, slot: Slot) -> String {
        match slot {
            Slot::Replica(number) => number.to_string(),
            Slot::Node(node) => self.node_text(node).to_owned(),
        }
    }

    pub(super) fn apply(&mut self, command: Command) {
        self.index += 1;
        // No two things happen at the same time, but a plan is adopted when it is made.
        if !matches!(command, Command::AdoptPlan { .. }) {
            self.now = self.now.plus(1);
        }
        let entry = Entry { request: None, now: self.now, command };
        self.state.apply(Index(self.index), &entry).expect("the state takes it");
        self.state.take_changes();
    }

    /// Time goes on.
    pub(super) fn after(&mut self, seconds: u64) {
        self.now = self.now.plus(seconds * SECOND);
    }

    /// What agents do when all goes well: every task gets where it is wanted.
    pub(super) fn agents(&mut self) {
        let tasks: Vec<Task> = self.state.tasks().map(|task| Task::clone(task)).collect();
        for task in tasks {
            let wanted = if task.desired == TaskState::Complete {
                TaskState::Running
            } else {
                task.desired.min(TaskState::Shutdown)
            };
            if task.status.state < wanted {
                self.report_task(&task, wanted);
            }
        }
    }

    /// Agents and planner take turns until nothing is left to do at this time.
    pub(super) fn settle(&mut self) {
        for _ in 0..100 {
            self.agents();
            if self.plan().decisions.is_empty() {
                return;
            }
        }
        panic!("does not settle:\n{}", self.out);
    }

    pub(super) fn report_task(&mut self, task: &Task, state: TaskState) {
        let Some(node) = task.node.and_then(|id| self.state.node(id)) else { return };
        if node.status.state != NodeState::Ready {
            return;
        }
        let (node, incarnation) = (node.id, node.incarnation);
        let status = TaskStatus { state, at: self.now, ..task.status.clone() };
        self.apply(Command::ReportTasks { node, incarnation, statuses: vec![(task.id, status)] });
    }

    fn report(&mut self, name: &str, state: &str) {
        let (id, _) = self.names.iter().find(|(_, other)| *other == name).expect("a task");
        let state = match state {
            "ready" => TaskState::Ready,
            "running" => TaskState::Running,
            "complete" => TaskState::Complete,
            "failed" => TaskState::Failed,
            "rejected" => TaskState::Rejected,
            "shutdown" => TaskState::Shutdown,
            other => panic!("no such state: {other}"),
        };
        let task = Task::clone(self.state.task(*id).expect("it is there"));
        self.report_task(&task, state);
    }

    fn show(&mut self, service: &str) {
        let mut lines: Vec<String> = self
            .state
            .tasks_of_service(service_id(service))
            .map(|task| {
                let node = task.node.map_or("-", |node| self.node_text(node));
                let (desired, seen) = (task.desired.as_str(), task.status.state.as_str());
                format!("{} on {node}: {seen}, wanted {desired}", self.names[&task.id])
            })
            .collect();
        lines.sort();
        for line in lines {
            writeln!(self.out, "{line}").expect("a string takes all");
        }
    }

    /// `node a cpu=4 memory=1000 zone=x os=linux arch=x86_64 worker`
    pub(super) fn node(&mut self, name: &str, options: &[&str]) {
        let mut description = NodeDescription {
            hostname: name.to_owned(),
            platform: Platform { architecture: "x86_64".to_owned(), os: "linux".to_owned() },
            address: format!("10.0.0.{}:7964", self.nodes.len() + 1),
            ..NodeDescription::default()
        };
        let mut labels = Vec::new();
        let mut grant = Grant::Eligible;
        for option in options {
            match option.split_once('=') {
                Some(("cpu", n)) => description.resources.nano_cpus = cpus(n),
                Some(("arch", arch)) => description.platform.architecture = arch.to_owned(),
                Some(("engine", v)) => {
                    description.engine_labels.insert("disk".to_owned(), v.to_owned());
                }
                Some(_) => labels.push(*option),
                None => grant = Grant::Worker,
            }
        }
        let key = identity(u8::try_from(self.nodes.len()).expect("few nodes"));
        let admission = admission(&key, description, grant);
        let id = admission.id;
        self.apply(Command::Admit(admission));
        self.nodes.insert(name.to_owned(), id);
        self.set_state(name, NodeState::Ready);
        for label in labels {
            self.label(name, label);
        }
    }

    pub(super) fn set_state(&mut self, node: &str, state: NodeState) {
        let id = self.nodes[node];
        self.apply(Command::SetNodeStates(vec![(id, state, String::new())]));
    }

    pub(super) fn set_availability(&mut self, id: NodeId, availability: Availability) {
        let node = self.state.node(id).expect("a node").clone();
        let mut spec = node.spec.clone();
        spec.availability = availability;
        self.apply(Command::UpdateNode { id, version: node.spec_version, spec });
    }

    fn label(&mut self, name: &str, label: &str) {
        let id = self.nodes[name];
        let node = self.state.node(id).expect("a node").clone();
        let mut spec = node.spec.clone();
        let (key, value) = label.split_once('=').expect("key=value");
        spec.labels.insert(key.to_owned(), value.to_owned());
        self.apply(Command::UpdateNode { id, version: node.spec_version, spec });
    }

    pub(super) fn node_id(&self, name: &str) -> NodeId {
        self.nodes[name]
    }

    pub(super) fn service(&mut self, name: &str, options: &[&str]) {
        let mut spec = service_spec(name);
        options.iter().for_each(|option| set(&mut spec, option));
        self.apply(Command::CreateService { id: service_id(name), spec });
    }

    pub(super) fn update(&mut self, name: &str, options: &[&str]) {
        let service = self.state.service(service_id(name)).expect("a service").clone();
        let mut spec = service.spec.clone();
        options.iter().for_each(|option| set(&mut spec, option));
        let to = UpdateTo::Spec(Box::new(spec));
        self.apply(Command::UpdateService { id: service.id, version: service.spec_version, to });
    }

    fn rollback(&mut self, name: &str) {
        let service = self.state.service(service_id(name)).expect("a service").clone();
        let (id, version) = (service.id, service.spec_version);
        self.apply(Command::UpdateService { id, version, to: UpdateTo::Previous });
    }
}

/// A key whose node id begins with `nth`, so that nodes are in the order of their making.
fn identity(nth: u8) -> [u8; 32] {
    (0_u64..)
        .map(|seed| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&seed.to_be_bytes());
            key
        })
        .find(|key| NodeId::of_key(key).as_bytes()[0] == nth)
        .expect("one of few hundred")
}

fn admission(key: &[u8; 32], description: NodeDescription, grant: Grant) -> Admission {
    Admission {
        id: NodeId::of_key(key),
        ed25519: *key,
        x25519: *key,
        grant,
        token: None,
        availability: Availability::Active,
        incarnation: 1,
        description,
    }
}

/// Services are in the order of their names.
pub(super) fn service_id(name: &str) -> ServiceId {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(name.bytes()).for_each(|(place, byte)| *place = byte);
    ServiceId::from_bytes(bytes)
}

fn service_spec(name: &str) -> ServiceSpec {
    ServiceSpec {
        name: ServiceName::try_from(name.to_owned()).expect("a name"),
        labels: BTreeMap::new(),
        task: TaskSpec {
            container: ContainerSpec { image: "demo".to_owned(), ..ContainerSpec::default() },
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

fn cpus(text: &str) -> i64 {
    text.parse::<i64>().expect("a number") * 1_000_000_000
}

/// Sets one option of a service, `key=value` or a word.
fn set(spec: &mut ServiceSpec, option: &str) {
    let (key, value) = option.split_once('=').unwrap_or((option, ""));
    let number = || value.parse::<u64>().expect("a number");
    let task = &mut spec.task;
    match key {
        "replicas" => spec.mode = ServiceMode::Replicated { replicas: number() },
        "global" => spec.mode = ServiceMode::Global,
        "job" => {
            spec.mode =
                ServiceMode::ReplicatedJob { max_concurrent: 2, total_completions: number() };
        }
        "global-job" => spec.mode = ServiceMode::GlobalJob,
        "image" => value.clone_into(&mut task.container.image),
        "force" => task.force_update += 1,
        "cpu" => {
            let reserved = Resources { nano_cpus: cpus(value), ..Resources::default() };
            task.resources.reservations = Some(reserved);
        }
        "constraint" => task.placement.constraints.push(value.to_owned()),
        "spread" => task.placement.spread.push(value.to_owned()),
        "max-per-node" => task.placement.max_replicas_per_node = number(),
        "platform" => task
            .placement
            .platforms
            .push(Platform { architecture: value.to_owned(), os: "linux".to_owned() }),
        "publish" | "host" => publish(spec, key, value),
        "restart" | "attempts" | "restart-delay" => {
            set_restart(task.restart.get_or_insert(RestartPolicy::DEFAULT), key, value);
        }
        _ => set_update(spec, key, value),
    }
}

fn publish(spec: &mut ServiceSpec, mode: &str, value: &str) {
    let (published, target) = value.split_once(':').expect("published:target");
    let endpoint = EndpointSpec { mode: EndpointMode::Vip, ports: Vec::new() };
    spec.endpoint.get_or_insert(endpoint).ports.push(PortConfig {
        name: String::new(),
        protocol: Protocol::Tcp,
        target_port: target.parse().expect("a port"),
        published_port: published.parse().expect("a port"),
        publish_mode: if mode == "host" { PublishMode::Host } else { PublishMode::Ingress },
    });
}

fn set_restart(policy: &mut RestartPolicy, key: &str, value: &str) {
    match (key, value) {
        ("restart", "none") => policy.condition = RestartCondition::None,
        ("restart", "on-failure") => policy.condition = RestartCondition::OnFailure,
        ("attempts", n) => policy.max_attempts = n.parse().expect("a number"),
        ("restart-delay", n) => {
            policy.delay_nanos = Some(n.parse::<u64>().expect("seconds") * SECOND);
        }
        other => panic!("no such option: {other:?}"),
    }
}

fn set_update(spec: &mut ServiceSpec, key: &str, value: &str) {
    let update = spec.update.get_or_insert(UpdateConfig::DEFAULT);
    let seconds = || value.parse::<u64>().expect("seconds") * SECOND;
    match (key, value) {
        ("parallelism", n) => update.parallelism = n.parse().expect("a number"),
        ("delay", _) => update.delay_nanos = seconds(),
        ("monitor", _) => update.monitor_nanos = Some(seconds()),
        ("ratio", ppm) => update.max_failure_ratio_ppm = ppm.parse().expect("a number"),
        ("order", "start-first") => update.order = UpdateOrder::StartFirst,
        ("on-failure", "continue") => update.failure_action = FailureAction::Continue,
        ("on-failure", "rollback") => update.failure_action = FailureAction::Rollback,
        other => panic!("no such option: {other:?}"),
    }
}
