//! Secrets and configs: sealed before anybody but the leader's memory holds them.

use std::sync::Arc;

use api::cluster::files::Files;
use api::cluster::{Caller, Problem};
use api::filters::Filters;
use api::wire::file::{
    Config as ShownConfig, ConfigSpec, Data, FileCreated, Secret as ShownSecret, SecretSpec,
};
use async_trait::async_trait;
use crypto::Authority;
use model::{Command, Config, ConfigId, Index, Secret, SecretId};

use super::services::find;
use super::{Front, problem};
use crate::convert;

impl Front {
    /// What seals and opens; an eligible node has it as soon as it is part of a cluster.
    fn authority(&self) -> Result<Arc<Authority>, Problem> {
        self.credentials.borrow().authority.clone().ok_or_else(Problem::no_cluster)
    }

    /// Data to store, sealed.
    fn seal(&self, context: &[u8], data: &Data) -> Result<Vec<u8>, Problem> {
        let sealed = self.authority()?.seal(context, data.as_bytes());
        sealed.map_err(|error| Problem::new(500, error.to_string()))
    }

    /// Whether data that came along with an update is what is stored.
    fn check_same(
        &self,
        given: Option<&Data>,
        context: &[u8],
        sealed: &[u8],
    ) -> Result<(), Problem> {
        let Some(given) = given else { return Ok(()) };
        let stored = self.open(context, sealed)?;
        if stored == crypto::SecretBytes::new(given.as_bytes().to_vec()) {
            return Ok(());
        }
        Err(only_labels())
    }

    fn open(&self, context: &[u8], sealed: &[u8]) -> Result<crypto::SecretBytes, Problem> {
        let opened = self.authority()?.unseal(context, sealed);
        opened.map_err(|error| Problem::new(500, error.to_string()))
    }

    /// A config with its content.
    fn shown(&self, config: &Config) -> Result<ShownConfig, Problem> {
        let data = self.open(&Config::seal_context(config.id), &config.sealed)?;
        Ok(convert::config(config, data.as_bytes().to_vec().into()))
    }
}

fn only_labels() -> Problem {
    Problem::bad_request("only updates to Labels are allowed")
}

fn no_templates(kind: &str) -> Problem {
    Problem::not_implemented(format!(
        "{kind} templates are not supported by this version of skep: write the {kind} as it is \
         to be, without a template driver"
    ))
}

#[async_trait]
impl Files for Front {
    async fn secrets(
        &self,
        caller: &Caller,
        filters: &Filters,
    ) -> Result<Vec<ShownSecret>, Problem> {
        let state = self.state(caller).await?;
        let passes = |secret: &&Arc<Secret>| {
            filters.accepts_prefix("id", &secret.id.to_string())
                && filters.accepts_prefix("name", &secret.name)
                && filters.accepts("names", &secret.name)
                && filters.accepts_labels("label", &secret.labels)
        };
        Ok(state.secrets().filter(passes).map(|secret| convert::secret(secret)).collect())
    }

    async fn secret(&self, caller: &Caller, reference: &str) -> Result<ShownSecret, Problem> {
        let state = self.state(caller).await?;
        let named = |secret: &Secret| (secret.id.to_string(), secret.name.clone());
        Ok(convert::secret(find("secret", reference, state.secrets(), named)?))
    }

    async fn create_secret(
        &self,
        caller: &Caller,
        spec: SecretSpec,
    ) -> Result<FileCreated, Problem> {
        if let Some(driver) = spec.driver {
            // As Docker on a node that lacks the plugin.
            return Err(Problem::new(500, format!("plugin {:?} not found", driver.name)));
        }
        if spec.templating.is_some() {
            return Err(no_templates("secret"));
        }
        let data = spec.data.unwrap_or_default();
        Secret::check_length(data.as_bytes().len()).map_err(|refused| problem(&refused))?;
        // A repeated request must make the same secret: its id comes from the request's.
        let id = SecretId::from_bytes(caller.request.0);
        let sealed = self.seal(&Secret::seal_context(id), &data)?;
        let (name, labels) = (spec.name, spec.labels);
        self.propose(caller, Command::CreateSecret { id, name, labels, sealed }).await?;
        Ok(FileCreated { id: id.to_string() })
    }

