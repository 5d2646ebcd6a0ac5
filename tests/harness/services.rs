//! Services for simulations, as short as they can be said.

use std::collections::BTreeMap;

use model::service::{
    ContainerSpec, EndpointMode, EndpointSpec, Placement, PortConfig, Protocol, PublishMode,
    ResourceRequirements, Resources, UpdateConfig, UpdateOrder,
};
use model::{ServiceId, ServiceMode, ServiceName, ServiceSpec, TaskSpec};

/// One processor, in billionths.
pub const CPU: i64 = 1_000_000_000;

/// The id of a simulated service: its name, so that the order of both is the same.
#[must_use]
pub fn id(name: &str) -> ServiceId {
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(name.bytes()).for_each(|(place, byte)| *place = byte);
    ServiceId::from_bytes(bytes)
}

/// A service of so many replicas.
#[must_use]
pub fn replicated(name: &str, replicas: u64) -> ServiceSpec {
    of(name, ServiceMode::Replicated { replicas })
}

/// A service with a task on every node.
#[must_use]
pub fn global(name: &str) -> ServiceSpec {
    of(name, ServiceMode::Global)
}

/// A job of so many tasks, two at a time.
#[must_use]
pub fn job(name: &str, total_completions: u64) -> ServiceSpec {
    of(name, ServiceMode::ReplicatedJob { max_concurrent: 2, total_completions })
}

fn of(name: &str, mode: ServiceMode) -> ServiceSpec {
    ServiceSpec {
        name: ServiceName::try_from(name.to_owned()).unwrap(),
        labels: BTreeMap::new(),
        task: TaskSpec {
            container: ContainerSpec { image: "demo".to_owned(), ..ContainerSpec::default() },
            resources: ResourceRequirements::default(),
            restart: None,
            placement: Placement::default(),
            networks: Vec::new(),
            log_driver: None,
            force_update: 0,
        },
        mode,
        update: None,
        rollback: None,
        endpoint: None,
    }
}

/// The same, with so many processors set aside for each task.
#[must_use]
pub fn reserving(mut spec: ServiceSpec, cpus: i64) -> ServiceSpec {
    let reserved = Resources { nano_cpus: cpus * CPU, ..Resources::default() };
    spec.task.resources.reservations = Some(reserved);
    spec
}

/// The same, with a port that answers on every node; 0 for any number.
#[must_use]
pub fn published(mut spec: ServiceSpec, number: u16) -> ServiceSpec {
    spec.endpoint = Some(EndpointSpec {
        mode: EndpointMode::Vip,
        ports: vec![PortConfig {
            name: String::new(),
            protocol: Protocol::Tcp,
            target_port: 80,
            published_port: number,
            publish_mode: PublishMode::Ingress,
        }],
    });
    spec
}

/// The same, updated by starting new tasks before old ones stop.
#[must_use]
pub fn start_first(mut spec: ServiceSpec) -> ServiceSpec {
    spec.update.get_or_insert(UpdateConfig::DEFAULT).order = UpdateOrder::StartFirst;
    spec
}
