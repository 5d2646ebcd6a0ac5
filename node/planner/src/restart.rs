//! Whether a slot gets a successor, and when the successor may start.
//!
//! A successor is made at once and pulls its image; it is only raised from Ready
//! to Running when its predecessor lets it. All of it can be read from the tasks
//! of the slot, oldest first.

use std::sync::Arc;

use model::service::{RestartCondition, RestartPolicy};
use model::{Index, Slot, Task, TaskState, UnixNanos};

use crate::draft::{Draft, is_wanted};
use crate::group::Group;

/// A successor starts after this time even if the old task has not stopped: Docker
/// Swarm's default, and its users know it.
const OLD_TASK_NANOS: u64 = 60_000_000_000;

/// When a task may start.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Start {
    Now,
    /// Then at the latest; sooner if what it waits for happens.
    At(UnixNanos),
}

pub(crate) fn policy(task: &Task) -> RestartPolicy {
    task.spec.restart.unwrap_or(RestartPolicy::DEFAULT)
}

/// Whether nobody told the task to end.
pub(crate) fn ended_by_itself(task: &Task) -> bool {
    matches!(task.status.state, TaskState::Complete | TaskState::Failed | TaskState::Rejected)
}

/// Whether the slot of its newest task, which is not wanted any more, gets a successor.
pub(crate) fn is_restartable(tasks: &[Arc<Task>], newest: &Task) -> bool {
    let policy = policy(newest);
    match policy.condition {
        // A node that was drained and comes back runs its global tasks again.
        RestartCondition::None => {
            newest.status.state == TaskState::Shutdown && matches!(newest.slot, Slot::Node(_))
        }
        RestartCondition::OnFailure if newest.status.state == TaskState::Complete => false,
        RestartCondition::OnFailure | RestartCondition::Any => {
            policy.max_attempts == 0
                || !ended_by_itself(newest)
                || n_restarts(tasks, newest, policy.window_nanos) < policy.max_attempts
        }
    }
}

/// How many tasks of the slot followed one that ended by itself, in the window before
/// the newest one ended. Tasks lost with their node cost no attempt.
fn n_restarts(tasks: &[Arc<Task>], newest: &Task, window_nanos: u64) -> u64 {
    let of_version = |task: &&Arc<Task>| task.spec_version == newest.spec_version;
    let mine: Vec<&Arc<Task>> = tasks.iter().filter(of_version).collect();
    let restarts = mine.windows(2).filter(|pair| {
        let [before, after] = pair else { return false };
        ended_by_itself(before)
            && (window_nanos == 0 || newest.status.at.since(after.created_at) <= window_nanos)
    });
    u64::try_from(restarts.count()).unwrap_or(u64::MAX)
}

/// When `task` may start, given the older tasks of its slot.
pub(crate) fn start(draft: &Draft<'_>, tasks: &[Arc<Task>], task: &Task) -> Start {
    let older =
        || tasks.iter().filter(|other| other.id != task.id && other.created <= task.created);
    let stopping = older().any(|other| {
        !is_wanted(other)
            && !other.status.state.is_terminal()
            && other.node.is_some_and(|node| !draft.is_lost(node))
    });
    let mut at = if stopping { task.created_at.plus(OLD_TASK_NANOS) } else { UnixNanos(0) };
    if let Some(last) = older().next_back()
        && ended_by_itself(last)
        && last.spec_version == task.spec_version
    {
        let delay = policy(task).delay_nanos.unwrap_or(RestartPolicy::DELAY_NANOS);
        at = at.max(task.created_at.plus(delay));
    }
    if at <= draft.now() { Start::Now } else { Start::At(at) }
}

/// When the next task of a slot may be made, if not now.
///
/// A successor is made while it waits for its delay. If it is refused before that has passed
/// (the image is not there, say), the slot waits on: else its tasks would be made and refused
/// without a pause.
pub(crate) fn made_at(tasks: &[Arc<Task>], next_version: Index) -> Option<UnixNanos> {
    let [.., before, last] = tasks else { return None };
    let again = last.status.state == TaskState::Rejected
        && ended_by_itself(before)
        && before.spec_version == last.spec_version
        && last.spec_version == next_version;
    let delay = policy(last).delay_nanos.unwrap_or(RestartPolicy::DELAY_NANOS);
    again.then(|| last.created_at.plus(delay))
}

/// Raises the tasks that may start now.
pub(crate) fn raise(draft: &mut Draft<'_>, group: &mut Group) {
    let raised = group.raised();
    for tasks in group.slots.values_mut() {
        for place in 0..tasks.len() {
            let task = &tasks[place];
            if task.desired >= raised || task.created.0 == u64::MAX {
                continue;
            }
            if draft.is_full() {
                return;
            }
            match start(draft, tasks, task) {
                Start::Now => draft.desire(&mut tasks[place], raised),
                Start::At(at) => draft.wake(at),
            }
        }
    }
}
