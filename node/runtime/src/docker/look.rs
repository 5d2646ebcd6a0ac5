//! What the Engine shows of a container becomes what the agent compares. Pure.

use std::collections::HashMap;

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, ContainerSummary,
    ContainerSummaryStateEnum, HealthStatusEnum,
};
use model::UnixNanos;

use super::labels::{self, Owner};
use crate::{Exit, Health, Phase};

/// Docker's default number of failures until a container is unhealthy.
const RETRIES: i64 = 3;

/// One line of the list of containers, as far as it is used.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) owner: Owner,
    pub(crate) state: Listing,
}

/// How far a container is, as far as the list tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Listing {
    Created,
    /// Its process id is not in the list.
    Running(Health),
    /// How it ended is not in the list.
    Ended,
}

/// Reads a line; `None` if the container is none of ours, or is being removed.
pub(crate) fn listed(summary: ContainerSummary) -> Option<Listed> {
    let owner = labels::owner(&summary.labels.unwrap_or_default())?;
    let name = summary.names.unwrap_or_default().into_iter().next().unwrap_or_default();
    Some(Listed {
        id: summary.id?,
        name: name.trim_start_matches('/').to_owned(),
        owner,
        state: listing(summary.state?, summary.status.as_deref().unwrap_or_default())?,
    })
}

fn listing(state: ContainerSummaryStateEnum, status: &str) -> Option<Listing> {
    use ContainerSummaryStateEnum as State;
    match state {
        State::CREATED => Some(Listing::Created),
        State::RUNNING | State::PAUSED | State::RESTARTING | State::STOPPING => {
            Some(Listing::Running(health(status)))
        }
        State::EXITED | State::DEAD => Some(Listing::Ended),
        State::REMOVING | State::EMPTY => None,
    }
}

/// The health in the text that `docker ps` shows: engines before 27 have it nowhere else in
/// the list.
fn health(status: &str) -> Health {
    if status.contains("(unhealthy)") {
        Health::Unhealthy
    } else if status.contains("(health: starting)") {
        Health::Starting
    } else if status.contains("(healthy)") {
        Health::Healthy
    } else {
        Health::Unchecked
    }
}

/// The phase of a container that was inspected; `None` if it is being removed.
pub(crate) fn phase(inspected: &ContainerInspectResponse) -> Option<Phase> {
    use ContainerStateStatusEnum as Status;
    let state = inspected.state.as_ref()?;
    match state.status? {
        Status::CREATED => Some(Phase::Created),
        Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::STOPPING => {
            let health = state.health.as_ref().and_then(|health| health.status);
            let health = match health {
                Some(HealthStatusEnum::STARTING) => Health::Starting,
                Some(HealthStatusEnum::HEALTHY) => Health::Healthy,
                Some(HealthStatusEnum::UNHEALTHY) => Health::Unhealthy,
                Some(HealthStatusEnum::NONE | HealthStatusEnum::EMPTY) | None => Health::Unchecked,
            };
            Some(Phase::Running { pid: state.pid.unwrap_or(0), health })
        }
        Status::EXITED | Status::DEAD => Some(Phase::Exited(exit(inspected, state))),
        Status::REMOVING | Status::EMPTY => None,
    }
}

/// The phase of a container in the list, by what an inspection told before; `None` if that
/// says too little, and it must be inspected again.
pub(crate) fn remembered(listing: Listing, before: Option<&Phase>) -> Option<Phase> {
    match (listing, before) {
        (Listing::Created, _) => Some(Phase::Created),
        (Listing::Running(health), Some(Phase::Running { pid, .. })) if 0 < *pid => {
            Some(Phase::Running { pid: *pid, health })
        }
        (Listing::Ended, Some(ended @ Phase::Exited(_))) => Some(ended.clone()),
        (Listing::Running(_) | Listing::Ended, _) => None,
    }
}

fn exit(inspected: &ContainerInspectResponse, state: &ContainerState) -> Exit {
    let code = state.exit_code.unwrap_or(-1);
    let signal = i32::try_from(code - 128).ok().filter(|signal| (1..=64).contains(signal));
    let check = inspected.config.as_ref().and_then(|config| config.healthcheck.as_ref());
    let retries = check.and_then(|check| check.retries).filter(|retries| 0 < *retries);
    // After the end an engine calls every container with a check unhealthy, so the failures
    // that were counted tell.
    let failures = state.health.as_ref().and_then(|health| health.failing_streak).unwrap_or(0);
    Exit {
        code,
        signal,
        oom: state.oom_killed == Some(true) && code == 137,
        unhealthy: retries.unwrap_or(RETRIES) <= failures,
        at: state.finished_at.as_deref().map_or(UnixNanos(0), time),
        error: state.error.clone().unwrap_or_default(),
    }
}

