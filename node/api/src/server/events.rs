//! `/events`: the cluster's, merged with those of the Docker Engine behind this node.

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};

use super::logs::since;
use super::query::Query;
use super::reply::{self, Answer};
use super::{Node, Server, proxy};
use crate::cluster::{Caller, EventsWanted, Problem};
use crate::filters::Filters;

/// Kinds of object that only a cluster has.
const OF_CLUSTER: &[&str] = &["config", "node", "secret", "service"];
/// Longest line of an engine's stream that is put together: labels are in it.
const LINE_BYTES_MAX: usize = 4 << 20;

/// The cluster's events, where it is led.
pub(super) async fn stream(State(node): State<Node>, query: Query) -> Answer {
    let events = node.events(wanted(&query)?).await?;
    let lines = stream::unfold(events, |mut events| async {
        let event = events.recv().await?;
        let mut line = serde_json::to_vec(&event).ok()?;
        line.push(b'\n');
        Some((Ok(Bytes::from(line)), events))
    });
    reply::stream("application/json", lines)
}

fn wanted(query: &Query) -> Result<EventsWanted, Problem> {
    let time = |name: &str| {
        let text = query.text(name);
        (!text.is_empty()).then(|| since(text)).transpose()
    };
    let wanted = EventsWanted {
        since_unix_nanos: time("since")?,
        until_unix_nanos: time("until")?,
        filters: query.filters(Filters::OF_EVENTS)?,
    };
    match (wanted.since_unix_nanos, wanted.until_unix_nanos) {
        (Some(since), Some(until)) if until < since => Err(Problem::bad_request(format!(
            "`since` time ({}) cannot be after `until` time ({})",
            query.text("since"),
            query.text("until")
        ))),
        _ => Ok(wanted),
    }
}

/// Whether an engine could have any of them.
fn may_be_local(filters: &Filters) -> bool {
    let kinds = filters.values("type");
    let only_of_cluster =
        !kinds.is_empty() && kinds.iter().all(|kind| OF_CLUSTER.contains(&kind.as_str()));
    !only_of_cluster && filters.accepts("scope", "local")
}

impl Server {
    pub(super) async fn answer_events(&self, request: Request<Body>, caller: Caller) -> Response {
        let merged = self.merge_events(request, caller).await;
        merged.unwrap_or_else(IntoResponse::into_response)
    }

    async fn merge_events(&self, request: Request<Body>, caller: Caller) -> Answer {
        let (parts, _) = request.into_parts();
        let filters = wanted(&Query::parse(parts.uri.query().unwrap_or("")))?.filters;
        let empty = Bytes::new();
        let of_cluster = super::front::rebuild(&parts, &empty);
        let cluster = self.answer_cluster(of_cluster, caller).await;
        let engine = self.nodes.now().engine().filter(|_| may_be_local(&filters));
        let Some(engine) = engine else { return Ok(cluster) };
        let local = proxy::open(&engine, super::front::rebuild(&parts, &empty)).await?;
        let lines = if cluster.status().is_success() {
            stream::select(lines(cluster.into_body()), lines(local)).boxed()
        } else {
            // Outside a cluster there are the engine's alone.
            lines(local)
        };
        reply::stream("application/json", lines)
    }
}

/// A body cut into lines, so that two of them can be mixed.
fn lines(body: Body) -> BoxStream<'static, Result<Bytes, std::convert::Infallible>> {
    let state = (body.into_data_stream(), Vec::new());
    stream::unfold(state, |(mut body, mut kept)| async move {
        let line = next_line(&mut body, &mut kept).await?;
        Some((Ok(line), (body, kept)))
    })
    .boxed()
}

async fn next_line(body: &mut BodyDataStream, kept: &mut Vec<u8>) -> Option<Bytes> {
    loop {
        if let Some(end) = kept.iter().position(|byte| *byte == b'\n') {
            return Some(Bytes::from(kept.drain(..=end).collect::<Vec<u8>>()));
        }
        if LINE_BYTES_MAX < kept.len() {
            return None;
        }
        kept.extend_from_slice(&next_chunk(body).await?);
    }
}

async fn next_chunk<S, E>(body: &mut S) -> Option<Bytes>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    body.next().await?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::event::{Actor, Event};

    #[test]
    fn an_engine_is_asked_only_for_what_it_can_have() {
        let filters = Filters::default;
        assert!(may_be_local(&filters()));
        assert!(may_be_local(&filters().and("type", "service").and("type", "container")));
        assert!(!may_be_local(&filters().and("type", "service")));
        assert!(!may_be_local(&filters().and("scope", "swarm")));
    }

    #[test]
    fn filters_pick_events() {
        let event = Event {
            kind: "service".to_owned(),
            action: "update".to_owned(),
            actor: Actor {
                id: "abc".to_owned(),
                attributes: [("name".to_owned(), "web".to_owned())].into(),
            },
            scope: "swarm".to_owned(),
            ..Event::default()
        };
        let filters = Filters::default;
        for (filters, accepted) in [
            (filters(), true),
            (filters().and("type", "service").and("event", "update"), true),
            (filters().and("event", "upd"), false),
            (filters().and("type", "node"), false),
            (filters().and("service", "web"), true),
            (filters().and("service", "abc"), true),
            (filters().and("service", "db"), false),
            (filters().and("node", "web"), false),
            (filters().and("scope", "local"), false),
            (filters().and("label", "name=web"), true),
        ] {
            let text = filters.to_json();
            let wanted = EventsWanted { filters, ..EventsWanted::default() };
            assert_eq!(wanted.accepts(&event), accepted, "{text}");
        }
    }

    #[tokio::test]
    async fn lines_stay_whole() {
        let chunks = ["{\"a\"", ":1}\n{", "}\n", "half"].map(Ok::<_, std::io::Error>);
        let whole: Vec<_> = lines(Body::from_stream(stream::iter(chunks))).collect().await;
        let whole: Vec<_> = whole.into_iter().map(Result::unwrap).collect();
        assert_eq!(whole, ["{\"a\":1}\n", "{}\n"]);
    }
}
