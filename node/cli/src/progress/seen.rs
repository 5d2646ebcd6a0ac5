//! How far a service is, from what the API shows of it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use api::wire::service::Service;
use api::wire::task::Task;

/// How far a service is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Goal {
    /// Everything is as it should be.
    pub(super) reached: bool,
    /// It is a job: it ends.
    pub(super) is_job: bool,
    /// It cannot be reached.
    pub(super) failure: Option<String>,
    /// Tasks that are where they should be.
    pub(super) n_done: u64,
    /// Tasks that should be.
    pub(super) n_wanted: u64,
    /// What is going on: `overall progress`, `overall progress: rolling back update`, …
    pub(super) title: String,
    /// One line for each slot: its name and its state or error.
    pub(super) slots: Vec<(String, String)>,
}

/// States in the order that tasks go through them; what is not here is over.
const ALIVE: [&str; 8] =
    ["new", "pending", "assigned", "accepted", "preparing", "ready", "starting", "running"];

pub(super) fn look(service: &Service, tasks: &[Task], down: &BTreeSet<String>) -> Goal {
    let mode = &service.spec.mode;
    let is_job = mode.replicated_job.is_some() || mode.global_job.is_some();
    let iteration = service.job_status.as_ref().map(|status| status.job_iteration);
    let this_run = |task: &&Task| !is_job || iteration.is_none() || task.job_iteration == iteration;
    let newest = newest_by_slot(tasks.iter().filter(this_run), down);
    let done = |task: &&&Task| {
        if is_job {
            task.status.state == "complete"
        } else {
            task.status.state == "running" && task.desired_state == "running"
        }
    };
    let n_done = newest.values().filter(done).count() as u64;
    let n_wanted = match (&mode.replicated, &mode.replicated_job) {
        (Some(replicated), _) => replicated.replicas.unwrap_or(1),
        (_, Some(job)) => job.total_completions.unwrap_or(1),
        // As many as there are nodes that fit: the tasks that exist show how many.
        (None, None) => (newest.len() as u64).max(1),
    };
    let update = service.update_status.as_ref();
    let state = update.map_or("", |update| update.state.as_str());
    let message = update.map_or("", |update| update.message.as_str());
    let failure = match state {
        "paused" => Some(format!("service update paused: {message}")),
        "rollback_paused" => Some(format!("service rollback paused: {message}")),
        _ => None,
    };
    let rolling_back = state.starts_with("rollback") && state != "rollback_completed";
    let title =
        if rolling_back { "overall progress: rolling back update" } else { "overall progress" };
    let updating = state == "updating" || state == "rollback_started";
    Goal {
        reached: n_done == n_wanted && !updating,
        is_job,
        failure,
        n_done,
        n_wanted,
        title: title.to_owned(),
        slots: newest.iter().map(|(slot, task)| (slot.show(n_wanted), words(task))).collect(),
    }
}

/// A replica's number, or the node of a global task.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Slot {
    Replica(u64),
    Node(String),
}

impl Slot {
    fn show(&self, n_wanted: u64) -> String {
        match self {
            Self::Replica(number) => format!("{number}/{n_wanted}"),
            Self::Node(id) => crate::rows::short(id).to_owned(),
        }
    }
}

/// The task that counts for each slot: one that should run beats one that should not, then the
/// newer one. Tasks on nodes that are down do not count.
fn newest_by_slot<'a>(
    tasks: impl Iterator<Item = &'a Task>,
    down: &BTreeSet<String>,
) -> BTreeMap<Slot, &'a Task> {
    let mut newest: BTreeMap<Slot, &Task> = BTreeMap::new();
    for task in tasks.filter(|task| !down.contains(&task.node_id) && task.desired_state != "remove")
    {
        let slot = if task.slot == 0 && !task.node_id.is_empty() {
            Slot::Node(task.node_id.clone())
        } else {
            Slot::Replica(task.slot)
        };
        let rank = |task: &Task| {
            let wanted = ALIVE.contains(&task.desired_state.as_str());
            (wanted, api::wire::time::parse(&task.created_at))
        };
        let kept = newest.entry(slot).or_insert(task);
        if rank(kept) < rank(task) {
            *kept = task;
        }
    }
    newest
}

