//! Once nothing goes wrong any more, everything runs that has room, once.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{Availability, Node, NodeState, Service, ServiceMode, Slot, State, Task, TaskState};

use super::is_wanted;
use crate::cluster::Cluster;

pub(super) fn check(cluster: &Cluster) -> Vec<String> {
    let state = &cluster.state;
    let mut wrong = Vec::new();
    for service in state.services() {
        let wanted = match service.spec.mode {
            ServiceMode::Replicated { replicas } => replicas,
            ServiceMode::Global => state.nodes().filter(|node| is_open(node)).count() as u64,
            ServiceMode::ReplicatedJob { total_completions, .. } => total_completions,
            ServiceMode::GlobalJob => continue,
        };
        let waiting: Vec<_> = state
            .tasks_of_service(service.id)
            .filter(|task| is_wanted(task) && task.node.is_none())
            .collect();
        // While a start-first update waits for room, the old task of the slot runs on.
        let there = there(state, service);
        let waits: BTreeSet<Slot> = waiting.iter().map(|task| task.slot).collect();
        let name = &service.spec.name;
        // A job makes its next task when one ends, so what waits keeps the rest back.
        let held_back = is_job(service) && !waits.is_empty();
        if there.union(&waits).count() as u64 != wanted && !held_back {
            wrong.push(format!("{name} has {there:?}, {waits:?} wait, {wanted} are wanted"));
        }
        let fits = |task: &Task| state.nodes().any(|node| has_room(state, node, task));
        if waiting.iter().any(|task| fits(task)) {
            wrong.push(format!("{waits:?} of {name} wait though there is room"));
        }
    }
    wrong
}

/// Processes are those of the tasks that are wanted: nothing was left behind on a node that was
/// away, and nothing runs twice.
pub(super) fn check_containers(cluster: &Cluster) -> Vec<String> {
    let state = &cluster.state;
    let mut slots = BTreeSet::new();
    let mut wrong = Vec::new();
    for machine in &cluster.machines {
        for id in machine.running() {
            match state.task(id).filter(|task| is_wanted(task)) {
                None => wrong.push(format!("{} runs task {id} that nobody wants", machine.name)),
                Some(task) if !slots.insert((task.service, task.slot)) => {
                    wrong.push(format!("{:?} of {} runs twice", task.slot, task.service));
                }
                Some(_) => {}
            }
        }
    }
    wrong
}

/// Slots of a service that run, or of a job that did.
fn there(state: &State, service: &Service) -> BTreeSet<Slot> {
    let is_there = |task: &&Arc<Task>| {
        if is_job(service) {
            task.status.state == TaskState::Complete
                && task.desired != TaskState::Remove
                && task.job_iteration == service.job_iteration
        } else {
            is_wanted(task) && task.status.state == TaskState::Running
        }
    };
    state.tasks_of_service(service.id).filter(is_there).map(|task| task.slot).collect()
}

const fn is_job(service: &Service) -> bool {
    matches!(service.spec.mode, ServiceMode::ReplicatedJob { .. })
}

fn is_open(node: &Node) -> bool {
    node.status.state == NodeState::Ready && node.spec.availability == Availability::Active
}

fn has_room(state: &State, node: &Node, task: &Task) -> bool {
    let used: i64 = state
        .tasks_of_node(node.id)
        .filter(|other| !other.status.state.is_terminal())
        .map(|other| reserved(other))
        .sum();
    let asked = task.slot == Slot::Node(node.id) || matches!(task.slot, Slot::Replica(_));
    asked && is_open(node) && used + reserved(task) <= node.description.resources.nano_cpus
}

fn reserved(task: &Task) -> i64 {
    task.spec.resources.reservations.as_ref().map_or(0, |reserved| reserved.nano_cpus)
}
