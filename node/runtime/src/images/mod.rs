//! The image store: names, blobs, and layers unpacked for overlayfs.
//!
//! ```text
//!   blobs/sha256/<hex>      manifests, configurations, layers as they came
//!   ingest/                 what is still coming
//!   layers/<hex>/           one layer each, unpacked, named by its diff id
//!   names/<hex>.json        one name each, and what it stands for
//! ```
//!
//! Every file and directory appears by rename after it was checked and synced: what
//! is there is whole. A name is written last, so an image that has one can run.

mod archive;
mod content;
mod credentials;
mod demo;
mod locks;
mod manifest;
mod reference;
mod registry;
mod unpack;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use model::UnixNanos;
use serde::{Deserialize, Serialize};
use tokio::sync::{RwLock, RwLockReadGuard};

use self::content::{Content, digest_of};
use self::locks::KeyedLocks;
use self::manifest::{ImageConfig, Manifest, RunConfig, broken, digest_hex};
use self::registry::Pull;
use crate::error::is_full;
use crate::{Freed, Image, RegistryAuth, RuntimeError, fs as files};

pub(crate) use self::demo::{DEMO_PATH, DEMO_PROGRAM, demo_archive};
pub(crate) use self::manifest::node_platform;
pub(crate) use self::reference::Name;
pub(crate) use self::unpack::Privilege;
pub use credentials::login_from_docker_config;
pub use demo::DEMO_IMAGE;

/// A download that nobody continued for so long is deleted with the next collection.
const PART_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// What a name stands for.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Record {
    name: String,
    digest: String,
    /// Digest of the index that the image was chosen from.
    index_digest: Option<String>,
    config_digest: String,
    layer_digests: Vec<String>,
    diff_ids: Vec<String>,
    platform: String,
    size_bytes: u64,
    created_at: Option<UnixNanos>,
}

/// An image that is ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    /// Digest of its manifest; empty for a directory.
    pub(crate) digest: String,
    /// What it says about its process.
    pub(crate) run: RunConfig,
    /// Directories for overlayfs, topmost first.
    pub(crate) lower_dirs: Vec<PathBuf>,
    /// Whether it is the image that we carry.
    pub(crate) is_demo: bool,
}

/// The image store of one node.
#[derive(Debug)]
pub(crate) struct ImageStore {
    layers: PathBuf,
    names: PathBuf,
    content: Content,
    who: Privilege,
    locks: KeyedLocks,
    /// Held for reading from the first blob of an image until something refers to
    /// it; a collection needs it alone.
    users: RwLock<()>,
    demo_digest: String,
}

impl ImageStore {
    /// Opens the store, makes it if there is none, and puts the demo image into it.
    pub(crate) fn open(dir: &Path, who: Privilege) -> Result<Self, RuntimeError> {
        let io_error = |error| RuntimeError::io(format!("opening {}", dir.display()), error);
        let (layers, names) = (dir.join("layers"), dir.join("names"));
        fs::create_dir_all(&layers).map_err(io_error)?;
        fs::create_dir_all(&names).map_err(io_error)?;
        remove_unfinished(&layers).map_err(io_error)?;
        let content = Content::open(dir).map_err(io_error)?;
        let demo_digest = demo::put_demo(&content)?;
        let (locks, users) = (KeyedLocks::default(), RwLock::new(()));
        let store = Self { layers, names, content, who, locks, users, demo_digest };
        let demo = store.record(&Name::parse(DEMO_IMAGE)?, &store.demo_digest, None)?;
        store.unpack_layers(&demo)?;
        store.write(&demo)?;
        Ok(store)
    }

