//! The whole decision of the agent: what to do next for one task.

use model::TaskState;
use runtime::{Health, Phase};

/// The next thing to do for one task.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    /// All is as it should be, or it is somebody else's turn.
    Leave,
    /// Get the image and make the container.
    Prepare,
    /// Say that it could start.
    ReportReady,
    /// Start it.
    Start,
    /// Say that it runs.
    ReportRunning,
    /// Say how it ended by itself.
    ReportEnded,
    /// Stop it; the container stays, with its logs.
    Stop,
    /// Remove a container that was never started.
    Discard,
    /// Say that it was stopped.
    ReportShutdown,
    /// Stop it if it runs, and remove the container and its logs.
    Remove,
    /// Remember no more of it.
    Forget,
}

/// Compares what is wanted of a task with what was reported and what is seen.
///
/// `None` wanted means that the assignment is gone; `None` seen means that the runtime
/// knows no such container.
#[must_use]
pub(crate) fn next_step(
    wanted: Option<TaskState>,
    reported: TaskState,
    seen: Option<&Phase>,
) -> Step {
    let Some(wanted) = wanted else {
        return if seen.is_some() { Step::Remove } else { Step::Forget };
    };
    let stopping = TaskState::Shutdown <= wanted || reported.is_terminal();
    match seen {
        // A task that ended is to have no process, whatever became of its last step.
        Some(Phase::Running { .. }) if stopping => Step::Stop,
        Some(Phase::Created) if stopping => Step::Discard,
        _ if reported.is_terminal() => Step::Leave,
        _ if stopping => Step::ReportShutdown,

        Some(Phase::Exited(_) | Phase::Lost) => Step::ReportEnded,
        // It is stopped first and reported by its end: until then it may hold a port.
        Some(Phase::Running { health: Health::Unhealthy, .. }) => Step::Stop,
        // As with Docker Swarm, a task runs once it was healthy.
        Some(Phase::Running { health: Health::Starting, .. }) => Step::Leave,
        Some(Phase::Running { .. }) if reported < TaskState::Running => Step::ReportRunning,
        Some(Phase::Running { .. }) => Step::Leave,
        Some(Phase::Created) if reported < TaskState::Ready => Step::ReportReady,
        // Ready is where a task waits until it is wanted further.
        Some(Phase::Created) if wanted <= TaskState::Ready => Step::Leave,
        Some(Phase::Created) => Step::Start,

        // It ran, or was about to, and its container is gone.
        None if TaskState::Starting <= reported => Step::ReportEnded,
        None => Step::Prepare,
    }
}

#[cfg(test)]
mod tests {
    use model::UnixNanos;
    use proptest::prelude::*;
    use runtime::Exit;

    use super::*;

    /// All that is ever wanted.
    const WANTED: [TaskState; 5] = [
        TaskState::Ready,
        TaskState::Running,
        TaskState::Complete,
        TaskState::Shutdown,
        TaskState::Remove,
    ];
    const REPORTED: [TaskState; 11] = [
        TaskState::Assigned,
        TaskState::Accepted,
        TaskState::Preparing,
        TaskState::Ready,
        TaskState::Starting,
        TaskState::Running,
        TaskState::Complete,
        TaskState::Shutdown,
        TaskState::Failed,
        TaskState::Rejected,
        TaskState::Orphaned,
    ];

    fn exited() -> Phase {
        Phase::Exited(Exit {
            code: 1,
            signal: None,
            oom: false,
            unhealthy: false,
            at: UnixNanos(0),
            error: String::new(),
        })
    }

    #[test]
    fn the_table() {
        use TaskState::{
            Assigned, Failed, Preparing, Ready, Rejected, Remove, Running, Shutdown, Starting,
        };
        let with = |health| Some(Phase::Running { pid: 1, health });
        let running = || with(Health::Unchecked);
        let created = || Some(Phase::Created);
        for (wanted, reported, seen, expected) in [
            (Some(Running), Assigned, None, Step::Prepare),
            (Some(Ready), Assigned, None, Step::Prepare),
            (Some(Ready), Preparing, created(), Step::ReportReady),
            (Some(Ready), Ready, created(), Step::Leave),
            (Some(Running), Ready, created(), Step::Start),
            (Some(Running), Starting, created(), Step::Start),
            (Some(Running), Ready, None, Step::Prepare),
            (Some(Running), Starting, running(), Step::ReportRunning),
            (Some(Running), Running, running(), Step::Leave),
            (Some(Running), Starting, with(Health::Starting), Step::Leave),
            (Some(Running), Starting, with(Health::Healthy), Step::ReportRunning),
            (Some(Running), Starting, with(Health::Unhealthy), Step::Stop),
            (Some(Running), Running, with(Health::Unhealthy), Step::Stop),
            (Some(Shutdown), Running, with(Health::Unhealthy), Step::Stop),
            (None, Running, with(Health::Unhealthy), Step::Remove),
            (Some(Running), Running, Some(exited()), Step::ReportEnded),
            (Some(Running), Running, Some(Phase::Lost), Step::ReportEnded),
            (Some(Running), Running, None, Step::ReportEnded),
            (Some(Running), Failed, Some(exited()), Step::Leave),
            (Some(Running), Rejected, created(), Step::Discard),
            (Some(Running), Rejected, None, Step::Leave),
            (Some(Shutdown), Running, running(), Step::Stop),
            (Some(Shutdown), Running, Some(exited()), Step::ReportShutdown),
            (Some(Shutdown), Assigned, None, Step::ReportShutdown),
            (Some(Shutdown), Ready, created(), Step::Discard),
            (Some(Shutdown), Shutdown, Some(exited()), Step::Leave),
            (Some(Remove), Shutdown, running(), Step::Stop),
            (None, Running, running(), Step::Remove),
            (None, Failed, Some(exited()), Step::Remove),
            (None, Failed, None, Step::Forget),
        ] {
            assert_eq!(
                next_step(wanted, reported, seen.as_ref()),
                expected,
                "{wanted:?} {reported:?} {seen:?}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever was the case, nothing starts that is not to run, and what is not to run
        /// does not go on running.
        #[test]
        fn nothing_runs_that_is_not_wanted(
            wanted in prop::option::of(prop::sample::select(&WANTED[..])),
            reported in prop::sample::select(&REPORTED[..]),
            pid in 1_i64..9,
            health in prop::sample::select(
                &[Health::Unchecked, Health::Starting, Health::Healthy, Health::Unhealthy][..]
            ),
        ) {
            let wanted_to_run =
                wanted.is_some_and(|wanted| (TaskState::Running..=TaskState::Complete).contains(&wanted));
            let to_run = wanted_to_run && !reported.is_terminal();
            for seen in [None, Some(Phase::Created), Some(exited()), Some(Phase::Lost)] {
                let step = next_step(wanted, reported, seen.as_ref());
                prop_assert!(to_run || step != Step::Start);
            }
            let step = next_step(wanted, reported, Some(&Phase::Running { pid, health }));
            let goes_on = matches!(step, Step::Leave | Step::ReportRunning);
            prop_assert!(to_run || wanted == Some(TaskState::Ready) || !goes_on);
        }
    }
}
