//! What each command does and how it is refused.

use std::collections::BTreeMap;

use model::service::{PublishMode, UpdateState};
use model::{
    Applied, Changed, Command, Decision, DesiredRole, Grant, Index, NodeState, Refused, RequestId,
    ServiceId, ServiceMode, ServiceSpec, State, TaskId, TaskState, TokenId, UpdateTo,
};

use crate::fixtures::*;

fn refusal(result: Result<Applied, Refused>) -> String {
    result.unwrap_err().to_string()
}

fn update(id: ServiceId, version: Index, spec: ServiceSpec) -> Command {
    Command::UpdateService { id, version, to: UpdateTo::Spec(Box::new(spec)) }
}

#[test]
fn nothing_can_be_written_before_founding_and_founding_is_once() {
    let mut world = World::default();
    let create = Command::CreateService { id: service_id(1), spec: spec("web") };
    assert_eq!(refusal(world.apply(create)), "the cluster is not founded yet");
    world.ok(found(&[1, 2, 3]));
    assert_eq!(world.state.node(node_id(2)).unwrap().raft_id, 2);
    assert!(refusal(world.apply(found(&[1]))).ends_with("is already founded"));
    let mut world = World::default();
    assert!(world.apply(found(&[])).is_err());
    assert!(world.apply(found(&[1, 1])).is_err());
}

#[test]
fn admission_gives_a_raft_id_once_and_takes_note_of_news() {
    let mut world = World::founded();
    let applied = world.ok(Command::Admit(admission(4)));
    assert_eq!(applied.raft_id, Some(1000 + applied.index.0));
    let revision = world.state.revision();
    let mut again = admission(4);
    again.incarnation = 5;
    assert_eq!(world.ok(Command::Admit(again.clone())).raft_id, applied.raft_id);
    assert_eq!(world.state.revision(), revision, "a restart is no news for the planner");
    again.description.hostname = "other".to_owned();
    world.ok(Command::Admit(again.clone()));
    assert!(revision < world.state.revision());
    let node = world.state.node(node_id(4)).unwrap();
    assert_eq!((node.spec_version, node.incarnation), (applied.index, 5));
    again.incarnation = 4;
    assert!(refusal(world.apply(Command::Admit(again))).contains("incarnation 5, not 4"));
    let other_grant = model::Admission { grant: Grant::Worker, incarnation: 9, ..admission(4) };
    assert!(refusal(world.apply(Command::Admit(other_grant))).contains("joins as a new node"));
    let stolen = model::Admission { ed25519: key(9), ..admission(5) };
    assert!(refusal(world.apply(Command::Admit(stolen))).contains("does not belong to its key"));
}

#[test]
fn tokens_have_limits_and_ends() {
    let mut world = World::founded();
    let token = TokenId::from_bytes([9; 16]);
    let with = |seed| {
        let grant = Grant::Worker;
        Command::Admit(model::Admission { token: Some((token, 2)), grant, ..admission(seed) })
    };
    world.ok(with(10));
    world.ok(with(11));
    assert!(refusal(world.apply(with(12))).contains("has admitted 2 nodes"));
    world.ok(with(10));
    world.ok(Command::RevokeToken(token));
    assert!(refusal(world.apply(with(13))).contains("was revoked"));
    world.ok(with(11));
    let node = world.state.node(node_id(10)).unwrap();
    assert_eq!(node.spec.desired_role, DesiredRole::Worker);
    let promote = Command::UpdateNode {
        id: node.id,
        version: node.spec_version,
        spec: model::NodeSpec { desired_role: DesiredRole::Manager, ..node.spec.clone() },
    };
    assert!(refusal(world.apply(promote)).contains("join again with a manager token"));
}

