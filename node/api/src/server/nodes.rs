//! `/nodes`.

use axum::body::Body;
use axum::extract::{Path, Request, State};

use super::reply::{Answer, empty, listed, ok};
use super::{Node, body, query::Query};
use crate::cluster::Caller;
use crate::filters::Filters;

pub(super) async fn list(State(node): State<Node>, caller: Caller, query: Query) -> Answer {
    let filters = query.filters(Filters::OF_NODES)?;
    listed(node.nodes(&caller, &filters).await?)
}

pub(super) async fn inspect(
    State(node): State<Node>,
    caller: Caller,
    Path(reference): Path<String>,
) -> Answer {
    ok(&node.node(&caller, &reference).await?)
}

pub(super) async fn update(
    State(node): State<Node>,
    caller: Caller,
    Path(reference): Path<String>,
    query: Query,
    request: Request<Body>,
) -> Answer {
    let (parts, sent) = request.into_parts();
    let spec = body::json(&parts.headers, sent).await?;
    node.update_node(&caller, &reference, query.version("node")?, spec).await?;
    empty()
}

pub(super) async fn remove(
    State(node): State<Node>,
    caller: Caller,
    Path(reference): Path<String>,
    query: Query,
) -> Answer {
    node.remove_node(&caller, &reference, query.is_on("force")).await?;
    empty()
}
