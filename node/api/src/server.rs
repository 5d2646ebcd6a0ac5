//! Serves the API over a unix socket, and over tunnels from other nodes.

mod body;
mod containers;
mod events;
mod family;
mod files;
mod front;
mod images;
mod logs;
mod networks;
mod nodes;
mod prefix;
mod proxy;
mod query;
mod reply;
mod services;
mod swarm;
mod system;
mod tasks;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::FromRef;
use axum::routing::{delete, get, post};
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::cluster::{Cluster, Origin};

/// Newest API version we speak: that of the recordings the types were written from.
pub const API_MAX: (u16, u16) = (1, 50);
/// Oldest API version we speak: the oldest that Docker Engine 28 does.
pub const API_MIN: (u16, u16) = (1, 24);

/// The node as handlers see it: for one request.
type Node = Arc<dyn Cluster>;

/// Which node answers: another one after this daemon entered or left a cluster.
#[derive(Clone)]
struct Nodes(watch::Receiver<Node>);

impl Nodes {
    fn now(&self) -> Node {
        Arc::clone(&self.0.borrow())
    }
}

impl FromRef<Nodes> for Node {
    fn from_ref(nodes: &Nodes) -> Self {
        nodes.now()
    }
}

/// What strangers to each other may take of the socket.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once; a waiting CLI holds one, a followed log another.
    pub connections: usize,
    /// From the first byte of a request to the end of its head.
    pub header_timeout: Duration,
    /// How long requests may go on once the server should stop.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            header_timeout: Duration::from_secs(10),
            grace: Duration::from_secs(2),
        }
    }
}

/// All routes over the node of this daemon. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    nodes: Nodes,
    router: Router,
    /// `Skep/0.1.0 (linux)`.
    product: http::HeaderValue,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("product", &self.product).finish_non_exhaustive()
    }
}

impl Server {
    /// Over one node for good; `version` is the product's.
    #[must_use]
    pub fn new(node: Arc<dyn Cluster>, version: &str) -> Self {
        Self::following(watch::channel(node).1, version)
    }

    /// Over whatever this daemon is at the moment of a request; `version` is the product's.
    #[must_use]
    pub fn following(nodes: watch::Receiver<Arc<dyn Cluster>>, version: &str) -> Self {
        let nodes = Nodes(nodes);
        let product = http::HeaderValue::try_from(format!("Skep/{version} (linux)"));
        let product = product.unwrap_or_else(|_| http::HeaderValue::from_static("Skep (linux)"));
        Self { router: routes().with_state(nodes.clone()), nodes, product }
    }

    /// Serves a unix socket until `stop`; then requests may end within the grace.
    pub async fn serve(self, listener: UnixListener, limits: Limits, stop: CancellationToken) {
        let free = Arc::new(Semaphore::new(limits.connections));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = accept(&listener, &free) => accepted,
            };
            let Some((io, permit)) = accepted else { continue };
            let (server, stop) = (self.clone(), stop.clone());
            connections.spawn(async move {
                server.serve_io(io, Origin::Socket, limits, stop).await;
                drop(permit);
            });
        }
        let ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(limits.grace, ended).await.is_err() {
            debug!("ended connections that outlived the grace");
        }
    }

    /// Serves one connection until it closes, or until `stop` and its request is done.
    pub async fn serve_io<T>(self, io: T, origin: Origin, limits: Limits, stop: CancellationToken)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let detached = proxy::Detached::default();
        let rest = detached.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let (server, origin) = (self.clone(), origin.clone());
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(detached.clone());
            async move { Ok::<_, Infallible>(server.answer(request, origin).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .title_case_headers(true)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(error = &error as &dyn std::error::Error, "connection ended early");
        }
        if let Some(rest) = rest.take() {
            tokio::select! {
                () = rest => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

/// The next connection and its place among the allowed ones.
async fn accept(
    listener: &UnixListener,
    free: &Arc<Semaphore>,
) -> Option<(tokio::net::UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let permit = Arc::clone(free).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((io, _)) => Some((io, permit)),
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, "did not accept a connection");
            // Out of file descriptors: accepting at once again would spin.
            tokio::time::sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// Every path, as Docker has it; ours are under `/skep`.
fn routes() -> Router<Nodes> {
    Router::new()
        .route("/_ping", get(system::ping))
        .route("/version", get(system::version))
        .route("/info", get(system::info))
        .route("/swarm", get(swarm::inspect))
        .route("/swarm/init", post(swarm::init))
        .route("/swarm/join", post(swarm::join))
        .route("/swarm/leave", post(swarm::leave))
        .route("/swarm/update", post(swarm::update))
        .route("/swarm/unlockkey", get(swarm::unlock_key))
        .route("/swarm/unlock", post(swarm::unlock))
        .route("/skep/status", get(system::status))
        .route("/skep/leave", post(system::leave))
        .route("/skep/tokens/{id}/revoke", post(system::revoke_token))
        .route("/nodes", get(nodes::list))
        .route("/nodes/{reference}", get(nodes::inspect).delete(nodes::remove))
        .route("/nodes/{reference}/update", post(nodes::update))
        .route("/services", get(services::list))
        .route("/services/create", post(services::create))
        .route("/services/{reference}", get(services::inspect).delete(services::remove))
        .route("/services/{reference}/update", post(services::update))
        .route("/services/{reference}/logs", get(services::logs))
        .route("/networks", get(networks::list))
        .route("/networks/create", post(networks::create))
        .route("/networks/prune", post(networks::prune))
        .route("/networks/{reference}", get(networks::inspect).delete(networks::remove))
        .route("/events", get(events::stream))
        .route("/tasks", get(tasks::list))
        .route("/tasks/{reference}", get(tasks::inspect))
        .route("/tasks/{reference}/logs", get(tasks::logs))
        .route("/secrets", get(files::secrets))
        .route("/secrets/create", post(files::create_secret))
        .route("/secrets/{reference}", get(files::secret).delete(files::remove_secret))
        .route("/secrets/{reference}/update", post(files::update_secret))
        .route("/configs", get(files::configs))
        .route("/configs/create", post(files::create_config))
        .route("/configs/{reference}", get(files::config).delete(files::remove_config))
        .route("/configs/{reference}/update", post(files::update_config))
        .route("/containers/json", get(containers::list))
        .route("/containers/{reference}/json", get(containers::inspect))
        .route("/containers/{reference}/logs", get(containers::logs))
        .route("/images/json", get(images::list))
        .route("/images/create", post(images::pull))
        .route("/images/load", post(images::load))
        .route("/images/{*reference}", delete(images::remove).get(images::inspect))
        .fallback(front::unrouted)
        .method_not_allowed_fallback(front::wrong_method)
}
