//! Rolling updates: replaces tasks with an old spec, a few slots at a time.
//!
//! Nothing is remembered between plans. Which slots are dirty, which new task is on
//! its way and which one failed is read from the tasks: those of the running update
//! carry the service's `spec_version` and are younger than the update.
//!
//! Two deviations from Docker Swarm. A new task that ended counts as a failure of the
//! update for as long as the update runs, not only in its own `monitor` period: when it
//! came up is not known any more once it has ended. And an update that is complete has
//! seen all new tasks up for `monitor`, counted from the youngest.

use std::sync::Arc;

use model::service::{
    FailureAction, Placement, PortConfig, UpdateConfig, UpdateOrder, UpdateState, UpdateStatus,
};
use model::{
    Availability, Decision, NodeState, Service, Slot, State, Task, TaskId, TaskSpec, TaskState,
    UnixNanos,
};

use crate::draft::{Draft, is_wanted};
use crate::fit;
use crate::group::{Group, is_filled, newest, wanted};
use crate::restart::{self, ended_by_itself};

/// After the last slot Docker Swarm watches for at least the delay and one second.
const SETTLE_NANOS: u64 = 1_000_000_000;

/// How far an update is.
#[derive(Debug, Default)]
struct Progress {
    /// Slots to replace, in this order.
    dirty: Vec<Slot>,
    /// Slots whose new task is not up yet.
    n_starting: u64,
    /// Until when slots rest whose new task came up less than the delay ago.
    resting: Vec<UnixNanos>,
    /// New tasks that ended by themselves, oldest first.
    failed: Vec<TaskId>,
    /// When the youngest new task came up.
    last_up: UnixNanos,
    n_slots: u64,
}

/// Ends the update of a service if too many of its new tasks failed. Whether the service
/// goes back to its previous spec, so that all else about it is left to the next plan.
///
/// Comes before anything is decided about the service: what failed is no longer wanted.
pub(crate) fn judge(draft: &mut Draft<'_>, group: &mut Group) -> bool {
    let Some(service) = group.service.clone() else { return false };
    let Some(since) = since(&service) else { return false };
    if draft.is_full() {
        return false;
    }
    let config = config(&service);
    let progress = Progress::of(draft, group, &service, (config, since));
    let Some(status) = verdict(&service, &progress, (config, since)) else { return false };
    let rolls_back = status.state == UpdateState::RollbackStarted;
    if rolls_back {
        // The spec that comes back gets its version when it is written.
        let status = UpdateStatus { started_at: draft.now(), ..status };
        draft.decide(Decision::RollBack { service: service.id, status });
        draft.plan_again();
    } else {
        draft.decide(Decision::Update { service: service.id, status });
    }
    group.update_stopped = true;
    rolls_back
}

/// Takes the update of a service one step further.
pub(crate) fn advance(draft: &mut Draft<'_>, group: &mut Group) {
    let Some(service) = group.service.clone() else { return };
    if draft.is_full() {
        return;
    }
    let config = config(&service);
    close_superseded(draft, group, &service, config.order);
    let status = service.update_status.as_ref();
    if group.update_stopped || status.is_some_and(|status| is_paused(status.state)) {
        return;
    }
    let running = since(&service);
    let since = running.unwrap_or_else(|| draft.now());
    let progress = Progress::of(draft, group, &service, (config, since));
    if running.is_none() {
        if progress.dirty.is_empty() {
            return;
        }
        let status = UpdateStatus {
            state: UpdateState::Updating,
            started_at: since,
            completed_at: None,
            message: "update in progress".to_owned(),
        };
        draft.decide(Decision::Update { service: service.id, status });
    }
    let limit = if config.parallelism == 0 { u64::MAX } else { config.parallelism };
    let n_busy = progress.n_starting + progress.resting.len() as u64;
    let n_free = usize::try_from(limit.saturating_sub(n_busy)).unwrap_or(usize::MAX);
    if n_free < progress.dirty.len()
        && let Some(rested) = progress.resting.iter().min()
    {
        draft.wake(*rested);
    }
    for slot in progress.dirty.iter().take(n_free) {
        if draft.is_full() {
            return;
        }
        replace(draft, group, *slot, config.order);
    }
    if progress.dirty.is_empty() && progress.n_starting == 0 {
        complete(draft, &service, &progress, (config, since));
    }
}

