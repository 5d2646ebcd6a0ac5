//! Why each eligible node votes, stands by, or does neither: for people.

use std::collections::BTreeMap;

use crypto::NodeId;
use model::DesiredRole;

use super::choice::{Choice, Leaving};
use super::{CAUGHT_UP, DEAD, Facts, Inputs};

pub(super) fn reasons(inputs: &Inputs, choice: &Choice<'_>) -> BTreeMap<NodeId, String> {
    let raft = &inputs.raft;
    let mut why = BTreeMap::new();
    for (raft_id, node) in &raft.voters {
        why.insert(*node, voter(inputs, choice, *raft_id, *node));
    }
    for (raft_id, node) in &raft.learners {
        why.insert(*node, learner(inputs, *raft_id, *node));
    }
    for (node, facts) in inputs.nodes.iter().filter(|(_, facts)| facts.eligible) {
        why.entry(*node).or_insert_with(|| other(choice, facts));
    }
    why
}

fn voter(inputs: &Inputs, choice: &Choice<'_>, raft_id: u64, node: NodeId) -> String {
    let facts = inputs.nodes.get(&node);
    let dead_for = facts.and_then(|facts| facts.dead_for).unwrap_or_default().as_secs();
    match choice.leaving(raft_id) {
        Some(Leaving::Removed) => "votes until another can: it was removed".to_owned(),
        Some(Leaving::Demoted) => "votes until another can: it was demoted".to_owned(),
        Some(Leaving::Draining) => "votes until another can: it is drained".to_owned(),
        Some(Leaving::Dead) => format!("dead for {dead_for} s: votes until another can"),
        None if 0 < dead_for => {
            format!("dead for {dead_for} s: replaced after {} s", DEAD.as_secs())
        }
        None => {
            let part = if raft_id == inputs.raft.leader { "leads" } else { "votes" };
            let promoted = facts.is_some_and(|facts| facts.role == DesiredRole::Manager);
            let promoted = if promoted { ", promoted" } else { "" };
            let zone = facts.map_or("", |facts| facts.zone.as_str());
            let zone = if zone.is_empty() { String::new() } else { format!(", zone {zone}") };
            let n_voters = inputs.raft.voters.len();
            format!("{part}: one of {n_voters} of {} wanted voters{promoted}{zone}", choice.target)
        }
    }
}

fn learner(inputs: &Inputs, raft_id: u64, node: NodeId) -> String {
    let caught_up = inputs.nodes.get(&node).and_then(|facts| facts.caught_up_for);
    match (caught_up, inputs.raft.lag.get(&raft_id)) {
        (Some(age), _) if CAUGHT_UP <= age => "stands by: its log is caught up".to_owned(),
        (_, Some(lag)) => format!("catches up: {lag} entries to go"),
        (_, None) => "catches up".to_owned(),
    }
}

fn other(choice: &Choice<'_>, facts: &Facts) -> String {
    if facts.role == DesiredRole::Worker {
        return "does not vote: it was demoted".to_owned();
    }
    if let Some(age) = facts.dead_for {
        return format!("does not vote: dead for {} s", age.as_secs());
    }
    if let Some(left) = facts.banned_for {
        return format!("does not vote: it was replaced, a candidate in {} s", left.as_secs());
    }
    if facts.draining {
        return "does not vote: it is drained".to_owned();
    }
    if choice.is_candidate(facts) {
        return format!("does not vote: {} voters are enough", choice.target);
    }
    "does not vote: not healthy for long enough".to_owned()
}
