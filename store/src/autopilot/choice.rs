//! The best set of voters that can be had now, and the step towards it.

use std::collections::{BTreeMap, BTreeSet};

use crypto::NodeId;
use model::DesiredRole;

use super::{BETWEEN_CHANGES, CAUGHT_UP, Change, DEAD, Facts, HEALTHY, Inputs, STANDBY, YOUNG};

/// Why a voter should not vote any more. The order is the order in which they are kept where
/// nobody can take their place.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Leaving {
    Draining,
    Dead,
    Demoted,
    Removed,
}

/// What is known of voters and candidates at once.
pub(super) struct Choice<'a> {
    pub(super) inputs: &'a Inputs,
    pub(super) target: usize,
    by_raft_id: BTreeMap<u64, &'a Facts>,
}

impl<'a> Choice<'a> {
    pub(super) fn new(inputs: &'a Inputs) -> Self {
        let by_raft_id = inputs.nodes.values().map(|facts| (facts.raft_id, facts)).collect();
        Self { inputs, target: super::target(inputs), by_raft_id }
    }

    /// Whether and why a voter should go.
    pub(super) fn leaving(&self, raft_id: u64) -> Option<Leaving> {
        let Some(facts) = self.by_raft_id.get(&raft_id) else { return Some(Leaving::Removed) };
        if !facts.eligible || facts.role == DesiredRole::Worker {
            return Some(Leaving::Demoted);
        }
        if facts.dead_for.is_some_and(|age| DEAD <= age) {
            return Some(Leaving::Dead);
        }
        facts.draining.then_some(Leaving::Draining)
    }

    /// Whether it could become a voter once its log is caught up.
    pub(super) fn is_candidate(&self, facts: &Facts) -> bool {
        let long_enough = |age| HEALTHY <= age || self.inputs.cluster_age < YOUNG;
        facts.eligible
            && facts.role != DesiredRole::Worker
            && !facts.draining
            && facts.healthy_for.is_some_and(long_enough)
            && facts.banned_for.is_none()
    }

    /// Whether it could become a voter now.
    fn is_ready(&self, raft_id: u64, node: NodeId) -> bool {
        self.inputs.nodes.get(&node).is_some_and(|facts| {
            facts.raft_id == raft_id
                && self.is_candidate(facts)
                && facts.caught_up_for.is_some_and(|age| CAUGHT_UP <= age)
        })
    }

    fn is_healthy(&self, raft_id: u64) -> bool {
        raft_id == self.inputs.raft.leader
            || self.by_raft_id.get(&raft_id).is_some_and(|facts| facts.healthy_for.is_some())
    }

    fn zone(&self, raft_id: u64) -> &str {
        self.by_raft_id.get(&raft_id).map_or("", |facts| facts.zone.as_str())
    }

    fn is_preferred(&self, raft_id: u64) -> bool {
        self.by_raft_id.get(&raft_id).is_some_and(|facts| facts.role == DesiredRole::Manager)
    }

    fn n_in_zone(&self, set: &BTreeSet<u64>, zone: &str) -> usize {
        set.iter().filter(|other| self.zone(**other) == zone).count()
    }

    /// The best addition to a set: another zone, then one that a user promoted, then the oldest.
    fn best_addition(&self, set: &BTreeSet<u64>, from: &BTreeSet<u64>) -> Option<u64> {
        from.difference(set).copied().min_by_key(|raft_id| {
            (self.n_in_zone(set, self.zone(*raft_id)), !self.is_preferred(*raft_id), *raft_id)
        })
    }

    /// The voter that is missed least: never the leader while there is another.
    fn least_missed(&self, set: &BTreeSet<u64>) -> Option<u64> {
        set.iter().copied().max_by_key(|raft_id| {
            (
                *raft_id != self.inputs.raft.leader,
                !self.is_healthy(*raft_id),
                self.n_in_zone(set, self.zone(*raft_id)),
                !self.is_preferred(*raft_id),
                *raft_id,
            )
        })
    }

    /// How good a set is: zones first, then those that a user promoted.
    fn score(&self, set: &BTreeSet<u64>) -> (usize, usize) {
        let zones: BTreeSet<&str> = set.iter().map(|raft_id| self.zone(*raft_id)).collect();
        (zones.len(), set.iter().filter(|raft_id| self.is_preferred(**raft_id)).count())
    }

