//! Images from files: `docker save` archives and OCI layouts, as a tar or a directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::content::{Content, digest_of};
use super::manifest::{
    Descriptor, ImageConfig, JSON_BYTES_MAX, Manifest, broken, digest_hex, node_platform,
};
use super::unpack::decompress;
use crate::{RuntimeError, fs as files};

/// Members of one archive: an image has a few per layer.
const MEMBERS_MAX: usize = 16 * 1024;
/// Symbolic links that lead from one member to another: `docker save` makes one step.
const LINKS_MAX: usize = 8;
const NAME_ANNOTATION_CONTAINERD: &str = "io.containerd.image.name";
const NAME_ANNOTATION_OCI: &str = "org.opencontainers.image.ref.name";

/// An image whose blobs are in the content store now.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// Names that the archive gave it, unparsed.
    pub(crate) names: Vec<String>,
    /// Digest of its manifest.
    pub(crate) digest: String,
}

/// Files by path, in a directory or in an archive.
enum Source {
    Directory(PathBuf),
    Archive { path: PathBuf, members: BTreeMap<PathBuf, Member> },
}

enum Member {
    File { offset: u64, size: u64 },
    Link(PathBuf),
}

/// Takes all images of an archive into the store.
pub(crate) fn load(content: &Content, archive: &Path) -> Result<Vec<Loaded>, RuntimeError> {
    let text = archive.display().to_string();
    let io_error = |error| RuntimeError::io(format!("reading {text}"), error);
    let mut unpacked = None;
    let source = if archive.is_dir() {
        Source::Directory(archive.to_owned())
    } else {
        let plain = plain_tar(content, archive).map_err(io_error)?;
        let path = plain.clone().unwrap_or_else(|| archive.to_owned());
        unpacked = plain;
        // What the system did not say, the format did.
        Source::open_tar(path).map_err(|error| match error.raw_os_error() {
            None => broken(&text, format!("it is no whole tar: {error}")),
            Some(_) => io_error(error),
        })?
    };
    let loader = Loader { content, source, text };
    let loaded = if loader.source.has("index.json") {
        loader.oci_layout()
    } else if loader.source.has("manifest.json") {
        loader.docker_save()
    } else {
        let reason = "neither an OCI layout nor a `docker save` archive: \
                      it has neither index.json nor manifest.json";
        Err(broken(&loader.text, reason))
    };
    if let Some(path) = unpacked {
        files::remove_file(&path).map_err(|error| RuntimeError::io("removing a copy", error))?;
    }
    loaded
}

/// Members are read in any order, so a compressed archive is unpacked first.
fn plain_tar(content: &Content, archive: &Path) -> io::Result<Option<PathBuf>> {
    let mut magic = [0; 4];
    let mut file = File::open(archive)?;
    let n_read = file.read(&mut magic)?;
    file.rewind()?;
    if !matches!(&magic[..n_read], [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(None);
    }
    let path = content.ingest().join(format!("{}.tar", files::random_hex()));
    let copied = io::copy(&mut decompress(file)?, &mut File::create(&path)?);
    if copied.is_err() {
        // The error that matters is the first one.
        let _ = files::remove_file(&path);
    }
    copied.map(|_| Some(path))
}

/// A member's path without `./` in front.
fn member_path(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

impl Source {
    fn open_tar(path: PathBuf) -> io::Result<Self> {
        let mut members = BTreeMap::new();
        let mut archive = tar::Archive::new(File::open(&path)?);
        for entry in archive.entries_with_seek()? {
            let entry = entry?;
            let name = member_path(&entry.path()?);
            let kind = entry.header().entry_type();
            let member = if kind.is_file() {
                Member::File { offset: entry.raw_file_position(), size: entry.size() }
            } else if kind.is_symlink() || kind.is_hard_link() {
                let target = entry.link_name()?.unwrap_or_default().into_owned();
                Member::Link(if kind.is_symlink() { beside(&name, &target) } else { target })
            } else {
                continue;
            };
            if MEMBERS_MAX <= members.len() {
                return Err(io::Error::other(format!("more than {MEMBERS_MAX} members")));
            }
            members.insert(name, member);
        }
        Ok(Self::Archive { path, members })
    }

    fn has(&self, name: &str) -> bool {
        match self {
            Self::Directory(dir) => dir.join(name).is_file(),
            Self::Archive { members, .. } => members.contains_key(Path::new(name)),
        }
    }

    fn open(&self, name: &Path) -> io::Result<Box<dyn Read>> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no {}", name.display()));
        match self {
            Self::Directory(dir) => Ok(Box::new(File::open(dir.join(member_path(name)))?)),
            Self::Archive { path, members } => {
                let mut name = member_path(name);
                for _ in 0..LINKS_MAX {
                    match members.get(&name).ok_or_else(missing)? {
                        Member::Link(target) => name = member_path(target),
                        Member::File { offset, size } => {
                            let mut file = File::open(path)?;
                            file.seek(SeekFrom::Start(*offset))?;
                            return Ok(Box::new(file.take(*size)));
                        }
                    }
                }
                Err(missing())
            }
        }
    }
}

/// Where a symbolic link leads: `..` goes up, but never out of the archive.
fn beside(link: &Path, target: &Path) -> PathBuf {
    let mut path = link.parent().map(Path::to_owned).unwrap_or_default();
    for part in target.components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(name) => path.push(name),
            Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
        }
    }
    path
}

/// One image in `manifest.json` of `docker save`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

struct Loader<'a> {
    content: &'a Content,
    source: Source,
    text: String,
}