#[test]
fn the_last_that_may_vote_stays() {
    let mut world = World::default();
    world.ok(found(&[1, 2]));
    let demote = |world: &World, seed| {
        let node = world.state.node(node_id(seed)).unwrap();
        let spec = model::NodeSpec { desired_role: DesiredRole::Worker, ..node.spec.clone() };
        Command::UpdateNode { id: node.id, version: node.spec_version, spec }
    };
    world.ok(demote(&world, 1));
    let last = demote(&world, 2);
    assert_eq!(refusal(world.apply(last)), "attempting to demote the last manager of the swarm");
    assert!(world.apply(Command::RemoveNode { id: node_id(2), force: true }).is_err());
}

#[test]
fn a_removed_node_leaves_orphans_and_does_not_come_back() {
    let (mut world, _, task) = World::running();
    let remove = |force| Command::RemoveNode { id: node_id(1), force };
    let text = format!("node {} is not down and can't be removed", node_id(1));
    assert_eq!(refusal(world.apply(remove(false))), text);
    world.ok(node_state(1, NodeState::Down));
    world.ok(remove(false));
    assert_eq!(world.state.task(task).unwrap().status.state, TaskState::Orphaned);
    let text = refusal(world.apply(Command::Admit(admission(1))));
    assert!(text.contains("was removed") && text.contains("joins as a new node"), "{text}");
    assert_eq!(world.state.audit(), Ok(()));
}

#[test]
fn service_names_and_ports_are_unique() {
    let mut world = World::founded();
    let web = service_id(1);
    let spec = published("web", vec![port(8080, PublishMode::Ingress)]);
    assert_eq!(
        world.ok(Command::CreateService { id: web, spec: spec.clone() }).created,
        Some(model::ObjectKey::Service(web))
    );
    let mut create = |spec| world.apply(Command::CreateService { id: service_id(2), spec });
    assert_eq!(
        refusal(create(published("WEB", Vec::new()))),
        "name conflicts with an existing object: service WEB already exists"
    );
    assert_eq!(
        refusal(create(published("b", vec![port(8080, PublishMode::Host)]))),
        format!("port '8080' is already in use by service 'web' ({web}) as an ingress port")
    );
    create(published("b", vec![port(8081, PublishMode::Host)])).unwrap();
    let mut create = |id, spec| world.apply(Command::CreateService { id: service_id(id), spec });
    create(3, published("c", vec![port(8081, PublishMode::Host)])).unwrap();
    let text = refusal(create(4, published("d", vec![port(8081, PublishMode::Ingress)])));
    assert!(text.ends_with("as a host-published port"), "{text}");
    let version = world.state.service(web).unwrap().spec_version;
    world.ok(update(web, version, spec));
}

#[test]
fn allocated_ports_are_taken_too() {
    let mut world = World::founded();
    let ingress = |port_number| vec![port(port_number, PublishMode::Ingress)];
    world.ok(Command::CreateService { id: service_id(1), spec: published("a", ingress(0)) });
    world.plan(vec![Decision::Ports { service: service_id(1), ports: ingress(30000) }]).unwrap();
    let create = Command::CreateService { id: service_id(2), spec: published("b", ingress(30000)) };
    assert!(refusal(world.apply(create)).contains("'30000' is already in use by service 'a'"));
}

