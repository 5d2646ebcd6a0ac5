//! Images of the local runtime.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{nullable, zero};

/// An image in a list.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageSummary {
    /// Containers that use it; -1 means not counted.
    pub containers: i64,
    /// Unix seconds.
    pub created: i64,
    /// `sha256:…`.
    pub id: String,
    /// Its labels.
    #[serde(with = "nullable")]
    pub labels: BTreeMap<String, String>,
    /// The image it was built on.
    pub parent_id: String,
    /// `name@sha256:…`.
    #[serde(with = "nullable")]
    pub repo_digests: Vec<String>,
    /// `name:tag`.
    #[serde(with = "nullable")]
    pub repo_tags: Vec<String>,
    /// Bytes shared with other images; -1 means not counted.
    pub shared_size: i64,
    /// Bytes.
    pub size: i64,
}

/// One line of the answer to a pull or a load.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ImageProgress {
    /// What is done, as a log line.
    #[serde(skip_serializing_if = "zero")]
    pub stream: String,
    /// What is done.
    #[serde(skip_serializing_if = "zero")]
    pub status: String,
    /// How far.
    #[serde(skip_serializing_if = "zero")]
    pub progress_detail: Option<ProgressDetail>,
    /// Of which layer.
    #[serde(skip_serializing_if = "zero")]
    pub id: String,
    /// What went wrong: the last line.
    #[serde(skip_serializing_if = "zero")]
    pub error: String,
    /// The same, as Docker's client reads it.
    #[serde(skip_serializing_if = "zero")]
    pub error_detail: Option<ErrorDetail>,
}

/// How far a layer is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ProgressDetail {
    /// Bytes so far.
    #[serde(skip_serializing_if = "zero")]
    pub current: u64,
    /// Bytes in all.
    #[serde(skip_serializing_if = "zero")]
    pub total: u64,
}

/// What went wrong.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct ErrorDetail {
    /// In words.
    pub message: String,
}

/// What a removal did: one of the two is set.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct ImageDeleted {
    /// A name that is gone.
    #[serde(skip_serializing_if = "zero")]
    pub untagged: String,
    /// An image that is gone.
    #[serde(skip_serializing_if = "zero")]
    pub deleted: String,
}

/// Credentials for a registry, as `X-Registry-Auth` carries them in base64url.
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct RegistryAuth {
    /// User name.
    #[serde(skip_serializing_if = "zero")]
    pub username: String,
    /// Password.
    #[serde(skip_serializing_if = "zero")]
    pub password: String,
    /// Base64 of `user:password`, where the two fields are empty.
    #[serde(skip_serializing_if = "zero")]
    pub auth: String,
    /// Which registry.
    #[serde(skip_serializing_if = "zero")]
    pub serveraddress: String,
    /// A token instead of a password.
    #[serde(skip_serializing_if = "zero")]
    pub identitytoken: String,
    /// A bearer token.
    #[serde(skip_serializing_if = "zero")]
    pub registrytoken: String,
}

impl std::fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryAuth")
            .field("username", &self.username)
            .field("serveraddress", &self.serveraddress)
            .finish_non_exhaustive()
    }
}
