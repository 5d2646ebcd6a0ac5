//! `/images`: of the local runtime.

use axum::body::Body;
use axum::extract::{Path, State};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::{HeaderMap, Uri};
use http_body_util::Limited;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use super::reply::{self, Answer, ok};
use super::services::registry_auth;
use super::{Node, front, query::Query};
use crate::cluster::{Problem, Pull};
use crate::filters::Filters;
use crate::wire::image::ImageProgress;
use crate::wire::time;

/// Largest archive of images: above it, a mistake is likelier than an image.
const LOAD_BYTES_MAX: usize = 64 << 30;

pub(super) async fn list(State(node): State<Node>, query: Query) -> Answer {
    let filters = query.filters(Filters::OF_IMAGES)?;
    ok(&node.images(&filters).await?)
}

pub(super) async fn pull(State(node): State<Node>, query: Query, headers: HeaderMap) -> Answer {
    let image = query.text("fromImage");
    if image.is_empty() {
        return Err(Problem::bad_request("fromImage is needed: import is not built"));
    }
    let reference = match query.text("tag") {
        "" => image.to_owned(),
        digest if digest.starts_with("sha256:") => format!("{image}@{digest}"),
        tag => format!("{image}:{tag}"),
    };
    let platform = query.text("platform").to_owned();
    let pull = Pull { reference, platform, registry_auth: registry_auth(&headers) };
    progress(node.pull_image(pull).await?)
}

pub(super) async fn load(State(node): State<Node>, body: Body) -> Answer {
    let bytes = Body::new(Limited::new(body, LOAD_BYTES_MAX)).into_data_stream();
    let reader = StreamReader::new(bytes.map_err(std::io::Error::other));
    progress(node.load_image(Box::pin(reader)).await?)
}

pub(super) async fn remove(
    State(node): State<Node>,
    Path(reference): Path<String>,
    query: Query,
) -> Answer {
    ok(&node.remove_image(&reference, query.is_on("force")).await?)
}

/// `GET /images/{reference}/json`, as far as a list tells.
pub(super) async fn inspect(
    State(node): State<Node>,
    Path(reference): Path<String>,
    uri: Uri,
) -> Answer {
    let Some(reference) = reference.strip_suffix("/json") else {
        return Ok(front::unrouted(http::Method::GET, uri).await);
    };
    let named =
        if reference.contains(':') { reference.to_owned() } else { format!("{reference}:latest") };
    let images = node.images(&Filters::default()).await?;
    let found = images.into_iter().find(|image| {
        let id = image.id.trim_start_matches("sha256:");
        image.id == reference
            || (12 <= reference.len() && id.starts_with(reference))
            || image.repo_tags.iter().chain(&image.repo_digests).any(|tag| *tag == named)
    });
    let Some(image) = found else {
        return Err(Problem::new(404, format!("No such image: {named}")));
    };
    ok(&json!({
        "Id": image.id, "RepoTags": image.repo_tags, "RepoDigests": image.repo_digests,
        "Created": time::format(u64::try_from(image.created).unwrap_or(0) * 1_000_000_000),
        "Size": image.size, "Os": "linux", "Config": {"Labels": image.labels},
    }))
}

/// One JSON object a line.
fn progress(lines: mpsc::Receiver<ImageProgress>) -> Answer {
    let lines = stream::unfold(lines, |mut lines| async {
        let line = lines.recv().await?;
        Some((line, lines))
    });
    let lines = lines.filter_map(|line| async move {
        let mut bytes = serde_json::to_vec(&line).ok()?;
        bytes.extend_from_slice(b"\r\n");
        Some(Ok(Bytes::from(bytes)))
    });
    reply::stream("application/json", lines)
}