/// When the update began that is under way.
fn since(service: &Service) -> Option<UnixNanos> {
    let status = service.update_status.as_ref()?;
    let running = matches!(status.state, UpdateState::Updating | UpdateState::RollbackStarted);
    running.then_some(status.started_at)
}

const fn is_paused(state: UpdateState) -> bool {
    matches!(state, UpdateState::Paused | UpdateState::RollbackPaused)
}

fn is_rollback(service: &Service) -> bool {
    let status = service.update_status.as_ref();
    status.is_some_and(|status| status.state == UpdateState::RollbackStarted)
}

fn config(service: &Service) -> UpdateConfig {
    let config = if is_rollback(service) { service.spec.rollback } else { service.spec.update };
    config.unwrap_or(UpdateConfig::DEFAULT)
}

impl Progress {
    fn of(
        draft: &Draft<'_>,
        group: &Group,
        service: &Service,
        (config, since): (UpdateConfig, UnixNanos),
    ) -> Self {
        let mut progress = Self::default();
        let mut dirty = Vec::new();
        let mut failed = Vec::new();
        for (slot, tasks) in &group.slots {
            let is_new = |task: &&Arc<Task>| {
                task.spec_version == service.spec_version
                    && since <= task.created_at
                    && task.desired != TaskState::Remove
            };
            let ended = || tasks.iter().filter(is_new).filter(|task| ended_by_itself(task));
            failed.extend(ended().map(|task| (task.created, task.id)));
            let Some(current) = current(tasks) else { continue };
            progress.n_slots += 1;
            if is_dirty(draft.snapshot.state, service, &group.ports, current) {
                let given_up =
                    ended().next_back().is_some_and(|last| !restart::is_restartable(tasks, last));
                if is_updatable(draft, service, *slot) && !given_up {
                    // What failed already waits for the others; what does not run loses nothing.
                    let tried = ended().next().is_some();
                    dirty.push((tried, current.status.state == TaskState::Running, *slot));
                }
            } else if is_wanted(current) && is_new(&current) {
                if current.status.state < TaskState::Running {
                    // A slot that failed and is empty is left to the restart policy.
                    let goes_on = ended().next().is_none() || wanted(tasks).nth(1).is_some();
                    progress.n_starting += u64::from(goes_on);
                } else {
                    progress.last_up = progress.last_up.max(current.updated_at);
                    let rested = current.updated_at.plus(config.delay_nanos);
                    if draft.now() < rested {
                        progress.resting.push(rested);
                    }
                }
            }
        }
        dirty.sort_unstable();
        progress.dirty = dirty.into_iter().map(|(_, _, slot)| slot).collect();
        failed.sort_unstable();
        progress.failed = failed.into_iter().map(|(_, task)| task).collect();
        progress
    }
}

/// How the update ends if too many of its tasks failed.
fn verdict(
    service: &Service,
    progress: &Progress,
    (config, since): (UpdateConfig, UnixNanos),
) -> Option<UpdateStatus> {
    let task = progress.failed.last()?;
    let n_failed = u64::try_from(progress.failed.len()).unwrap_or(u64::MAX);
    let ratio = u64::from(config.max_failure_ratio_ppm);
    if n_failed.saturating_mul(1_000_000) <= ratio.saturating_mul(progress.n_slots) {
        return None;
    }
    let rolling_back = is_rollback(service);
    let why = format!("due to failure or early termination of task {task}");
    let (state, message) = match config.failure_action {
        FailureAction::Continue => return None,
        // There is only one previous spec, and a rollback is never rolled back.
        FailureAction::Rollback if !rolling_back && service.previous_spec.is_some() => {
            (UpdateState::RollbackStarted, format!("update rolled back {why}"))
        }
        FailureAction::Pause | FailureAction::Rollback if rolling_back => {
            (UpdateState::RollbackPaused, format!("rollback paused {why}"))
        }
        FailureAction::Pause | FailureAction::Rollback => {
            (UpdateState::Paused, format!("update paused {why}"))
        }
    };
    Some(UpdateStatus { state, started_at: since, completed_at: None, message })
}

