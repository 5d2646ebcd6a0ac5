//! `/containers`: those of this node's tasks, where no Docker Engine keeps them.

use axum::extract::{Path, State};

use super::front::Spoken;
use super::reply::{Answer, ok};
use super::{Node, logs as log_stream, query::Query};
use crate::filters::Filters;

pub(super) async fn list(State(node): State<Node>, query: Query) -> Answer {
    let filters = query.filters(Filters::OF_CONTAINERS)?;
    let limit: usize = query.text("limit").parse().unwrap_or(0);
    let all = query.is_on("all") || 0 < limit || filters.has("status");
    let mut containers = node.containers().await?;
    containers.retain(|container| {
        let name = container.names.first().map_or("", String::as_str);
        (all || container.state == "running")
            && filters.accepts("status", &container.state)
            && filters.accepts_prefix("id", &container.id)
            && filters.accepts_part("name", name)
            && filters.accepts_labels("label", &container.labels)
    });
    if 0 < limit {
        containers.truncate(limit);
    }
    ok(&containers)
}

pub(super) async fn inspect(State(node): State<Node>, Path(reference): Path<String>) -> Answer {
    ok(&node.container(&reference).await?)
}

pub(super) async fn logs(
    State(node): State<Node>,
    Path(reference): Path<String>,
    query: Query,
    spoken: Spoken,
) -> Answer {
    let wanted = log_stream::wanted(&query)?.without_details();
    let lines = node.container_logs(&reference, wanted.options).await?;
    log_stream::answer(lines, wanted, spoken)
}
