//! What is forgotten: tasks that ended, beyond the history that users want to see.

use std::sync::Arc;

use model::{ClusterSpec, Task, TaskState};

use crate::draft::{Draft, Fate, is_wanted};
use crate::group::{Group, wanted};

/// Tasks on a node that was away for so long are given up: Docker Swarm's 24 hours.
const ORPHAN_NANOS: u64 = 24 * 3_600 * 1_000_000_000;

/// Forgets and orphans tasks of one service.
pub(crate) fn reap(draft: &mut Draft<'_>, group: &mut Group) {
    let limit = history_limit(draft, group);
    for tasks in group.slots.values_mut() {
        if draft.is_full() {
            return;
        }
        tasks.retain_mut(|task| is_wanted(task) || !is_forgotten(draft, task));
        let n_ended = tasks.iter().filter(|task| is_ended(task)).count();
        // When the successor starts, or that there is none, is read from the task before it.
        let leading = wanted(tasks).next().is_none_or(|task| task.desired == TaskState::Ready);
        let kept = limit.max(usize::from(leading));
        let mut n_excess = n_ended.saturating_sub(kept);
        tasks.retain(|task| {
            let forgotten = 0 < n_excess && is_ended(task);
            if forgotten {
                n_excess -= 1;
                draft.forget(task);
            }
            !forgotten
        });
    }
}

fn is_ended(task: &Task) -> bool {
    !is_wanted(task) && task.status.state.is_terminal()
}

/// Ended tasks kept in each slot. A limit of attempts counts them, so it needs them.
fn history_limit(draft: &Draft<'_>, group: &Group) -> usize {
    let cluster = draft.snapshot.state.cluster();
    let limit = cluster.map_or(ClusterSpec::TASK_HISTORY_LIMIT, |c| c.spec.task_history_limit);
    let Ok(limit) = usize::try_from(limit) else { return usize::MAX };
    match group.service.as_ref().and_then(|service| service.spec.task.restart) {
        Some(policy) if 0 < policy.max_attempts => {
            let attempts = usize::try_from(policy.max_attempts).unwrap_or(usize::MAX);
            limit.max(attempts.saturating_add(1))
        }
        _ => limit,
    }
}

/// Takes a task that is not wanted one step further; whether it is forgotten.
fn is_forgotten(draft: &mut Draft<'_>, task: &mut Arc<Task>) -> bool {
    if !task.status.state.is_terminal() {
        let Some(node) = task.node else {
            // No node ever knew of it: there is nothing to stop and nothing to show.
            draft.forget(task);
            return true;
        };
        match draft.fate(node) {
            Fate::Here => return false,
            Fate::Lost(since) => {
                let end = since.plus(ORPHAN_NANOS);
                if draft.now() < end {
                    draft.wake(end);
                    return false;
                }
                draft.orphan(task);
            }
            Fate::Removed => draft.orphan(task),
        }
    }
    if task.desired == TaskState::Remove {
        draft.forget(task);
        return true;
    }
    false
}
