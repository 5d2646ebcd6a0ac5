//! The image that every binary carries: a tiny web server, so that a first service
//! needs neither a registry nor a download.

use std::collections::BTreeMap;
use std::io;

use super::archive::image_manifest;
use super::content::{Content, digest_of};
use super::manifest::{Descriptor, ImageConfig, RootFs, RunConfig, node_platform};
use crate::RuntimeError;

/// Its name, as a user writes it.
pub const DEMO_IMAGE: &str = "skep/demo";
/// The program, static and for this processor.
pub(crate) const DEMO_PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/demo"));
/// Where it is in the image.
pub(crate) const DEMO_PATH: &str = "/demo";

/// Puts the image into the store; gives the digest of its manifest.
///
/// The bytes depend on nothing but the program, so all nodes of one version have the
/// same digest.
pub(crate) fn put_demo(content: &Content) -> Result<String, RuntimeError> {
    let layer = layer().map_err(building)?;
    let config = config(&layer)?;
    let config = blob(content, "application/vnd.oci.image.config.v1+json", &config)?;
    let layer = blob(content, "application/vnd.oci.image.layer.v1.tar", &layer)?;
    content.put(&image_manifest(config, vec![layer])?)
}

/// The image as `docker save` would write it, for an engine that has its own store.
pub(crate) fn demo_archive() -> Result<Vec<u8>, RuntimeError> {
    let layer = layer().map_err(building)?;
    let config = config(&layer)?;
    let manifest = serde_json::json!([{
        "Config": "config.json", "RepoTags": [format!("{DEMO_IMAGE}:latest")],
        "Layers": ["layer.tar"],
    }]);
    let mut archive = tar::Builder::new(Vec::new());
    let manifest = manifest.to_string();
    for (name, bytes) in [
        ("config.json", config.as_slice()),
        ("layer.tar", &layer),
        ("manifest.json", manifest.as_bytes()),
    ] {
        archive.append_data(&mut header(bytes, 0o644), name, bytes).map_err(building)?;
    }
    archive.into_inner().map_err(building)
}

fn building(error: io::Error) -> RuntimeError {
    RuntimeError::io("building the demo image", error)
}

fn config(layer: &[u8]) -> Result<Vec<u8>, RuntimeError> {
    let diff_id = digest_of(layer);
    let config = ImageConfig {
        architecture: node_platform().trim_start_matches("linux/").to_owned(),
        os: "linux".to_owned(),
        created: None,
        config: Some(RunConfig {
            env: Some(vec!["PATH=/".to_owned()]),
            entrypoint: Some(vec![DEMO_PATH.to_owned()]),
            ..RunConfig::default()
        }),
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: vec![diff_id] },
    };
    serde_json::to_vec(&config).map_err(|error| building(error.into()))
}

fn blob(content: &Content, media_type: &str, bytes: &[u8]) -> Result<Descriptor, RuntimeError> {
    Ok(Descriptor {
        media_type: media_type.to_owned(),
        digest: content.put(bytes)?,
        size: bytes.len() as u64,
        platform: None,
        annotations: BTreeMap::new(),
    })
}

fn layer() -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = header(DEMO_PROGRAM, 0o755);
    archive.append_data(&mut header, DEMO_PATH.trim_start_matches('/'), DEMO_PROGRAM)?;
    archive.into_inner()
}

/// Of a file that is the same whoever makes it.
fn header(bytes: &[u8], mode: u32) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    header
}
