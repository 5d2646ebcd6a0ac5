//! Chooses a node for every task that has none, or says why there is none.
//!
//! A service spreads over as many nodes as it can, then prefers the emptier node,
//! then the smaller identity, so that the answer is the same everywhere.

use std::collections::BTreeMap;
use std::mem;
use std::sync::Arc;

use crypto::NodeId;
use model::{Constraint, Decision, Index, Node, ServiceId, Slot, Task, TaskState};

use crate::draft::{Draft, is_wanted};
use crate::fit::{self, Rank, Rejection};
use crate::group::Group;

/// A node on which a service failed so often lately gets its next task last.
const FAILURES_MAX: u64 = 5;
/// What lately means.
const FAILURES_NANOS: u64 = 300_000_000_000;

/// A task without a node.
#[derive(Debug)]
pub(crate) struct Unplaced {
    pub(crate) task: Arc<Task>,
    /// Whether this plan creates it.
    pub(crate) new: bool,
}

/// Takes note of the tasks of a service that wait for a node since before this plan.
pub(crate) fn enlist(draft: &mut Draft<'_>, group: &Group) {
    let waits = |task: &&Arc<Task>| {
        is_wanted(task)
            && task.node.is_none()
            && task.created.0 != u64::MAX
            && !task.status.state.is_terminal()
    };
    let waiting = group.slots.values().flatten().filter(waits);
    draft.unplaced.extend(waiting.map(|task| Unplaced { task: task.clone(), new: false }));
}

/// Places what can be placed.
pub(crate) fn place(draft: &mut Draft<'_>) {
    let mut unplaced = mem::take(&mut draft.unplaced);
    // Those that wait longest first; new ones are youngest.
    unplaced.sort_by_key(|unplaced| unplaced.task.created);
    let mut placers: BTreeMap<(ServiceId, Index), Placer> = BTreeMap::new();
    for Unplaced { task, new } in unplaced {
        // A new task must be written in any case: its slot counts on it.
        if !new && draft.is_full() {
            continue;
        }
        let placer = placers
            .entry((task.service, task.spec_version))
            .or_insert_with(|| Placer::of(draft, &task));
        let mut task = Arc::unwrap_or_clone(task);
        match placer.find(draft, &task) {
            Ok(node) => {
                task.node = Some(node);
                task.status.state = TaskState::Assigned;
                "scheduler assigned task to node".clone_into(&mut task.status.message);
                draft.load.add(&task);
                if new {
                    draft.created(task);
                } else {
                    draft.decide(Decision::Assign { task: task.id, node });
                }
            }
            Err(reason) => {
                draft.wait(&task, reason.clone());
                if new {
                    task.status.error = reason;
                    draft.created(task);
                } else if task.status.error != reason || task.status.state != TaskState::Pending {
                    draft.decide(Decision::Wait {
                        task: task.id,
                        state: TaskState::Pending,
                        message: "pending task scheduling".to_owned(),
                        reason,
                    });
                }
            }
        }
    }
}

/// What is the same for all tasks of one version of one service.
#[derive(Debug)]
struct Placer {
    /// Nodes that fit but for the room on them, with their values of the spread preferences.
    candidates: Vec<(Arc<Node>, Vec<String>)>,
    /// Nodes that do not.
    rejected: BTreeMap<NodeId, Rejection>,
    /// Constraints that hold nowhere, and why.
    nonsense: Vec<String>,
    failures: BTreeMap<NodeId, u64>,
    /// Set once no node had room: within one plan there is never more.
    stuck: Option<String>,
}

