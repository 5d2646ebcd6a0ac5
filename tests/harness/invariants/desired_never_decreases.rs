//! What is wanted of a task never decreases.
//!
//! A task that was told to stop may have stopped already, unseen: wanting it back would wait for
//! ever. A successor takes the slot instead.

use model::State;

pub(super) fn check(before: &State, after: &State) -> Vec<String> {
    before
        .tasks()
        .filter_map(|old| {
            let (was, is) = (old.desired, after.task(old.id)?.desired);
            (is < was).then(|| format!("task {} was wanted {was:?}, is wanted {is:?}", old.id))
        })
        .collect()
}
