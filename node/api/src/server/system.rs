//! `/_ping`, `/version`, `/info`, `/skep/…`: this node, and what Docker has no path for.

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::{Value, json};

use super::reply::{Answer, empty, ok};
use super::{API_MAX, Node, body, proxy};
use crate::cluster::Caller;
use crate::wire::status::LeaveRequest;
use crate::wire::system::{Info, Version};

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

/// Ours; with a Docker Engine behind us, its answer with our parts in it.
pub(super) async fn version(State(node): State<Node>) -> Answer {
    let mut ours = node.version().await?;
    let Some(engine) = node.engine() else { return ok(&ours) };
    let (major, minor) = engine.api_version.min(API_MAX);
    ours.api_version = format!("{major}.{minor}");
    for component in &mut ours.components {
        if let Some(version) = component.details.get_mut("ApiVersion") {
            ours.api_version.clone_into(version);
        }
    }
    match proxy::ask(&engine, "/version").await {
        Ok(theirs) => ok(&merged_version(&ours, theirs)),
        Err(_) => ok(&ours),
    }
}

/// Ours; with a Docker Engine behind us, its answer with our parts in it.
pub(super) async fn info(State(node): State<Node>) -> Answer {
    let mut ours = node.info().await?;
    let Some(engine) = node.engine() else { return ok(&ours) };
    match proxy::ask(&engine, "/info").await {
        Ok(theirs) => ok(&merged_info(&ours, theirs)),
        Err(problem) => {
            ours.warnings.push(format!("WARNING: {problem}"));
            ok(&ours)
        }
    }
}

fn merged_version(ours: &Version, mut theirs: Value) -> Value {
    let components = serde_json::to_value(&ours.components).unwrap_or_default();
    if let (Some(Value::Array(all)), Value::Array(added)) =
        (theirs.get_mut("Components"), components)
    {
        all.splice(0..0, added);
    }
    theirs["Platform"] = json!({"Name": ours.platform.as_ref().map_or("", |p| &p.name)});
    theirs["ApiVersion"] = ours.api_version.clone().into();
    theirs["MinAPIVersion"] = ours.min_api_version.clone().into();
    theirs
}

fn merged_info(ours: &Info, mut theirs: Value) -> Value {
    theirs["Swarm"] = serde_json::to_value(&ours.swarm).unwrap_or_default();
    theirs["SystemStatus"] = serde_json::to_value(&ours.system_status).unwrap_or_default();
    let before = theirs["Warnings"].as_array().cloned();
    let mut warnings = before.unwrap_or_default();
    warnings.extend(ours.warnings.iter().cloned().map(Value::String));
    theirs["Warnings"] = if warnings.is_empty() { Value::Null } else { warnings.into() };
    theirs
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
