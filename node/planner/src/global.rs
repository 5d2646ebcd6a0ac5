//! Global services: one slot on every node that fits.

use model::{Slot, TaskState};

use crate::draft::{Draft, is_wanted};
use crate::fit;
use crate::group::{Group, is_filled};

/// Gives every fitting node its task and takes it from the others.
pub(crate) fn orchestrate(draft: &mut Draft<'_>, group: &mut Group) {
    let Some(service) = group.service.clone() else { return };
    group.settle(draft);
    let placement = &service.spec.task.placement;

    for (slot, tasks) in &mut group.slots {
        let Slot::Node(id) = slot else { continue };
        let fits = draft.node(*id).is_some_and(|node| {
            // A paused node keeps its task, whatever became of it.
            !draft.is_open(node) || fit::is_suitable(node, placement)
        });
        if fits {
            continue;
        }
        for task in tasks.iter_mut().filter(|task| is_wanted(task)) {
            if draft.is_full() {
                return;
            }
            draft.desire(task, TaskState::Shutdown);
        }
    }

    for node in draft.snapshot.state.nodes() {
        if draft.is_full() {
            return;
        }
        let slot = Slot::Node(node.id);
        if draft.is_open(node)
            && fit::is_suitable(node, placement)
            && !group.slots.get(&slot).is_some_and(|tasks| is_filled(tasks))
        {
            group.fill(draft, slot);
        }
    }
}
