//! What happened in the cluster.

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::Problem;
use crate::filters::Filters;
use crate::wire::event::Event;

/// Which events.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EventsWanted {
    /// Also those that happened since, in nanoseconds since 1970; `None`: from now on.
    pub since_unix_nanos: Option<u64>,
    /// Until then; `None`: without end.
    pub until_unix_nanos: Option<u64>,
    /// Of these.
    pub filters: Filters,
}

impl EventsWanted {
    /// Whether an event is wanted, whatever its time.
    #[must_use]
    pub fn accepts(&self, event: &Event) -> bool {
        let filters = &self.filters;
        let name = event.actor.attributes.get("name").map_or("", String::as_str);
        let names = |value: &String| event.actor.id == *value || name == value;
        let of_kind = |key: &str| {
            !filters.has(key) || (event.kind == key && filters.values(key).iter().any(names))
        };
        // Docker takes the beginning of an action for `event`, as for `exec_create: sh`.
        filters.accepts("type", &event.kind)
            && filters.accepts_action(&event.action)
            && filters.accepts("scope", &event.scope)
            && filters.accepts_labels("label", &event.actor.attributes)
            && OF_KINDS.iter().all(|kind| of_kind(kind))
    }
}

/// Filters that name an object of one kind.
const OF_KINDS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "image",
    "network",
    "node",
    "plugin",
    "secret",
    "service",
    "volume",
];

/// What happened in the cluster, as far as this node remembers, and what happens.
#[async_trait]
pub trait Events: Send + Sync {
    /// The stream ends at `until`, or when the node stops.
    ///
    /// # Errors
    /// When this node does not follow the cluster.
    async fn events(&self, wanted: EventsWanted) -> Result<mpsc::Receiver<Event>, Problem>;
}