#[test]
fn an_update_names_the_version_it_saw_and_keeps_name_and_mode() {
    let mut world = World::founded();
    let id = service_id(1);
    let first = world.ok(Command::CreateService { id, spec: spec("web") }).index;
    let scaled = ServiceSpec { mode: ServiceMode::Replicated { replicas: 3 }, ..spec("web") };
    let second = world.ok(update(id, first, scaled.clone())).index;
    for (version, spec, text) in [
        (first, scaled.clone(), "update out of sequence"),
        (second, spec("other"), "renaming services is not supported"),
        (
            second,
            ServiceSpec { mode: ServiceMode::Global, ..spec("web") },
            "service mode change is not allowed",
        ),
        (
            second,
            ServiceSpec { mode: ServiceMode::Replicated { replicas: 100_001 }, ..spec("web") },
            "invalid number of replicas 100001: at most 100000 are allowed",
        ),
    ] {
        assert_eq!(refusal(world.apply(update(id, version, spec))), text);
    }
    let back = |version| Command::UpdateService { id, version, to: UpdateTo::Previous };
    let third = world.ok(back(second)).index;
    let service = world.state.service(id).unwrap();
    assert_eq!((&service.spec, service.previous_spec.as_ref()), (&spec("web"), Some(&scaled)));
    assert_eq!(service.update_status.as_ref().unwrap().state, UpdateState::RollbackStarted);
    world.ok(back(third));
    assert_eq!(world.state.service(id).unwrap().spec, scaled, "a rollback swaps the two");
    let other = service_id(2);
    let version = world.ok(Command::CreateService { id: other, spec: spec("b") }).index;
    let none = Command::UpdateService { id: other, version, to: UpdateTo::Previous };
    assert_eq!(
        refusal(world.apply(none)),
        format!("service {other} does not have a previous spec")
    );
}

#[test]
fn automatic_writes_move_only_modified() {
    let (mut world, service, task) = World::running();
    let before = world.state.clone();
    world.ok(node_state(1, NodeState::Ready));
    let ports = vec![port(30000, PublishMode::Ingress)];
    world.plan(vec![Decision::Ports { service, ports }]).unwrap();
    let (old, new) = (before.service(service).unwrap(), world.state.service(service).unwrap());
    assert_eq!(old.spec_version, new.spec_version);
    assert!(old.modified < new.modified);
    let (old, new) = (before.node(node_id(1)).unwrap(), world.state.node(node_id(1)).unwrap());
    assert_eq!((old.spec_version, old.updated_at), (new.spec_version, new.updated_at));
    assert!(old.modified < new.modified);
    let revision = world.state.revision();
    world.ok(report(1, task, TaskState::Failed));
    world.ok(Command::SetNodeStates(vec![(
        node_id(1),
        NodeState::Ready,
        "other words".to_owned(),
    )]));
    assert_eq!(world.state.revision(), revision, "neither is news for a plan");
}

#[test]
fn a_removed_service_goes_at_once_and_its_tasks_are_to_stop() {
    let (mut world, service, task) = World::running();
    world.ok(Command::RemoveService { id: service });
    assert!(world.state.service_by_name("web").is_none());
    assert_eq!(world.state.task(task).unwrap().desired, TaskState::Remove);
    assert!(world.plan(vec![Decision::Forget(task)]).is_err(), "it may still run");
    world.ok(report(1, task, TaskState::Shutdown));
    world.plan(vec![Decision::Forget(task)]).unwrap();
    assert_eq!(world.state.tasks().count(), 0);
    assert_eq!(world.state.audit(), Ok(()));
}

#[test]
fn a_plan_is_adopted_whole_or_not_at_all() {
    let (mut world, service, task) = World::running();
    let mut late = world.new_task(service, 2);
    let stale = world.state.revision();
    let late_id = late.id;
    world.plan(vec![create(late.clone())]).unwrap();
    let outdated = world.apply(Command::AdoptPlan { based_on: stale, decisions: Vec::new() });
    assert!(matches!(outdated, Err(Refused::Outdated { .. })));
    late.id = TaskId::from_bytes([3; 16]);
    let before = world.state.clone();
    let bad: Vec<Decision> = vec![
        create(world.new_task(service, 2)),
        Decision::Assign { task, node: node_id(2) },
        Decision::Assign { task: late_id, node: node_id(9) },
        Decision::Desire { task, desired: TaskState::Ready },
        Decision::Wait {
            task,
            state: TaskState::Pending,
            message: String::new(),
            reason: String::new(),
        },
        Decision::Wait {
            task: late_id,
            state: TaskState::Running,
            message: String::new(),
            reason: String::new(),
        },
        Decision::Forget(task),
        Decision::Orphan(late_id),
    ];
    let taken =
        world.plan(vec![create(world.new_task(service, 2)), create(world.new_task(service, 2))]);
    assert!(taken.is_err());
    for decision in bad.into_iter().skip(1) {
        let text = format!("{decision:?}");
        assert!(world.plan(vec![create(late.clone()), decision]).is_err(), "{text}");
        assert_eq!(world.state.tasks().count(), before.tasks().count(), "{text}");
        assert_eq!(world.state.revision(), before.revision());
    }
}

