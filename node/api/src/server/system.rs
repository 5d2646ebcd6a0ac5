//! `/_ping`, `/version`, `/info`, `/skep/…`: this node, and what Docker has no path for.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, header};

use super::reply::{Answer, empty, ok};
use super::{Node, body};
use crate::cluster::Caller;
use crate::wire::status::LeaveRequest;

/// Whether anybody is there; every command of Docker's CLI begins with it.
pub(super) async fn ping(State(node): State<Node>, method: Method) -> Response {
    let text = if method == Method::HEAD { "" } else { "OK" };
    let mut response = text.into_response();
    let headers = response.headers_mut();
    let no_cache = "no-cache, no-store, must-revalidate";
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(no_cache));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert("Builder-Version", HeaderValue::from_static("2"));
    headers.insert("Swarm", HeaderValue::from_static(node.swarm_state().as_str()));
    response
}

pub(super) async fn version(State(node): State<Node>) -> Answer {
    ok(&node.version().await?)
}

pub(super) async fn info(State(node): State<Node>) -> Answer {
    ok(&node.info().await?)
}

pub(super) async fn status(State(node): State<Node>) -> Answer {
    ok(&node.status().await?)
}

pub(super) async fn leave(
    State(node): State<Node>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let request: LeaveRequest = body::json(&headers, body).await?;
    node.leave(&caller, request.force).await?;
    empty()
}

pub(super) async fn revoke_token(
    State(node): State<Node>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer {
    node.revoke_token(&caller, &id).await?;
    empty()
}
