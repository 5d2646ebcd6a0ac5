//! Replicated services: so many slots, numbered from 1.

use std::collections::{BTreeMap, BTreeSet};

use model::{Slot, TaskState};

use crate::draft::Draft;
use crate::group::{Group, is_filled, wanted};

/// Opens and closes slots until there are `replicas`.
pub(crate) fn orchestrate(draft: &mut Draft<'_>, group: &mut Group, replicas: u64) {
    group.settle(draft);
    let filled = |(slot, tasks): (&Slot, &Vec<_>)| is_filled(tasks).then_some(*slot);
    let mut kept: BTreeSet<Slot> = group.slots.iter().filter_map(filled).collect();

    let n_surplus = (kept.len() as u64).saturating_sub(replicas);
    for slot in surplus(group, &kept, n_surplus) {
        if draft.is_full() {
            return;
        }
        group.remove_slot(draft, slot);
        kept.remove(&slot);
    }

    let mut numbers = 1..;
    while (kept.len() as u64) < replicas
        && let Some(number) = numbers.next()
    {
        if draft.is_full() {
            return;
        }
        if kept.insert(Slot::Replica(number)) {
            group.fill(draft, Slot::Replica(number));
        }
    }

    // What is neither filled nor needed is only history of slots that are closed.
    let dead: Vec<Slot> = group.slots.keys().filter(|slot| !kept.contains(slot)).copied().collect();
    for slot in dead {
        if draft.is_full() {
            return;
        }
        group.remove_slot(draft, slot);
    }
}

/// Slots to close: first those without a node, then those on the nodes that hold most
/// copies, there first what does not run, then the highest number.
fn surplus(group: &Group, filled: &BTreeSet<Slot>, count: u64) -> Vec<Slot> {
    if count == 0 {
        return Vec::new();
    }
    let mut candidates: Vec<_> = filled
        .iter()
        .filter_map(|slot| Some((*slot, group.slots.get(slot)?)))
        .map(|(slot, tasks)| {
            let task = wanted(tasks).next_back();
            let runs = task.is_some_and(|task| task.status.state == TaskState::Running);
            (slot, task.and_then(|task| task.node), runs)
        })
        .collect();
    candidates.sort_by_key(|(slot, _, runs)| (!runs, *slot));
    let mut copies = BTreeMap::new();
    let mut ranked: Vec<_> = candidates
        .into_iter()
        .map(|(slot, node, runs)| {
            // The how-manieth copy of its node it is; without a node it goes before all.
            let nth = node.map_or(u64::MAX, |node| {
                let count = copies.entry(node).or_insert(0_u64);
                *count += 1;
                *count
            });
            (nth, !runs, slot)
        })
        .collect();
    ranked.sort_unstable();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    ranked.into_iter().rev().take(count).map(|(_, _, slot)| slot).collect()
}
