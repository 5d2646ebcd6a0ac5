//! `/networks`: the cluster's, and behind them this node's own.

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use super::front::{rebuild, unrouted};
use super::query::Query;
use super::reply::{Answer, json, ok};
use super::{Node, Server, body, proxy};
use crate::cluster::{Caller, Problem};
use crate::filters::Filters;
use crate::wire::network::{Network, NetworksPruned, NewNetwork};

/// Drivers of Docker Engine that need no plugin.
const DRIVERS: &[&str] = &["bridge", "host", "ipvlan", "macvlan", "none", "null", "overlay"];
/// Networks that every engine has.
const BUILT_IN: &[&str] = &["bridge", "host", "none"];

/// The cluster's part, where it is led.
pub(super) async fn list(State(node): State<Node>, caller: Caller, query: Query) -> Answer {
    let filters = query.filters(Filters::OF_NETWORKS)?;
    ok(&passing(node.networks(&caller).await?, &filters)?)
}

pub(super) async fn inspect(
    State(node): State<Node>,
    caller: Caller,
    Path(reference): Path<String>,
) -> Answer {
    ok(&node.network(&caller, &reference).await?)
}

pub(super) async fn create(
    State(node): State<Node>,
    caller: Caller,
    request: Request<Body>,
) -> Answer {
    let (parts, sent) = request.into_parts();
    let new: NewNetwork = body::json(&parts.headers, sent).await?;
    json(StatusCode::CREATED, &node.create_network(&caller, new).await?)
}

pub(super) async fn remove(
    State(node): State<Node>,
    caller: Caller,
    Path(reference): Path<String>,
) -> Answer {
    node.remove_network(&caller, &reference).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(super) async fn prune(State(node): State<Node>, caller: Caller, query: Query) -> Answer {
    let filters = query.filters(Filters::OF_PRUNED_NETWORKS)?;
    ok(&node.prune_networks(&caller, &filters).await?)
}

/// A request about networks, taken apart.
struct Asked<'a> {
    parts: &'a Parts,
    body: &'a Bytes,
    caller: &'a Caller,
}

impl Asked<'_> {
    fn request(&self) -> Request<Body> {
        rebuild(self.parts, self.body)
    }

    fn query(&self) -> Query {
        Query::parse(self.parts.uri.query().unwrap_or(""))
    }
}

impl Server {
    /// The cluster's networks first, then this node's own.
    pub(super) async fn answer_networks(&self, request: Request<Body>, caller: Caller) -> Response {
        let (parts, body) = request.into_parts();
        let body = match body::collect(body).await {
            Ok(body) => body,
            Err(problem) => return problem.into_response(),
        };
        let path = parts.uri.path().trim_start_matches("/networks").trim_start_matches('/');
        let asked = Asked { parts: &parts, body: &body, caller: &caller };
        let answer = match (&parts.method, path) {
            (&Method::GET | &Method::HEAD, "") => self.list_networks(&asked).await,
            (&Method::POST, "create") => self.create_network(&asked).await,
            (&Method::POST, "prune") => self.prune_networks(&asked).await,
            (&Method::GET | &Method::HEAD, name) if !name.contains('/') => {
                self.inspect_network(&asked, name).await
            }
            (&Method::DELETE, name) if !name.contains('/') => {
                self.remove_network(&asked, name).await
            }
            _ => Ok(self.local_network(&asked).await),
        };
        answer.unwrap_or_else(IntoResponse::into_response)
    }

    async fn of_cluster(&self, asked: &Asked<'_>) -> Response {
        self.answer_cluster(asked.request(), asked.caller.clone()).await
    }

    async fn list_networks(&self, asked: &Asked<'_>) -> Answer {
        let filters = asked.query().filters(Filters::OF_NETWORKS)?;
        let answer = self.of_cluster(asked).await;
        let mut all = match proxy::read(answer).await {
            Ok(Value::Array(all)) => all,
            Ok(_) => Vec::new(),
            Err(problem) if is_elsewhere(&problem) => Vec::new(),
            Err(problem) => return Err(problem),
        };
        if let Some(engine) = self.nodes.now().engine() {
            let query = asked.parts.uri.query().map(|query| format!("?{query}"));
            let path = format!("/networks{}", query.unwrap_or_default());
            if let Value::Array(local) = proxy::ask(&engine, &path).await? {
                all.extend(local);
            }
        } else {
            let local = passing(self.nodes.now().local_networks(), &filters)?;
            all.extend(local.iter().filter_map(|network| serde_json::to_value(network).ok()));
        }
        ok(&all)
    }

    async fn inspect_network(&self, asked: &Asked<'_>, name: &str) -> Answer {
        let scope = asked.query().text("scope").to_owned();
        let answer = self.of_cluster(asked).await;
        if answer.status() == StatusCode::OK || scope == "swarm" {
            return Ok(answer);
        }
        match proxy::read(answer).await {
            Err(problem) if problem.status == 404 || is_elsewhere(&problem) => {}
            Err(problem) => return Err(problem),
            Ok(_) => {}
        }
        if self.nodes.now().engine().is_some() {
            return Ok(self.local_network(asked).await);
        }
        ok(&find_local(&self.nodes.now().local_networks(), name)?)
    }

