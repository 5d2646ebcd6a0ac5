//! `/secrets` and `/configs`.

use axum::body::Body;
use axum::extract::{Path, Request, State};
use http::StatusCode;

use super::reply::{Answer, empty, json, no_content, ok};
use super::{Node, body, query::Query};
use crate::cluster::Caller;
use crate::filters::Filters;

pub(super) async fn secrets(State(node): State<Node>, caller: Caller, query: Query) -> Answer {
    ok(&node.secrets(&caller, &query.filters(Filters::OF_SECRETS)?).await?)
}

pub(super) async fn create_secret(
    State(node): State<Node>,
    caller: Caller,
    request: Request<Body>,
) -> Answer {
    let (parts, sent) = request.into_parts();
    let spec = body::json(&parts.headers, sent).await?;
    json(StatusCode::CREATED, &node.create_secret(&caller, spec).await?)
}

pub(super) async fn secret(
    State(node): State<Node>,
    caller: Caller,
    Path(reference): Path<String>,
) -> Answer {
    ok(&node.secret(&caller, &reference).await?)
}

pub(super) async fn update_secret(
    State(node): State<Node>,
    caller: Caller,
    Path(reference): Path<String>,
    query: Query,
    request: Request<Body>,
) -> Answer {
    let (parts, sent) = request.into_parts();
    let version = query.version("secret")?;
    let spec = body::json(&parts.headers, sent).await?;
    node.update_secret(&caller, &reference, version, spec).await?;
    empty()
}

pub(super) async fn remove_secret(
    State(node): State<Node>,
    caller: Caller,
    Path(reference): Path<String>,
) -> Answer {
    node.remove_secret(&caller, &reference).await?;
    no_content()
}

pub(super) async fn configs(State(node): State<Node>, caller: Caller, query: Query) -> Answer {
    ok(&node.configs(&caller, &query.filters(Filters::OF_CONFIGS)?).await?)
}

pub(super) async fn create_config(
    State(node): State<Node>,
    caller: Caller,
    request: Request<Body>,
) -> Answer {
    let (parts, sent) = request.into_parts();
    let spec = body::json(&parts.headers, sent).await?;
    json(StatusCode::CREATED, &node.create_config(&caller, spec).await?)
}

pub(super) async fn config(
    State(node): State<Node>,
    caller: Caller,
    Path(reference): Path<String>,
) -> Answer {
    ok(&node.config(&caller, &reference).await?)
}

pub(super) async fn update_config(
    State(node): State<Node>,
    caller: Caller,
    Path(reference): Path<String>,
    query: Query,
    request: Request<Body>,
) -> Answer {
    let (parts, sent) = request.into_parts();
    let version = query.version("config")?;
    let spec = body::json(&parts.headers, sent).await?;
    node.update_config(&caller, &reference, version, spec).await?;
    empty()
}

pub(super) async fn remove_config(
    State(node): State<Node>,
    caller: Caller,
    Path(reference): Path<String>,
) -> Answer {
    node.remove_config(&caller, &reference).await?;
    no_content()
}
