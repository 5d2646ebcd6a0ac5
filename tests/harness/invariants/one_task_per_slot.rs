//! A slot has one task that is wanted, or two while an update replaces one by the other.
//!
//! A slot that opens twice runs a user's service twice: two writers where there should be one.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{State, Task};

use super::is_wanted;

pub(super) fn check(state: &State) -> Vec<String> {
    let mut slots: BTreeMap<_, Vec<&Arc<Task>>> = BTreeMap::new();
    for task in state.tasks().filter(|task| is_wanted(task)) {
        slots.entry((task.service, task.slot)).or_default().push(task);
    }
    slots
        .into_iter()
        .filter(|(_, tasks)| match tasks[..] {
            [_] => false,
            [one, other] => one.spec_version == other.spec_version,
            _ => true,
        })
        .map(|((service, slot), tasks)| {
            let tasks: Vec<String> = tasks
                .iter()
                .map(|t| format!("{} {:?} v{}", t.id, t.status.state, t.spec_version))
                .collect();
            format!("{slot:?} of service {service} has {tasks:?}")
        })
        .collect()
}
