//! A task never moves.
//!
//! What ran somewhere else is another task: only so can a node that was cut off be told what to
//! stop, and only so does a report of one node say something about one attempt.

use model::State;

pub(super) fn check(before: &State, after: &State) -> Vec<String> {
    before
        .tasks()
        .filter_map(|old| {
            let new = after.task(old.id)?;
            let moved = old.node.is_some() && old.node != new.node;
            moved.then(|| format!("task {} was on {:?}, is on {:?}", old.id, old.node, new.node))
        })
        .collect()
}
