//! What happens to a request before and after its route: version, origin, leader, headers.

use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::time::Instant;
use tracing::debug;

use super::family::{Family, is_of_engine};
use super::prefix::{Asked, parse};
use super::{API_MAX, API_MIN, Server, body, proxy};
use crate::carry::{CarryError, carry};
use crate::cluster::{Caller, Origin, Problem, ProblemKind, Route};
use crate::header::{API_VERSION, PROBLEM, REQUEST_ID, STALE};
use crate::request_id::RequestId;

/// How long a request about the cluster looks for a leader before it says that there is none.
/// Longer than an election (0.3-0.45 s and a round), short enough to tell a user.
const FIND_LEADER: Duration = Duration::from_secs(2);
/// Between two tries: a fifth of an election.
const RETRY: Duration = Duration::from_millis(60);
/// How long the leader may take to begin its answer. It answers writes within 2 s itself.
const LEADER_ANSWER: Duration = Duration::from_secs(10);

/// The API version that a request speaks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spoken(pub(super) (u16, u16));

/// Marks an answer that no route gave.
#[derive(Clone, Copy, Debug)]
struct Unrouted;

impl Server {
    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Body>, origin: Origin) -> Response {
        let mut response = match self.prepare(request, origin) {
            Ok((request, caller)) => self.dispatch(request, caller).await,
            Err(response) => response,
        };
        // An engine's answer has its own.
        let bare = response.extensions_mut().remove::<Unrouted>().is_some()
            || response.headers().contains_key(API_VERSION);
        if !bare {
            self.add_headers(response.headers_mut());
        }
        response
    }

    async fn dispatch(&self, mut request: Request<Body>, caller: Caller) -> Response {
        let asked_here = caller.origin == Origin::Socket;
        match Family::of(request.uri().path()) {
            Family::Cluster => self.answer_cluster(request, caller).await,
            Family::Networks if asked_here => self.answer_networks(request, caller).await,
            Family::Events if asked_here => self.answer_events(request, caller).await,
            Family::Networks | Family::Events => self.answer_cluster(request, caller).await,
            // Another node may ask what a leader answers, not command this one's own things.
            Family::Node | Family::Engine if !asked_here => unknown(),
            Family::Engine if let Some(engine) = self.nodes.now().engine() => {
                proxy::forward(&engine, request).await
            }
            Family::Node | Family::Engine => {
                request.extensions_mut().insert(caller);
                self.call(request).await
            }
        }
    }

    /// The newest API version that we speak here: no newer than the engine's, so that nobody
    /// asks it for what it does not know.
    fn newest(&self) -> (u16, u16) {
        self.nodes.now().engine().map_or(API_MAX, |engine| engine.api_version.min(API_MAX))
    }

    /// Takes the version off the path and finds out who asks.
    #[expect(clippy::result_large_err, reason = "an error here is the answer itself")]
    fn prepare(
        &self,
        mut request: Request<Body>,
        origin: Origin,
    ) -> Result<(Request<Body>, Caller), Response> {
        let newest = self.newest();
        let (version, path) = match parse(request.uri().path(), newest) {
            Asked::Route { version, path } => (version, path.to_owned()),
            Asked::TooNew(asked) => {
                let (major, minor) = newest;
                let message = format!(
                    "client version {asked} is too new. Maximum supported API version is \
                     {major}.{minor}"
                );
                return Err(Problem::bad_request(message).into_response());
            }
            Asked::TooOld(asked) => {
                let (major, minor) = API_MIN;
                let message = format!(
                    "client version {asked} is too old. Minimum supported API version is \
                     {major}.{minor}, please upgrade your client to a newer version\n"
                );
                return Err((StatusCode::BAD_REQUEST, message).into_response());
            }
        };
        let request_id = request_id(request.headers()).map_err(IntoResponse::into_response)?;
        let uri = with_path(request.uri(), &path).map_err(IntoResponse::into_response)?;
        *request.uri_mut() = uri;
        request.extensions_mut().insert(Spoken(version));
        Ok((request, Caller { origin, request: request_id, stale: false }))
    }

    /// Answers what concerns the whole cluster: here if this node leads, else where the leader
    /// is. Everything is repeated under one request id, so trying again is safe.
    pub(super) async fn answer_cluster(&self, request: Request<Body>, caller: Caller) -> Response {
        let (parts, body) = request.into_parts();
        let body = match body::collect(body).await {
            Ok(body) => body,
            Err(problem) => return problem.into_response(),
        };
        let write = !matches!(parts.method, Method::GET | Method::HEAD);
        let deadline = Instant::now() + FIND_LEADER;
        loop {
            let tried = self.try_cluster(&parts, &body, &caller, deadline).await;
            let again = match tried {
                Tried::Done(response) => return response,
                Tried::NotLeader => Problem::no_leader(),
                Tried::Broken if write => Problem::unconfirmed(caller.request),
                Tried::Broken => Problem::no_leader(),
            };
            if deadline < Instant::now() + RETRY {
                return again.into_response();
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn try_cluster(
        &self,
        parts: &Parts,
        body: &Bytes,
        caller: &Caller,
        deadline: Instant,
    ) -> Tried {
        let write = !matches!(parts.method, Method::GET | Method::HEAD);
        let mut caller = caller.clone();
        let route = if caller.origin == Origin::Socket {
            match tokio::time::timeout_at(deadline, self.nodes.now().route(&caller, write)).await {
                Ok(Ok(route)) => route,
                Ok(Err(problem)) => return Tried::of(problem.into_response(), write),
                Err(_elapsed) => return Tried::Done(Problem::no_leader().into_response()),
            }
        } else {
            // A tunnel ends here: requests never travel on, so they cannot go in circles.
            Route::Here
        };
        caller.stale = matches!(route, Route::Stale);
        let request = rebuild(parts, body);
        let response = match route {
            Route::There(io) => {
                let request = for_tunnel(request, caller.request);
                match tokio::time::timeout(LEADER_ANSWER, carry(io, request)).await {
                    Ok(Ok(response)) => from_tunnel(response.map(Body::new)),
                    Ok(Err(CarryError::Handshake(_))) => return Tried::NotLeader,
                    Ok(Err(error)) => {
                        debug!(error = &error as &dyn std::error::Error, "lost the leader");
                        return Tried::Broken;
                    }
                    Err(_elapsed) => return Tried::Broken,
                }
            }
            Route::Here | Route::Stale => {
                let mut request = request;
                let stale = caller.stale;
                request.extensions_mut().insert(caller.clone());
                let mut response = self.call(request).await;
                if stale {
                    response.headers_mut().insert(STALE, HeaderValue::from_static("true"));
                }
                response
            }
        };
        // What comes from a tunnel is sent back as it is: its other end knows what to do.
        if caller.origin == Origin::Socket {
            Tried::of(response, write)
        } else {
            Tried::Done(response)
        }
    }

    async fn call(&self, request: Request<Body>) -> Response {
        match TowerToHyperService::new(self.router.clone()).call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        let (major, minor) = self.newest();
        if let Ok(version) = HeaderValue::try_from(format!("{major}.{minor}")) {
            headers.insert(API_VERSION, version);
        }
        headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
        headers.insert("Ostype", HeaderValue::from_static("linux"));
        headers.insert(header::SERVER, self.product.clone());
    }
}

/// What came of one try.
enum Tried {
    Done(Response),
    /// Nothing was done.
    NotLeader,
    /// It is not known what was done.
    Broken,
}

impl Tried {
    fn of(response: Response, write: bool) -> Self {
        let problem = response.headers().get(PROBLEM).and_then(|value| value.to_str().ok());
        match problem.map(ProblemKind::from_header) {
            Some(ProblemKind::NotLeader) => Self::NotLeader,
            // A read has no effect: it may be repeated whatever became of it.
            Some(ProblemKind::Unconfirmed) if !write => Self::Broken,
            Some(_) | None => Self::Done(response),
        }
    }
}

/// A path that no route has: what Docker Engine would do, or nothing that anybody knows.
pub(super) async fn unrouted(method: Method, uri: Uri) -> Response {
    // `docker inspect` goes on to the next kind of object only after a 404.
    if method == Method::GET
        && let Some(message) = absent(uri.path())
    {
        return Problem::new(404, message).into_response();
    }
    if is_of_engine(uri.path()) {
        let text = "this node runs containers without Docker Engine; use service create";
        return Problem::not_implemented(text).into_response();
    }
    unknown()
}

/// Docker's words for one object of the engine's that cannot be here; a name may hold slashes.
fn absent(path: &str) -> Option<String> {
    let named = |kind: &str, end: &str| {
        let name = path.strip_prefix(kind)?.strip_suffix(end)?;
        (!name.is_empty()).then_some(name)
    };
    let container = named("/containers/", "/json").map(|name| format!("No such container: {name}"));
    let network = || named("/networks/", "").map(|name| format!("network {name} not found"));
    let volume = || named("/volumes/", "").map(|name| format!("get {name}: no such volume"));
    let plugin = || named("/plugins/", "/json").map(|name| format!("plugin \"{name}\" not found"));
    container.or_else(network).or_else(volume).or_else(plugin)
}

/// 404, without the headers that say who we are: as Docker does.
pub(super) fn unknown() -> Response {
    let mut response = Problem::new(404, "page not found").into_response();
    response.extensions_mut().insert(Unrouted);
    response
}

/// OPTIONS is answered empty, any other wrong method as an unknown path.
pub(super) async fn wrong_method(method: Method, uri: Uri) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::OK.into_response();
    }
    unrouted(method, uri).await
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Problem::new(500, "request without a caller"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Spoken {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().copied().unwrap_or(Self(API_MAX)))
    }
}

