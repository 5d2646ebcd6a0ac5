//! What is said of a task, in Docker Swarm's words.

use std::error::Error;
use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use model::task::ContainerStatus;
use model::{TaskState, TaskStatus, UnixNanos};
use runtime::{Exit, Phase, RuntimeError};

pub(crate) fn now() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Docker Swarm's word for reaching a state.
const fn message(state: TaskState) -> &'static str {
    match state {
        TaskState::New => "created",
        TaskState::Pending => "pending task scheduling",
        TaskState::Assigned => "scheduler assigned task to node",
        TaskState::Accepted => "accepted",
        TaskState::Preparing => "preparing",
        TaskState::Ready => "prepared",
        TaskState::Starting => "starting",
        TaskState::Running => "started",
        TaskState::Complete => "finished",
        TaskState::Shutdown => "shutdown",
        TaskState::Failed => "failed",
        TaskState::Rejected => "rejected",
        TaskState::Remove => "remove",
        TaskState::Orphaned => "orphaned",
    }
}

/// Takes a status forward to a state; a status never goes back.
pub(crate) fn reach(status: &mut TaskStatus, state: TaskState) {
    if status.state < state {
        status.state = state;
        status.at = now();
        message(state).clone_into(&mut status.message);
        status.error.clear();
    }
}

/// Ends a task that went wrong. The message stays: it says how far the task came.
pub(crate) fn fail(status: &mut TaskStatus, error: String) {
    let state =
        if status.state < TaskState::Starting { TaskState::Rejected } else { TaskState::Failed };
    if !status.state.is_terminal() {
        status.state = state;
        status.at = now();
        status.error = error;
    }
}

/// What goes wrong, of a task that will try again.
pub(crate) fn complain(status: &mut TaskStatus, error: String) {
    if !status.state.is_terminal() && status.error != error {
        status.at = now();
        status.error = error;
    }
}

/// Takes note of the container, which may have another process id than before.
pub(crate) fn contain(status: &mut TaskStatus, native_id: &str, pid: i64) {
    let container = status.container.get_or_insert_default();
    native_id.clone_into(&mut container.id);
    container.pid = pid;
}

/// A task ended without being told to.
pub(crate) fn end(status: &mut TaskStatus, native_id: Option<&str>, phase: Option<&Phase>) {
    if let Some(id) = native_id {
        contain(status, id, 0);
    }
    let Some(Phase::Exited(exit)) = phase else {
        let error = if phase.is_some() {
            "task: the container ended and nobody saw how"
        } else {
            "task: the container is gone"
        };
        reach(status, TaskState::Starting);
        fail(status, error.to_owned());
        return;
    };
    exited(status, exit);
    if exit.code == 0 && !exit.unhealthy {
        reach(status, TaskState::Complete);
    } else {
        // It was started, or it could not have ended.
        reach(status, TaskState::Starting);
        fail(status, exit_text(exit));
    }
}

/// Takes note of how the container ended.
pub(crate) fn exited(status: &mut TaskStatus, exit: &Exit) {
    let container: &mut ContainerStatus = status.container.get_or_insert_default();
    container.pid = 0;
    container.exit_code = exit.code;
}

fn exit_text(exit: &Exit) -> String {
    const UNHEALTHY: &str = "dockerexec: unhealthy container";
    if exit.code == 0 && exit.unhealthy {
        return UNHEALTHY.to_owned();
    }
    let mut text = format!("task: non-zero exit ({})", exit.code);
    if exit.unhealthy {
        _ = write!(text, ": {UNHEALTHY}");
        return text;
    }
    if exit.oom {
        text.push_str(": out of memory");
    }
    if !exit.error.is_empty() {
        // Writing to a string cannot fail.
        _ = write!(text, ": {}", exit.error);
    }
    text
}

/// An error with its causes, beginning as Docker's does where users look for it.
pub(crate) fn error_text(error: &RuntimeError) -> String {
    if let RuntimeError::NoSuchImage { reference, reason } = error {
        return if reason.is_empty() {
            format!("No such image: {reference}")
        } else {
            format!("No such image: {reference}: {reason}")
        };
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