#[test]
fn reports_count_for_own_tasks_of_this_incarnation_and_only_forward() {
    let (mut world, _, task) = World::running();
    let state = |world: &World| world.state.task(task).unwrap().status.state;
    world.ok(report(2, task, TaskState::Failed));
    world.ok(report(1, task, TaskState::Starting));
    world.ok(report(1, task, TaskState::Orphaned));
    assert_eq!(state(&world), TaskState::Running);
    let old = Command::ReportTasks { node: node_id(1), incarnation: 0, statuses: Vec::new() };
    assert!(matches!(world.apply(old), Err(Refused::Forbidden(_))));
    assert!(matches!(world.apply(report(9, task, TaskState::Failed)), Err(Refused::Forbidden(_))));
    world.ok(report(1, task, TaskState::Complete));
    world.ok(report(1, task, TaskState::Failed));
    assert_eq!(state(&world), TaskState::Complete, "an end is an end");
    let mut long = status(TaskState::Complete);
    long.error = "é".repeat(5_000);
    let statuses = vec![(task, long)];
    world.ok(Command::ReportTasks { node: node_id(1), incarnation: 1, statuses });
    assert_eq!(world.state.task(task).unwrap().status.error.len(), 1_024);
}

#[test]
fn tasks_of_a_node_that_is_away_are_given_up_or_forgotten() {
    let (mut world, _, task) = World::running();
    world.ok(node_state(1, NodeState::Ready));
    assert!(world.plan(vec![Decision::Orphan(task)]).is_err());
    world.ok(node_state(1, NodeState::Down));
    world.plan(vec![Decision::Orphan(task), Decision::Forget(task)]).unwrap();
    assert!(world.state.task(task).is_none());
}

#[test]
fn an_automatic_rollback_is_for_once() {
    let (mut world, service, _) = World::running();
    let version = world.state.service(service).unwrap().spec_version;
    let mut next = spec("web");
    next.task.force_update = 1;
    world.ok(update(service, version, next));
    let status = model::service::UpdateStatus {
        state: UpdateState::RollbackStarted,
        started_at: model::UnixNanos(1),
        completed_at: None,
        message: String::new(),
    };
    let back = vec![Decision::RollBack { service, status }];
    world.plan(back.clone()).unwrap();
    let seen = world.state.service(service).unwrap();
    assert_eq!((&seen.spec, &seen.previous_spec), (&spec("web"), &None));
    assert!(refusal(world.plan(back)).ends_with("does not have a previous spec"));
}

