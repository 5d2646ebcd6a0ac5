//! Containers of this node, where no Docker Engine keeps them.

use async_trait::async_trait;

use super::{LogOptions, LogStream, Problem};
use crate::wire::local::{ContainerDetails, ContainerSummary};

/// Containers of this node, all of them of tasks.
#[async_trait]
pub trait Containers: Send + Sync {
    /// `GET /containers/json`, those that ended included.
    async fn containers(&self) -> Result<Vec<ContainerSummary>, Problem>;
    /// `GET /containers/{reference}/json`: full id, exact name or unique prefix of the id.
    async fn container(&self, reference: &str) -> Result<ContainerDetails, Problem>;
    /// `GET /containers/{reference}/logs`.
    async fn container_logs(
        &self,
        reference: &str,
        options: LogOptions,
    ) -> Result<LogStream, Problem>;
}