fn words(task: &Task) -> String {
    if task.status.err.is_empty() {
        task.status.state.clone()
    } else {
        format!("{}: {}", task.status.state, task.status.err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(service: &str, tasks: &str, after: &str) {
        let service: Service = serde_json::from_str(service).unwrap();
        let tasks: Vec<Task> = serde_json::from_str(tasks).unwrap();
        let goal = look(&service, &tasks, &BTreeSet::from(["gone".to_owned()]));
        let slots = goal.slots.iter().map(|(slot, words)| format!("{slot} {words}"));
        let slots = slots.collect::<Vec<_>>().join("; ");
        let Goal { reached, failure, n_done, n_wanted, .. } = goal;
        let failure = failure.unwrap_or_default();
        let got = format!("{n_done}/{n_wanted} {reached} {failure}[{slots}]");
        assert_eq!(got, after);
    }

    const TWO: &str = r#"{"Spec":{"Mode":{"Replicated":{"Replicas":2}}}}"#;

    fn task(slot: u64, second: u64, desired: &str, state: &str, node: &str) -> String {
        format!(
            r#"{{"Slot":{slot},"CreatedAt":"2026-01-01T00:00:{second:02}Z","NodeID":"{node}",
            "DesiredState":"{desired}","Status":{{"State":"{state}"}}}}"#
        )
    }

    #[test]
    fn a_replicated_service_is_there_when_each_slot_runs() {
        let one = task(1, 1, "running", "running", "n");
        let two = task(2, 1, "running", "starting", "n");
        check(TWO, &format!("[{one},{two}]"), "1/2 false [1/2 running; 2/2 starting]");
        let two = task(2, 1, "running", "running", "n");
        check(TWO, &format!("[{one},{two}]"), "2/2 true [1/2 running; 2/2 running]");
        let zero = r#"{"Spec":{"Mode":{"Replicated":{"Replicas":0}}}}"#;
        check(zero, "[]", "0/0 true []");
    }

    #[test]
    fn tasks_that_failed_or_are_cut_off_do_not_count() {
        let old = task(1, 1, "shutdown", "failed", "n");
        let new = task(1, 2, "ready", "ready", "n");
        check(TWO, &format!("[{old},{new}]"), "0/2 false [1/2 ready]");
        let cut_off = task(2, 1, "running", "running", "gone");
        check(TWO, &format!("[{cut_off}]"), "0/2 false []");
        let leaving = task(1, 1, "shutdown", "running", "n");
        check(TWO, &format!("[{leaving}]"), "0/2 false [1/2 running]");
    }

    #[test]
    fn a_global_service_needs_a_task() {
        let service = r#"{"Spec":{"Mode":{"Global":{}}}}"#;
        check(service, "[]", "0/1 false []");
        let tasks = [task(0, 1, "running", "running", "a"), task(0, 1, "running", "new", "b")];
        check(service, &format!("[{}]", tasks.join(",")), "1/2 false [a running; b new]");
    }

    #[test]
    fn an_update_that_pauses_is_a_failure_and_one_that_goes_on_is_not_there() {
        let one = task(1, 1, "running", "running", "n");
        let service = |state: &str| {
            format!(
                r#"{{"Spec":{{"Mode":{{"Replicated":{{"Replicas":1}}}}}},
                "UpdateStatus":{{"State":"{state}","Message":"why"}}}}"#
            )
        };
        let tasks = format!("[{one}]");
        check(&service("updating"), &tasks, "1/1 false [1/1 running]");
        check(&service("completed"), &tasks, "1/1 true [1/1 running]");
        check(&service("paused"), &tasks, "1/1 true service update paused: why[1/1 running]");
    }

    #[test]
    fn a_job_is_there_when_its_tasks_are_complete() {
        let job = r#"{"Spec":{"Mode":{"ReplicatedJob":{"TotalCompletions":1}}}}"#;
        check(
            job,
            &format!("[{}]", task(0, 1, "complete", "running", "")),
            "0/1 false [0/1 running]",
        );
        check(
            job,
            &format!("[{}]", task(0, 1, "complete", "complete", "")),
            "1/1 true [0/1 complete]",
        );
    }
}