impl Loader<'_> {
    fn read(&self, name: &Path) -> Result<Vec<u8>, RuntimeError> {
        let bad = |error: io::Error| broken(&self.text, format!("{}: {error}", name.display()));
        let mut bytes = Vec::new();
        let file = self.source.open(name).map_err(bad)?;
        file.take(JSON_BYTES_MAX).read_to_end(&mut bytes).map_err(bad)?;
        Ok(bytes)
    }

    /// Takes a blob of the layout into the store.
    fn blob(&self, digest: &str) -> Result<(), RuntimeError> {
        if self.content.has(digest) {
            return Ok(());
        }
        let path = blob_path(&self.text, digest)?;
        let opened = self.source.open(&path);
        let reader = opened.map_err(|error| broken(&self.text, format!("{digest}: {error}")))?;
        self.content.put_stream(&self.text, reader, Some(digest))?;
        Ok(())
    }

    fn oci_layout(&self) -> Result<Vec<Loaded>, RuntimeError> {
        let index = Manifest::parse(&self.text, &self.read(Path::new("index.json"))?)?;
        let tags = self.tags_of_docker()?;
        let node = node_platform();
        let mut loaded = Vec::new();
        for entry in &index.manifests {
            let digest = self.image(entry, &node)?;
            let annotations = &entry.annotations;
            let name = annotations.get(NAME_ANNOTATION_CONTAINERD);
            // A bare tag (`latest`) is no name of an image.
            let named = |name: &&String| name.contains(['/', ':']);
            let name = name.or_else(|| annotations.get(NAME_ANNOTATION_OCI).filter(named));
            let mut names: Vec<String> = name.cloned().into_iter().collect();
            if names.is_empty() && index.manifests.len() == 1 {
                names.clone_from(&tags);
            }
            loaded.push(Loaded { names, digest });
        }
        Ok(loaded)
    }

    /// Archives of newer Docker engines are both: the names may be only in the old part.
    fn tags_of_docker(&self) -> Result<Vec<String>, RuntimeError> {
        if !self.source.has("manifest.json") {
            return Ok(Vec::new());
        }
        let saved: Vec<SavedImage> = self.saved_images()?;
        Ok(saved.into_iter().flat_map(|image| image.repo_tags.unwrap_or_default()).collect())
    }

    fn saved_images(&self) -> Result<Vec<SavedImage>, RuntimeError> {
        let bytes = self.read(Path::new("manifest.json"))?;
        serde_json::from_slice(&bytes)
            .map_err(|error| broken(&self.text, format!("manifest.json: {error}")))
    }

    /// Takes in an image, or the one of an index that is for this node; gives its digest.
    fn image(&self, entry: &Descriptor, node: &str) -> Result<String, RuntimeError> {
        let bytes = self.read(&blob_path(&self.text, &entry.digest)?)?;
        if digest_of(&bytes) != entry.digest {
            return Err(broken(&self.text, format!("{} has other bytes", entry.digest)));
        }
        let manifest = Manifest::parse(&self.text, &bytes)?;
        if !manifest.manifests.is_empty() {
            let chosen = manifest.choose(&self.text, node)?;
            if chosen.digest == entry.digest {
                return Err(broken(&self.text, "an index that contains itself"));
            }
            return self.image(chosen, node);
        }
        let Some(config) = &manifest.config else {
            return Err(broken(&self.text, "a manifest without configuration"));
        };
        let config_bytes = self.read(&blob_path(&self.text, &config.digest)?)?;
        ImageConfig::parse(&self.text, &config_bytes, node)?;
        for descriptor in manifest.layers.iter().chain([config]) {
            self.blob(&descriptor.digest)?;
        }
        self.content.put(&bytes)
    }

    fn docker_save(&self) -> Result<Vec<Loaded>, RuntimeError> {
        let node = node_platform();
        let mut loaded = Vec::new();
        for image in self.saved_images()? {
            let config_bytes = self.read(Path::new(&image.config))?;
            ImageConfig::parse(&self.text, &config_bytes, &node)?;
            let config = Descriptor {
                media_type: "application/vnd.oci.image.config.v1+json".to_owned(),
                digest: self.content.put(&config_bytes)?,
                size: config_bytes.len() as u64,
                platform: None,
                annotations: BTreeMap::new(),
            };
            let mut layers = Vec::new();
            for layer in &image.layers {
                let opened = self.source.open(Path::new(layer));
                let reader =
                    opened.map_err(|error| broken(&self.text, format!("{layer}: {error}")))?;
                let (digest, size) = self.content.put_stream(&self.text, reader, None)?;
                let media_type = "application/vnd.oci.image.layer.v1.tar".to_owned();
                let annotations = BTreeMap::new();
                layers.push(Descriptor { media_type, digest, size, platform: None, annotations });
            }
            let digest = self.content.put(&image_manifest(config, layers)?)?;
            loaded.push(Loaded { names: image.repo_tags.unwrap_or_default(), digest });
        }
        Ok(loaded)
    }
}

/// The manifest of an image that came without one.
pub(crate) fn image_manifest(
    config: Descriptor,
    layers: Vec<Descriptor>,
) -> Result<Vec<u8>, RuntimeError> {
    let media_type = "application/vnd.oci.image.manifest.v1+json".to_owned();
    let manifest = Manifest {
        schema_version: 2,
        media_type,
        config: Some(config),
        layers,
        manifests: Vec::new(),
    };
    serde_json::to_vec(&manifest)
        .map_err(|error| RuntimeError::io("writing a manifest", error.into()))
}

fn blob_path(text: &str, digest: &str) -> Result<PathBuf, RuntimeError> {
    Ok(Path::new("blobs/sha256").join(digest_hex(text, digest)?))
}
