//! The tasks of one service, by slot, as they will be once the plan is adopted.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::service::PortConfig;
use model::{
    Availability, Index, NodeState, Service, ServiceId, ServiceMode, Slot, State, Task, TaskId,
    TaskSpec, TaskState, TaskStatus,
};

use crate::draft::{Draft, Fate, is_wanted};
use crate::fit;
use crate::restart::{self, Start};

/// Bytes of a published port in the log, its name included; a generous guess.
const PORT_BYTES: usize = 64;

/// One service and its tasks.
#[derive(Debug)]
pub(crate) struct Group {
    /// `None` if it was removed and only its tasks are left.
    pub(crate) service: Option<Arc<Service>>,
    /// Its published ports, with those that this plan allocates.
    pub(crate) ports: Vec<PortConfig>,
    /// Its tasks; within a slot, oldest first.
    pub(crate) slots: BTreeMap<Slot, Vec<Arc<Task>>>,
    /// Whether this plan paused its update or took it back.
    pub(crate) update_stopped: bool,
    /// What new tasks run: one object for all of them, made when it is needed.
    spec: Option<(Arc<TaskSpec>, usize)>,
}

impl Group {
    /// Every service, and every service that only left tasks behind, by id.
    pub(crate) fn all(state: &State) -> Vec<Self> {
        let mut groups: BTreeMap<ServiceId, Self> =
            state.services().map(|service| (service.id, Self::new(Some(service)))).collect();
        for task in state.tasks() {
            let group = groups.entry(task.service).or_insert_with(|| Self::new(None));
            group.slots.entry(task.slot).or_default().push(task.clone());
        }
        for tasks in groups.values_mut().flat_map(|group| group.slots.values_mut()) {
            tasks.sort_by_key(|task| (task.created, task.id));
        }
        groups.into_values().collect()
    }

    fn new(service: Option<&Arc<Service>>) -> Self {
        Self {
            service: service.cloned(),
            ports: service.map(|service| service.ports.clone()).unwrap_or_default(),
            slots: BTreeMap::new(),
            update_stopped: false,
            spec: None,
        }
    }

    pub(crate) fn mode(&self) -> Option<ServiceMode> {
        self.service.as_ref().map(|service| service.spec.mode)
    }

    /// What is wanted of a task that may start.
    pub(crate) fn raised(&self) -> TaskState {
        match self.mode() {
            Some(ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob) => TaskState::Complete,
            Some(ServiceMode::Replicated { .. } | ServiceMode::Global) | None => TaskState::Running,
        }
    }

    /// Closes what cannot go on: what ended, what was lost with its node, and what its
    /// node may not run any more. The slots decide afterwards who gets a successor.
    pub(crate) fn settle(&mut self, draft: &mut Draft<'_>) {
        for (slot, task) in each(&mut self.slots) {
            if draft.is_full() {
                return;
            }
            if let Slot::Node(node) = slot
                && draft.fate(node) == Fate::Removed
            {
                // Nobody looks at the history of a slot that can never be filled again.
                draft.desire(task, TaskState::Remove);
            }
            if !is_wanted(task) {
                continue;
            }
            if let Some(node) = task.node
                && draft.fate(node) == Fate::Removed
                && !task.status.state.is_terminal()
            {
                draft.orphan(task);
            }
            if task.status.state.is_terminal() || is_evicted(draft, task) {
                draft.desire(task, TaskState::Shutdown);
            }
        }
    }

    /// Gives a slot a new task, which starts as soon as its predecessor lets it.
    pub(crate) fn fill(&mut self, draft: &mut Draft<'_>, slot: Slot) {
        let Some(service) = self.service.clone() else { return };
        let before = self.slots.get(&slot).map_or(&[][..], Vec::as_slice);
        if let Some(at) = restart::made_at(before, service.spec_version)
            && draft.now() < at
        {
            draft.wake(at);
            return;
        }
        let raised = self.raised();
        let (spec, spec_bytes) = self
            .spec
            .get_or_insert_with(|| {
                let bytes = estimated_bytes(&service.spec.task) + PORT_BYTES * self.ports.len();
                (Arc::new(service.spec.task.clone()), bytes)
            })
            .clone();
        let now = draft.now();
        let mut task = Task {
            id: TaskId::derive(service.id, slot, draft.snapshot.state.revision()),
            service: service.id,
            slot,
            node: None,
            desired: raised,
            status: TaskStatus {
                state: TaskState::Pending,
                at: now,
                message: "pending task scheduling".to_owned(),
                error: String::new(),
                container: None,
                host_ports: Vec::new(),
            },
            spec,
            spec_version: service.spec_version,
            ports: self.ports.clone(),
            job_iteration: service.job_iteration,
            // Younger than all others; the real number comes when it is applied.
            created: Index(u64::MAX),
            modified: Index(u64::MAX),
            created_at: now,
            updated_at: now,
        };
        let tasks = self.slots.entry(slot).or_default();
        if let Start::At(at) = restart::start(draft, tasks, &task) {
            draft.wake(at);
            task.desired = TaskState::Ready;
        }
        tasks.push(Arc::new(task.clone()));
        draft.create(task, spec_bytes);
    }

    /// Stops and forgets all tasks of a slot.
    pub(crate) fn remove_slot(&mut self, draft: &mut Draft<'_>, slot: Slot) {
        for task in self.slots.get_mut(&slot).into_iter().flatten() {
            draft.desire(task, TaskState::Remove);
        }
    }

    /// Stops and forgets all tasks.
    pub(crate) fn remove_all(&mut self, draft: &mut Draft<'_>) {
        let slots: Vec<Slot> = self.slots.keys().copied().collect();
        for slot in slots {
            if draft.is_full() {
                return;
            }
            self.remove_slot(draft, slot);
        }
    }
}

fn each(
    slots: &mut BTreeMap<Slot, Vec<Arc<Task>>>,
) -> impl Iterator<Item = (Slot, &mut Arc<Task>)> {
    slots.iter_mut().flat_map(|(slot, tasks)| tasks.iter_mut().map(|task| (*slot, task)))
}

/// The tasks of a slot that are to fill it: usually one, two while a start-first update
/// waits for the new one.
pub(crate) fn wanted(tasks: &[Arc<Task>]) -> impl DoubleEndedIterator<Item = &Arc<Task>> {
    tasks.iter().filter(|task| is_wanted(task))
}

/// The youngest task of a slot, unless it is to be forgotten.
pub(crate) fn newest(tasks: &[Arc<Task>]) -> Option<&Arc<Task>> {
    tasks.iter().rev().find(|task| task.desired != TaskState::Remove)
}

/// Whether a slot needs no new task: it has one, or the last one ended and stays so.
pub(crate) fn is_filled(tasks: &[Arc<Task>]) -> bool {
    wanted(tasks).next().is_some()
        || newest(tasks).is_some_and(|newest| !restart::is_restartable(tasks, newest))
}

/// Whether a task may not stay on its node.
fn is_evicted(draft: &Draft<'_>, task: &Task) -> bool {
    let Some(id) = task.node else { return false };
    let Some(node) = draft.node(id) else { return true };
    if draft.is_lost(id) || node.spec.availability == Availability::Drain {
        return true;
    }
    // A node that is paused or not heard of yet keeps what it has.
    node.status.state == NodeState::Ready
        && node.spec.availability == Availability::Active
        && !fit::meets_constraints(node, &task.spec.placement)
}

/// At least as many bytes as the spec has in the log: each value is longer as text.
fn estimated_bytes(spec: &TaskSpec) -> usize {
    format!("{spec:?}").len()
}