#[test]
fn a_repeated_request_has_effect_once() {
    let mut world = World::founded();
    let request = Some(RequestId([1; 16]));
    let create = |id| Command::CreateService { id: service_id(id), spec: spec("web") };
    let first = world.apply_as(request, create(1)).unwrap();
    assert_eq!(world.apply_as(request, create(2)).unwrap(), first);
    assert_eq!(world.state.services().count(), 1);
    assert_eq!(world.state.index(), Index(3));
    let refused = world.apply_as(Some(RequestId([2; 16])), create(3)).unwrap_err();
    world.ok(Command::RemoveService { id: service_id(1) });
    assert_eq!(world.apply_as(Some(RequestId([2; 16])), create(3)).unwrap_err(), refused);
    for number in 0..State::REQUESTS_MAX as u64 {
        let mut id = [3; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        world.apply_as(Some(RequestId(id)), Command::RaisePskEpoch).unwrap();
    }
    assert_eq!(world.state.answer(RequestId([2; 16])), None, "the oldest are forgotten");
    assert_eq!(world.state.audit(), Ok(()));
}

#[test]
fn networks_are_named_once_and_one_is_the_ingress() {
    let mut world = World::founded();
    let id = |seed| model::NetworkId::from_bytes([seed; 16]);
    let create = |seed, name: &str, ingress| Command::CreateNetwork {
        id: id(seed),
        spec: model::NetworkSpec { name: name.to_owned(), ingress, ..Default::default() },
    };
    world.ok(create(1, "ov1", false));
    assert_eq!(
        refusal(world.apply(create(2, "ov1", false))),
        "network with name ov1 already exists"
    );
    // A new cluster has one.
    let ingress = world.state.network_by_name("ingress").unwrap().id;
    let text = format!("ingress network ({ingress}) is already present");
    assert_eq!(refusal(world.apply(create(2, "ov2", true))), text);
    world.ok(Command::RemoveNetwork(ingress));
    world.ok(create(2, "ov2", true));
    let mut user = spec("web");
    user.task.networks.push(model::service::NetworkAttachment {
        network: id(1),
        target: "ov1".to_owned(),
        aliases: Vec::new(),
        driver_opts: BTreeMap::new(),
    });
    world.ok(Command::CreateService { id: service_id(1), spec: user });
    let text = format!("network {} is in use by service {}", id(1), service_id(1));
    assert_eq!(refusal(world.apply(Command::RemoveNetwork(id(1)))), text);
    world.ok(Command::RemoveService { id: service_id(1) });
    world.ok(Command::RemoveNetwork(id(1)));
}

#[test]
fn networks_get_subnets_and_numbers_that_are_free() {
    let mut world = World::founded();
    let mut create = |seed, subnet: &str| {
        let subnets = (!subnet.is_empty())
            .then(|| model::Subnet { subnet: subnet.to_owned(), ..Default::default() });
        let spec = model::NetworkSpec {
            name: format!("n{seed}"),
            subnets: subnets.into_iter().collect(),
            ..Default::default()
        };
        let id = model::NetworkId::from_bytes([seed; 16]);
        world.ok(Command::CreateNetwork { id, spec });
        let network = world.state.network(id).unwrap();
        let subnet = &network.subnets[0];
        (network.vni, subnet.subnet.clone(), subnet.gateway.clone())
    };
    // The ingress network has the first of both.
    assert_eq!(create(1, ""), (4_097, "10.0.1.0/24".to_owned(), "10.0.1.1".to_owned()));
    assert_eq!(create(2, "10.0.2.0/23").0, 4_098);
    assert_eq!(create(3, ""), (4_099, "10.0.4.0/24".to_owned(), "10.0.4.1".to_owned()));
    world.ok(Command::RemoveNetwork(model::NetworkId::from_bytes([1; 16])));
    let spec = model::NetworkSpec { name: "n4".to_owned(), ..Default::default() };
    let id = model::NetworkId::from_bytes([4; 16]);
    world.ok(Command::CreateNetwork { id, spec });
    let network = world.state.network(id).unwrap();
    assert_eq!((network.vni, network.subnets[0].subnet.as_str()), (4_097, "10.0.1.0/24"));
}

#[test]
fn changes_tell_what_was_before_and_after() {
    let (mut world, service, task) = World::running();
    world.state.take_changes();
    world.ok(Command::RemoveService { id: service });
    let changes = world.state.take_changes();
    assert!(changes.iter().all(|change| change.index == world.state.index()));
    let keys: Vec<_> = changes.iter().map(model::Change::key).collect();
    assert_eq!(keys, [model::ObjectKey::Service(service), model::ObjectKey::Task(task)]);
    let Changed::Task(diff) = &changes[1].what else { panic!("no task: {changes:?}") };
    assert_eq!(diff.before().unwrap().desired, TaskState::Running);
    assert_eq!(diff.after().unwrap().desired, TaskState::Remove);
    assert!(world.apply(Command::RemoveService { id: service }).is_err());
    assert_eq!(world.state.take_changes(), []);
}
