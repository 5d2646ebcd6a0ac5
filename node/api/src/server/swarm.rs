//! `/swarm`: into a cluster, out of it, and what a user may set of it.

use axum::body::Body;
use axum::extract::{Request, State};

use super::reply::{Answer, empty, ok};
use super::{Node, body, query::Query};
use crate::cluster::Caller;
use crate::wire::swarm::Rotate;

pub(super) async fn inspect(State(node): State<Node>, caller: Caller) -> Answer {
    ok(&node.swarm(&caller).await?)
}

pub(super) async fn init(State(node): State<Node>, request: Request<Body>) -> Answer {
    let (parts, sent) = request.into_parts();
    ok(&node.init_swarm(body::json(&parts.headers, sent).await?).await?)
}

pub(super) async fn join(State(node): State<Node>, request: Request<Body>) -> Answer {
    let (parts, sent) = request.into_parts();
    node.join_swarm(body::json(&parts.headers, sent).await?).await?;
    empty()
}

pub(super) async fn leave(State(node): State<Node>, caller: Caller, query: Query) -> Answer {
    node.leave(&caller, query.is_on("force")).await?;
    empty()
}

pub(super) async fn update(
    State(node): State<Node>,
    caller: Caller,
    query: Query,
    request: Request<Body>,
) -> Answer {
    let (parts, sent) = request.into_parts();
    let version = query.version("swarm")?;
    let spec = body::json(&parts.headers, sent).await?;
    let rotate = Rotate {
        worker_token: query.is_on("rotateWorkerToken"),
        manager_token: query.is_on("rotateManagerToken"),
        unlock_key: query.is_on("rotateManagerUnlockKey"),
    };
    node.update_swarm(&caller, version, spec, rotate).await?;
    empty()
}

pub(super) async fn unlock_key(State(node): State<Node>, caller: Caller) -> Answer {
    ok(&node.unlock_key(&caller).await?)
}

pub(super) async fn unlock(State(node): State<Node>, request: Request<Body>) -> Answer {
    let (parts, sent) = request.into_parts();
    node.unlock(body::json(&parts.headers, sent).await?).await?;
    empty()
}
