//! What is seen of a task only goes forward, and its end is final.
//!
//! Reports arrive late, twice and from nodes that were away; whoever waits for a task to end
//! must be able to rely on it.

use model::State;

pub(super) fn check(before: &State, after: &State) -> Vec<String> {
    before
        .tasks()
        .filter_map(|old| {
            let (was, is) = (old.status.state, after.task(old.id)?.status.state);
            let back = is < was || (was.is_terminal() && is != was);
            back.then(|| format!("task {} was {was:?}, is {is:?}", old.id))
        })
        .collect()
}
