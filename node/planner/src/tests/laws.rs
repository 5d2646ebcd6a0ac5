//! Laws: what holds after every event of every history.
//!
//! `World::plan` itself checks that a plan is deterministic and a fixpoint, and that the
//! state takes every decision.

use std::collections::{BTreeMap, BTreeSet};

use model::{Availability, NodeState, ServiceMode, State, Task, TaskState};
use proptest::prelude::*;

use super::world::{World, service_id};
use crate::draft::is_wanted;

const NODES: [&str; 3] = ["a", "b", "c"];
const SERVICES: [&str; 3] = ["all", "big", "web"];

#[derive(Clone, Debug)]
enum Event {
    State(usize, NodeState),
    Availability(usize, Availability),
    Scale(usize, u64),
    Update(usize, &'static str),
    Report(usize, TaskState),
    Agents,
    After(u64),
}

fn any_event() -> impl Strategy<Value = Event> {
    let state = prop_oneof![Just(NodeState::Down), Just(NodeState::Ready), Just(NodeState::Ready)];
    let availability = prop_oneof![
        Just(Availability::Active),
        Just(Availability::Active),
        Just(Availability::Pause),
        Just(Availability::Drain),
    ];
    let option = prop_oneof![
        Just("force"),
        Just("order=start-first"),
        Just("parallelism=0"),
        Just("on-failure=rollback"),
        Just("on-failure=continue"),
        Just("delay=3"),
        Just("constraint=node.hostname!=b"),
        Just("publish=0:80"),
    ];
    let seen = prop_oneof![
        Just(TaskState::Ready),
        Just(TaskState::Running),
        Just(TaskState::Complete),
        Just(TaskState::Shutdown),
        Just(TaskState::Failed),
        Just(TaskState::Rejected),
    ];
    prop_oneof![
        2 => (0_usize..3, state).prop_map(|(node, state)| Event::State(node, state)),
        1 => (0_usize..3, availability).prop_map(|(node, a)| Event::Availability(node, a)),
        2 => (1_usize..3, 0_u64..4).prop_map(|(service, n)| Event::Scale(service, n)),
        2 => (0_usize..3, option).prop_map(|(service, option)| Event::Update(service, option)),
        4 => (0_usize..20, seen).prop_map(|(nth, seen)| Event::Report(nth, seen)),
        4 => Just(Event::Agents),
        4 => (0_u64..70).prop_map(Event::After),
        1 => Just(Event::After(86_400)),
    ]
}

fn happen(world: &mut World, event: &Event) {
    match event {
        Event::State(node, state) => world.set_state(NODES[*node], *state),
        Event::Availability(node, availability) => {
            world.set_availability(world.node_id(NODES[*node]), *availability);
        }
        Event::Scale(service, n) => world.update(SERVICES[*service], &[&format!("replicas={n}")]),
        Event::Update(service, option) => {
            // The second rollback in a row finds no previous port; a second port collides.
            let id = service_id(SERVICES[*service]);
            let published = world.state.service(id).is_some_and(|s| !s.ports.is_empty());
            if !(published && option.starts_with("publish")) {
                world.update(SERVICES[*service], &[option]);
            }
        }
        Event::Report(nth, seen) => {
            let task = world.state.tasks().nth(*nth).map(|task| Task::clone(task));
            // Nothing runs before it is to run.
            let runs = matches!(seen, TaskState::Running | TaskState::Complete);
            let lawful = |task: &Task| !runs || TaskState::Running <= task.desired;
            if let Some(task) = task.filter(|task| task.status.state < *seen && lawful(task)) {
                world.report_task(&task, *seen);
            }
        }
        Event::Agents => world.agents(),
        Event::After(seconds) => world.after(*seconds),
    }
}

fn start() -> World {
    let mut world = World::new();
    for node in NODES {
        world.node(node, &["cpu=4"]);
    }
    world.service("all", &["global"]);
    world.service("big", &["replicas=2", "cpu=2"]);
    world.service("web", &["replicas=3", "cpu=1", "attempts=50"]);
    world
}

/// What a task may never undo.
fn check_forward(before: &State, after: &State) -> Result<(), TestCaseError> {
    for old in before.tasks() {
        let Some(new) = after.task(old.id) else { continue };
        prop_assert!(old.node.is_none() || old.node == new.node, "{:?} moved", old.id);
        prop_assert!(old.desired <= new.desired, "{:?} is wanted less", old.id);
        prop_assert!(old.status.state <= new.status.state, "{:?} went back", old.id);
    }
    Ok(())
}

fn check_room(state: &State) -> Result<(), TestCaseError> {
    let mut reserved: BTreeMap<_, i64> = BTreeMap::new();
    for task in state.tasks().filter(|task| !task.status.state.is_terminal()) {
        if let (Some(node), Some(amount)) = (task.node, &task.spec.resources.reservations) {
            *reserved.entry(node).or_default() += amount.nano_cpus;
        }
    }
    for (node, amount) in reserved {
        let total = state.node(node).map_or(0, |node| node.description.resources.nano_cpus);
        prop_assert!(amount <= total, "{node} is promised {amount} of {total}");
    }
    Ok(())
}

fn check_slots(state: &State) -> Result<(), TestCaseError> {
    let mut slots: BTreeMap<_, u32> = BTreeMap::new();
    for task in state.tasks().filter(|task| is_wanted(task)) {
        *slots.entry((task.service, task.slot)).or_default() += 1;
    }
    for (slot, count) in slots {
        prop_assert!(count <= 2, "{slot:?} is filled {count} times");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None, cases: 400, ..ProptestConfig::default()
    })]

    #[test]
    fn every_history_keeps_the_laws_and_settles(events in prop::collection::vec(any_event(), 1..40)) {
        let mut world = start();
        for event in &events {
            happen(&mut world, event);
            let before = world.state.clone();
            let made = world.plan();
            check_forward(&before, &world.state)?;
            check_room(&world.state)?;
            check_slots(&world.state)?;
            prop_assert!(made.wake_at.is_none_or(|at| world.now < at), "wakes in the past");
        }
        // Once nothing fails any more, everything runs that has room.
        for node in NODES {
            world.set_state(node, NodeState::Ready);
            world.set_availability(world.node_id(node), Availability::Active);
        }
        for _ in 0..60 {
            world.agents();
            world.plan();
            world.after(10);
        }
        for service in world.state.services() {
            let ServiceMode::Replicated { replicas } = service.spec.mode else { continue };
            let settled = world.state.tasks_of_service(service.id).filter(|task| {
                // It runs, or it says which room it lacks.
                is_wanted(task)
                    && (task.status.state == TaskState::Running
                        || task.status.error.contains("insufficient resources"))
            });
            let slots: BTreeSet<_> = settled.map(|task| task.slot).collect();
            prop_assert_eq!(slots.len() as u64, replicas, "{}", &service.spec.name);
        }
    }
}
