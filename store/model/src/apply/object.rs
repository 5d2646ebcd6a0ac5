//! The cluster object, secrets and configs.

use std::collections::BTreeMap;

use crate::change::ObjectKey;
use crate::command::{Applied, Refused};
use crate::id::{ConfigId, Index, SecretId, TokenId};
use crate::object::{Cluster, ClusterSpec, Config, Secret};
use crate::service::Service;
use crate::state::State;

use super::{At, not_found, taken, touched};

/// Docker's limit is 500 KiB of data; sealing adds a nonce and a tag.
const SECRET_BYTES_MAX: usize = 512_000 + SEAL_BYTES_MAX;
/// Docker's limit is 1,000 KiB of data.
const CONFIG_BYTES_MAX: usize = 1_024_000 + SEAL_BYTES_MAX;
/// Room for what sealing adds.
const SEAL_BYTES_MAX: usize = 64;
/// Docker's: names of secrets, configs and networks.
const NAME_LENGTH_MAX: usize = 64;

/// A secret or config before it is one.
#[derive(Clone, Copy)]
pub(super) struct File<'a> {
    pub(super) name: &'a str,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) sealed: &'a [u8],
}

impl State {
    pub(super) fn update_cluster(
        &mut self,
        at: At,
        cluster: &Cluster,
        version: Index,
        spec: &ClusterSpec,
    ) -> Result<Applied, Refused> {
        if version != cluster.spec_version {
            return Err(Refused::OutOfSequence);
        }
        if !matches!(spec.voters, None | Some(1 | 3 | 5)) {
            return Err(Refused::Invalid("the number of voters must be 1, 3 or 5".to_owned()));
        }
        self.put_cluster(Cluster {
            spec: spec.clone(),
            spec_version: at.index,
            ..touched(cluster, at)
        });
        self.revise();
        Ok(at.applied())
    }

    pub(super) fn revoke_token(&mut self, at: At, cluster: &Cluster, token: TokenId) -> Applied {
        if !cluster.revoked_tokens.contains(&token) {
            let mut cluster = touched(cluster, at);
            cluster.revoked_tokens.insert(token);
            self.put_cluster(cluster);
        }
        at.applied()
    }

    pub(super) fn raise_psk_epoch(
        &mut self,
        at: At,
        cluster: &Cluster,
    ) -> Result<Applied, Refused> {
        let Some(psk_epoch) = cluster.psk_epoch.checked_add(1) else {
            return Err(Refused::Precondition("there are no more generations of keys".to_owned()));
        };
        self.put_cluster(Cluster { psk_epoch, ..touched(cluster, at) });
        Ok(at.applied())
    }

    pub(super) fn create_secret(
        &mut self,
        at: At,
        id: SecretId,
        file: File<'_>,
    ) -> Result<Applied, Refused> {
        check_name(file.name)?;
        if file.sealed.is_empty() || SECRET_BYTES_MAX < file.sealed.len() {
            return Err(Refused::Invalid(
                "secret data must be larger than 0 and less than 512000 bytes".to_owned(),
            ));
        }
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
        if CONFIG_BYTES_MAX < file.sealed.len() {
            return Err(Refused::Invalid("config data must be less than 1024000 bytes".to_owned()));
        }
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

/// Services named in an error: enough to find the others.
const IN_USE_SHOWN_MAX: usize = 10;

pub(super) fn check_name(name: &str) -> Result<(), Refused> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if name.len() <= NAME_LENGTH_MAX
        && name.chars().all(plain)
        && ends(name.chars().next())
        && ends(name.chars().last())
    {
        return Ok(());
    }
    Err(Refused::Invalid(
        "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end \
         character must be [a-zA-Z0-9]"
            .to_owned(),
    ))
}
