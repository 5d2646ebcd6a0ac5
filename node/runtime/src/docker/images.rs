//! Images of the Engine: pulled, loaded, listed, removed.

use std::path::Path;
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::models::{CreateImageInfo, ImageInspect, ImageSummary};
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ImportImageOptionsBuilder, ListImagesOptionsBuilder,
    PruneImagesOptionsBuilder, RemoveImageOptionsBuilder,
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use model::UnixNanos;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;
use tracing::debug;

use super::engine::Engine;
use super::errors::{Said, away, of_pull};
use super::look;
use crate::images::{DEMO_IMAGE, Name, demo_archive, node_platform};
use crate::{Freed, Image, RegistryAuth, RuntimeError};

/// An Engine that pulls says how far it is several times a second; a registry that hangs
/// says nothing.
const SILENCE_MAX: Duration = Duration::from_secs(5 * 60);
/// Unpacking one big layer takes its time, and nothing is said meanwhile.
const LOAD_SILENCE_MAX: Duration = Duration::from_secs(15 * 60);

/// Makes sure that the Engine has the image; gives the digest of its manifest, if it has one.
///
/// What is there already is taken as it is: a tag that may have moved is pinned to its digest
/// by whoever writes the spec.
pub(crate) async fn ready(
    engine: &Engine,
    image: &str,
    auth: Option<&RegistryAuth>,
) -> Result<String, RuntimeError> {
    let name = Name::parse(image)?;
    if let Some(found) = inspect(engine, image).await? {
        return Ok(digest(&name, &found));
    }
    if is_demo(&name) {
        load_demo(engine).await?;
    } else {
        pull(engine, &name, image, auth).await?;
    }
    match inspect(engine, image).await? {
        Some(found) => Ok(digest(&name, &found)),
        None => {
            let reason = "the engine pulled it and does not have it".to_owned();
            Err(RuntimeError::NoSuchImage { reference: image.to_owned(), reason })
        }
    }
}

/// Whether a name is that of the image that we carry.
pub(crate) fn is_demo(name: &Name) -> bool {
    Name::parse(DEMO_IMAGE).is_ok_and(|demo| demo == *name)
}

async fn inspect(engine: &Engine, image: &str) -> Result<Option<ImageInspect>, RuntimeError> {
    match engine.ask(|client| async move { client.inspect_image(image).await }).await {
        Ok(found) => Ok(Some(found)),
        Err(said) if said.is_missing() => Ok(None),
        Err(said) => Err(of_pull(&engine.name(), image, "", said)),
    }
}

/// The digest under which the repository of this name knows the image.
fn digest(name: &Name, image: &ImageInspect) -> String {
    if let Some(pinned) = name.digest() {
        return pinned.to_owned();
    }
    let repository = name.repository();
    let of_us = |known: &&String| Name::parse(known).is_ok_and(|n| n.repository() == repository);
    let known = image.repo_digests.iter().flatten().find(of_us);
    known.and_then(|known| known.split_once('@')).map_or("", |(_, digest)| digest).to_owned()
}

/// Gets an image from its registry.
pub(crate) async fn pull(
    engine: &Engine,
    name: &Name,
    image: &str,
    auth: Option<&RegistryAuth>,
) -> Result<(), RuntimeError> {
    let client = engine.client()?;
    // A name without a tag would be a pull of all tags.
    let options = CreateImageOptionsBuilder::default().from_image(&name.to_string());
    let login = auth.map(|auth| credentials(name, auth));
    let mut progress = client.create_image(Some(options.build()), None, login);
    let failed = |said| of_pull(&engine.name(), image, name.registry(), said);
    while let Some(step) = next(&mut progress, SILENCE_MAX).await.map_err(failed)? {
        let CreateImageInfo { id, status, progress_detail, .. } = step;
        let (current, total) = progress_detail.map_or((None, None), |p| (p.current, p.total));
        debug!(image, layer = id, status, current, total, "image is being pulled");
    }
    Ok(())
}

/// The next message of a stream; silence is an answer too.
async fn next<T>(
    stream: &mut (impl Stream<Item = Result<T, bollard::errors::Error>> + Unpin),
    silence: Duration,
) -> Result<Option<T>, Said> {
    match timeout(silence, stream.next()).await {
        Ok(None) => Ok(None),
        Ok(Some(Ok(message))) => Ok(Some(message)),
        Ok(Some(Err(error))) => Err(Said::of(&error)),
        Err(_) => {
            let text = format!("nothing came for {} s", silence.as_secs());
            Err(Said::Refused { status: 504, text })
        }
    }
}

fn credentials(name: &Name, auth: &RegistryAuth) -> DockerCredentials {
    let server = match name.registry() {
        "docker.io" => "https://index.docker.io/v1/".to_owned(),
        registry => registry.to_owned(),
    };
    let none = DockerCredentials { serveraddress: Some(server), ..DockerCredentials::default() };
    match auth {
        RegistryAuth::Basic { username, password } => DockerCredentials {
            username: Some(username.clone()),
            password: Some(password.clone()),
            ..none
        },
        RegistryAuth::Bearer { token } => {
            DockerCredentials { registrytoken: Some(token.clone()), ..none }
        }
    }
}

async fn load_demo(engine: &Engine) -> Result<(), RuntimeError> {
    let archive = demo_archive()?;
    let chunks = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from(archive))]);
    load(engine, chunks, DEMO_IMAGE).await.map(drop)
}

