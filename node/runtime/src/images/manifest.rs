//! The JSON of images: index, manifest and configuration, as far as they are used here.
//!
//! Source: OCI Image Format Specification 1.1; Docker's schema 2 has the same fields.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::RuntimeError;

/// Bytes of one JSON document: the distribution specification asks registries to
/// accept manifests of 4 MiB at least, and nobody makes larger ones.
pub(crate) const JSON_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Layers of one image: Docker stops at 127; a list of millions is an attack.
pub(crate) const LAYERS_MAX: usize = 512;

/// What this node is: `linux/amd64`.
pub(crate) fn node_platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("linux/{architecture}")
}

/// A pointer to a blob.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    #[serde(default)]
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Platform {
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
}

impl Platform {
    fn text(&self) -> String {
        format!("{}/{}", self.os, self.architecture)
    }
}

/// A manifest, or an index of manifests: one struct, since registries serve both under
/// the same address and media types are not always right.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    #[serde(default)]
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<Descriptor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) manifests: Vec<Descriptor>,
}

impl Manifest {
    /// Reads a manifest or an index.
    pub(crate) fn parse(reference: &str, bytes: &[u8]) -> Result<Self, RuntimeError> {
        let manifest: Self = parse_json(reference, "manifest", bytes)?;
        if LAYERS_MAX < manifest.layers.len() {
            let reason = format!("{} layers, at most {LAYERS_MAX}", manifest.layers.len());
            return Err(broken(reference, reason));
        }
        Ok(manifest)
    }

    /// The entry of an index that is for this node.
    pub(crate) fn choose(&self, reference: &str, node: &str) -> Result<&Descriptor, RuntimeError> {
        let fits = |entry: &&Descriptor| match &entry.platform {
            Some(platform) => platform.text() == node,
            // An index of one manifest without a platform: its configuration tells.
            None => self.manifests.len() == 1,
        };
        self.manifests.iter().find(fits).ok_or_else(|| {
            let platforms = self.manifests.iter().filter_map(|entry| entry.platform.as_ref());
            let known = platforms.map(Platform::text).filter(|text| text != "unknown/unknown");
            let mut image: Vec<String> = known.collect();
            image.dedup();
            let image = if image.is_empty() { "no platform".to_owned() } else { image.join(", ") };
            RuntimeError::Platform { reference: reference.into(), image, node: node.into() }
        })
    }
}

/// The configuration of an image.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct ImageConfig {
    #[serde(default)]
    pub(crate) architecture: String,
    #[serde(default)]
    pub(crate) os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
    #[serde(default)]
    pub(crate) config: Option<RunConfig>,
    #[serde(default)]
    pub(crate) rootfs: RootFs,
}

/// What the image says about its process. `null` stands for empty in all of these.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RunConfig {
    pub(crate) user: Option<String>,
    pub(crate) env: Option<Vec<String>>,
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) cmd: Option<Vec<String>>,
    pub(crate) working_dir: Option<String>,
    pub(crate) stop_signal: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct RootFs {
    #[serde(default, rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) diff_ids: Vec<String>,
}

impl ImageConfig {
    /// Reads a configuration and refuses that of another platform.
    pub(crate) fn parse(reference: &str, bytes: &[u8], node: &str) -> Result<Self, RuntimeError> {
        let config: Self = parse_json(reference, "configuration", bytes)?;
        let image = config.platform();
        // Images made by `docker import` of old say nothing.
        if image != "/" && image != node {
            let (reference, node) = (reference.to_owned(), node.to_owned());
            return Err(RuntimeError::Platform { reference, image, node });
        }
        Ok(config)
    }

    /// `os/architecture`.
    pub(crate) fn platform(&self) -> String {
        format!("{}/{}", self.os, self.architecture)
    }
}

/// Checks that a text is a digest that we can verify, so that it is safe as a file name.
pub(crate) fn digest_hex<'a>(reference: &str, digest: &'a str) -> Result<&'a str, RuntimeError> {
    let hex = digest.strip_prefix("sha256:").filter(|hex| {
        hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    });
    hex.ok_or_else(|| broken(reference, format!("`{digest}` is no sha256 digest")))
}

/// An image that breaks a rule.
pub(crate) fn broken(reference: &str, reason: impl Into<String>) -> RuntimeError {
    RuntimeError::BrokenImage { reference: reference.to_owned(), reason: reason.into() }
}

fn parse_json<'a, T: Deserialize<'a>>(
    reference: &str,
    what: &str,
    bytes: &'a [u8],
) -> Result<T, RuntimeError> {
    serde_json::from_slice(bytes).map_err(|error| broken(reference, format!("{what}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(platforms: &[&str]) -> Manifest {
        let entries = platforms.iter().map(|text| {
            let (os, architecture) = text.split_once('/').unwrap();
            serde_json::json!({"digest": text, "platform": {"os": os, "architecture": architecture}})
        });
        let entries: Vec<_> = entries.collect();
        let json = serde_json::json!({"schemaVersion": 2, "manifests": entries}).to_string();
        Manifest::parse("x", json.as_bytes()).unwrap()
    }

    #[test]
    fn an_index_is_searched_for_the_node_and_the_error_names_what_there_is() {
        let both = index(&["linux/arm64", "linux/amd64", "unknown/unknown"]);
        assert_eq!(both.choose("x", "linux/amd64").unwrap().digest, "linux/amd64");
        let foreign = index(&["linux/arm64", "unknown/unknown"]);
        assert_eq!(
            foreign.choose("x", "linux/amd64").unwrap_err().to_string(),
            "image x is for linux/arm64, this node is linux/amd64"
        );
    }

    #[test]
    fn a_configuration_of_another_platform_is_refused() {
        let json = br#"{"architecture":"arm64","os":"linux","config":null}"#;
        assert!(ImageConfig::parse("x", json, "linux/arm64").is_ok());
        let error = ImageConfig::parse("x", json, "linux/amd64").unwrap_err();
        assert_eq!(error.to_string(), "image x is for linux/arm64, this node is linux/amd64");
    }

    #[test]
    fn only_sha256_digests_become_file_names() {
        for bad in ["", "sha256:", "sha256:../../etc/passwd", "sha512:00", &"a".repeat(71)] {
            assert!(digest_hex("x", bad).is_err(), "{bad}");
        }
    }
}