    /// The voters that there should be, of those that can be had now.
    fn voters(&self) -> BTreeSet<u64> {
        let raft = &self.inputs.raft;
        let old: BTreeSet<u64> = raft.voters.keys().copied().collect();
        let ready: BTreeSet<u64> = raft
            .learners
            .iter()
            .filter(|(raft_id, node)| self.is_ready(**raft_id, **node))
            .map(|(raft_id, _)| *raft_id)
            .collect();
        let mut leaving: Vec<(Leaving, u64)> =
            old.iter().filter_map(|voter| Some((self.leaving(*voter)?, *voter))).collect();
        leaving.sort_unstable();
        let mut new: BTreeSet<u64> =
            old.iter().copied().filter(|voter| self.leaving(*voter).is_none()).collect();
        while self.target < new.len() {
            let Some(voter) = self.least_missed(&new) else { break };
            new.remove(&voter);
        }
        let mut last_added = None;
        while new.len() < self.target {
            let Some(addition) = self.best_addition(&new, &ready) else { break };
            new.insert(addition);
            last_added = Some(addition);
        }
        // Nobody to take their place: they keep it. An even number is no better than one less.
        let n_kept = self.target.min(old.len());
        let missing = n_kept.saturating_sub(new.len());
        new.extend(leaving.iter().take(missing).map(|(_, voter)| *voter));
        if old.len() < new.len()
            && new.len().is_multiple_of(2)
            && let Some(added) = last_added
        {
            new.remove(&added);
        }
        if new == old && leaving.is_empty() { self.improved(old, &ready) } else { new }
    }

    /// Swaps one healthy voter for a candidate that makes the set better.
    fn improved(&self, old: BTreeSet<u64>, ready: &BTreeSet<u64>) -> BTreeSet<u64> {
        if old.len() != self.target {
            return old;
        }
        let leader = self.inputs.raft.leader;
        let swaps = old.iter().filter(|voter| **voter != leader).flat_map(|voter| {
            ready.iter().map(|addition| {
                let mut new = old.clone();
                new.remove(voter);
                new.insert(*addition);
                new
            })
        });
        let best = swaps.max_by_key(|new| (self.score(new), std::cmp::Reverse(new.clone())));
        match best {
            Some(best) if self.score(&old) < self.score(&best) => best,
            _ => old,
        }
    }

    /// The next step towards the best set of voters, if it is safe now.
    pub(super) fn change_voters(&self) -> Option<Change> {
        let raft = &self.inputs.raft;
        let old: BTreeSet<u64> = raft.voters.keys().copied().collect();
        let new = self.voters();
        let too_soon = self.inputs.since_change.is_some_and(|age| age < BETWEEN_CHANGES);
        if new == old || too_soon || !self.is_safe(&old, &new) {
            return None;
        }
        if !new.contains(&raft.leader) {
            let successor = old.intersection(&new).copied().find(|voter| self.is_healthy(*voter));
            if let Some(raft_id) = successor {
                return Some(Change::TransferLeader { raft_id });
            }
        }
        Some(Change::Voters(new))
    }

    /// A healthy quorum before and after, and no less room for failures unless fewer voters are
    /// wanted.
    fn is_safe(&self, old: &BTreeSet<u64>, new: &BTreeSet<u64>) -> bool {
        let spare = |set: &BTreeSet<u64>| {
            let n_healthy = set.iter().filter(|voter| self.is_healthy(**voter)).count();
            n_healthy.checked_sub(set.len() / 2 + 1)
        };
        match (spare(old), spare(new)) {
            (Some(before), Some(after)) => before <= after || new.len() < old.len(),
            _ => false,
        }
    }

    /// Keeps one or two learners caught up, and nobody else.
    pub(super) fn change_learners(&self) -> Option<Change> {
        let raft = &self.inputs.raft;
        let unfit = |raft_id: &u64| self.leaving(*raft_id).is_some();
        if let Some(raft_id) = raft.learners.keys().copied().find(unfit) {
            return Some(Change::RemoveLearner { raft_id });
        }
        let members: BTreeSet<u64> =
            raft.voters.keys().chain(raft.learners.keys()).copied().collect();
        if STANDBY < raft.learners.len() {
            let learners: BTreeSet<u64> = raft.learners.keys().copied().collect();
            let raft_id = self.least_missed(&learners)?;
            return Some(Change::RemoveLearner { raft_id });
        }
        if raft.learners.len() == STANDBY {
            return None;
        }
        let candidates: BTreeMap<u64, NodeId> = self
            .inputs
            .nodes
            .iter()
            .filter(|(_, facts)| self.is_candidate(facts))
            .map(|(node, facts)| (facts.raft_id, *node))
            .collect();
        let raft_id = self.best_addition(&members, &candidates.keys().copied().collect())?;
        let node = *candidates.get(&raft_id)?;
        Some(Change::AddLearner { raft_id, node })
    }
}