/// Takes in what `docker save` wrote; gives what the Engine says of it.
async fn load(
    engine: &Engine,
    chunks: impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    archive: &str,
) -> Result<Vec<String>, RuntimeError> {
    let client = engine.client()?;
    let options = ImportImageOptionsBuilder::default().quiet(true).build();
    let mut progress = client.import_image_stream(options, chunks, None);
    let mut said = Vec::new();
    loop {
        match next(&mut progress, LOAD_SILENCE_MAX).await {
            Ok(Some(step)) => said.extend(step.stream),
            Ok(None) => return Ok(said),
            Err(Said::Away(reason)) => return Err(away(&engine.name(), reason)),
            Err(Said::Refused { text, .. } | Said::Nonsense(text)) => {
                return Err(RuntimeError::BrokenImage { reference: archive.into(), reason: text });
            }
        }
    }
}

/// Takes in an archive from a file.
pub(crate) async fn load_file(engine: &Engine, path: &Path) -> Result<Vec<Image>, RuntimeError> {
    let shown = path.display().to_string();
    let io_error = |error| RuntimeError::io(format!("reading {shown}"), error);
    if path.is_dir() {
        let reason = format!("{shown} is a directory: give Docker Engine an archive, as a tar");
        return Err(RuntimeError::Spec { reason });
    }
    let file = tokio::fs::File::open(path).await.map_err(io_error)?;
    let said = load(engine, ReaderStream::new(file), &shown).await?;
    // `Loaded image: name` or `Loaded image ID: sha256:…`, one a line.
    let loaded: Vec<&str> = said
        .iter()
        .flat_map(|text| text.lines())
        .filter_map(|line| line.strip_prefix("Loaded image")?.split_once(": "))
        .map(|(_, name)| name.trim())
        .collect();
    let all = list(engine).await?;
    let is_one = |image: &Image| {
        loaded.iter().any(|it| image.config_digest == *it || image.names.iter().any(|n| n == it))
    };
    Ok(all.into_iter().filter(is_one).collect())
}

/// Pulls, whatever the Engine has; gives the image.
pub(crate) async fn pull_again(
    engine: &Engine,
    reference: &str,
    auth: Option<&RegistryAuth>,
) -> Result<Image, RuntimeError> {
    let name = Name::parse(reference)?;
    pull(engine, &name, reference, auth).await?;
    let gone = || RuntimeError::NoSuchImage {
        reference: reference.to_owned(),
        reason: "the engine pulled it and does not have it".to_owned(),
    };
    let found = inspect(engine, reference).await?.ok_or_else(gone)?;
    Ok(Image {
        digest: digest(&name, &found),
        config_digest: found.id.unwrap_or_default(),
        names: found.repo_tags.unwrap_or_default(),
        platform: platform(found.os.as_deref(), found.architecture.as_deref()),
        size_bytes: found.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
        created_at: found.created.as_deref().map(look::time).filter(|at| at.0 != 0),
    })
}

fn platform(os: Option<&str>, architecture: Option<&str>) -> String {
    match (os, architecture) {
        (Some(os), Some(architecture)) => format!("{os}/{architecture}"),
        _ => node_platform(),
    }
}

/// All images of the Engine, whoever wanted them.
pub(crate) async fn list(engine: &Engine) -> Result<Vec<Image>, RuntimeError> {
    let options = ListImagesOptionsBuilder::default().build();
    let listed = engine.ask(|client| async move { client.list_images(Some(options)).await }).await;
    let listed = listed.map_err(|said| of_pull(&engine.name(), "", "", said))?;
    Ok(listed.into_iter().map(shown).collect())
}

fn shown(image: ImageSummary) -> Image {
    let digest = image.repo_digests.first().and_then(|known| known.split_once('@'));
    let seconds = u64::try_from(image.created).unwrap_or(0);
    Image {
        digest: digest.map_or("", |(_, digest)| digest).to_owned(),
        config_digest: image.id,
        names: image.repo_tags.into_iter().filter(|name| name != "<none>:<none>").collect(),
        platform: node_platform(),
        size_bytes: u64::try_from(image.size).unwrap_or(0),
        created_at: Some(UnixNanos(seconds.saturating_mul(1_000_000_000))).filter(|at| at.0 != 0),
    }
}

/// Forgets a name, and the image with its last one.
pub(crate) async fn remove(engine: &Engine, reference: &str) -> Result<(), RuntimeError> {
    let options = RemoveImageOptionsBuilder::default().build();
    let removed = engine
        .ask(|client| async move { client.remove_image(reference, Some(options), None).await })
        .await;
    match removed {
        Ok(_) => Ok(()),
        Err(said) if said.is_missing() => Err(RuntimeError::NoSuchImage {
            reference: reference.to_owned(),
            reason: "the engine does not have it".to_owned(),
        }),
        Err(Said::Refused { status: 409, text }) => Err(RuntimeError::Spec { reason: text }),
        Err(said) => Err(of_pull(&engine.name(), reference, "", said)),
    }
}

/// Deletes images that have no name and no container.
pub(crate) async fn collect(engine: &Engine) -> Result<Freed, RuntimeError> {
    let filters = [("dangling".to_owned(), vec!["true".to_owned()])].into();
    let options = PruneImagesOptionsBuilder::default().filters(&filters).build();
    let pruned = engine.ask(|client| async move { client.prune_images(Some(options)).await }).await;
    let pruned = pruned.map_err(|said| of_pull(&engine.name(), "", "", said))?;
    let n_bytes = pruned.space_reclaimed.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
    let n_deleted = pruned.images_deleted.unwrap_or_default().len();
    Ok(Freed { n_deleted: u64::try_from(n_deleted).unwrap_or(u64::MAX), n_bytes })
}
