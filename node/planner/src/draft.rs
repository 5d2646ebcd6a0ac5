//! The plan in the making: what was decided so far, and what that changes.

use std::sync::Arc;

use crypto::NodeId;
use model::{Availability, Decision, NewTask, Node, NodeState, Task, TaskState, UnixNanos};

use crate::load::Load;
use crate::schedule::Unplaced;
use crate::{Plan, Snapshot, Waiting};

/// Decisions of one plan. The followers apply a plan in one go, and heartbeats wait for it.
const DECISIONS_MAX: usize = 200;
/// Bytes of one plan: an entry of the log stays below 1 MiB with room to spare.
const BYTES_MAX: usize = 512 * 1024;
/// Bytes of a decision that carries no spec, reasons included; a generous guess.
const DECISION_BYTES: usize = 512;

/// What is known of the node of a task.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fate {
    /// It is here, or was not heard of yet.
    Here,
    /// It is down or said goodbye, since then: its tasks have successors, and it may return.
    Lost(UnixNanos),
    /// It was removed and cannot return.
    Removed,
}

#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) snapshot: Snapshot<'a>,
    pub(crate) load: Load,
    pub(crate) unplaced: Vec<Unplaced>,
    plan: Plan,
    n_decisions: usize,
    n_bytes: usize,
}

impl<'a> Draft<'a> {
    pub(crate) fn of(snapshot: Snapshot<'a>) -> Self {
        Self {
            snapshot,
            load: Load::of(snapshot.state),
            unplaced: Vec::new(),
            plan: Plan { based_on: snapshot.state.revision(), ..Plan::default() },
            n_decisions: 0,
            n_bytes: 0,
        }
    }

    pub(crate) const fn now(&self) -> UnixNanos {
        self.snapshot.now
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&'a Arc<Node>> {
        self.snapshot.state.node(id)
    }

    /// Whether the plan has no room: what comes now is left to the next one.
    ///
    /// Asked before each slot and not within one, so a slot is done whole.
    pub(crate) const fn is_full(&mut self) -> bool {
        let full = DECISIONS_MAX <= self.n_decisions || BYTES_MAX <= self.n_bytes;
        self.plan.more |= full;
        full
    }

    /// The state is about to change in a way that only the next plan can see.
    pub(crate) const fn plan_again(&mut self) {
        self.plan.more = true;
    }

    /// Plan again at this time, or before.
    pub(crate) fn wake(&mut self, at: UnixNanos) {
        let at = self.plan.wake_at.map_or(at, |other| other.min(at));
        self.plan.wake_at = Some(at);
    }

    /// What became of a node.
    pub(crate) fn fate(&self, id: NodeId) -> Fate {
        match self.node(id) {
            None => Fate::Removed,
            Some(node) => match node.status.state {
                NodeState::Down | NodeState::Disconnected => Fate::Lost(node.status.since),
                NodeState::Unknown | NodeState::Ready => Fate::Here,
            },
        }
    }

    /// Whether nobody is waiting for a task on this node to stop.
    pub(crate) fn is_lost(&self, id: NodeId) -> bool {
        self.fate(id) != Fate::Here
    }

    /// Whether a node may get new tasks, apart from what the task asks for.
    pub(crate) fn is_open(&self, node: &Node) -> bool {
        node.status.state == NodeState::Ready
            && node.spec.availability == Availability::Active
            && !self.snapshot.suspects.contains(&node.id)
    }

    /// Raises what is wanted of a task.
    pub(crate) fn desire(&mut self, task: &mut Arc<Task>, desired: TaskState) {
        if desired <= task.desired {
            return;
        }
        if is_wanted(task) && !is_wanted_state(desired) {
            self.load.close(task);
        }
        Arc::make_mut(task).desired = desired;
        self.decide(Decision::Desire { task: task.id, desired });
    }

    /// What became of the task is unknown, and will stay so.
    pub(crate) fn orphan(&mut self, task: &mut Arc<Task>) {
        Arc::make_mut(task).status.state = TaskState::Orphaned;
        self.decide(Decision::Orphan(task.id));
    }

    pub(crate) fn forget(&mut self, task: &Task) {
        self.decide(Decision::Forget(task.id));
    }

    pub(crate) fn decide(&mut self, decision: Decision) {
        self.count(DECISION_BYTES);
        self.plan.decisions.push(decision);
    }

    /// A task that is written once it is known whether a node fits it.
    pub(crate) fn create(&mut self, task: Task, spec_bytes: usize) {
        self.count(DECISION_BYTES.saturating_add(spec_bytes));
        self.unplaced.push(Unplaced { task: Arc::new(task), new: true });
    }

    /// Writes a new task, which [`Draft::create`] counted already.
    pub(crate) fn created(&mut self, task: Task) {
        self.plan.decisions.push(Decision::CreateTask(Box::new(NewTask { task })));
    }

    pub(crate) fn wait(&mut self, task: &Task, reason: String) {
        self.plan.waiting.push(Waiting {
            task: task.id,
            service: task.service,
            slot: task.slot,
            reason,
        });
    }

    const fn count(&mut self, bytes: usize) {
        self.n_decisions += 1;
        self.n_bytes = self.n_bytes.saturating_add(bytes);
    }

    pub(crate) fn finish(self) -> Plan {
        self.plan
    }
}

/// Whether a task is to fill its slot, now or soon.
pub(crate) fn is_wanted(task: &Task) -> bool {
    is_wanted_state(task.desired)
}

fn is_wanted_state(desired: TaskState) -> bool {
    desired <= TaskState::Complete
}
