//! The nouns of images.

use std::fmt;

use model::UnixNanos;
use serde::{Deserialize, Serialize};

/// An image that this node has.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Image {
    /// Digest of its manifest, `sha256:…`.
    pub digest: String,
    /// Digest of its configuration: what Docker shows as the image id.
    pub config_digest: String,
    /// Names by which it is known here, as Docker shows them: `nginx:latest`.
    pub names: Vec<String>,
    /// `os/architecture`.
    pub platform: String,
    /// Bytes of its blobs.
    pub size_bytes: u64,
    /// When it was built, if it says so.
    pub created_at: Option<UnixNanos>,
}

/// What [`crate::Runtime::collect_images`] deleted.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Freed {
    /// Files and directories.
    pub n_deleted: u64,
    /// Their bytes.
    pub n_bytes: u64,
}

/// How to log in at a registry.
#[derive(Clone, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum RegistryAuth {
    /// User name and password.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// A token that the registry gave.
    Bearer {
        /// The token.
        token: String,
    },
}

impl fmt::Debug for RegistryAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { username, .. } => write!(f, "Basic({username}, …)"),
            Self::Bearer { .. } => f.write_str("Bearer(…)"),
        }
    }
}
