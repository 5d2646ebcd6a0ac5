//! A task is not let start while the one before it in its slot still stops.
//!
//! Users run what must not run twice: two writers of one volume. Only a task that a start-first
//! update wants to keep for now, one that was lost with its node, or one that does not stop for a
//! minute is no reason to wait.

use model::{NodeState, State, Task, TaskState, UnixNanos};

use super::is_wanted;

/// Docker Swarm's limit.
const OLD_TASK_NANOS: u64 = 60_000_000_000;

pub(super) fn check(before: &State, after: &State, now: UnixNanos) -> Vec<String> {
    let raised = |task: &Task| is_wanted(task) && TaskState::Running <= task.desired;
    after
        .tasks()
        .filter(|task| raised(task) && !before.task(task.id).is_some_and(|old| raised(old)))
        .filter(|task| now.since(task.created_at) < OLD_TASK_NANOS)
        .filter_map(|task| {
            let stopping = after.tasks_of_service(task.service).find(|old| {
                old.slot == task.slot
                    && old.id != task.id
                    && old.created < task.created
                    && !is_wanted(old)
                    && stops(before, old)
            })?;
            Some(format!("task {} may start while {} still stops", task.id, stopping.id))
        })
        .collect()
}

/// Whether a node that is there still has it.
fn stops(state: &State, task: &Task) -> bool {
    let there = |id| {
        state.node(id).is_some_and(|node| {
            !matches!(node.status.state, NodeState::Down | NodeState::Disconnected)
        })
    };
    !task.status.state.is_terminal() && task.node.is_some_and(there)
}