    /// Keeps what is being used from being collected.
    pub(crate) async fn lease(&self) -> RwLockReadGuard<'_, ()> {
        self.users.read().await
    }

    /// Finds an image on this node or in its registry, and unpacks it. The caller
    /// holds a lease.
    pub(crate) async fn ready(
        self: &std::sync::Arc<Self>,
        image: &str,
        auth: Option<&RegistryAuth>,
    ) -> Result<Ready, RuntimeError> {
        if let Some(path) = image.strip_prefix("dir:") {
            return directory(image, Path::new(path));
        }
        let record = if let Some(path) = image.strip_prefix("oci:") {
            let store = self.clone();
            let (image, path) = (image.to_owned(), PathBuf::from(path));
            blocking(move || store.layout(&image, &path)).await?
        } else {
            let name = Name::parse(image)?;
            match self.find(&name)? {
                Some(record) => record,
                None => self.pull_name(&name, auth).await?,
            }
        };
        let store = self.clone();
        let missing = record.diff_ids.iter().any(|id| !store.has_layer(id));
        if missing {
            let _lock = self.locks.lock("unpack").await;
            let (store, record) = (self.clone(), record.clone());
            blocking(move || store.unpack_layers(&record)).await?;
        }
        self.ready_record(image, &record)
    }

    fn ready_record(&self, image: &str, record: &Record) -> Result<Ready, RuntimeError> {
        let bytes = self.content.read_json(image, &record.config_digest)?;
        let config = ImageConfig::parse(image, &bytes, &node_platform())?;
        let mut lower_dirs = Vec::new();
        for diff_id in record.diff_ids.iter().rev() {
            lower_dirs.push(self.layer_dir(diff_id)?);
        }
        Ok(Ready {
            digest: record.digest.clone(),
            run: config.config.unwrap_or_default(),
            lower_dirs,
            is_demo: record.digest == self.demo_digest,
        })
    }

    /// All images, one entry for each manifest.
    pub(crate) fn list(&self) -> Result<Vec<Image>, RuntimeError> {
        let mut images: Vec<Image> = Vec::new();
        for record in self.records()? {
            let name = Name::parse(&record.name)?.familiar();
            if let Some(image) = images.iter_mut().find(|image| image.digest == record.digest) {
                image.names.push(name);
                continue;
            }
            images.push(Image {
                digest: record.digest,
                config_digest: record.config_digest,
                names: vec![name],
                platform: record.platform,
                size_bytes: record.size_bytes,
                created_at: record.created_at,
            });
        }
        Ok(images)
    }

    /// Takes in an archive, unpacked only when it first runs.
    pub(crate) fn load(&self, archive: &Path) -> Result<Vec<Image>, RuntimeError> {
        let mut digests = BTreeSet::new();
        for loaded in archive::load(&self.content, archive)? {
            // A nameless image is known by its digest, as after `docker load`.
            let own = format!("localhost/loaded@{}", loaded.digest);
            let names = if loaded.names.is_empty() { vec![own] } else { loaded.names };
            for name in names {
                self.write(&self.record(&Name::parse(&name)?, &loaded.digest, None)?)?;
            }
            digests.insert(loaded.digest);
        }
        Ok(self.list()?.into_iter().filter(|image| digests.contains(&image.digest)).collect())
    }

    /// Gets an image from its registry.
    pub(crate) async fn pull(
        &self,
        image: &str,
        auth: Option<&RegistryAuth>,
    ) -> Result<Image, RuntimeError> {
        let name = Name::parse(image)?;
        let record = if self.is_demo(&name) {
            // It comes with the binary; no registry has it.
            self.record(&name, &self.demo_digest, None)?
        } else {
            self.pull_name(&name, auth).await?
        };
        let images = self.list()?;
        let pulled = images.into_iter().find(|image| image.digest == record.digest);
        pulled.ok_or_else(|| RuntimeError::Node { reason: format!("{image} was removed again") })
    }

    /// Forgets a name.
    pub(crate) fn remove(&self, image: &str) -> Result<(), RuntimeError> {
        let name = Name::parse(image)?;
        if self.is_demo(&name) {
            let reason = format!("{DEMO_IMAGE} is part of skep and cannot be removed");
            return Err(RuntimeError::Spec { reason });
        }
        let Some(record) = self.find(&name)? else {
            let reason = "this node has no image of that name".to_owned();
            return Err(RuntimeError::NoSuchImage { reference: image.to_owned(), reason });
        };
        files::remove_file(&self.name_path(&record.name))
            .map_err(|error| RuntimeError::io(format!("removing {image}"), error))
    }

    /// Deletes blobs and layers that no name needs, and no directory of `used_dirs`.
    pub(crate) async fn collect(
        &self,
        used_dirs: impl FnOnce() -> Result<Vec<PathBuf>, RuntimeError>,
    ) -> Result<Freed, RuntimeError> {
        let _alone = self.users.write().await;
        // Asked only now: while somebody prepares a task its directories are not known yet.
        let mut layers: BTreeSet<PathBuf> = used_dirs()?.into_iter().collect();
        let records = self.records()?;
        let mut blobs = BTreeSet::new();
        for record in &records {
            for digest in record.layer_digests.iter().chain([&record.digest, &record.config_digest])
            {
                blobs.insert(self.content.path(digest)?);
            }
            if let Some(digest) = &record.index_digest {
                blobs.insert(self.content.path(digest)?);
            }
            for diff_id in &record.diff_ids {
                layers.insert(self.layer_dir(diff_id)?);
            }
        }
        let mut freed = Freed::default();
        let io_error = |error| RuntimeError::io("deleting unused images", error);
        sweep(self.content.blobs(), |path, _| !blobs.contains(path), &mut freed)
            .map_err(io_error)?;
        sweep(&self.layers, |path, _| !layers.contains(path), &mut freed).map_err(io_error)?;
        let old = |_: &Path, age: Duration| PART_AGE_MAX < age;
        sweep(self.content.ingest(), old, &mut freed).map_err(io_error)?;
        Ok(freed)
    }

    /// Whether a name, with or without digest, can only be the image that we carry.
    pub(crate) fn is_demo_name(&self, image: &str) -> bool {
        Name::parse(image).is_ok_and(|name| {
            let pinned = name.at(&self.demo_digest).to_string() == name.to_string();
            self.is_demo(&name)
                || (pinned && name.repository() == format!("docker.io/{DEMO_IMAGE}"))
        })
    }

    fn is_demo(&self, name: &Name) -> bool {
        name.familiar().strip_prefix(DEMO_IMAGE) == Some(":latest")
    }

    /// A name on this node, or any name of the same repository with that digest.
    fn find(&self, name: &Name) -> Result<Option<Record>, RuntimeError> {
        let path = self.name_path(&name.to_string());
        let read = files::read_json::<Record>(&path);
        let exact = read.map_err(|error| RuntimeError::io(format!("looking up {name}"), error))?;
        let Some(digest) = name.digest().filter(|_| exact.is_none()) else { return Ok(exact) };
        let same = |record: &Record| {
            let of_repository = Name::parse(&record.name)
                .is_ok_and(|candidate| candidate.repository() == name.repository());
            let of_digest =
                record.digest == digest || record.index_digest.as_deref() == Some(digest);
            of_repository && of_digest
        };
        Ok(self.records()?.into_iter().find(same))
    }

    async fn pull_name(
        &self,
        name: &Name,
        auth: Option<&RegistryAuth>,
    ) -> Result<Record, RuntimeError> {
        let pulled = Pull::new(&self.content, &self.locks, name, auth)?.run().await?;
        let record = self.record(name, &pulled.digest, pulled.index_digest)?;
        self.write(&record)?;
        Ok(record)
    }

    fn layout(&self, image: &str, path: &Path) -> Result<Record, RuntimeError> {
        let loaded = archive::load(&self.content, path)?;
        let [loaded] = loaded.as_slice() else {
            return Err(broken(image, format!("{} images where one is needed", loaded.len())));
        };
        // A name of its own keeps it from being collected while a task waits for it.
        let hash = digest_of(path.as_os_str().as_encoded_bytes());
        let name = Name::parse(&format!("localhost/oci:{}", &hash["sha256:".len()..][..32]))?;
        let record = self.record(&name, &loaded.digest, None)?;
        self.write(&record)?;
        Ok(record)
    }

    /// What a name stands for, from the blobs that are in the store.
    fn record(
        &self,
        name: &Name,
        digest: &str,
        index_digest: Option<String>,
    ) -> Result<Record, RuntimeError> {
        let text = name.familiar();
        let manifest = Manifest::parse(&text, &self.content.read_json(&text, digest)?)?;
        let Some(config_entry) = &manifest.config else {
            return Err(broken(&text, "a manifest without configuration"));
        };
        let bytes = self.content.read_json(&text, &config_entry.digest)?;
        let config = ImageConfig::parse(&text, &bytes, &node_platform())?;
        if config.rootfs.diff_ids.len() != manifest.layers.len() {
            let (n_ids, n_layers) = (config.rootfs.diff_ids.len(), manifest.layers.len());
            return Err(broken(&text, format!("{n_ids} diff ids for {n_layers} layers")));
        }
        let mut size_bytes = bytes.len() as u64;
        for layer in &manifest.layers {
            let path = self.content.path(&layer.digest)?;
            size_bytes += path.metadata().map_or(layer.size, |metadata| metadata.len());
        }
        Ok(Record {
            name: name.to_string(),
            digest: digest.to_owned(),
            index_digest,
            config_digest: config_entry.digest.clone(),
            layer_digests: manifest.layers.into_iter().map(|layer| layer.digest).collect(),
            platform: config.platform(),
            created_at: config.created.as_deref().and_then(created_at),
            diff_ids: config.rootfs.diff_ids,
            size_bytes,
        })
    }

    fn write(&self, record: &Record) -> Result<(), RuntimeError> {
        files::write_json(&self.name_path(&record.name), record)
            .map_err(|error| RuntimeError::io(format!("naming image {}", record.name), error))
    }

    /// Names contain slashes and may be longer than a file name: their hash is neither.
    fn name_path(&self, name: &str) -> PathBuf {
        let hash = digest_of(name.as_bytes());
        self.names.join(format!("{}.json", hash.trim_start_matches("sha256:")))
    }

    fn records(&self) -> Result<Vec<Record>, RuntimeError> {
        let io_error = |error| RuntimeError::io("listing images", error);
        let mut records: Vec<Record> = Vec::new();
        for entry in fs::read_dir(&self.names).map_err(io_error)? {
            let path = entry.map_err(io_error)?.path();
            let is_json = path.extension().is_some_and(|extension| extension == "json");
            if let Some(record) = files::read_json(&path).map_err(io_error)?.filter(|_| is_json) {
                records.push(record);
            }
        }
        records.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(records)
    }

    fn layer_dir(&self, diff_id: &str) -> Result<PathBuf, RuntimeError> {
        Ok(self.layers.join(digest_hex(diff_id, diff_id)?))
    }

    fn has_layer(&self, diff_id: &str) -> bool {
        self.layer_dir(diff_id).is_ok_and(|dir| dir.exists())
    }

    fn unpack_layers(&self, record: &Record) -> Result<(), RuntimeError> {
        for (digest, diff_id) in record.layer_digests.iter().zip(&record.diff_ids) {
            if self.has_layer(diff_id) {
                continue;
            }
            let dir = self.layer_dir(diff_id)?;
            let temporary = files::temporary_beside(&dir);
            let unpacked = self.unpack_layer(record, digest, diff_id, &temporary);
            let kept = unpacked.and_then(|()| {
                fs::rename(&temporary, &dir)
                    .and_then(|()| files::sync_dir(&self.layers))
                    .map_err(|error| RuntimeError::io(format!("keeping layer {diff_id}"), error))
            });
            if kept.is_err() {
                // The error that matters is the first one.
                let _ = files::remove_dir(&temporary);
            }
            kept?;
        }
        Ok(())
    }

    fn unpack_layer(
        &self,
        record: &Record,
        digest: &str,
        diff_id: &str,
        dir: &Path,
    ) -> Result<(), RuntimeError> {
        let io_error = |error| RuntimeError::io(format!("unpacking layer {digest}"), error);
        fs::create_dir(dir).map_err(io_error)?;
        let blob = File::open(self.content.path(digest)?).map_err(io_error)?;
        let unpacked = unpack::unpack(blob, dir, self.who).map_err(|error| {
            if is_full(&error) {
                return io_error(error);
            }
            // The blob is on our disk and was checked: what fails now is what it says.
            broken(&record.name, format!("layer {digest}: {error}"))
        })?;
        if unpacked.diff_id == diff_id {
            return Ok(());
        }
        let reason = format!("layer {digest} should unpack to {diff_id}, not {}", unpacked.diff_id);
        Err(broken(&record.name, reason))
    }
}

