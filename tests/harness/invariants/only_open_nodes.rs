//! Tasks are given only to nodes that answer and that a user lets have them.

use model::{Availability, NodeState, State};

pub(super) fn check(before: &State, after: &State) -> Vec<String> {
    after
        .tasks()
        .filter_map(|task| {
            let id = task.node?;
            if before.task(task.id).is_some_and(|old| old.node.is_some()) {
                return None;
            }
            let open = before.node(id).is_some_and(|node| {
                node.status.state == NodeState::Ready
                    && node.spec.availability == Availability::Active
            });
            (!open).then(|| format!("task {} was given to {id}", task.id))
        })
        .collect()
}