    async fn create_network(&self, asked: &Asked<'_>) -> Answer {
        let new = read_new(&asked.parts.headers, asked.body).await?;
        if new.name.trim().is_empty() {
            return Err(Problem::bad_request("invalid name: name is empty"));
        }
        let driver = if new.driver.is_empty() { "bridge" } else { &new.driver };
        if new.is_of_cluster() {
            let answer = self.of_cluster(asked).await;
            if answer.status() != StatusCode::SERVICE_UNAVAILABLE {
                return Ok(answer);
            }
            // Docker refuses this one with another status than the rest.
            return match proxy::read(answer).await {
                Err(problem) if is_elsewhere(&problem) => Err(Problem { status: 403, ..problem }),
                Err(problem) => Err(problem),
                Ok(value) => json(StatusCode::CREATED, &value),
            };
        }
        if self.nodes.now().engine().is_none() && !DRIVERS.contains(&driver) {
            return Err(Problem::new(404, format!("plugin \"{driver}\" not found")));
        }
        Ok(self.local_network(asked).await)
    }

    async fn remove_network(&self, asked: &Asked<'_>, name: &str) -> Answer {
        let answer = self.of_cluster(asked).await;
        if answer.status().is_success() {
            return Ok(answer);
        }
        match proxy::read(answer).await {
            Err(problem) if problem.status == 404 || is_elsewhere(&problem) => {}
            Err(problem) => return Err(problem),
            Ok(_) => {}
        }
        if self.nodes.now().engine().is_some() {
            return Ok(self.local_network(asked).await);
        }
        let network = find_local(&self.nodes.now().local_networks(), name)?;
        let text = format!("{} is a pre-defined network and cannot be removed", network.name);
        Err(Problem::new(403, text))
    }

    async fn prune_networks(&self, asked: &Asked<'_>) -> Answer {
        let answer = self.of_cluster(asked).await;
        let pruned = match proxy::read(answer).await {
            Ok(value) => serde_json::from_value(value).unwrap_or_default(),
            Err(problem) if is_elsewhere(&problem) => NetworksPruned::default(),
            Err(problem) => return Err(problem),
        };
        let mut deleted: Vec<String> = pruned.networks_deleted;
        if self.nodes.now().engine().is_some() {
            let local = proxy::read(self.local_network(asked).await).await?;
            let local: NetworksPruned = serde_json::from_value(local).unwrap_or_default();
            deleted.extend(local.networks_deleted);
        }
        ok(&NetworksPruned { networks_deleted: deleted })
    }

    /// What is of this node alone: its engine's, or nothing that we have built.
    async fn local_network(&self, asked: &Asked<'_>) -> Response {
        match self.nodes.now().engine() {
            Some(engine) => proxy::forward(&engine, asked.request()).await,
            None => unrouted(asked.parts.method.clone(), asked.parts.uri.clone()).await,
        }
    }
}

async fn read_new(headers: &HeaderMap, sent: &Bytes) -> Result<NewNetwork, Problem> {
    body::json(headers, Body::from(sent.clone())).await
}

/// This node is no manager, so there are no networks of a cluster to see here.
fn is_elsewhere(problem: &Problem) -> bool {
    problem.status == 503 && problem.message.starts_with("This node is not a swarm manager")
}

fn find_local(local: &[Network], reference: &str) -> Result<Network, Problem> {
    let all = local.iter().map(|network| (&*network.id, &*network.name, network));
    crate::lookup::find("network", reference, all).cloned()
}

/// Those that the filters want.
fn passing(networks: Vec<Network>, filters: &Filters) -> Result<Vec<Network>, Problem> {
    let dangling = filters.switch("dangling")?;
    for kind in filters.values("type") {
        if !matches!(kind.as_str(), "builtin" | "custom") {
            return Err(Problem::bad_request(format!("invalid filter: 'type'='{kind}'")));
        }
    }
    let passes = |network: &Network| {
        let built_in = BUILT_IN.contains(&network.name.as_str());
        let kind = if built_in { "builtin" } else { "custom" };
        let unused = network.containers.as_ref().is_none_or(std::collections::BTreeMap::is_empty)
            && network.services.is_empty();
        let labels = network.labels.clone().unwrap_or_default();
        filters.accepts_part("name", &network.name)
            && filters.accepts_part("id", &network.id)
            && filters.accepts("driver", &network.driver)
            && filters.accepts("scope", &network.scope)
            && filters.accepts("type", kind)
            && filters.accepts_labels("label", &labels)
            && dangling.is_none_or(|wanted| wanted == (unused && !built_in))
    };
    Ok(networks.into_iter().filter(passes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(filters: &Filters, names: &[&str]) {
        let network = |name: &str, scope: &str, driver: &str| Network {
            name: name.to_owned(),
            id: format!("{name}id"),
            scope: scope.to_owned(),
            driver: driver.to_owned(),
            labels: Some([("tier".to_owned(), name.to_owned())].into()),
            ..Network::default()
        };
        let all = vec![
            network("ingress", "swarm", "overlay"),
            network("front", "swarm", "overlay"),
            network("bridge", "local", "bridge"),
        ];
        let passed = passing(all, filters).unwrap();
        let passed: Vec<_> = passed.iter().map(|network| network.name.as_str()).collect();
        assert_eq!(passed, names);
    }

    #[test]
    fn filters_pick_networks() {
        let filters = Filters::default;
        check(&filters(), &["ingress", "front", "bridge"]);
        check(&filters().and("scope", "swarm"), &["ingress", "front"]);
        check(&filters().and("name", "ron").and("driver", "overlay"), &["front"]);
        check(&filters().and("type", "builtin"), &["bridge"]);
        check(&filters().and("label", "tier=front"), &["front"]);
        check(&filters().and("dangling", "true"), &["ingress", "front"]);
        assert!(passing(Vec::new(), &filters().and("type", "odd")).is_err());
        assert!(passing(Vec::new(), &filters().and("dangling", "maybe")).is_err());
    }
}
