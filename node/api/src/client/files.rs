//! Secrets and configs.

use http::Method;

use super::sending::{Sending, segment};
use super::{Client, ClientError};
use crate::filters::Filters;
use crate::wire::file::{Config, ConfigSpec, FileCreated, Secret, SecretSpec};

impl Client {
    /// Secrets, without their data.
    ///
    /// # Errors
    /// As every request.
    pub async fn secrets(&self, filters: &Filters) -> Result<Vec<Secret>, ClientError> {
        self.read(&Sending::get("/secrets").with("filters", filters.to_json())).await
    }

    /// One secret, without its data.
    ///
    /// # Errors
    /// As every request.
    pub async fn secret(&self, reference: &str) -> Result<Secret, ClientError> {
        self.read(&Sending::get(&format!("/secrets/{}", segment(reference)))).await
    }

    /// Creates a secret.
    ///
    /// # Errors
    /// As every request.
    pub async fn create_secret(&self, spec: &SecretSpec) -> Result<FileCreated, ClientError> {
        self.write_json(&Sending::new(Method::POST, "/secrets/create").json(spec)?).await
    }

    /// Removes a secret.
    ///
    /// # Errors
    /// As every request.
    pub async fn remove_secret(&self, reference: &str) -> Result<(), ClientError> {
        let path = format!("/secrets/{}", segment(reference));
        self.write(&Sending::new(Method::DELETE, &path)).await.map(drop)
    }

    /// Configs.
    ///
    /// # Errors
    /// As every request.
    pub async fn configs(&self, filters: &Filters) -> Result<Vec<Config>, ClientError> {
        self.read(&Sending::get("/configs").with("filters", filters.to_json())).await
    }

    /// One config.
    ///
    /// # Errors
    /// As every request.
    pub async fn config(&self, reference: &str) -> Result<Config, ClientError> {
        self.read(&Sending::get(&format!("/configs/{}", segment(reference)))).await
    }

    /// Creates a config.
    ///
    /// # Errors
    /// As every request.
    pub async fn create_config(&self, spec: &ConfigSpec) -> Result<FileCreated, ClientError> {
        self.write_json(&Sending::new(Method::POST, "/configs/create").json(spec)?).await
    }

    /// Removes a config.
    ///
    /// # Errors
    /// As every request.
    pub async fn remove_config(&self, reference: &str) -> Result<(), ClientError> {
        let path = format!("/configs/{}", segment(reference));
        self.write(&Sending::new(Method::DELETE, &path)).await.map(drop)
    }
}
