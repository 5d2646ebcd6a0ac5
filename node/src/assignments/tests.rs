//! Which node gets which secrets, for how long, and what cannot be opened.

use std::collections::BTreeMap;
use std::sync::Arc;

use crypto::ClusterKey;
use model::service::{
    ConfigReference, ContainerSpec, Placement, ResourceRequirements, SecretReference,
};
use model::{
    Admission, ClusterId, Command, ConfigId, Decision, Entry, Grant, Index, NewTask,
    NodeDescription, SecretId, ServiceId, ServiceMode, ServiceName, ServiceSpec, Slot, TaskId,
    TaskSpec, TaskStatus, UnixNanos,
};

use super::*;

const SERVICE: ServiceId = ServiceId::from_bytes([1; 16]);
const SECRET: SecretId = SecretId::from_bytes([2; 16]);
const CONFIG: ConfigId = ConfigId::from_bytes([3; 16]);
const TASK: TaskId = TaskId::from_bytes([4; 16]);

fn admission(seed: u8) -> Admission {
    Admission {
        id: NodeId::of_key(&[seed; 32]),
        ed25519: [seed; 32],
        x25519: [seed; 32],
        grant: Grant::Eligible,
        token: None,
        availability: model::Availability::Active,
        incarnation: 1,
        description: NodeDescription::default(),
    }
}

fn node(seed: u8) -> NodeId {
    admission(seed).id
}

fn apply(state: &mut State, command: Command) {
    let index = Index(state.index().0 + 1);
    let entry = Entry { request: None, now: UnixNanos(index.0), command };
    state.apply(index, &entry).unwrap();
}

fn status(state: TaskState) -> TaskStatus {
    TaskStatus {
        state,
        at: UnixNanos(0),
        message: String::new(),
        error: String::new(),
        container: None,
        host_ports: Vec::new(),
    }
}

fn spec() -> ServiceSpec {
    let file = |name: &str| Some(FileTarget { name: name.to_owned(), ..FileTarget::default() });
    let container = ContainerSpec {
        image: "demo".to_owned(),
        secrets: vec![SecretReference { id: SECRET, name: "s1".to_owned(), file: file("s1") }],
        configs: vec![ConfigReference { id: CONFIG, name: "c1".to_owned(), file: file("c1") }],
        ..ContainerSpec::default()
    };
    ServiceSpec {
        name: ServiceName::try_from("web".to_owned()).unwrap(),
        labels: BTreeMap::new(),
        task: TaskSpec {
            container,
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

/// Two nodes, a service that names a secret and a config, and its task on node 1.
fn world(authority: &Authority) -> State {
    let mut state = State::default();
    let founders = vec![(1, admission(1)), (2, admission(2))];
    apply(&mut state, Command::Found { id: ClusterId::from_bytes([7; 16]), founders });
    let sealed = |context: &[u8], data: &[u8]| authority.seal(context, data).unwrap();
    apply(
        &mut state,
        Command::CreateSecret {
            id: SECRET,
            name: "s1".to_owned(),
            labels: BTreeMap::new(),
            sealed: sealed(&Secret::seal_context(SECRET), b"hunter2"),
        },
    );
    apply(
        &mut state,
        Command::CreateConfig {
            id: CONFIG,
            name: "c1".to_owned(),
            labels: BTreeMap::new(),
            // Of another object: as a disk that somebody changed.
            sealed: sealed(&Secret::seal_context(SECRET), b"key=val"),
        },
    );
    apply(&mut state, Command::CreateService { id: SERVICE, spec: spec() });
    let service = Arc::clone(state.service(SERVICE).unwrap());
    let task = Task {
        id: TASK,
        service: SERVICE,
        slot: Slot::Replica(1),
        node: Some(node(1)),
        desired: TaskState::Running,
        status: status(TaskState::Assigned),
        spec: Arc::new(service.spec.task.clone()),
        spec_version: service.spec_version,
        ports: Vec::new(),
        job_iteration: 0,
        created: Index(0),
        modified: Index(0),
        created_at: UnixNanos(0),
        updated_at: UnixNanos(0),
    };
    let decisions = vec![Decision::CreateTask(Box::new(NewTask { task }))];
    let based_on = state.revision();
    apply(&mut state, Command::AdoptPlan { based_on, decisions });
    state
}

fn authority() -> Authority {
    Authority::from_key(&ClusterKey::generate().unwrap())
}

#[test]
fn a_file_goes_where_a_container_is_to_be_made_and_only_until_it_starts() {
    let mut state = world(&authority());
    let needed = |state: &State, seed| files_needed(&assignments_of(state, node(seed)));
    let both = BTreeSet::from([FileId::Secret(SECRET), FileId::Config(CONFIG)]);
    assert_eq!(needed(&state, 1), both);
    assert_eq!(needed(&state, 2), BTreeSet::new(), "another node has no need to know");
    for (reached, expected) in [
        (TaskState::Preparing, both.clone()),
        (TaskState::Ready, both),
        (TaskState::Starting, BTreeSet::new()),
        (TaskState::Running, BTreeSet::new()),
    ] {
        let statuses = vec![(TASK, status(reached))];
        apply(&mut state, Command::ReportTasks { node: node(1), incarnation: 1, statuses });
        assert_eq!(needed(&state, 1), expected, "{reached:?}");
    }
    let mut state = world(&authority());
    apply(&mut state, Command::RemoveService { id: SERVICE });
    assert_eq!(needed(&state, 1), BTreeSet::new(), "it is to stop");
}

#[test]
fn the_leader_opens_what_is_there_and_unchanged() {
    let authority = authority();
    let mut state = world(&authority);
    let content = |state: &State, file| content_of(state, file, &authority);
    let opened = content(&state, FileId::Secret(SECRET)).unwrap();
    assert_eq!(opened.as_bytes(), b"hunter2");
    let why = content(&state, FileId::Config(CONFIG)).unwrap_err();
    assert!(why.contains("another cluster key"), "{why}");
    let other = content_of(&state, FileId::Secret(SECRET), &self::authority()).unwrap_err();
    assert!(other.contains("another cluster key"), "{other}");
    apply(&mut state, Command::RemoveService { id: SERVICE });
    apply(&mut state, Command::RemoveSecret(SECRET));
    assert_eq!(
        content(&state, FileId::Secret(SECRET)),
        Err("it does not exist any more".to_owned())
    );
}
