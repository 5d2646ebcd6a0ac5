//! No node is promised more than it offers.
//!
//! Two planners that each know half of the story could each fill the same gap. A plan names its
//! revision so that the second one is refused. What a task reserved it holds until it has ended,
//! wanted or not.

use std::collections::BTreeMap;

use model::State;

pub(super) fn check(state: &State) -> Vec<String> {
    let mut promised: BTreeMap<_, i64> = BTreeMap::new();
    for task in state.tasks().filter(|task| !task.status.state.is_terminal()) {
        if let (Some(node), Some(reserved)) = (task.node, &task.spec.resources.reservations) {
            *promised.entry(node).or_default() += reserved.nano_cpus;
        }
    }
    promised
        .into_iter()
        .filter_map(|(id, promised)| {
            let offered = state.node(id)?.description.resources.nano_cpus;
            (offered < promised).then(|| format!("{id} offers {offered}, promised {promised}"))
        })
        .collect()
}