impl Placer {
    fn of(draft: &Draft<'_>, task: &Task) -> Self {
        let placement = &task.spec.placement;
        let parsed: Vec<_> =
            placement.constraints.iter().map(|text| Constraint::parse(text)).collect();
        let mut placer = Self {
            candidates: Vec::new(),
            rejected: BTreeMap::new(),
            nonsense: parsed
                .iter()
                .filter_map(|constraint| Some(constraint.as_ref().err()?.to_string()))
                .collect(),
            failures: failures(draft, task),
            stuck: None,
        };
        for node in draft.snapshot.state.nodes() {
            let rejection = if !draft.is_open(node) {
                Some(Rejection::Unavailable)
            } else if !parsed.iter().all(|c| c.as_ref().is_ok_and(|c| fit::holds(c, node))) {
                Some(Rejection::Constraints)
            } else if !fit::meets_platforms(node, &placement.platforms) {
                Some(Rejection::Platform)
            } else {
                None
            };
            if let Some(rejection) = rejection {
                placer.rejected.insert(node.id, rejection);
            } else {
                let spread = placement.spread.iter();
                let values = spread.filter_map(|key| fit::spread_value(node, key));
                let values = values.map(str::to_owned).collect();
                placer.candidates.push((node.clone(), values));
            }
        }
        placer
    }

    /// The best node for one more task, or why there is none.
    fn find(&mut self, draft: &Draft<'_>, task: &Task) -> Result<NodeId, String> {
        let only = match task.slot {
            Slot::Node(id) => Some(id),
            Slot::Replica(_) => None,
        };
        if only.is_none()
            && let Some(reason) = &self.stuck
        {
            return Err(reason.clone());
        }
        let is_asked = |id: NodeId| only.is_none_or(|only| only == id);
        let mut rejected: BTreeMap<Rejection, u64> = BTreeMap::new();
        let mut best: Option<Rank> = None;
        let branches = self.branches(draft, task);
        for (node, values) in self.candidates.iter().filter(|(node, _)| is_asked(node.id)) {
            let Some(load) = draft.load.on(node.id) else { continue };
            if let Err(rejection) = fit::check_room(node, load, task) {
                *rejected.entry(rejection).or_default() += 1;
                continue;
            }
            let fails = FAILURES_MAX <= self.failures.get(&node.id).copied().unwrap_or(0);
            let spread = (1..=values.len())
                .map(|depth| branches.get(&values[..depth]).copied().unwrap_or(0))
                .collect();
            let rank = (fails, spread, load.of_service(task.service), load.n_tasks, node.id);
            if best.as_ref().is_none_or(|best| rank < *best) {
                best = Some(rank);
            }
        }
        if let Some((.., node)) = best {
            return Ok(node);
        }
        for (_, rejection) in self.rejected.iter().filter(|(id, _)| is_asked(**id)) {
            *rejected.entry(*rejection).or_default() += 1;
        }
        let reason = explain(&rejected, &self.nonsense);
        if only.is_none() {
            self.stuck = Some(reason.clone());
        }
        Err(reason)
    }

    /// Tasks of the service in each branch of the tree that the spread preferences make.
    fn branches(&self, draft: &Draft<'_>, task: &Task) -> BTreeMap<&[String], u64> {
        let mut branches: BTreeMap<&[String], u64> = BTreeMap::new();
        for (node, values) in &self.candidates {
            let count = draft.load.on(node.id).map_or(0, |load| load.of_service(task.service));
            for depth in 1..=values.len() {
                *branches.entry(&values[..depth]).or_default() += count;
            }
        }
        branches
    }
}

/// How often tasks of this version failed on each node lately.
fn failures(draft: &Draft<'_>, task: &Task) -> BTreeMap<NodeId, u64> {
    let mut failures = BTreeMap::new();
    for other in draft.snapshot.state.tasks_of_service(task.service) {
        if matches!(other.status.state, TaskState::Failed | TaskState::Rejected)
            && other.spec_version == task.spec_version
            && draft.now().since(other.updated_at) < FAILURES_NANOS
            && let Some(node) = other.node
        {
            *failures.entry(node).or_default() += 1;
        }
    }
    failures
}

/// Docker Swarm's words: the most frequent reason first.
fn explain(rejected: &BTreeMap<Rejection, u64>, nonsense: &[String]) -> String {
    let mut reasons: Vec<_> = rejected.iter().collect();
    reasons.sort_by_key(|(rejection, count)| (u64::MAX - **count, **rejection));
    let reasons = reasons.into_iter().map(|(rejection, count)| rejection.explain(*count));
    let text: Vec<String> = reasons.chain(nonsense.iter().cloned()).collect();
    if text.is_empty() {
        return "no suitable node".to_owned();
    }
    format!("no suitable node ({})", text.join("; "))
}
