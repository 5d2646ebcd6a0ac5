//! Everything the cluster agreed on. Cheap to clone: a clone is a snapshot.

use std::sync::Arc;

use crypto::NodeId;
use imbl::{OrdMap, OrdSet};
use serde::{Deserialize, Serialize};

use crate::change::Change;
use crate::command::{Applied, Refused, RequestId};
use crate::id::{ConfigId, Index, NetworkId, Revision, SecretId, ServiceId, Slot, TaskId};
use crate::node::Node;
use crate::object::{Cluster, Config, Network, Secret};
use crate::service::Service;
use crate::task::Task;

/// The replicated state.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub(crate) index: Index,
    pub(crate) revision: Revision,
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) nodes: OrdMap<NodeId, Arc<Node>>,
    pub(crate) services: OrdMap<ServiceId, Arc<Service>>,
    pub(crate) tasks: OrdMap<TaskId, Arc<Task>>,
    pub(crate) networks: OrdMap<NetworkId, Arc<Network>>,
    pub(crate) secrets: OrdMap<SecretId, Arc<Secret>>,
    pub(crate) configs: OrdMap<ConfigId, Arc<Config>>,
    /// How to log in at the registry of a service's image, sealed.
    pub(crate) logins: OrdMap<ServiceId, Arc<[u8]>>,
    pub(crate) service_names: OrdMap<String, ServiceId>,
    pub(crate) tasks_by_service: OrdSet<(ServiceId, Slot, TaskId)>,
    pub(crate) tasks_by_node: OrdSet<(NodeId, TaskId)>,
    pub(crate) network_names: OrdMap<String, NetworkId>,
    pub(crate) secret_names: OrdMap<String, SecretId>,
    pub(crate) config_names: OrdMap<String, ConfigId>,
    pub(crate) requests: OrdMap<RequestId, Answer>,
    pub(crate) requests_by_index: OrdMap<Index, RequestId>,
    /// What was written since somebody last took it; no part of what is agreed.
    pub(crate) changes: Vec<Change>,
}

/// What became of a request that may be repeated.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Answer {
    pub(crate) index: Index,
    pub(crate) result: Result<Applied, Refused>,
}

impl PartialEq for State {
    /// Whether both agree on everything that is replicated.
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index
            && self.revision == other.revision
            && self.cluster == other.cluster
            && self.nodes == other.nodes
            && self.services == other.services
            && self.tasks == other.tasks
            && self.networks == other.networks
            && self.secrets == other.secrets
            && self.configs == other.configs
            && self.logins == other.logins
            && self.requests == other.requests
    }
}

impl Eq for State {}

impl State {
    /// Index of the last applied entry.
    #[must_use]
    pub const fn index(&self) -> Index {
        self.index
    }

    /// How many specs and plans were adopted.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// The cluster object; `None` before genesis.
    #[must_use]
    pub const fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.cluster.as_ref()
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// One node.
    #[must_use]
    pub fn node(&self, id: NodeId) -> Option<&Arc<Node>> {
        self.nodes.get(&id)
    }

    /// All services, by id.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.services.values()
    }

    /// One service.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> Option<&Arc<Service>> {
        self.services.get(&id)
    }

    /// One service by its name; case does not matter, as in Docker.
    #[must_use]
    pub fn service_by_name(&self, name: &str) -> Option<&Arc<Service>> {
        self.service_names.get(&folded(name)).and_then(|id| self.services.get(id))
    }

    /// How to log in at the registry of a service's image, sealed; `None` if nobody said so.
    #[must_use]
    pub fn login(&self, service: ServiceId) -> Option<&Arc<[u8]>> {
        self.logins.get(&service)
    }

    /// All tasks, by id.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks.values()
    }

    /// One task.
    #[must_use]
    pub fn task(&self, id: TaskId) -> Option<&Arc<Task>> {
        self.tasks.get(&id)
    }

    /// Tasks of a service, by slot, then by id.
    pub fn tasks_of_service(&self, service: ServiceId) -> impl Iterator<Item = &Arc<Task>> {
        let first = (service, Slot::Replica(0), TaskId::from_bytes([0; 16]));
        self.tasks_by_service
            .range(first..)
            .take_while(move |(id, _, _)| *id == service)
            .filter_map(|(_, _, task)| self.tasks.get(task))
    }

    /// Tasks on a node, by id.
    pub fn tasks_of_node(&self, node: NodeId) -> impl Iterator<Item = &Arc<Task>> {
        let first = (node, TaskId::from_bytes([0; 16]));
        self.tasks_by_node
            .range(first..)
            .take_while(move |(id, _)| *id == node)
            .filter_map(|(_, task)| self.tasks.get(task))
    }

    /// All networks, by id.
    pub fn networks(&self) -> impl Iterator<Item = &Arc<Network>> {
        self.networks.values()
    }

    /// One network.
    #[must_use]
    pub fn network(&self, id: NetworkId) -> Option<&Arc<Network>> {
        self.networks.get(&id)
    }

    /// One network by its name.
    #[must_use]
    pub fn network_by_name(&self, name: &str) -> Option<&Arc<Network>> {
        self.network_names.get(&folded(name)).and_then(|id| self.networks.get(id))
    }

    /// All secrets, by id.
    pub fn secrets(&self) -> impl Iterator<Item = &Arc<Secret>> {
        self.secrets.values()
    }

    /// One secret.
    #[must_use]
    pub fn secret(&self, id: SecretId) -> Option<&Arc<Secret>> {
        self.secrets.get(&id)
    }

    /// One secret by its name.
    #[must_use]
    pub fn secret_by_name(&self, name: &str) -> Option<&Arc<Secret>> {
        self.secret_names.get(&folded(name)).and_then(|id| self.secrets.get(id))
    }

    /// All configs, by id.
    pub fn configs(&self) -> impl Iterator<Item = &Arc<Config>> {
        self.configs.values()
    }

    /// One config.
    #[must_use]
    pub fn config(&self, id: ConfigId) -> Option<&Arc<Config>> {
        self.configs.get(&id)
    }

    /// One config by its name.
    #[must_use]
    pub fn config_by_name(&self, name: &str) -> Option<&Arc<Config>> {
        self.config_names.get(&folded(name)).and_then(|id| self.configs.get(id))
    }

    /// What became of a request, if it is among the last that were answered.
    #[must_use]
    pub fn answer(&self, request: RequestId) -> Option<&Result<Applied, Refused>> {
        self.requests.get(&request).map(|answer| &answer.result)
    }

    /// What was written since this was last called, oldest first.
    ///
    /// Whoever applies takes it after each entry, or it grows without end.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}

/// Names of one kind that differ only in case are one name, as in Docker.
pub(crate) fn folded(name: &str) -> String {
    name.to_ascii_lowercase()
}