/// Ends the update once the youngest new task was watched for long enough.
fn complete(
    draft: &mut Draft<'_>,
    service: &Service,
    progress: &Progress,
    (config, since): (UpdateConfig, UnixNanos),
) {
    let monitor = config.monitor_nanos.unwrap_or(UpdateConfig::MONITOR_NANOS);
    let watch = monitor.max(config.delay_nanos.saturating_add(SETTLE_NANOS));
    let end = if progress.last_up == UnixNanos(0) { since } else { progress.last_up.plus(watch) };
    if draft.now() < end {
        draft.wake(end);
        return;
    }
    let (state, message) = if is_rollback(service) {
        (UpdateState::RollbackCompleted, "rollback completed")
    } else {
        (UpdateState::Completed, "update completed")
    };
    let completed_at = Some(draft.now());
    let message = message.to_owned();
    let status = UpdateStatus { state, started_at: since, completed_at, message };
    draft.decide(Decision::Update { service: service.id, status });
}

/// Gives a dirty slot its new task. Start-first keeps the old one if it runs; otherwise
/// there is nothing to keep.
fn replace(draft: &mut Draft<'_>, group: &mut Group, slot: Slot, order: UpdateOrder) {
    if let Some(tasks) = group.slots.get_mut(&slot) {
        let runs = |task: &&Arc<Task>| task.status.state == TaskState::Running;
        let kept = wanted(tasks).rev().find(runs).map(|task| task.id);
        for task in tasks.iter_mut().filter(|task| is_wanted(task)) {
            if order == UpdateOrder::StopFirst || kept != Some(task.id) {
                draft.desire(task, TaskState::Shutdown);
            }
        }
    }
    group.fill(draft, slot);
}

/// Stops the old task of a slot once its new one runs.
fn close_superseded(
    draft: &mut Draft<'_>,
    group: &mut Group,
    service: &Service,
    order: UpdateOrder,
) {
    for tasks in group.slots.values_mut() {
        if wanted(tasks).nth(1).is_none() || draft.is_full() {
            continue;
        }
        let clean = wanted(tasks)
            .rev()
            .find(|task| !is_dirty(draft.snapshot.state, service, &group.ports, task))
            .filter(|task| {
                order == UpdateOrder::StopFirst || task.status.state == TaskState::Running
            })
            .map(|task| task.id);
        let Some(clean) = clean else { continue };
        for task in tasks.iter_mut().filter(|task| is_wanted(task) && task.id != clean) {
            draft.desire(task, TaskState::Shutdown);
        }
    }
}

/// The task that fills a slot; none if the slot is closed, or about to get a successor.
fn current(tasks: &[Arc<Task>]) -> Option<&Arc<Task>> {
    if !is_filled(tasks) {
        return None;
    }
    wanted(tasks).next_back().or_else(|| newest(tasks))
}

/// Paused nodes keep what they have, and a node that is not there is not asked.
fn is_updatable(draft: &Draft<'_>, service: &Service, slot: Slot) -> bool {
    let Slot::Node(id) = slot else { return true };
    draft.node(id).is_some_and(|node| {
        draft.is_open(node) && fit::is_suitable(node, &service.spec.task.placement)
    })
}

/// Whether a task is what its service wants now: Docker's `_up-to-date`. A change of the number
/// of replicas alone leaves it so.
#[must_use]
pub fn is_up_to_date(state: &State, service: &Service, task: &Task) -> bool {
    !is_dirty(state, service, &service.ports, task)
}

/// Whether a task is not what the service wants now.
///
/// Other placement alone is no reason to restart a task whose node still fits.
fn is_dirty(state: &State, service: &Service, ports: &[PortConfig], task: &Task) -> bool {
    if task.spec_version == service.spec_version {
        return false;
    }
    if task.ports != ports {
        return true;
    }
    let wanted = &service.spec.task;
    if *task.spec == *wanted {
        return false;
    }
    let placed = TaskSpec {
        placement: Placement {
            constraints: wanted.placement.constraints.clone(),
            ..task.spec.placement.clone()
        },
        ..(*task.spec).clone()
    };
    if placed != *wanted {
        return true;
    }
    let Some(id) = task.node else { return true };
    state.node(id).is_some_and(|node| {
        node.status.state == NodeState::Ready
            && node.spec.availability == Availability::Active
            && !fit::meets_constraints(node, &wanted.placement)
    })
}
