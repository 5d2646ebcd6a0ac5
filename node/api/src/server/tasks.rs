//! `/tasks`.

use axum::extract::{Path, State};

use super::front::Spoken;
use super::reply::{Answer, listed, ok};
use super::{Node, logs as log_stream, query::Query};
use crate::cluster::Caller;
use crate::filters::Filters;

pub(super) async fn list(State(node): State<Node>, caller: Caller, query: Query) -> Answer {
    let filters = query.filters(Filters::OF_TASKS)?;
    listed(node.tasks(&caller, &filters).await?)
}

pub(super) async fn inspect(
    State(node): State<Node>,
    caller: Caller,
    Path(reference): Path<String>,
) -> Answer {
    ok(&node.task(&caller, &reference).await?)
}

pub(super) async fn logs(
    State(node): State<Node>,
    caller: Caller,
    Path(reference): Path<String>,
    query: Query,
    spoken: Spoken,
) -> Answer {
    let wanted = log_stream::wanted(&query)?;
    let lines = node.task_logs(&caller, &reference, wanted.options).await?;
    log_stream::answer(lines, wanted, spoken)
}
