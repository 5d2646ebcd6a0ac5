//! What happened in the cluster, in Docker's words: made of the changes that the store tells of.
//!
//! Every node with a store remembers the last ones, so that whoever leads can answer `since`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use api::cluster::EventsWanted;
use api::wire::event::{Actor, Event};
use model::change::{Changed, Diff};
use model::node::{DesiredRole, Node};
use model::service::UpdateState;
use model::{Change, Grant, Service, ServiceMode};
use store::{Store, Subscription};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use crate::convert::words;
use crate::front::status::unix_nanos;

/// Events that `since` can bring back: as many as Docker Engine keeps.
const KEPT: usize = 256;
/// Events on their way to one client; a client that is slower than this misses some.
const QUEUED: usize = 256;

/// Remembers events and tells of new ones. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    kept: Arc<Mutex<VecDeque<Arc<Event>>>>,
    news: broadcast::Sender<Arc<Event>>,
}

impl Events {
    pub(crate) fn new() -> Self {
        Self { kept: Arc::default(), news: broadcast::Sender::new(QUEUED) }
    }

    /// Turns what the store tells into events until `stop`.
    pub(crate) async fn run(self, store: Store, stop: CancellationToken) {
        let mut changes = store.subscribe(None);
        loop {
            let next = tokio::select! {
                () = stop.cancelled() => return,
                next = changes.next() => next,
            };
            match next {
                Ok(entries) => {
                    let changes = entries.iter().flat_map(|entry| entry.changes.iter());
                    let now = unix_nanos().0;
                    changes.filter_map(|change| event(change, now)).for_each(|e| self.add(e));
                }
                // The state jumped by a snapshot: nobody saw what happened in between.
                Err(store::SubscribeError::Compacted { .. }) => changes = again(&store),
                Err(store::SubscribeError::Stopped) => return stop.cancelled().await,
            }
        }
    }

    fn add(&self, event: Event) {
        let event = Arc::new(event);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(Arc::clone(&event));
        if KEPT < kept.len() {
            kept.pop_front();
        }
        // Nobody may be listening.
        let _ = self.news.send(event);
    }

