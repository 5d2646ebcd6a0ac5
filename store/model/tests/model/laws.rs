//! What holds after any sequence of commands, sensible or not.

use std::collections::BTreeMap;

use model::service::{ConfigReference, FileTarget, PublishMode, SecretReference};
use model::{
    Command, ConfigId, Decision, Entry, Index, NodeState, RequestId, SecretId, ServiceMode,
    ServiceSpec, State, StateBuilder, TaskId, TaskState, TokenId, UnixNanos, UpdateTo,
};
use proptest::prelude::*;

use crate::fixtures::*;

/// A wish that becomes a command when the state it meets is known. The numbers are small, so
/// that wishes meet each other.
#[derive(Clone, Debug)]
struct Wish {
    what: u8,
    a: u8,
    b: u8,
    fresh: bool,
    request: Option<u8>,
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let wish = (0..24_u8, 0..6_u8, 0..14_u8, proptest::bool::weighted(0.9), 0..20_u8).prop_map(
        |(what, a, b, fresh, request)| {
            let request = (request < 4).then_some(request);
            Wish { what, a, b, fresh, request }
        },
    );
    proptest::collection::vec(wish, 1..80)
}

const STATES: [TaskState; 14] = [
    TaskState::New,
    TaskState::Pending,
    TaskState::Assigned,
    TaskState::Accepted,
    TaskState::Preparing,
    TaskState::Ready,
    TaskState::Starting,
    TaskState::Running,
    TaskState::Complete,
    TaskState::Shutdown,
    TaskState::Failed,
    TaskState::Rejected,
    TaskState::Remove,
    TaskState::Orphaned,
];

fn a_task(world: &World, number: u8) -> TaskId {
    let tasks: Vec<TaskId> = world.state.tasks().map(|task| task.id).collect();
    match tasks.len() {
        0 => TaskId::from_bytes([number; 16]),
        n => tasks[usize::from(number) % n],
    }
}

fn decisions(world: &World, wish: &Wish) -> Vec<Decision> {
    let task = a_task(world, wish.a);
    let state = STATES[usize::from(wish.b)];
    let mut decisions = vec![match wish.b % 6 {
        0 => Decision::Assign { task, node: node_id(wish.a % 4 + 1) },
        1 => Decision::Desire { task, desired: state },
        2 => Decision::Forget(task),
        3 => Decision::Orphan(task),
        4 => Decision::Wait { task, state, message: String::new(), reason: String::new() },
        _ => Decision::Ports {
            service: service_id(wish.a % 3),
            ports: vec![port(30_000 + u16::from(wish.a % 2), PublishMode::Ingress)],
        },
    }];
    if world.state.service(service_id(wish.a % 3)).is_some() {
        let mut task = world.new_task(service_id(wish.a % 3), u64::from(wish.b % 3));
        task.node = wish.b.is_multiple_of(2).then(|| node_id(wish.a % 4 + 1));
        decisions.push(create(task));
    }
    decisions
}

fn command(world: &World, wish: &Wish) -> Command {
    let service = service_id(wish.a % 3);
    let node = node_id(wish.a);
    let stale = |index: Index| if wish.fresh { index } else { Index(index.0 + 1) };
    match wish.what {
        0 => found(&[1, 2, 3]),
        1 => {
            let mut admission = admission(wish.a);
            admission.incarnation = u64::from(wish.b % 3);
            admission.token = (wish.b > 8).then(|| (TokenId::from_bytes([1; 16]), 2));
            Command::Admit(admission)
        }
        2 => {
            let spec = world.state.node(node).map(|node| node.spec.clone());
            let version = world.state.node(node).map_or(Index(0), |node| node.spec_version);
            match spec {
                Some(spec) => Command::UpdateNode { id: node, version: stale(version), spec },
                None => Command::RaisePskEpoch,
            }
        }
        3 => {
            let states = [NodeState::Unknown, NodeState::Down, NodeState::Ready];
            node_state(wish.a, states[usize::from(wish.b) % 3])
        }
        4 => Command::RemoveNode { id: node, force: wish.b == 0 },
        5 | 6 => {
            let number = 30_000 + u16::from(wish.b % 3);
            let name = ["a", "b", "A"][usize::from(wish.a) % 3];
            let spec = published(name, vec![port(number, PublishMode::Ingress)]);
            Command::CreateService { id: service, spec }
        }
        7 => {
            let version = world.state.service(service).map_or(Index(0), |s| s.spec_version);
            let name = world.state.service(service).map_or("a", |s| s.spec.name.as_str());
            let mode = ServiceMode::Replicated { replicas: u64::from(wish.b) };
            let to = match wish.b % 3 {
                0 => UpdateTo::Previous,
                _ => UpdateTo::Spec(Box::new(ServiceSpec { mode, ..spec(name) })),
            };
            Command::UpdateService { id: service, version: stale(version), to }
        }
        8 => Command::RemoveService { id: service },
        9..=12 => {
            let revision = world.state.revision();
            let based_on = if wish.fresh { revision } else { model::Revision(revision.0 + 1) };
            Command::AdoptPlan { based_on, decisions: decisions(world, wish) }
        }
        13 | 14 => {
            let task = a_task(world, wish.a);
            let node = world.state.task(task).and_then(|task| task.node);
            let node = node.filter(|_| wish.fresh).unwrap_or_else(|| node_id(wish.a));
            let incarnation = world.state.node(node).map_or(0, |node| node.incarnation);
            let statuses = vec![(task, status(STATES[usize::from(wish.b)]))];
            Command::ReportTasks { node, incarnation, statuses }
        }
        15 => Command::RevokeToken(TokenId::from_bytes([wish.a; 16])),
        16 => Command::CreateSecret {
            id: SecretId::from_bytes([wish.a; 16]),
            name: format!("s{}", wish.b % 3),
            labels: BTreeMap::new(),
            sealed: vec![wish.b],
        },
        17 => Command::RemoveSecret(SecretId::from_bytes([wish.a; 16])),
        _ => file_command(world, wish),
    }
}

