//! Tasks: what nodes report of them, and the steps that are shared with plans.

use crypto::NodeId;

use crate::command::{Applied, Refused};
use crate::id::TaskId;
use crate::state::State;
use crate::task::{Task, TaskState, TaskStatus};

use super::At;

/// Bytes of a text that a node reports. A hostile node may write as much as it likes of its own
/// tasks; every manager keeps it in memory.
const TEXT_BYTES_MAX: usize = 1_024;
/// Ports that a node may report for one task.
const HOST_PORTS_MAX: usize = 64;

impl State {
    /// Takes what is news of a node's own tasks and passes over the rest.
    pub(super) fn report(
        &mut self,
        at: At,
        node: NodeId,
        incarnation: u64,
        statuses: &[(TaskId, TaskStatus)],
    ) -> Result<Applied, Refused> {
        let Some(admitted) = self.nodes.get(&node) else {
            return Err(Refused::Forbidden(format!("node {node} is not a member of the cluster")));
        };
        if incarnation != admitted.incarnation {
            return Err(Refused::Forbidden(format!(
                "node {node} reports with incarnation {incarnation}, it was admitted with {}",
                admitted.incarnation
            )));
        }
        for (id, status) in statuses {
            let Some(task) = self.tasks.get(id).cloned() else { continue };
            if task.node != Some(node) || !is_news(&task.status, status) {
                continue;
            }
            self.put_task(Task {
                status: bounded(status),
                modified: at.index,
                updated_at: at.now,
                ..Task::clone(&task)
            });
        }
        Ok(at.applied())
    }

    /// Raises what is wanted of a task; something lower than before is passed over.
    pub(super) fn desire(&mut self, at: At, id: TaskId, desired: TaskState) {
        let Some(task) = self.tasks.get(&id).cloned() else { return };
        if task.desired < desired {
            self.put_task(Task {
                desired,
                modified: at.index,
                updated_at: at.now,
                ..Task::clone(&task)
            });
        }
    }

    /// Gives up on a task whose node is gone. One that has ended stays as it ended.
    pub(super) fn orphan(&mut self, at: At, id: TaskId, message: &str) {
        let Some(task) = self.tasks.get(&id).cloned() else { return };
        if task.status.state.is_terminal() {
            return;
        }
        let mut task = Task::clone(&task);
        task.status.state = TaskState::Orphaned;
        task.status.at = at.now;
        message.clone_into(&mut task.status.message);
        task.modified = at.index;
        task.updated_at = at.now;
        self.put_task(task);
    }
}

/// Whether a report goes forward, or says more about the same state.
fn is_news(old: &TaskStatus, new: &TaskStatus) -> bool {
    if !is_reportable(new.state) {
        return false;
    }
    if new.state == old.state {
        return *old != bounded(new);
    }
    !old.state.is_terminal() && old.state < new.state
}

/// States that the node of a task writes; the others are the planner's.
const fn is_reportable(state: TaskState) -> bool {
    match state {
        TaskState::Accepted
        | TaskState::Preparing
        | TaskState::Ready
        | TaskState::Starting
        | TaskState::Running
        | TaskState::Complete
        | TaskState::Shutdown
        | TaskState::Failed
        | TaskState::Rejected => true,
        TaskState::New
        | TaskState::Pending
        | TaskState::Assigned
        | TaskState::Remove
        | TaskState::Orphaned => false,
    }
}

fn bounded(status: &TaskStatus) -> TaskStatus {
    let mut status = status.clone();
    cut(&mut status.message);
    cut(&mut status.error);
    if let Some(container) = &mut status.container {
        cut(&mut container.id);
    }
    status.host_ports.truncate(HOST_PORTS_MAX);
    for port in &mut status.host_ports {
        cut(&mut port.name);
    }
    status
}

fn cut(text: &mut String) {
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(0));
}