    async fn update_secret(
        &self,
        caller: &Caller,
        reference: &str,
        version: u64,
        spec: SecretSpec,
    ) -> Result<(), Problem> {
        let state = self.state(caller).await?;
        let named = |secret: &Secret| (secret.id.to_string(), secret.name.clone());
        let secret = find("secret", reference, state.secrets(), named)?;
        let id = secret.id;
        if spec.name != secret.name || spec.driver.is_some() || spec.templating.is_some() {
            return Err(only_labels());
        }
        self.check_same(spec.data.as_ref(), &Secret::seal_context(id), &secret.sealed)?;
        let (version, labels) = (Index(version), spec.labels);
        self.propose(caller, Command::UpdateSecret { id, version, labels }).await.map(drop)
    }

    async fn remove_secret(&self, caller: &Caller, reference: &str) -> Result<(), Problem> {
        let state = self.state(caller).await?;
        let named = |secret: &Secret| (secret.id.to_string(), secret.name.clone());
        let id = find("secret", reference, state.secrets(), named)?.id;
        self.propose(caller, Command::RemoveSecret(id)).await.map(drop)
    }

    async fn configs(
        &self,
        caller: &Caller,
        filters: &Filters,
    ) -> Result<Vec<ShownConfig>, Problem> {
        let state = self.state(caller).await?;
        let passes = |config: &&Arc<Config>| {
            filters.accepts_prefix("id", &config.id.to_string())
                && filters.accepts_prefix("name", &config.name)
                && filters.accepts("names", &config.name)
                && filters.accepts_labels("label", &config.labels)
        };
        state.configs().filter(passes).map(|config| self.shown(config)).collect()
    }

    async fn config(&self, caller: &Caller, reference: &str) -> Result<ShownConfig, Problem> {
        let state = self.state(caller).await?;
        let named = |config: &Config| (config.id.to_string(), config.name.clone());
        self.shown(find("config", reference, state.configs(), named)?)
    }

    async fn create_config(
        &self,
        caller: &Caller,
        spec: ConfigSpec,
    ) -> Result<FileCreated, Problem> {
        if spec.templating.is_some() {
            return Err(no_templates("config"));
        }
        let data = spec.data.unwrap_or_default();
        Config::check_length(data.as_bytes().len()).map_err(|refused| problem(&refused))?;
        let id = ConfigId::from_bytes(caller.request.0);
        let sealed = self.seal(&Config::seal_context(id), &data)?;
        let (name, labels) = (spec.name, spec.labels);
        self.propose(caller, Command::CreateConfig { id, name, labels, sealed }).await?;
        Ok(FileCreated { id: id.to_string() })
    }

    async fn update_config(
        &self,
        caller: &Caller,
        reference: &str,
        version: u64,
        spec: ConfigSpec,
    ) -> Result<(), Problem> {
        let state = self.state(caller).await?;
        let named = |config: &Config| (config.id.to_string(), config.name.clone());
        let config = find("config", reference, state.configs(), named)?;
        let id = config.id;
        if spec.name != config.name || spec.templating.is_some() {
            return Err(only_labels());
        }
        self.check_same(spec.data.as_ref(), &Config::seal_context(id), &config.sealed)?;
        let (version, labels) = (Index(version), spec.labels);
        self.propose(caller, Command::UpdateConfig { id, version, labels }).await.map(drop)
    }

    async fn remove_config(&self, caller: &Caller, reference: &str) -> Result<(), Problem> {
        let state = self.state(caller).await?;
        let named = |config: &Config| (config.id.to_string(), config.name.clone());
        let id = find("config", reference, state.configs(), named)?.id;
        self.propose(caller, Command::RemoveConfig(id)).await.map(drop)
    }
}
