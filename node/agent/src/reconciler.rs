//! The shell around [`next_step`]: looks, decides, acts, reports.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use model::{Slot, TaskId, TaskState, TaskStatus};
use runtime::{Blame, Container, Phase, Prepared, Runtime, RuntimeError, TaskContainer};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, instrument, warn};

use crate::record::{Held, Record};
use crate::step::{Step, next_step};
use crate::{Assignment, AssignmentSet, Config, Reports, TaskFiles, status};

/// A look at everything, in case a change was missed.
const RESYNC: Duration = Duration::from_secs(5);
/// A runtime that does not list its containers by then is asked again in the next round.
const LIST_MAX: Duration = Duration::from_secs(10);
/// Pulls at the same time: more only share the line of the node.
const PREPARES_MAX: usize = 4;
/// Other steps at the same time: each is a handful of system calls, or a wait for one.
const STEPS_MAX: usize = 32;
/// A big image over a slow line takes its time; a registry that hangs must end some time.
const PREPARE_MAX: Duration = Duration::from_secs(30 * 60);
/// Starting touches no network.
const START_MAX: Duration = Duration::from_secs(60);
/// What stopping and removing may take beyond the grace of the service.
const STOP_MARGIN: Duration = Duration::from_secs(30);
/// Docker's default.
const GRACE: Duration = Duration::from_secs(10);
/// First and longest wait before a step is tried again.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// A task whose node cannot start it goes elsewhere after so many tries.
const FAILURES_MAX: u32 = 5;

/// What a step came to.
#[derive(Debug)]
enum Outcome {
    Prepared(Result<Prepared, RuntimeError>),
    Started(Result<i64, RuntimeError>),
    /// Of a stop, a discard or a removal: seen in the next round.
    Ended(Result<(), RuntimeError>),
}

/// A step under way.
#[derive(Debug)]
struct Running {
    step: Step,
    handle: AbortHandle,
}

/// A step that failed.
#[derive(Debug)]
struct Tries {
    step: Step,
    failures: u32,
    retry_at: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Reconciler {
    config: Config,
    runtime: Arc<dyn Runtime>,
    record: Record,
    /// Whether a leader was heard in this life: only then is anything removed.
    heard: bool,
    held: Held,
    /// How long each task may take to stop, also once its assignment is gone.
    graces: BTreeMap<TaskId, Duration>,
    /// Whether `held` is on disk.
    saved: bool,
    tries: BTreeMap<TaskId, Tries>,
    running: BTreeMap<TaskId, Running>,
    steps: JoinSet<(TaskId, Outcome)>,
    reports: watch::Sender<Reports>,
}

impl Reconciler {
    pub(crate) fn new(
        config: Config,
        runtime: Arc<dyn Runtime>,
        (record, held): (Record, Held),
        reports: watch::Sender<Reports>,
    ) -> Self {
        let graces = held.assignments.iter().map(|(id, held)| (*id, grace(held))).collect();
        Self {
            config,
            runtime,
            record,
            heard: false,
            held,
            graces,
            saved: true,
            tries: BTreeMap::new(),
            running: BTreeMap::new(),
            steps: JoinSet::new(),
            reports,
        }
    }

    /// Reconciles until told to stop. Whatever runs, goes on running.
    #[instrument(name = "agent", skip_all)]
    pub(crate) async fn run(
        mut self,
        mut assignments: watch::Receiver<Arc<AssignmentSet>>,
        stop: CancellationToken,
    ) {
        let mut changes = self.runtime.changes();
        let mut resync = interval(RESYNC);
        resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        assignments.mark_changed();
        let mut assigner_gone = false;
        let mut runtime_gone = false;
        loop {
            let retry_at = self.tries.values().filter_map(|tries| tries.retry_at).min();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(joined) = self.steps.join_next_with_id() => {
                    self.finished(joined);
                    // What is done already costs no round of its own.
                    while let Some(joined) = self.steps.try_join_next_with_id() {
                        self.finished(joined);
                    }
                }
                changed = assignments.changed(), if !assigner_gone => match changed {
                    Ok(()) => {
                        let set = Arc::clone(&assignments.borrow_and_update());
                        self.assigned(&set);
                    }
                    // What is held goes on until the process ends.
                    Err(_) => assigner_gone = true,
                },
                changed = changes.changed(), if !runtime_gone => runtime_gone = changed.is_err(),
                () = sleep_until(retry_at.unwrap_or_else(Instant::now)), if retry_at.is_some() => {}
                _ = resync.tick() => {}
            }
            self.round().await;
            self.publish().await;
        }
    }

