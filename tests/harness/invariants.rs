//! What must never break, one file per property.
//!
//! Each names itself, so that a history that breaks one says which. [`after`] runs after every
//! command, [`after_plan`] after every plan that was made from the present state, [`at_rest`]
//! once nothing goes wrong any more and the cluster has come to rest.

mod desired_never_decreases;
mod followers_agree;
mod no_overcommit;
mod one_task_per_slot;
mod only_open_nodes;
mod plan_is_fixpoint;
mod ports_are_unique;
mod replicas_are_reached;
mod states_go_forward;
mod successors_wait;
mod tasks_never_move;

use std::fmt;

use model::{State, Task, TaskState};
use planner::Plan;

use crate::cluster::Cluster;

/// Something that must never be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Which property.
    pub invariant: &'static str,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.seen)
    }
}

/// What the last command broke.
#[must_use]
pub fn after(before: &State, cluster: &Cluster) -> Vec<Violation> {
    let state = &cluster.state;
    let checks = [
        ("a task never moves", tasks_never_move::check(before, state)),
        ("states go forward", states_go_forward::check(before, state)),
        ("desired never decreases", desired_never_decreases::check(before, state)),
        ("only open nodes get tasks", only_open_nodes::check(before, state)),
        ("successors wait", successors_wait::check(before, state, cluster.now())),
        ("no overcommit", no_overcommit::check(state)),
        ("one task per slot", one_task_per_slot::check(state)),
        ("ports are unique", ports_are_unique::check(state)),
        ("followers agree", followers_agree::check(cluster)),
    ];
    named(checks)
}

/// What a plan broke that was made from the present state and adopted whole.
#[must_use]
pub fn after_plan(cluster: &Cluster, made: &Plan) -> Vec<Violation> {
    named([("a plan is a fixpoint", plan_is_fixpoint::check(cluster, made))])
}

/// What is missing once the cluster has come to rest.
#[must_use]
pub fn at_rest(cluster: &Cluster) -> Vec<Violation> {
    named([
        ("replicas are reached", replicas_are_reached::check(cluster)),
        ("containers are those that are wanted", replicas_are_reached::check_containers(cluster)),
    ])
}

fn named<const N: usize>(checks: [(&'static str, Vec<String>); N]) -> Vec<Violation> {
    let violation = |invariant| move |seen| Violation { invariant, seen };
    checks.into_iter().flat_map(|(name, seen)| seen.into_iter().map(violation(name))).collect()
}

/// Whether a task is to fill its slot, now or soon.
fn is_wanted(task: &Task) -> bool {
    task.desired <= TaskState::Complete
}