/// Few secrets and configs under few names, and services that use some of them.
fn file_command(world: &World, wish: &Wish) -> Command {
    let stale = |index: Index| if wish.fresh { index } else { Index(index.0 + 1) };
    let (secret, config) = (SecretId::from_bytes([wish.a; 16]), ConfigId::from_bytes([wish.a; 16]));
    let labels = BTreeMap::from([("a".to_owned(), wish.b.to_string())]);
    match wish.what {
        18 => Command::CreateConfig {
            id: config,
            name: format!("c{}", wish.b % 3),
            labels,
            sealed: vec![wish.b; usize::from(wish.b)],
        },
        19 => Command::RemoveConfig(config),
        20 => {
            let version = world.state.secret(secret).map_or(Index(0), |secret| secret.spec_version);
            Command::UpdateSecret { id: secret, version: stale(version), labels }
        }
        21 => {
            let version = world.state.config(config).map_or(Index(0), |config| config.spec_version);
            Command::UpdateConfig { id: config, version: stale(version), labels }
        }
        _ => {
            let file =
                |name: &str| Some(FileTarget { name: name.to_owned(), ..FileTarget::default() });
            let mut spec = spec(["a", "b", "A"][usize::from(wish.b) % 3]);
            let secret_name = world.state.secret(secret).map_or("none", |secret| &secret.name);
            let config_name = world.state.config(config).map_or("none", |config| &config.name);
            spec.task.container.secrets = vec![SecretReference {
                id: secret,
                name: secret_name.to_owned(),
                file: file(secret_name),
            }];
            if wish.b.is_multiple_of(2) {
                spec.task.container.configs = vec![ConfigReference {
                    id: config,
                    name: config_name.to_owned(),
                    file: file(config_name),
                }];
            }
            Command::CreateService { id: service_id(wish.a % 3), spec }
        }
    }
}

/// What a service names is there.
fn check_files(state: &State) -> Result<(), TestCaseError> {
    for service in state.services() {
        let container = &service.spec.task.container;
        for reference in &container.secrets {
            let secret = state.secret(reference.id);
            prop_assert!(secret.is_some_and(|secret| secret.name == reference.name));
        }
        for reference in &container.configs {
            let config = state.config(reference.id);
            prop_assert!(config.is_some_and(|config| config.name == reference.name));
        }
    }
    Ok(())
}

/// States only go forward, nodes never change, ends are ends.
fn check_tasks(old: &State, new: &State) -> Result<(), TestCaseError> {
    for before in old.tasks() {
        let Some(after) = new.task(before.id) else { continue };
        prop_assert!(before.status.state <= after.status.state);
        prop_assert!(before.desired <= after.desired);
        prop_assert!(before.node.is_none() || before.node == after.node);
        prop_assert!(
            !before.status.state.is_terminal() || before.status.state == after.status.state
        );
        prop_assert_eq!((&before.spec, before.created), (&after.spec, after.created));
    }
    Ok(())
}

/// Without the index and the memory of requests, which every entry may move.
fn content(state: &State) -> Vec<Vec<u8>> {
    let kinds_of_content = 0x0211..=0x0217;
    let chunks = state.chunks().map(Result::unwrap);
    chunks
        .filter(|chunk| kinds_of_content.contains(&crypto::wire::peek(chunk).unwrap().0))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_sequence_keeps_the_laws(wishes in wishes()) {
        let mut world = World::founded();
        let mut replica = world.state.clone();
        for wish in &wishes {
            let command = command(&world, wish);
            let before = world.state.clone();
            world.state.take_changes();
            let request = wish.request.map(|number| RequestId([number; 16]));
            let answered = request.is_some_and(|request| before.answer(request).is_some());
            let result = world.apply_as(request, command);
            let entry: &Entry = world.entries.last().unwrap();
            prop_assert_eq!(&replica.apply(world.state.index(), entry), &result);
            prop_assert_eq!(world.state.audit(), Ok(()));
            check_tasks(&before, &world.state)?;
            check_files(&world.state)?;
            prop_assert!(before.revision() <= world.state.revision());
            let changes = world.state.take_changes();
            if result.is_err() || answered {
                prop_assert_eq!(before.revision(), world.state.revision());
                prop_assert_eq!(content(&before), content(&world.state));
                prop_assert_eq!(changes, []);
            } else {
                prop_assert_eq!(changes.is_empty(), content(&before) == content(&world.state));
            }
        }
        prop_assert_eq!(&world.state, &replica, "applying is deterministic");
        let mut builder = StateBuilder::default();
        for chunk in world.state.chunks() {
            builder.push(&chunk.unwrap()).unwrap();
        }
        let built = builder.finish().unwrap();
        prop_assert_eq!(built.audit(), Ok(()));
        prop_assert_eq!(&built, &world.state, "a snapshot is the state");
    }

    #[test]
    fn entries_survive_the_log(wishes in wishes()) {
        let mut world = World::founded();
        for wish in &wishes {
            let command = command(&world, wish);
            let entry = Entry { request: None, now: UnixNanos(1), command: command.clone() };
            prop_assert_eq!(Entry::decode(&entry.encode().unwrap()).unwrap(), entry);
            let _ = world.apply(command);
        }
    }
}
