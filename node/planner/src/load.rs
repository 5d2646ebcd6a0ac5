//! What each node carries: tasks, reservations, ports.

use std::collections::{BTreeMap, BTreeSet};

use crypto::NodeId;
use model::service::{GenericResource, Protocol, PublishMode};
use model::{ServiceId, State, Task};

use crate::draft::is_wanted;

/// Of all nodes.
#[derive(Debug, Default)]
pub(crate) struct Load {
    nodes: BTreeMap<NodeId, NodeLoad>,
}

/// Of one node.
#[derive(Debug, Default)]
pub(crate) struct NodeLoad {
    /// Tasks that are to run there.
    pub(crate) n_tasks: u64,
    /// The same by service.
    pub(crate) by_service: BTreeMap<ServiceId, u64>,
    /// Reserved by whatever has not ended, wanted or not: it still uses it.
    pub(crate) nano_cpus: i64,
    pub(crate) memory_bytes: i64,
    pub(crate) generic: BTreeMap<String, i64>,
    /// Ports that tasks hold in host mode.
    pub(crate) host_ports: BTreeSet<(Protocol, u16)>,
}

impl Load {
    pub(crate) fn of(state: &State) -> Self {
        let mut load = Self::default();
        for node in state.nodes() {
            load.nodes.insert(node.id, NodeLoad::default());
        }
        for task in state.tasks() {
            load.add(task);
        }
        load
    }

    pub(crate) fn on(&self, node: NodeId) -> Option<&NodeLoad> {
        self.nodes.get(&node)
    }

    /// Counts a task on its node.
    pub(crate) fn add(&mut self, task: &Task) {
        let Some(node) = task.node.and_then(|id| self.nodes.get_mut(&id)) else { return };
        if is_wanted(task) {
            node.n_tasks += 1;
            *node.by_service.entry(task.service).or_default() += 1;
        }
        if task.status.state.is_terminal() {
            return;
        }
        if let Some(reserved) = &task.spec.resources.reservations {
            node.nano_cpus = node.nano_cpus.saturating_add(reserved.nano_cpus);
            node.memory_bytes = node.memory_bytes.saturating_add(reserved.memory_bytes);
            for (kind, amount) in &reserved.generic {
                *node.generic.entry(kind.clone()).or_default() += generic_amount(amount);
            }
        }
        node.host_ports.extend(host_ports(task));
    }

    /// A task is not wanted any more; what it reserves it holds until it has ended.
    pub(crate) fn close(&mut self, task: &Task) {
        let Some(node) = task.node.and_then(|id| self.nodes.get_mut(&id)) else { return };
        node.n_tasks = node.n_tasks.saturating_sub(1);
        if let Some(count) = node.by_service.get_mut(&task.service) {
            *count = count.saturating_sub(1);
        }
    }
}

impl NodeLoad {
    pub(crate) fn of_service(&self, service: ServiceId) -> u64 {
        self.by_service.get(&service).copied().unwrap_or(0)
    }
}

/// Ports that a task asks of its node.
pub(crate) fn host_ports(task: &Task) -> impl Iterator<Item = (Protocol, u16)> {
    task.ports
        .iter()
        .filter(|port| port.publish_mode == PublishMode::Host && port.published_port != 0)
        .map(|port| (port.protocol, port.published_port))
}

pub(crate) fn generic_amount(amount: &GenericResource) -> i64 {
    match amount {
        GenericResource::Discrete(count) => *count,
        GenericResource::Named(names) => i64::try_from(names.len()).unwrap_or(i64::MAX),
    }
}
