//! Secrets and configs: files that tasks get, sealed before they come here.

use std::collections::BTreeMap;

use crypto::sealed::SEAL_BYTES;

use crate::change::ObjectKey;
use crate::command::{Applied, Refused};
use crate::id::{ConfigId, Index, SecretId};
use crate::object::{Config, Secret};
use crate::service::Service;
use crate::state::State;

use super::object::check_name;
use super::{At, not_found, taken};

/// Services named in an error: enough to find the others.
const IN_USE_SHOWN_MAX: usize = 10;

/// A secret or config before it is one.
#[derive(Clone, Copy)]
pub(super) struct File<'a> {
    pub(super) name: &'a str,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) sealed: &'a [u8],
}

/// Bytes of the data. That it is not empty is for whoever seals it to see: here only nothing at
/// all is refused.
const fn data_length(sealed: &[u8]) -> usize {
    if sealed.len() <= SEAL_BYTES { sealed.len() } else { sealed.len() - SEAL_BYTES }
}

impl State {
    pub(super) fn create_secret(
        &mut self,
        at: At,
        id: SecretId,
        file: File<'_>,
    ) -> Result<Applied, Refused> {
        check_name(file.name)?;
        Secret::check_length(data_length(file.sealed))?;
        if self.secrets.contains_key(&id) || self.secret_by_name(file.name).is_some() {
            return Err(taken("secret", file.name));
        }
        self.put_secret(Secret {
            id,
            name: file.name.to_owned(),
            labels: file.labels.clone(),
            sealed: file.sealed.to_vec(),
            spec_version: at.index,
            modified: at.index,
            created_at: at.now,
            updated_at: at.now,
        });
        Ok(at.created(ObjectKey::Secret(id)))
    }

    pub(super) fn update_secret(
        &mut self,
        at: At,
        id: SecretId,
        version: Index,
        labels: &BTreeMap<String, String>,
    ) -> Result<Applied, Refused> {
        let secret = self.secrets.get(&id).ok_or_else(|| not_found("secret", id))?;
        if version != secret.spec_version {
            return Err(Refused::OutOfSequence);
        }
        self.put_secret(Secret {
            labels: labels.clone(),
            spec_version: at.index,
            modified: at.index,
            updated_at: at.now,
            ..Secret::clone(secret)
        });
        Ok(at.applied())
    }

    pub(super) fn remove_secret(&mut self, at: At, id: SecretId) -> Result<Applied, Refused> {
        let secret = self.secrets.get(&id).ok_or_else(|| not_found("secret", id))?;
        let uses = |service: &Service| {
            service.spec.task.container.secrets.iter().any(|secret| secret.id == id)
        };
        self.check_unused("secret", &secret.name, uses)?;
        self.drop_secret(id);
        Ok(at.applied())
    }

    pub(super) fn create_config(
        &mut self,
        at: At,
        id: ConfigId,
        file: File<'_>,
    ) -> Result<Applied, Refused> {
        check_name(file.name)?;
        Config::check_length(data_length(file.sealed))?;
        if self.configs.contains_key(&id) || self.config_by_name(file.name).is_some() {
            return Err(taken("config", file.name));
        }
        self.put_config(Config {
            id,
            name: file.name.to_owned(),
            labels: file.labels.clone(),
            sealed: file.sealed.to_vec(),
            spec_version: at.index,
            modified: at.index,
            created_at: at.now,
            updated_at: at.now,
        });
        Ok(at.created(ObjectKey::Config(id)))
    }

    pub(super) fn update_config(
        &mut self,
        at: At,
        id: ConfigId,
        version: Index,
        labels: &BTreeMap<String, String>,
    ) -> Result<Applied, Refused> {
        let config = self.configs.get(&id).ok_or_else(|| not_found("config", id))?;
        if version != config.spec_version {
            return Err(Refused::OutOfSequence);
        }
        self.put_config(Config {
            labels: labels.clone(),
            spec_version: at.index,
            modified: at.index,
            updated_at: at.now,
            ..Config::clone(config)
        });
        Ok(at.applied())
    }

    pub(super) fn remove_config(&mut self, at: At, id: ConfigId) -> Result<Applied, Refused> {
        let config = self.configs.get(&id).ok_or_else(|| not_found("config", id))?;
        let uses = |service: &Service| {
            service.spec.task.container.configs.iter().any(|config| config.id == id)
        };
        self.check_unused("config", &config.name, uses)?;
        self.drop_config(id);
        Ok(at.applied())
    }

    fn check_unused(
        &self,
        kind: &str,
        name: &str,
        uses: impl Fn(&Service) -> bool,
    ) -> Result<(), Refused> {
        let users: Vec<&str> = self
            .services
            .values()
            .filter(|service| uses(service))
            .take(IN_USE_SHOWN_MAX)
            .map(|service| service.spec.name.as_str())
            .collect();
        if users.is_empty() {
            return Ok(());
        }
        Err(Refused::InUse { kind: kind.to_owned(), name: name.to_owned(), by: users.join(", ") })
    }
}
