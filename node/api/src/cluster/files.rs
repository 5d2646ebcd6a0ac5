//! Secrets and configs, of [`super::Cluster`].

use async_trait::async_trait;

use super::{Caller, Problem};
use crate::filters::Filters;
use crate::wire::file::{Config, ConfigSpec, FileCreated, Secret, SecretSpec};

/// What the server needs of a node for secrets and configs; named as everything in
/// [`super::Cluster`].
#[async_trait]
pub trait Files: Send + Sync + 'static {
    /// `GET /secrets`: never with data.
    async fn secrets(&self, caller: &Caller, filters: &Filters) -> Result<Vec<Secret>, Problem>;
    /// `GET /secrets/{reference}`: never with data.
    async fn secret(&self, caller: &Caller, reference: &str) -> Result<Secret, Problem>;
    /// `POST /secrets/create`.
    async fn create_secret(
        &self,
        caller: &Caller,
        spec: SecretSpec,
    ) -> Result<FileCreated, Problem>;
    /// `POST /secrets/{reference}/update`: of labels only; the same data may come along.
    async fn update_secret(
        &self,
        caller: &Caller,
        reference: &str,
        version: u64,
        spec: SecretSpec,
    ) -> Result<(), Problem>;
    /// `DELETE /secrets/{reference}`.
    async fn remove_secret(&self, caller: &Caller, reference: &str) -> Result<(), Problem>;

    /// `GET /configs`.
    async fn configs(&self, caller: &Caller, filters: &Filters) -> Result<Vec<Config>, Problem>;
    /// `GET /configs/{reference}`.
    async fn config(&self, caller: &Caller, reference: &str) -> Result<Config, Problem>;
    /// `POST /configs/create`.
    async fn create_config(
        &self,
        caller: &Caller,
        spec: ConfigSpec,
    ) -> Result<FileCreated, Problem>;
    /// `POST /configs/{reference}/update`: of labels only; the same data may come along.
    async fn update_config(
        &self,
        caller: &Caller,
        reference: &str,
        version: u64,
        spec: ConfigSpec,
    ) -> Result<(), Problem>;
    /// `DELETE /configs/{reference}`.
    async fn remove_config(&self, caller: &Caller, reference: &str) -> Result<(), Problem>;
}