/// A directory of the node as an image without configuration.
fn directory(image: &str, path: &Path) -> Result<Ready, RuntimeError> {
    if !path.is_absolute() || !path.is_dir() {
        let reason = "there is no such directory on this node (the path must be absolute)";
        return Err(RuntimeError::NoSuchImage { reference: image.into(), reason: reason.into() });
    }
    Ok(Ready {
        digest: String::new(),
        run: RunConfig::default(),
        lower_dirs: vec![path.to_owned()],
        is_demo: false,
    })
}

/// Runs file work where it may wait.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RuntimeError> + Send + 'static,
) -> Result<T, RuntimeError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(RuntimeError::Node { reason: format!("file work was cut short: {error}") })
    })
}

/// Deletes what a crash left half unpacked.
fn remove_unfinished(layers: &Path) -> io::Result<()> {
    for entry in fs::read_dir(layers)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            files::remove_dir(&entry.path())?;
        }
    }
    Ok(())
}

fn sweep(
    dir: &Path,
    is_garbage: impl Fn(&Path, Duration) -> bool,
    freed: &mut Freed,
) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let metadata = path.symlink_metadata()?;
        let age = SystemTime::now().duration_since(metadata.modified()?).unwrap_or_default();
        if !is_garbage(&path, age) {
            continue;
        }
        if metadata.is_dir() {
            files::remove_dir(&path)?;
        } else {
            freed.n_bytes += metadata.len();
            files::remove_file(&path)?;
        }
        freed.n_deleted += 1;
    }
    Ok(())
}

/// Reads the RFC 3339 time of an image; builders that want identical bytes write none.
fn created_at(text: &str) -> Option<UnixNanos> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_nanosecond()).ok().filter(|nanos| *nanos != 0).map(UnixNanos)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
