//! Changes: what an applied command wrote, for those who watch.

use std::sync::Arc;

use crypto::NodeId;
use serde::{Deserialize, Serialize};

use crate::id::{ConfigId, Index, NetworkId, SecretId, ServiceId, TaskId};
use crate::node::Node;
use crate::object::{Cluster, Config, Network, Secret};
use crate::service::Service;
use crate::task::Task;

/// Names one object of any kind.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum ObjectKey {
    /// The cluster object.
    Cluster,
    /// A node.
    Node(NodeId),
    /// A service.
    Service(ServiceId),
    /// A task.
    Task(TaskId),
    /// A network.
    Network(NetworkId),
    /// A secret.
    Secret(SecretId),
    /// A config.
    Config(ConfigId),
}

impl ObjectKey {
    /// Docker's word for the kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Cluster => "swarm",
            Self::Node(_) => "node",
            Self::Service(_) => "service",
            Self::Task(_) => "task",
            Self::Network(_) => "network",
            Self::Secret(_) => "secret",
            Self::Config(_) => "config",
        }
    }
}

/// One object that an entry wrote.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Index of the entry. Changes of one entry share it and are in order.
    pub index: Index,
    /// The object, before and after.
    pub what: Changed,
}

impl Change {
    /// Which object.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        match &self.what {
            Changed::Cluster(_) => ObjectKey::Cluster,
            Changed::Node(diff) => diff.key(|node| ObjectKey::Node(node.id)),
            Changed::Service(diff) => diff.key(|service| ObjectKey::Service(service.id)),
            Changed::Task(diff) => diff.key(|task| ObjectKey::Task(task.id)),
            Changed::Network(diff) => diff.key(|network| ObjectKey::Network(network.id)),
            Changed::Secret(diff) => diff.key(|secret| ObjectKey::Secret(secret.id)),
            Changed::Config(diff) => diff.key(|config| ObjectKey::Config(config.id)),
        }
    }
}

/// The object of a [`Change`], by kind.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Changed {
    /// The cluster object.
    Cluster(Diff<Cluster>),
    /// A node.
    Node(Diff<Node>),
    /// A service.
    Service(Diff<Service>),
    /// A task.
    Task(Diff<Task>),
    /// A network.
    Network(Diff<Network>),
    /// A secret.
    Secret(Diff<Secret>),
    /// A config.
    Config(Diff<Config>),
}

/// An object before and after.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Diff<T> {
    /// It is new.
    Created(Arc<T>),
    /// It was rewritten.
    Updated {
        /// Before.
        old: Arc<T>,
        /// After.
        new: Arc<T>,
    },
    /// It is gone.
    Removed(Arc<T>),
}

impl<T> Diff<T> {
    pub(crate) fn written(old: Option<Arc<T>>, new: Arc<T>) -> Self {
        match old {
            Some(old) => Self::Updated { old, new },
            None => Self::Created(new),
        }
    }

    /// The object before; `None` if it is new.
    #[must_use]
    pub const fn before(&self) -> Option<&Arc<T>> {
        match self {
            Self::Created(_) => None,
            Self::Updated { old, .. } | Self::Removed(old) => Some(old),
        }
    }

    /// The object after; `None` if it is gone.
    #[must_use]
    pub const fn after(&self) -> Option<&Arc<T>> {
        match self {
            Self::Created(new) | Self::Updated { new, .. } => Some(new),
            Self::Removed(_) => None,
        }
    }

    fn key(&self, of: impl FnOnce(&T) -> ObjectKey) -> ObjectKey {
        match self {
            Self::Created(object) | Self::Updated { new: object, .. } | Self::Removed(object) => {
                of(object)
            }
        }
    }
}
