//! `/services`.

use axum::body::Body;
use axum::extract::{Path, Request, State};
use http::{HeaderMap, StatusCode};

use super::front::Spoken;
use super::reply::{Answer, empty, json, listed, ok};
use super::{Node, body, logs as log_stream, query::Query};
use crate::cluster::{Caller, NewService, ServiceUpdate};
use crate::filters::Filters;
use crate::header::REGISTRY_AUTH;

pub(super) async fn list(State(node): State<Node>, caller: Caller, query: Query) -> Answer {
    let filters = query.filters(Filters::OF_SERVICES)?;
    listed(node.services(&caller, &filters, query.is_on("status")).await?)
}

pub(super) async fn create(
    State(node): State<Node>,
    caller: Caller,
    request: Request<Body>,
) -> Answer {
    let (parts, sent) = request.into_parts();
    let spec = body::json(&parts.headers, sent).await?;
    let new = NewService { spec, registry_auth: registry_auth(&parts.headers) };
    json(StatusCode::CREATED, &node.create_service(&caller, new).await?)
}

pub(super) async fn inspect(
    State(node): State<Node>,
    caller: Caller,
    Path(reference): Path<String>,
    query: Query,
) -> Answer {
    let mut service = node.service(&caller, &reference).await?;
    if query.is_on("insertDefaults") {
        service.spec.insert_defaults();
    }
    ok(&service)
}

pub(super) async fn update(
    State(node): State<Node>,
    caller: Caller,
    Path(reference): Path<String>,
    query: Query,
    request: Request<Body>,
) -> Answer {
    let (parts, sent) = request.into_parts();
    let version = query.version("service")?;
    let update = ServiceUpdate {
        version,
        spec: body::json(&parts.headers, sent).await?,
        rollback: query.text("rollback") == "previous",
        registry_auth: registry_auth(&parts.headers),
        auth_from_previous: query.text("registryAuthFrom") == "previous-spec",
    };
    ok(&node.update_service(&caller, &reference, update).await?)
}

pub(super) async fn remove(
    State(node): State<Node>,
    caller: Caller,
    Path(reference): Path<String>,
) -> Answer {
    node.remove_service(&caller, &reference).await?;
    empty()
}

pub(super) async fn logs(
    State(node): State<Node>,
    caller: Caller,
    Path(reference): Path<String>,
    query: Query,
    spoken: Spoken,
) -> Answer {
    let wanted = log_stream::wanted(&query)?;
    let lines = node.service_logs(&caller, &reference, wanted.options).await?;
    log_stream::answer(lines, wanted, spoken)
}

/// Registry credentials as they came.
pub(super) fn registry_auth(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(REGISTRY_AUTH)?.to_str().ok()?;
    (!value.is_empty()).then(|| value.to_owned())
}
