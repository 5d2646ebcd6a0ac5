//! Jobs: slots whose tasks run to completion.
//!
//! A new spec raises the iteration of the job and runs everything anew.

use std::sync::Arc;

use model::{Slot, Task, TaskState};

use crate::draft::Draft;
use crate::fit;
use crate::group::{Group, newest, wanted};
use crate::restart;

/// Runs slots 0 to `total` once each, at most `max_concurrent` at the same time.
pub(crate) fn replicated(
    draft: &mut Draft<'_>,
    group: &mut Group,
    max_concurrent: u64,
    total: u64,
) {
    begin(draft, group);
    let mut n_active =
        group.slots.values().filter(|tasks| wanted(tasks).next().is_some()).count() as u64;
    // Docker: without a limit, all at once.
    let limit = if max_concurrent == 0 { total } else { max_concurrent };
    for number in 0..total {
        if limit <= n_active || draft.is_full() {
            return;
        }
        let slot = Slot::Replica(number);
        if is_open(group, slot) {
            group.fill(draft, slot);
            n_active += 1;
        }
    }
}

/// Runs once on every node that fits, later ones included.
pub(crate) fn global(draft: &mut Draft<'_>, group: &mut Group) {
    let Some(service) = group.service.clone() else { return };
    begin(draft, group);
    for node in draft.snapshot.state.nodes() {
        if draft.is_full() {
            return;
        }
        let slot = Slot::Node(node.id);
        if draft.is_open(node)
            && fit::is_suitable(node, &service.spec.task.placement)
            && is_open(group, slot)
        {
            group.fill(draft, slot);
        }
    }
}

/// Removes earlier iterations and closes what ended or was lost.
fn begin(draft: &mut Draft<'_>, group: &mut Group) {
    let iteration = group.service.as_ref().map_or(0, |service| service.job_iteration);
    for task in group.slots.values_mut().flatten() {
        if draft.is_full() {
            return;
        }
        if task.job_iteration != iteration {
            draft.desire(task, TaskState::Remove);
        }
    }
    group.settle(draft);
}

/// Whether a slot has neither done its work, nor is at it, nor has given up.
fn is_open(group: &Group, slot: Slot) -> bool {
    let Some(tasks) = group.slots.get(&slot) else { return true };
    let done = |task: &Arc<Task>| {
        task.desired != TaskState::Remove && task.status.state == TaskState::Complete
    };
    wanted(tasks).next().is_none()
        && !tasks.iter().any(done)
        && newest(tasks).is_none_or(|newest| restart::is_restartable(tasks, newest))
}
