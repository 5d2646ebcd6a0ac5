//! A simulated machine: its agent and containers, without a container.
//!
//! The agent sees its assignments as a whole and takes every task one step nearer to what is
//! wanted of it, as the real one does; cut off, it goes on with what it last saw.

use std::collections::BTreeMap;

use crypto::NodeId;
use model::service::Resources;
use model::{
    Admission, Command, Grant, NodeDescription, State, Task, TaskId, TaskState, TaskStatus,
    UnixNanos,
};

use crate::services::CPU;

/// Processors of a machine, for reservations.
pub const CPUS: i64 = 4;
/// A slow machine takes a step every so many turns.
const SLOWNESS: u32 = 5;

/// A machine that runs tasks.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its host name.
    pub name: String,
    /// Whether its daemon runs.
    pub is_up: bool,
    /// Whether it and the leader hear each other.
    pub is_connected: bool,
    /// Whether everything takes it long.
    pub is_slow: bool,
    /// When the leader last heard of it.
    pub heard_at: UnixNanos,
    /// How far each task's container is; one that ended stays until it is not assigned any more.
    pub containers: BTreeMap<TaskId, TaskState>,
    key: [u8; 32],
    incarnation: u64,
    /// What it was last told to have, with what is wanted of it.
    assigned: BTreeMap<TaskId, TaskState>,
    n_turns: u32,
}

impl Machine {
    /// The `nth` machine that was ever made.
    #[must_use]
    pub fn new(nth: u8) -> Self {
        Self {
            name: format!("m{nth}"),
            is_up: true,
            is_connected: true,
            is_slow: false,
            heard_at: UnixNanos(0),
            containers: BTreeMap::new(),
            key: [nth; 32],
            incarnation: 1,
            assigned: BTreeMap::new(),
            n_turns: 0,
        }
    }

    /// The node that it is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId::of_key(&self.key)
    }

    /// Whether the leader hears it.
    #[must_use]
    pub const fn is_heard(&self) -> bool {
        self.is_up && self.is_connected
    }

    /// How it asks to be admitted.
    #[must_use]
    pub fn admission(&self) -> Admission {
        let description = NodeDescription {
            hostname: self.name.clone(),
            resources: Resources { nano_cpus: CPUS * CPU, ..Resources::default() },
            ..NodeDescription::default()
        };
        Admission {
            id: self.id(),
            ed25519: self.key,
            x25519: self.key,
            grant: Grant::Eligible,
            token: None,
            availability: model::Availability::Active,
            incarnation: self.incarnation,
            description,
        }
    }

    /// Whether the state knows it as it is now.
    #[must_use]
    pub fn is_admitted(&self, state: &State) -> bool {
        state.node(self.id()).is_some_and(|node| node.incarnation == self.incarnation)
    }

    /// Tasks whose process is there.
    pub fn running(&self) -> impl Iterator<Item = TaskId> {
        let runs = |state: TaskState| (TaskState::Starting..=TaskState::Running).contains(&state);
        self.containers.iter().filter(move |(_, state)| runs(**state)).map(|(id, _)| *id)
    }

    /// The daemon ends, its containers do not.
    pub const fn stop(&mut self) {
        self.is_up = false;
    }

    /// The power fails: every process is gone.
    pub fn lose_power(&mut self) {
        self.is_up = false;
        for state in self.containers.values_mut().filter(|state| !state.is_terminal()) {
            *state = TaskState::Failed;
        }
    }

    /// The daemon starts again.
    pub const fn start(&mut self) {
        if !self.is_up {
            self.is_up = true;
            self.incarnation += 1;
        }
    }

    /// The process of one task ends in failure.
    pub fn fail(&mut self, nth: usize) {
        let Some(task) = self.running().nth(nth) else { return };
        self.containers.insert(task, TaskState::Failed);
    }

    /// One turn of the agent; what it reports, if somebody hears it and something is new.
    pub fn turn(&mut self, state: &State, now: UnixNanos) -> Option<Command> {
        if !self.is_up {
            return None;
        }
        if self.is_connected && self.is_admitted(state) {
            let tasks = state.tasks_of_node(self.id());
            self.assigned = tasks.map(|task| (task.id, task.desired)).collect();
        }
        self.n_turns += 1;
        if !self.is_slow || self.n_turns.is_multiple_of(SLOWNESS) {
            self.containers.retain(|task, _| self.assigned.contains_key(task));
            for (task, desired) in &self.assigned {
                let seen = self.containers.entry(*task).or_insert(TaskState::Assigned);
                *seen = next(*seen, *desired);
            }
        }
        if self.is_connected && self.is_admitted(state) { self.report(state, now) } else { None }
    }

    fn report(&self, state: &State, now: UnixNanos) -> Option<Command> {
        let news = |task: &&std::sync::Arc<Task>| {
            self.containers
                .get(&task.id)
                .is_some_and(|seen| task.status.state < *seen && !task.status.state.is_terminal())
        };
        let statuses: Vec<(TaskId, TaskStatus)> = state
            .tasks_of_node(self.id())
            .filter(news)
            .map(|task| {
                let seen = self.containers[&task.id];
                (task.id, TaskStatus { state: seen, at: now, ..task.status.clone() })
            })
            .collect();
        let (node, incarnation) = (self.id(), self.incarnation);
        (!statuses.is_empty()).then_some(Command::ReportTasks { node, incarnation, statuses })
    }
}

/// The next state of a task, given what is wanted of it.
fn next(seen: TaskState, desired: TaskState) -> TaskState {
    use TaskState::{Accepted, Assigned, Complete, Preparing, Ready, Running, Shutdown, Starting};

    if seen.is_terminal() {
        return seen;
    }
    if Complete < desired {
        return Shutdown;
    }
    if seen == Running {
        return if desired == Complete { Complete } else { Running };
    }
    // Ready is where a task waits until it is wanted further.
    let steps = [Assigned, Accepted, Preparing, Ready, Starting, Running];
    let reachable = if desired < Running { &steps[..4] } else { &steps };
    reachable.iter().copied().find(|step| seen < *step).unwrap_or(seen)
}
