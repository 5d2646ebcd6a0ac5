//! Images of this node's runtime.

use std::sync::Arc;

use api::cluster::{Problem, Pull, Upload};
use api::filters::Filters;
use api::wire::image::{ErrorDetail, ImageDeleted, ImageProgress, ImageSummary};
use runtime::{Image, Runtime, RuntimeError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::logins::{login_of, own_login};
use crate::pool::Pool;

/// Lines of progress on their way to the client.
const LINES: usize = 64;

/// Largest archive: bigger than any image that belongs on a small machine, smaller
/// than the disk that a mistake would fill.
const ARCHIVE_BYTES_MAX: u64 = 20 * 1024 * 1024 * 1024;

pub(crate) async fn list(
    runtime: &dyn Runtime,
    filters: &Filters,
) -> Result<Vec<ImageSummary>, Problem> {
    let images = runtime.images().await.map_err(|error| problem(&error))?;
    let wanted = |image: &Image| {
        let references = filters.values("reference");
        let named = |name: &String| {
            references.iter().any(|wanted| name == wanted || repository(name) == wanted)
        };
        references.is_empty() || image.names.iter().any(named)
    };
    Ok(images.iter().filter(|image| wanted(image)).map(summary).collect())
}

fn summary(image: &Image) -> ImageSummary {
    ImageSummary {
        containers: -1,
        created: image
            .created_at
            .and_then(|at| i64::try_from(at.0 / 1_000_000_000).ok())
            .unwrap_or(0),
        id: image.config_digest.clone(),
        repo_digests: image
            .names
            .iter()
            .map(|name| format!("{}@{}", repository(name), image.digest))
            .collect(),
        repo_tags: image.names.clone(),
        shared_size: -1,
        size: i64::try_from(image.size_bytes).unwrap_or(i64::MAX),
        ..ImageSummary::default()
    }
}

/// A name without its tag or digest; the host before it may have a port.
fn repository(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name)
}

pub(crate) async fn load(
    runtime: Arc<dyn Runtime>,
    pool: &Pool,
    tar: Upload,
) -> Result<mpsc::Receiver<ImageProgress>, Problem> {
    let (out, lines) = mpsc::channel(LINES);
    let work = async move {
        match spool_and_load(runtime.as_ref(), tar).await {
            Ok(images) => {
                for name in images.iter().flat_map(|image| &image.names) {
                    let stream = format!("Loaded image: {name}\n");
                    // A client that left has still loaded its image.
                    let _ = out.send(ImageProgress { stream, ..ImageProgress::default() }).await;
                }
            }
            Err(why) => {
                let _ = out.send(failed(why)).await;
            }
        }
    };
    pool.run(work).await.map_err(|error| Problem::unavailable(error.to_string()))?;
    Ok(lines)
}

/// The runtime wants a file: archives are read twice.
async fn spool_and_load(runtime: &dyn Runtime, tar: Upload) -> Result<Vec<Image>, String> {
    let spool = tempfile::Builder::new().prefix("skep-load-").tempfile();
    let spool = spool.map_err(|error| format!("cannot spool the archive: {error}"))?;
    let mut file = tokio::fs::File::from_std(spool.reopen().map_err(|error| error.to_string())?);
    let n_bytes = tokio::io::copy(&mut tar.take(ARCHIVE_BYTES_MAX), &mut file)
        .await
        .map_err(|error| format!("cannot spool the archive: {error}"))?;
    if n_bytes == ARCHIVE_BYTES_MAX {
        return Err(format!("the archive has more than {ARCHIVE_BYTES_MAX} bytes"));
    }
    file.flush().await.map_err(|error| error.to_string())?;
    let loaded = runtime.load_image(spool.path()).await;
    // Nobody but us knows the spooled file's name.
    let spooled = spool.path().display().to_string();
    loaded.map_err(|error| chain(&error).replace(&spooled, "archive"))
}

pub(crate) async fn pull(
    runtime: Arc<dyn Runtime>,
    pool: &Pool,
    pull: Pull,
) -> Result<mpsc::Receiver<ImageProgress>, Problem> {
    let sent = pull.registry_auth.as_deref().map(login_of).transpose()?.flatten();
    let auth = sent.or_else(|| own_login(&pull.reference));
    let (out, lines) = mpsc::channel(LINES);
    let work = async move {
        let status = |status: String| ImageProgress { status, ..ImageProgress::default() };
        let _ = out.send(status(format!("Pulling {}", pull.reference))).await;
        let last = match runtime.pull_image(&pull.reference, auth).await {
            Ok(image) => status(format!("Digest: {}", image.digest)),
            Err(error) => failed(chain(&error)),
        };
        let _ = out.send(last).await; // A client that left has still pulled its image.
    };
    pool.run(work).await.map_err(|error| Problem::unavailable(error.to_string()))?;
    Ok(lines)
}

pub(crate) async fn remove(
    runtime: &dyn Runtime,
    reference: &str,
) -> Result<Vec<ImageDeleted>, Problem> {
    runtime.remove_image(reference).await.map_err(|error| problem(&error))?;
    let untagged = ImageDeleted { untagged: reference.to_owned(), deleted: String::new() };
    // The bytes go with the next collection; failing to free them now loses nothing.
    if let Err(error) = runtime.collect_images().await {
        tracing::warn!(error = chain(&error), "images not collected");
    }
    Ok(vec![untagged])
}

fn failed(why: String) -> ImageProgress {
    let error_detail = Some(ErrorDetail { message: why.clone() });
    ImageProgress { error: why, error_detail, ..ImageProgress::default() }
}

fn problem(error: &RuntimeError) -> Problem {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is the node's trouble")]
    let status = match error {
        RuntimeError::NoSuchImage { .. } => 404,
        RuntimeError::BadReference { .. } => 400,
        RuntimeError::NoSpace { .. } => 507,
        _ => 500,
    };
    Problem::new(status, chain(error))
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_no_tag() {
        for (name, expected) in [
            ("nginx:latest", "nginx"),
            ("127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b"),
            ("127.0.0.1:5000/a", "127.0.0.1:5000/a"),
            ("localhost/loaded@sha256:00", "localhost/loaded"),
        ] {
            assert_eq!(repository(name), expected);
        }
    }
}