    /// Sends what is wanted until the client is gone or the time is up.
    pub(crate) async fn tell(self, wanted: EventsWanted, out: mpsc::Sender<Event>) {
        let (old, mut news) = {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            (kept.clone(), self.news.subscribe())
        };
        let since = wanted.since_unix_nanos;
        let until = wanted.until_unix_nanos.unwrap_or(u64::MAX);
        let old = old.into_iter().filter(|event| since.is_some_and(|at| at <= event.time_nano));
        for event in old.filter(|event| event.time_nano <= until && wanted.accepts(event)) {
            if out.send(Event::clone(&event)).await.is_err() {
                return;
            }
        }
        let left = until.saturating_sub(unix_nanos().0);
        let time_is_up = async {
            match wanted.until_unix_nanos {
                Some(_) => tokio::time::sleep(Duration::from_nanos(left)).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(time_is_up);
        loop {
            let event = tokio::select! {
                () = &mut time_is_up => return,
                () = out.closed() => return,
                event = news.recv() => event,
            };
            match event {
                Ok(event) if !wanted.accepts(&event) => {}
                Ok(event) => {
                    if out.send(Event::clone(&event)).await.is_err() {
                        return;
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }
}

fn again(store: &Store) -> Subscription {
    store.subscribe(None)
}

/// The event that a change is, if Docker has one for it.
fn event(change: &Change, now: u64) -> Option<Event> {
    let (kind, action, id, attributes) = match &change.what {
        Changed::Service(diff) => {
            let (action, service) = last(diff);
            let attributes = match diff {
                Diff::Updated { old, new } => service_changes(old, new)?,
                Diff::Created(_) | Diff::Removed(_) => BTreeMap::new(),
            };
            let attributes = named(attributes, service.spec.name.as_str());
            ("service", action, service.id.to_string(), attributes)
        }
        Changed::Node(diff) => {
            let (action, node) = last(diff);
            let attributes = match diff {
                Diff::Updated { old, new } => node_changes(old, new)?,
                Diff::Created(_) | Diff::Removed(_) => BTreeMap::new(),
            };
            let attributes = named(attributes, &node.description.hostname);
            ("node", action, node.id.to_string(), attributes)
        }
        Changed::Network(diff) => {
            let (action, network) = last(diff);
            let attributes = named(BTreeMap::new(), &network.spec.name);
            ("network", action, network.id.to_string(), attributes)
        }
        Changed::Secret(diff) => {
            let (action, secret) = last(diff);
            ("secret", action, secret.id.to_string(), named(BTreeMap::new(), &secret.name))
        }
        Changed::Config(diff) => {
            let (action, config) = last(diff);
            ("config", action, config.id.to_string(), named(BTreeMap::new(), &config.name))
        }
        Changed::Cluster(_) | Changed::Task(_) => return None,
    };
    Some(Event {
        kind: kind.to_owned(),
        action: action.to_owned(),
        actor: Actor { id, attributes },
        scope: "swarm".to_owned(),
        time: now / 1_000_000_000,
        time_nano: now,
    })
}

type Attributes = BTreeMap<String, String>;

fn last<T>(diff: &Diff<T>) -> (&'static str, &T) {
    match diff {
        Diff::Created(new) => ("create", new),
        Diff::Updated { new, .. } => ("update", new),
        Diff::Removed(old) => ("remove", old),
    }
}

fn named(mut attributes: Attributes, name: &str) -> Attributes {
    attributes.insert("name".to_owned(), name.to_owned());
    attributes
}

/// `what.old` and `what.new`, where they differ.
fn differ(attributes: &mut Attributes, what: &str, old: &str, new: &str) {
    if old == new {
        return;
    }
    for (end, value) in [("old", old), ("new", new)] {
        if !value.is_empty() {
            attributes.insert(format!("{what}.{end}"), value.to_owned());
        }
    }
}

/// What changed of a service; `None` if nothing that Docker tells of.
fn service_changes(old: &Service, new: &Service) -> Option<Attributes> {
    let mut attributes = Attributes::new();
    let image = |service: &Service| service.spec.task.container.image.clone();
    differ(&mut attributes, "image", &image(old), &image(new));
    let replicas = |service: &Service| match service.spec.mode {
        ServiceMode::Replicated { replicas } => replicas.to_string(),
        ServiceMode::Global | ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob => {
            String::new()
        }
    };
    differ(&mut attributes, "replicas", &replicas(old), &replicas(new));
    differ(&mut attributes, "updatestate", update_state(old), update_state(new));
    let told = old.spec_version != new.spec_version || !attributes.is_empty();
    told.then_some(attributes)
}

fn update_state(service: &Service) -> &'static str {
    let state: Option<UpdateState> = service.update_status.as_ref().map(|status| status.state);
    state.map_or("", |state| words::word(words::UPDATE_STATE, state))
}

/// What changed of a node; `None` if nothing that Docker tells of.
fn node_changes(old: &Node, new: &Node) -> Option<Attributes> {
    let mut attributes = Attributes::new();
    let state = |node: &Node| words::word(words::NODE_STATE, node.status.state);
    differ(&mut attributes, "state", state(old), state(new));
    let availability = |node: &Node| words::word(words::AVAILABILITY, node.spec.availability);
    differ(&mut attributes, "availability", availability(old), availability(new));
    differ(&mut attributes, "role", role(old), role(new));
    let told = old.spec_version != new.spec_version || !attributes.is_empty();
    told.then_some(attributes)
}

fn role(node: &Node) -> &'static str {
    let worker = node.grant == Grant::Worker || node.spec.desired_role == DesiredRole::Worker;
    if worker { "worker" } else { "manager" }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use api::filters::Filters;
    use model::service::ServiceName;
    use model::{Index, Network, NetworkId, NetworkSpec, ServiceId, UnixNanos};

    use super::*;

    fn service(replicas: u64, version: u64) -> Arc<Service> {
        let container =
            model::service::ContainerSpec { image: "a:1".to_owned(), ..Default::default() };
        let spec = model::ServiceSpec {
            name: ServiceName::try_from("web".to_owned()).unwrap(),
            labels: BTreeMap::new(),
            task: model::TaskSpec {
                container,
                resources: model::service::ResourceRequirements::default(),
                restart: None,
                placement: model::service::Placement::default(),
                networks: Vec::new(),
                log_driver: None,
                force_update: 0,
            },
            mode: ServiceMode::Replicated { replicas },
            update: None,
            rollback: None,
            endpoint: None,
        };
        Arc::new(Service {
            id: ServiceId::from_bytes([1; 16]),
            spec,
            previous_spec: None,
            spec_version: Index(version),
            modified: Index(version),
            created_at: UnixNanos(1),
            updated_at: UnixNanos(1),
            ports: Vec::new(),
            update_status: None,
            job_iteration: 0,
        })
    }

    fn network() -> Change {
        let spec = NetworkSpec { name: "ov1".to_owned(), ..NetworkSpec::default() };
        let network = Network {
            id: NetworkId::from_bytes([2; 16]),
            spec,
            vni: 1,
            subnets: Vec::new(),
            spec_version: Index(1),
            modified: Index(1),
            created_at: UnixNanos(1),
        };
        Change { index: Index(1), what: Changed::Network(Diff::Created(Arc::new(network))) }
    }

    #[test]
    fn a_change_is_told_with_what_was_before_and_after() {
        let change = |old, new| Change {
            index: Index(2),
            what: Changed::Service(Diff::Updated { old, new }),
        };
        let told = event(&change(service(1, 1), service(3, 2)), 1_500_000_000).unwrap();
        let json = serde_json::json!({
            "Type": "service", "Action": "update", "scope": "swarm",
            "Actor": {"ID": ServiceId::from_bytes([1; 16]).to_string(),
                "Attributes": {"name": "web", "replicas.old": "1", "replicas.new": "3"}},
            "time": 1, "timeNano": 1_500_000_000_u64,
        });
        assert_eq!(serde_json::to_value(told).unwrap(), json);
        // A write of the planner that no user sees is no event.
        assert_eq!(event(&change(service(1, 1), service(1, 1)), 1), None);
        assert_eq!(event(&network(), 1).unwrap().action, "create");
    }

    #[tokio::test]
    async fn old_events_come_back_and_the_time_ends_them() {
        let events = Events::new();
        for at in 1..=300 {
            events.add(event(&network(), at).unwrap());
        }
        let told = async |since, until, filters| {
            let wanted =
                EventsWanted { since_unix_nanos: since, until_unix_nanos: Some(until), filters };
            let (out, mut lines) = mpsc::channel(512);
            events.clone().tell(wanted, out).await;
            let mut times = Vec::new();
            while let Some(event) = lines.recv().await {
                times.push(event.time_nano);
            }
            times
        };
        assert_eq!(told(Some(299), 400, Filters::default()).await, [299, 300]);
        assert_eq!(told(Some(0), 400, Filters::default()).await.len(), KEPT);
        assert_eq!(told(None, 400, Filters::default()).await, [0_u64; 0]);
        assert_eq!(told(Some(0), 45, Filters::default()).await, [45]);
        assert_eq!(told(Some(0), 400, Filters::default().and("type", "node")).await, [0_u64; 0]);
    }
}
