//! The only place that writes objects: it keeps the indexes and tells of each change.

use std::sync::Arc;

use crypto::NodeId;

use crate::change::{Change, Changed, Diff};
use crate::command::RequestId;
use crate::id::{ConfigId, NetworkId, SecretId, ServiceId, TaskId};
use crate::node::Node;
use crate::object::{Cluster, Config, Network, Secret};
use crate::service::Service;
use crate::state::{Answer, State, folded};
use crate::task::Task;

impl State {
    fn tell(&mut self, what: Changed) {
        self.changes.push(Change { index: self.index, what });
    }

    pub(crate) fn put_cluster(&mut self, cluster: Cluster) {
        let new = Arc::new(cluster);
        let old = self.cluster.replace(Arc::clone(&new));
        self.tell(Changed::Cluster(Diff::written(old, new)));
    }

    pub(crate) fn put_node(&mut self, node: Node) {
        let new = Arc::new(node);
        let old = self.nodes.insert(new.id, Arc::clone(&new));
        self.tell(Changed::Node(Diff::written(old, new)));
    }

    pub(crate) fn drop_node(&mut self, id: NodeId) {
        if let Some(old) = self.nodes.remove(&id) {
            self.tell(Changed::Node(Diff::Removed(old)));
        }
    }

    pub(crate) fn put_service(&mut self, service: Service) {
        let new = Arc::new(service);
        let old = self.services.insert(new.id, Arc::clone(&new));
        if let Some(old) = &old {
            self.service_names.remove(&folded(old.spec.name.as_str()));
        }
        self.service_names.insert(folded(new.spec.name.as_str()), new.id);
        self.tell(Changed::Service(Diff::written(old, new)));
    }

    /// Nobody watches logins: they go out with the tasks that need them.
    pub(crate) fn put_login(&mut self, service: ServiceId, sealed: &[u8]) {
        self.logins.insert(service, Arc::from(sealed));
    }

    pub(crate) fn drop_service(&mut self, id: ServiceId) {
        self.logins.remove(&id);
        if let Some(old) = self.services.remove(&id) {
            self.service_names.remove(&folded(old.spec.name.as_str()));
            self.tell(Changed::Service(Diff::Removed(old)));
        }
    }

    pub(crate) fn put_task(&mut self, task: Task) {
        let new = Arc::new(task);
        let old = self.tasks.insert(new.id, Arc::clone(&new));
        if let Some(old) = &old {
            self.unindex(old);
        }
        self.tasks_by_service.insert((new.service, new.slot, new.id));
        if let Some(node) = new.node {
            self.tasks_by_node.insert((node, new.id));
        }
        self.tell(Changed::Task(Diff::written(old, new)));
    }

    pub(crate) fn drop_task(&mut self, id: TaskId) {
        if let Some(old) = self.tasks.remove(&id) {
            self.unindex(&old);
            self.tell(Changed::Task(Diff::Removed(old)));
        }
    }

    fn unindex(&mut self, task: &Task) {
        self.tasks_by_service.remove(&(task.service, task.slot, task.id));
        if let Some(node) = task.node {
            self.tasks_by_node.remove(&(node, task.id));
        }
    }

    pub(crate) fn put_network(&mut self, network: Network) {
        let new = Arc::new(network);
        let old = self.networks.insert(new.id, Arc::clone(&new));
        if let Some(old) = &old {
            self.network_names.remove(&folded(&old.spec.name));
        }
        self.network_names.insert(folded(&new.spec.name), new.id);
        self.tell(Changed::Network(Diff::written(old, new)));
    }

    pub(crate) fn drop_network(&mut self, id: NetworkId) {
        if let Some(old) = self.networks.remove(&id) {
            self.network_names.remove(&folded(&old.spec.name));
            self.tell(Changed::Network(Diff::Removed(old)));
        }
    }

    pub(crate) fn put_secret(&mut self, secret: Secret) {
        let new = Arc::new(secret);
        let old = self.secrets.insert(new.id, Arc::clone(&new));
        if let Some(old) = &old {
            self.secret_names.remove(&folded(&old.name));
        }
        self.secret_names.insert(folded(&new.name), new.id);
        self.tell(Changed::Secret(Diff::written(old, new)));
    }

    pub(crate) fn drop_secret(&mut self, id: SecretId) {
        if let Some(old) = self.secrets.remove(&id) {
            self.secret_names.remove(&folded(&old.name));
            self.tell(Changed::Secret(Diff::Removed(old)));
        }
    }

    pub(crate) fn put_config(&mut self, config: Config) {
        let new = Arc::new(config);
        let old = self.configs.insert(new.id, Arc::clone(&new));
        if let Some(old) = &old {
            self.config_names.remove(&folded(&old.name));
        }
        self.config_names.insert(folded(&new.name), new.id);
        self.tell(Changed::Config(Diff::written(old, new)));
    }

    pub(crate) fn drop_config(&mut self, id: ConfigId) {
        if let Some(old) = self.configs.remove(&id) {
            self.config_names.remove(&folded(&old.name));
            self.tell(Changed::Config(Diff::Removed(old)));
        }
    }

    /// Keeps what became of a request, and forgets the oldest ones.
    pub(crate) fn remember(&mut self, request: RequestId, answer: Answer) {
        self.requests_by_index.insert(answer.index, request);
        self.requests.insert(request, answer);
        while Self::REQUESTS_MAX < self.requests.len() {
            let Some(oldest) = self.requests_by_index.get_min().map(|(index, _)| *index) else {
                break;
            };
            if let Some(request) = self.requests_by_index.remove(&oldest) {
                self.requests.remove(&request);
            }
        }
    }

    /// Recomputes every index and names the first that is wrong. For tests and simulations.
    ///
    /// # Errors
    ///
    /// The name of the index.
    pub fn audit(&self) -> Result<(), &'static str> {
        let mut fresh = Self::default();
        for service in self.services.values() {
            fresh.put_service(Service::clone(service));
        }
        for task in self.tasks.values() {
            fresh.put_task(Task::clone(task));
        }
        for network in self.networks.values() {
            fresh.put_network(Network::clone(network));
        }
        for secret in self.secrets.values() {
            fresh.put_secret(Secret::clone(secret));
        }
        for config in self.configs.values() {
            fresh.put_config(Config::clone(config));
        }
        for (request, answer) in &self.requests {
            fresh.remember(*request, answer.clone());
        }
        let same = [
            ("service names", fresh.service_names == self.service_names),
            ("tasks by service", fresh.tasks_by_service == self.tasks_by_service),
            ("tasks by node", fresh.tasks_by_node == self.tasks_by_node),
            ("network names", fresh.network_names == self.network_names),
            ("secret names", fresh.secret_names == self.secret_names),
            ("config names", fresh.config_names == self.config_names),
            ("requests", fresh.requests_by_index == self.requests_by_index),
        ];
        match same.into_iter().find(|(_, same)| !same) {
            Some((name, _)) => Err(name),
            None => Ok(()),
        }
    }
}
