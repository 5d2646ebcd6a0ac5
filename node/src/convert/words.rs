//! Docker's words for our variants, in tables that are read both ways.

use model::node::DesiredRole;
use model::service::{
    EndpointMode, FailureAction, MountKind, Protocol, PublishMode, RestartCondition, UpdateOrder,
    UpdateState,
};
use model::{Availability, NodeState};

use api::cluster::Problem;

/// A variant and its word; the first is also what an empty word means.
pub(crate) type Words<T> = &'static [(T, &'static str)];

pub(crate) const PROTOCOL: Words<Protocol> =
    &[(Protocol::Tcp, "tcp"), (Protocol::Udp, "udp"), (Protocol::Sctp, "sctp")];
pub(crate) const PUBLISH_MODE: Words<PublishMode> =
    &[(PublishMode::Ingress, "ingress"), (PublishMode::Host, "host")];
pub(crate) const ENDPOINT_MODE: Words<EndpointMode> =
    &[(EndpointMode::Vip, "vip"), (EndpointMode::Dnsrr, "dnsrr")];
pub(crate) const RESTART: Words<RestartCondition> = &[
    (RestartCondition::Any, "any"),
    (RestartCondition::OnFailure, "on-failure"),
    (RestartCondition::None, "none"),
];
pub(crate) const FAILURE_ACTION: Words<FailureAction> = &[
    (FailureAction::Pause, "pause"),
    (FailureAction::Continue, "continue"),
    (FailureAction::Rollback, "rollback"),
];
pub(crate) const ORDER: Words<UpdateOrder> =
    &[(UpdateOrder::StopFirst, "stop-first"), (UpdateOrder::StartFirst, "start-first")];
pub(crate) const MOUNT: Words<MountKind> =
    &[(MountKind::Bind, "bind"), (MountKind::Volume, "volume"), (MountKind::Tmpfs, "tmpfs")];
pub(crate) const AVAILABILITY: Words<Availability> = &[
    (Availability::Active, "active"),
    (Availability::Pause, "pause"),
    (Availability::Drain, "drain"),
];
pub(crate) const NODE_STATE: Words<NodeState> = &[
    (NodeState::Unknown, "unknown"),
    (NodeState::Down, "down"),
    (NodeState::Ready, "ready"),
    (NodeState::Disconnected, "disconnected"),
];
pub(crate) const UPDATE_STATE: Words<UpdateState> = &[
    (UpdateState::Updating, "updating"),
    (UpdateState::Paused, "paused"),
    (UpdateState::Completed, "completed"),
    (UpdateState::RollbackStarted, "rollback_started"),
    (UpdateState::RollbackPaused, "rollback_paused"),
    (UpdateState::RollbackCompleted, "rollback_completed"),
];
pub(crate) const ROLE: Words<DesiredRole> =
    &[(DesiredRole::Worker, "worker"), (DesiredRole::Manager, "manager")];

/// The word of a variant.
pub(crate) fn word<T: Copy + PartialEq>(words: Words<T>, variant: T) -> &'static str {
    words.iter().find(|(known, _)| *known == variant).map_or("", |(_, word)| word)
}

/// The variant of a word, in any case; nothing means the first.
pub(crate) fn variant<T: Copy>(words: Words<T>, what: &str, text: &str) -> Result<T, Problem> {
    let found = words.iter().find(|(_, word)| text.is_empty() || word.eq_ignore_ascii_case(text));
    found.map(|(variant, _)| *variant).ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(_, word)| *word).collect();
        Problem::bad_request(format!("invalid {what} '{text}': there are {}", known.join(", ")))
    })
}
