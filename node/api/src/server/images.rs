//! `/images`: of the local runtime.

use axum::body::Body;
use axum::extract::{Path, State};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::HeaderMap;
use http_body_util::Limited;
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use super::reply::{self, Answer, ok};
use super::services::registry_auth;
use super::{Node, query::Query};
use crate::cluster::{Problem, Pull};
use crate::filters::Filters;
use crate::wire::image::ImageProgress;

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
