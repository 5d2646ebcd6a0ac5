//! Secrets and configs, and what specs say of them, both ways.

use api::cluster::Problem;
use api::wire;
use api::wire::ObjectVersion;
use api::wire::container as to;
use api::wire::file::Data;
use api::wire::time::format;
use model::{Config, Secret, service as from};

/// A secret, without its data.
pub(crate) fn secret(secret: &Secret) -> wire::file::Secret {
    wire::file::Secret {
        id: secret.id.to_string(),
        version: ObjectVersion { index: secret.spec_version.0 },
        created_at: format(secret.created_at.0),
        updated_at: format(secret.updated_at.0),
        spec: wire::file::SecretSpec {
            name: secret.name.clone(),
            labels: secret.labels.clone(),
            ..wire::file::SecretSpec::default()
        },
    }
}

/// A config with its content.
pub(crate) fn config(config: &Config, data: Data) -> wire::file::Config {
    wire::file::Config {
        id: config.id.to_string(),
        version: ObjectVersion { index: config.spec_version.0 },
        created_at: format(config.created_at.0),
        updated_at: format(config.updated_at.0),
        spec: wire::file::ConfigSpec {
            name: config.name.clone(),
            labels: config.labels.clone(),
            data: Some(data),
            templating: None,
        },
    }
}

/// A spec's reference to a secret.
pub(super) fn secret_reference(
    reference: to::SecretReference,
) -> Result<from::SecretReference, Problem> {
    let to::SecretReference { file, secret_id, secret_name } = reference;
    let id = reference_id("secret", &secret_id, &secret_name)?;
    Ok(from::SecretReference { id, name: secret_name, file: file.map(target) })
}

/// A spec's reference to a config.
pub(super) fn config_reference(
    reference: to::ConfigReference,
) -> Result<from::ConfigReference, Problem> {
    let to::ConfigReference { file, runtime, config_id, config_name } = reference;
    let id = reference_id("config", &config_id, &config_name)?;
    match (&file, runtime) {
        (None, None) => Err(Problem::bad_request("malformed config reference, no target provided")),
        (_, Some(_)) => Err(super::read::unbuilt("configs for the runtime (credential specs)")),
        (Some(_), None) => {
            Ok(from::ConfigReference { id, name: config_name, file: file.map(target) })
        }
    }
}

/// An id that is none of ours names nothing that is there.
fn reference_id<T: std::str::FromStr>(kind: &str, id: &str, name: &str) -> Result<T, Problem> {
    if id.is_empty() || name.is_empty() {
        return Err(Problem::bad_request(format!("malformed {kind} reference")));
    }
    id.parse().map_err(|_| Problem::bad_request(format!("{kind} not found: {name}")))
}

fn target(file: to::FileTarget) -> from::FileTarget {
    let to::FileTarget { name, uid, gid, mode } = file;
    from::FileTarget { name, uid, gid, mode }
}

/// A reference as it was given.
pub(super) fn shown_secret_reference(reference: &from::SecretReference) -> to::SecretReference {
    to::SecretReference {
        file: reference.file.as_ref().map(shown_target),
        secret_id: reference.id.to_string(),
        secret_name: reference.name.clone(),
    }
}

/// A reference as it was given.
pub(super) fn shown_config_reference(reference: &from::ConfigReference) -> to::ConfigReference {
    to::ConfigReference {
        file: reference.file.as_ref().map(shown_target),
        runtime: None,
        config_id: reference.id.to_string(),
        config_name: reference.name.clone(),
    }
}

fn shown_target(file: &from::FileTarget) -> to::FileTarget {
    let from::FileTarget { name, uid, gid, mode } = file;
    to::FileTarget { name: name.clone(), uid: uid.clone(), gid: gid.clone(), mode: *mode }
}