/// An RFC 3339 time; 0 for one that cannot be read or lies before 1970.
pub(crate) fn time(text: &str) -> UnixNanos {
    let time: Option<jiff::Timestamp> = text.parse().ok();
    UnixNanos(time.and_then(|time| u64::try_from(time.as_nanosecond()).ok()).unwrap_or(0))
}

/// The addresses that a container has on Docker's own networks.
pub(crate) fn addresses(inspected: &ContainerInspectResponse) -> Vec<std::net::IpAddr> {
    let networks = inspected.network_settings.as_ref().and_then(|own| own.networks.as_ref());
    let endpoints = networks.map(HashMap::values).into_iter().flatten();
    endpoints.filter_map(|endpoint| endpoint.ip_address.as_deref()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn inspected(value: serde_json::Value) -> ContainerInspectResponse {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn states_become_phases() {
        use ContainerSummaryStateEnum as State;
        for (state, status, expected) in [
            (State::CREATED, "Created", Some(Listing::Created)),
            (State::RUNNING, "Up 2 seconds", Some(Listing::Running(Health::Unchecked))),
            (
                State::RUNNING,
                "Up 1 second (health: starting)",
                Some(Listing::Running(Health::Starting)),
            ),
            (State::RUNNING, "Up 2 minutes (healthy)", Some(Listing::Running(Health::Healthy))),
            (State::RUNNING, "Up 2 minutes (unhealthy)", Some(Listing::Running(Health::Unhealthy))),
            (State::PAUSED, "Up 2 seconds (Paused)", Some(Listing::Running(Health::Unchecked))),
            (State::EXITED, "Exited (0) 2 seconds ago", Some(Listing::Ended)),
            (State::DEAD, "Dead", Some(Listing::Ended)),
            (State::REMOVING, "Removal In Progress", None),
        ] {
            assert_eq!(listing(state, status), expected, "{status}");
        }
    }

    #[test]
    fn an_end_is_read_in_full() {
        let ended = |code: i64, oom: bool, failures: i64| {
            let state = json!({"Status": "exited", "Pid": 0, "ExitCode": code, "OOMKilled": oom,
                "Error": "", "FinishedAt": "1970-01-01T00:00:01.5Z",
                "Health": {"Status": "unhealthy", "FailingStreak": failures, "Log": []}});
            let whole = json!({"State": state, "Config": {"Healthcheck": {"Retries": 2}}});
            match phase(&inspected(whole)) {
                Some(Phase::Exited(exit)) => exit,
                other => panic!("{other:?}"),
            }
        };
        let killed = ended(137, true, 0);
        assert_eq!((killed.signal, killed.oom, killed.unhealthy), (Some(9), true, false));
        assert_eq!(killed.at, UnixNanos(1_500_000_000));
        // A killed child alone is no end by memory.
        assert!(!ended(1, true, 0).oom);
        assert_eq!(ended(1, false, 0).signal, None);
        // The engine says `unhealthy` of both.
        assert!(!ended(0, false, 1).unhealthy && ended(0, false, 2).unhealthy);
    }

    #[test]
    fn what_is_remembered_counts_while_the_list_agrees() {
        let phase = |state| phase(&inspected(json!({"State": state}))).unwrap();
        let running = phase(json!({"Status": "running", "Pid": 7}));
        let ended = phase(json!({"Status": "exited", "Pid": 0, "ExitCode": 1}));
        let unpaired = phase(json!({"Status": "running", "Pid": 0}));
        let healthy = Listing::Running(Health::Healthy);
        for (listing, before, expected) in [
            (Listing::Created, None, Some(Phase::Created)),
            (healthy, Some(&running), Some(Phase::Running { pid: 7, health: Health::Healthy })),
            (healthy, Some(&unpaired), None),
            (healthy, Some(&ended), None),
            (healthy, None, None),
            (Listing::Ended, Some(&ended), Some(ended.clone())),
            (Listing::Ended, Some(&running), None),
        ] {
            assert_eq!(remembered(listing, before), expected, "{listing:?} {before:?}");
        }
    }
}
