//! Networks of the cluster, and those of this node where no Docker Engine keeps them.

use async_trait::async_trait;

use super::{Caller, Problem};
use crate::filters::Filters;
use crate::wire::network::{Network, NetworkCreated, NetworksPruned, NewNetwork};

/// Networks. What is of the cluster is asked where it is led.
#[async_trait]
pub trait Networks: Send + Sync {
    /// The cluster's.
    async fn networks(&self, caller: &Caller) -> Result<Vec<Network>, Problem>;
    /// One of the cluster's: full id, exact name or unique prefix of the id.
    async fn network(&self, caller: &Caller, reference: &str) -> Result<Network, Problem>;
    /// Creates one of the cluster's.
    async fn create_network(
        &self,
        caller: &Caller,
        new: NewNetwork,
    ) -> Result<NetworkCreated, Problem>;
    /// Removes one of the cluster's.
    async fn remove_network(&self, caller: &Caller, reference: &str) -> Result<(), Problem>;
    /// Removes those of the cluster's that no service uses.
    async fn prune_networks(
        &self,
        caller: &Caller,
        filters: &Filters,
    ) -> Result<NetworksPruned, Problem>;
    /// This node's own, where no Docker Engine keeps them.
    fn local_networks(&self) -> Vec<Network>;
}
