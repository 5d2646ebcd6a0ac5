//! What should change: a pure function from what the cluster agreed on to a plan.
//!
//! [`plan`] compares what users want with what is, and says what to write. The
//! leader proposes the plan; it names the revision that it was made for and is
//! adopted whole or not at all, so nothing here is ever half done.
//!
//! ```text
//!   ports        numbers for published ports
//!   replicated   so many slots          \
//!   global       one slot per node       > which slots are there, what ended, what is lost
//!   job          slots that end         /
//!   restart      whether and when a slot gets a successor
//!   update       slots whose task has an old spec, a few at a time
//!   reap         what is forgotten
//!   schedule     nodes for what has none, or why there is none
//! ```
//!
//! # Invariants
//!
//! * No I/O, no clock, no randomness: the same state gives the same plan everywhere.
//! * A plan is a fixpoint: planned again at the same time, the state with the plan
//!   adopted gives an empty plan, unless [`Plan::more`] says that this one was cut.
//! * A task never moves; what is wanted of it and what is seen of it only go forward.
//! * The planner remembers nothing: how far an update is can be read from the state,
//!   so a new leader goes on where the last one stopped.

mod draft;
mod fit;
mod global;
mod group;
mod job;
mod load;
mod ports;
mod reap;
mod replicated;
mod restart;
mod schedule;
mod update;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crypto::NodeId;
use model::{Decision, Revision, ServiceId, ServiceMode, Slot, State, TaskId, UnixNanos};

pub use crate::update::is_up_to_date;

use crate::draft::Draft;
use crate::group::Group;

/// All that a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// What the cluster agreed on.
    pub state: &'a State,
    /// Clock of whoever plans.
    pub now: UnixNanos,
    /// Nodes that gossip suspects: they keep what they have and get nothing new.
    pub suspects: &'a BTreeSet<NodeId>,
}

/// What to write, and why the rest waits.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Plan {
    /// The revision that it was made for.
    pub based_on: Revision,
    /// What to write, in this order.
    pub decisions: Vec<Decision>,
    /// Tasks that no node fits.
    pub waiting: Vec<Waiting>,
    /// When to plan again even if nothing changes.
    pub wake_at: Option<UnixNanos>,
    /// The plan was cut to fit an entry of the log: plan again once it is adopted.
    pub more: bool,
}

/// A task that no node fits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Waiting {
    /// Which.
    pub task: TaskId,
    /// Whose it is.
    pub service: ServiceId,
    /// Its place in the service.
    pub slot: Slot,
    /// Docker Swarm's words for it.
    pub reason: String,
}

/// Plans what should change.
///
/// Takes O(tasks + services x nodes); see the test `plans_a_thousand_services`.
#[must_use]
pub fn plan(snapshot: &Snapshot<'_>) -> Plan {
    if snapshot.state.cluster().is_none() {
        return Plan::default();
    }
    let mut draft = Draft::of(*snapshot);
    let mut groups = Group::all(snapshot.state);
    ports::allocate(&mut draft, &mut groups);
    for group in &mut groups {
        if update::judge(&mut draft, group) {
            continue;
        }
        match group.mode() {
            Some(ServiceMode::Replicated { replicas }) => {
                replicated::orchestrate(&mut draft, group, replicas);
                update::advance(&mut draft, group);
            }
            Some(ServiceMode::Global) => {
                global::orchestrate(&mut draft, group);
                update::advance(&mut draft, group);
            }
            Some(ServiceMode::ReplicatedJob { max_concurrent, total_completions }) => {
                job::replicated(&mut draft, group, max_concurrent, total_completions);
            }
            Some(ServiceMode::GlobalJob) => job::global(&mut draft, group),
            None => group.remove_all(&mut draft),
        }
        restart::raise(&mut draft, group);
        reap::reap(&mut draft, group);
        schedule::enlist(&mut draft, group);
    }
    schedule::place(&mut draft);
    draft.finish()
}