    /// Takes a new set of assignments; what a leader knows better of a task counts.
    fn assigned(&mut self, set: &AssignmentSet) {
        if !set.heard {
            return;
        }
        self.heard = true;
        if self.held.assignments != set.tasks {
            self.held.assignments.clone_from(&set.tasks);
            self.graces.extend(set.tasks.iter().map(|(id, task)| (*id, grace(task))));
            self.saved = false;
        }
    }

    /// Compares everything wanted with everything seen, and takes the next step of each.
    async fn round(&mut self) {
        let seen = match timeout(LIST_MAX, self.runtime.list()).await {
            Ok(Ok(seen)) => seen,
            Ok(Err(error)) => {
                let error: &(dyn Error + 'static) = &error;
                warn!(error, retry_in = ?RESYNC, "containers were not listed");
                return;
            }
            Err(_) => {
                warn!(waited = ?LIST_MAX, "runtime did not answer");
                return;
            }
        };
        let seen: BTreeMap<TaskId, Container> = seen
            .into_iter()
            .filter(|container| container.cluster == self.config.cluster)
            .map(|container| (container.task, container))
            .collect();
        let now = Instant::now();
        for tries in self.tries.values_mut() {
            tries.retry_at = tries.retry_at.filter(|at| now < *at);
        }
        let assigned = self.held.assignments.keys();
        let ids: BTreeSet<TaskId> =
            assigned.chain(seen.keys()).chain(self.held.statuses.keys()).copied().collect();
        debug!(wanted = self.held.assignments.len(), seen = seen.len(), "looked at all tasks");
        for id in ids {
            self.consider(id, seen.get(&id));
        }
    }

    fn consider(&mut self, id: TaskId, seen: Option<&Container>) {
        let assignment = self.held.assignments.get(&id);
        let wanted = assignment.map(|assignment| assignment.task.desired);
        if let Some(Running { step: Step::Prepare, handle }) = self.running.get(&id)
            && wanted.is_none_or(|wanted| TaskState::Shutdown <= wanted)
        {
            // Nobody waits for this image any more.
            handle.abort();
            return;
        }
        if self.running.contains_key(&id) || (assignment.is_none() && !self.heard) {
            return;
        }
        let known = assignment.map(|assignment| assignment.task.status.clone());
        let reported = self.reported(id, known);
        let step = next_step(wanted, reported, seen.map(|container| &container.phase));
        if step == Step::Prepare && self.awaits_files(id) {
            return;
        }
        match self.tries.get(&id) {
            Some(tries) if tries.step != step => _ = self.tries.remove(&id),
            Some(tries) if tries.retry_at.is_some() => return,
            Some(_) | None => {}
        }
        self.take(id, step, seen);
    }

    fn awaits_files(&self, id: TaskId) -> bool {
        let assignment = self.held.assignments.get(&id);
        assignment.is_some_and(|held| held.files.are_missing(&held.task.spec))
    }

    /// How far the task is said to be: by this node, or by what it told a leader before it
    /// lost its record.
    fn reported(&mut self, id: TaskId, known: Option<TaskStatus>) -> TaskState {
        let mine = self.held.statuses.get(&id);
        let Some(known) = known else {
            return mine.map_or(TaskState::Running, |mine| mine.state);
        };
        match mine {
            Some(mine) if known.state <= mine.state => mine.state,
            _ => {
                let mut status = known;
                status::reach(&mut status, TaskState::Accepted);
                let state = status.state;
                self.held.statuses.insert(id, status);
                self.saved = false;
                state
            }
        }
    }

    fn take(&mut self, id: TaskId, step: Step, seen: Option<&Container>) {
        match step {
            Step::Leave => {}
            Step::Forget => {
                self.tries.remove(&id);
                self.graces.remove(&id);
                self.saved &= self.held.statuses.remove(&id).is_none();
            }
            Step::ReportReady | Step::ReportRunning | Step::ReportEnded | Step::ReportShutdown => {
                self.report(id, step, seen);
            }
            Step::Prepare | Step::Start | Step::Stop | Step::Discard | Step::Remove => {
                self.begin(id, step);
            }
        }
    }

    fn report(&mut self, id: TaskId, step: Step, seen: Option<&Container>) {
        let Some(status) = self.held.statuses.get_mut(&id) else { return };
        self.saved = false;
        let native_id = seen.map(|container| container.native_id.as_str());
        let phase = seen.map(|container| &container.phase);
        match (step, phase) {
            (Step::ReportReady, _) => {
                status::contain(status, native_id.unwrap_or_default(), 0);
                status::reach(status, TaskState::Ready);
            }
            (Step::ReportRunning, Some(Phase::Running { pid, .. })) => {
                status::contain(status, native_id.unwrap_or_default(), *pid);
                status::reach(status, TaskState::Running);
                info!(task.id = %id, "task runs");
            }
            (Step::ReportEnded, _) => {
                status::end(status, native_id, phase);
                info!(task.id = %id, state = status.state.as_str(), reason = %status.error, "task ended");
            }
            (Step::ReportShutdown, _) => {
                if let Some(Phase::Exited(exit)) = phase {
                    status::exited(status, exit);
                }
                status::reach(status, TaskState::Shutdown);
                info!(task.id = %id, "task was stopped");
            }
            _ => {}
        }
    }

    /// Starts a step that takes time, if there is room for it now; else a later round does.
    fn begin(&mut self, id: TaskId, step: Step) {
        let preparing = step == Step::Prepare;
        let same = |running: &&Running| (running.step == Step::Prepare) == preparing;
        let limit = if preparing { PREPARES_MAX } else { STEPS_MAX };
        if limit <= self.running.values().filter(same).count() {
            return;
        }
        let runtime = Arc::clone(&self.runtime);
        let assignment = self.held.assignments.get(&id);
        let grace = self.graces.get(&id).copied().unwrap_or(GRACE);
        let handle = match (step, assignment) {
            (Step::Prepare, Some(assignment)) => {
                let container = container(&self.config, assignment);
                let unavailable = match &assignment.files {
                    TaskFiles::Unavailable(reason) => Some(reason.clone()),
                    TaskFiles::Awaited | TaskFiles::Here(_) => None,
                };
                self.reach(id, TaskState::Preparing);
                self.steps.spawn(async move {
                    if let Some(reason) = unavailable {
                        return (id, Outcome::Prepared(Err(RuntimeError::Spec { reason })));
                    }
                    let prepared = limited(PREPARE_MAX, runtime.prepare(&container)).await;
                    (id, Outcome::Prepared(prepared))
                })
            }
            (Step::Start, _) => {
                self.reach(id, TaskState::Starting);
                self.steps.spawn(async move {
                    (id, Outcome::Started(limited(START_MAX, runtime.start(id)).await))
                })
            }
            (Step::Stop, _) => {
                info!(task.id = %id, ?grace, "task is being stopped");
                self.steps.spawn(async move {
                    let stopped = limited(grace + STOP_MARGIN, runtime.stop(id, grace)).await;
                    (id, Outcome::Ended(stopped))
                })
            }
            (Step::Discard, _) => self.steps.spawn(async move {
                (id, Outcome::Ended(limited(STOP_MARGIN, runtime.remove(id)).await))
            }),
            _ => {
                let reason = "it is not assigned to this node any more";
                info!(task.id = %id, reason, "container is being removed");
                self.steps.spawn(async move {
                    let removal = async {
                        runtime.stop(id, grace).await?;
                        runtime.remove(id).await
                    };
                    (id, Outcome::Ended(limited(grace + STOP_MARGIN, removal).await))
                })
            }
        };
        self.running.insert(id, Running { step, handle });
    }

    fn reach(&mut self, id: TaskId, state: TaskState) {
        if let Some(status) = self.held.statuses.get_mut(&id) {
            status::reach(status, state);
            self.saved = false;
        }
    }

    /// Takes note of what a step came to.
    fn finished(&mut self, joined: Result<(tokio::task::Id, (TaskId, Outcome)), JoinError>) {
        let (id, outcome) = match joined {
            Ok((_, finished)) => finished,
            Err(error) => return self.broken(&error),
        };
        let step = self.running.remove(&id).map_or(Step::Leave, |running| running.step);
        let result = match outcome {
            Outcome::Prepared(Ok(prepared)) => {
                if let Some(status) = self.held.statuses.get_mut(&id) {
                    status::contain(status, &prepared.native_id, 0);
                }
                self.reach(id, TaskState::Ready);
                Ok(())
            }
            Outcome::Started(Ok(pid)) => {
                if let Some(container) =
                    self.held.statuses.get_mut(&id).and_then(|status| status.container.as_mut())
                {
                    container.pid = pid;
                }
                // That it runs, and is well, is for the next look to say.
                info!(task.id = %id, "task was started");
                Ok(())
            }
            Outcome::Ended(Ok(())) => Ok(()),
            Outcome::Prepared(Err(error))
            | Outcome::Started(Err(error))
            | Outcome::Ended(Err(error)) => Err(error),
        };
        match result {
            Ok(()) => _ = self.tries.remove(&id),
            Err(error) => self.failed(id, step, &error),
        }
    }

    /// A step was aborted, or it panicked: the next round looks at its task again.
    fn broken(&mut self, error: &JoinError) {
        let broken = self.running.iter().find(|(_, running)| running.handle.id() == error.id());
        let Some((id, step)) = broken.map(|(id, running)| (*id, running.step)) else { return };
        self.running.remove(&id);
        if !error.is_cancelled() {
            let cause: &(dyn Error + 'static) = error;
            error!(error = cause, task.id = %id, "step panicked");
            let reason = "the runtime failed on a step".to_owned();
            self.failed(id, step, &RuntimeError::Node { reason });
        }
    }

    fn failed(&mut self, id: TaskId, step: Step, error: &RuntimeError) {
        let fresh = Tries { step, failures: 0, retry_at: None };
        let tries = self.tries.entry(id).or_insert(fresh);
        // While nobody knows how the containers are, no try is held against the task.
        let counts = error.blame() != Blame::Engine;
        tries.failures = tries.failures.saturating_add(u32::from(counts));
        let gives_up = error.blame() == Blame::Spec || FAILURES_MAX <= tries.failures;
        let text = status::error_text(error);
        let may_end = matches!(step, Step::Prepare | Step::Start);
        if gives_up && may_end {
            if let Some(status) = self.held.statuses.get_mut(&id) {
                warn!(task.id = %id, ?step, reason = %text, "task was given up");
                status::fail(status, text);
                self.saved = false;
            }
            self.tries.remove(&id);
            return;
        }
        let (first, longest) = BACKOFF;
        let doubled = first.saturating_mul(1 << tries.failures.saturating_sub(1).min(16));
        let retry_in = doubled.min(longest);
        tries.retry_at = Some(Instant::now() + retry_in);
        warn!(task.id = %id, ?step, reason = %text, ?retry_in, "step failed");
        if may_end && let Some(status) = self.held.statuses.get_mut(&id) {
            status::complain(status, text);
            self.saved = false;
        }
    }

    /// Writes down what changed, then tells it: never the other way round.
    async fn publish(&mut self) {
        if self.saved {
            return;
        }
        let (record, held) = (self.record.clone(), self.held.clone());
        let written = tokio::task::spawn_blocking(move || record.write(held)).await;
        match written {
            Ok(Ok(())) => self.saved = true,
            // Tasks go on without the record: it only helps after a restart. A full disk is
            // tried again each round.
            Ok(Err(error)) => {
                let error: &(dyn Error + 'static) = &error;
                warn!(error, retry_in = ?RESYNC, "record of tasks was not written");
            }
            Err(error) => {
                let error: &(dyn Error + 'static) = &error;
                error!(error, "writing the record of tasks panicked");
            }
        }
        let statuses = Arc::new(self.held.statuses.clone());
        self.reports.send_if_modified(|reports| {
            let modified = *reports != statuses;
            *reports = statuses;
            modified
        });
    }
}

/// A runtime operation with an end.
async fn limited<T>(
    limit: Duration,
    operation: impl Future<Output = Result<T, RuntimeError>>,
) -> Result<T, RuntimeError> {
    timeout(limit, operation).await.unwrap_or_else(|_| {
        let reason = format!("the runtime did not answer within {} s", limit.as_secs());
        Err(RuntimeError::Node { reason })
    })
}

fn grace(assignment: &Assignment) -> Duration {
    assignment.task.spec.container.stop_grace_nanos.map_or(GRACE, Duration::from_nanos)
}

fn container(config: &Config, assignment: &Assignment) -> TaskContainer {
    let task = &assignment.task;
    let slot = match task.slot {
        Slot::Replica(number) => number.to_string(),
        Slot::Node(node) => node.to_string(),
    };
    TaskContainer {
        task: task.id,
        service: task.service,
        service_name: assignment.service_name.clone(),
        name: format!("{}.{slot}.{}", assignment.service_name, task.id),
        slot,
        node: config.node,
        node_hostname: config.hostname.clone(),
        cluster: config.cluster,
        spec: Arc::clone(&task.spec),
        registry_auth: assignment.registry_auth.clone(),
        files: assignment.files.list(),
    }
}