/// The client's request id, or a new one.
fn request_id(headers: &HeaderMap) -> Result<RequestId, Problem> {
    match headers.get(REQUEST_ID) {
        Some(text) => text
            .to_str()
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| Problem::bad_request(crate::request_id::BadRequestId.to_string())),
        None => RequestId::random()
            .map_err(|error| Problem::new(500, format!("no randomness: {error}"))),
    }
}

/// The same query under another path.
fn with_path(uri: &Uri, path: &str) -> Result<Uri, Problem> {
    let text = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    PathAndQuery::try_from(text)
        .map(Uri::from)
        .map_err(|error| Problem::bad_request(format!("bad path: {error}")))
}

pub(super) fn rebuild(parts: &Parts, body: &Bytes) -> Request<Body> {
    Request::from_parts(parts.clone(), Body::from(body.clone()))
}

/// Headers that speak of one connection only.
const HOP_BY_HOP: [http::HeaderName; 5] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    header::CONTENT_LENGTH,
];

/// Lengths are counted anew on this side.
fn from_tunnel(mut response: Response) -> Response {
    let headers = response.headers_mut();
    HOP_BY_HOP.iter().for_each(|hop| drop(headers.remove(hop)));
    response
}

/// What the other end needs: version in the path, our request id, no hop-by-hop headers.
fn for_tunnel(mut request: Request<Body>, id: RequestId) -> Request<Body> {
    let Spoken((major, minor)) =
        request.extensions().get::<Spoken>().copied().unwrap_or(Spoken(API_MAX));
    let path = format!("/v{major}.{minor}{}", request.uri().path());
    if let Ok(uri) = with_path(request.uri(), &path) {
        *request.uri_mut() = uri;
    }
    let headers = request.headers_mut();
    HOP_BY_HOP.iter().for_each(|hop| drop(headers.remove(hop)));
    headers.insert(header::HOST, HeaderValue::from_static("skep"));
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        headers.insert(REQUEST_ID, id);
    }
    request
}
