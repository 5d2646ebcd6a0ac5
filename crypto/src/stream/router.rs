//! Which handler answers which path.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::frame;
use super::offer::Offer;
use super::sending::Sending;
use super::status::Status;
use crate::Peer;

/// Who asks, and until when.
#[derive(Clone, Debug)]
pub struct Context {
    /// The identity of the handshake: never what a message claims, never that of a relay.
    pub peer: Peer,
    /// What the peer said in the handshake.
    pub peer_hello: Arc<[u8]>,
    /// Where the bytes come from, if the stream was told.
    pub remote: Option<SocketAddr>,
    /// When the caller stops waiting; a unary handler is dropped then. Streams have none.
    pub deadline: Option<Instant>,
}

pub(super) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A handler without its types.
pub(super) enum Route {
    /// Gives the frame of its answer.
    Unary(Box<dyn Fn(Context, Bytes) -> Boxed<Bytes> + Send + Sync>),
    Stream(Box<StreamHandler>),
    Tunnel(Box<TunnelHandler>),
}

pub(super) type StreamHandler =
    dyn Fn(Context, Bytes, mpsc::Sender<Bytes>) -> Boxed<Result<(), Status>> + Send + Sync;

pub(super) type TunnelHandler =
    dyn Fn(Context, Bytes, Offer) -> Boxed<Result<(), Status>> + Send + Sync;

/// Handlers by path. A path that has none is answered with
/// [`Code::NotFound`](super::Code::NotFound).
#[derive(Default)]
pub struct Router {
    routes: BTreeMap<&'static str, Route>,
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.routes.keys()).finish()
    }
}

impl Router {
    /// No paths yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One question, one answer. The handler is dropped at the caller's deadline, or when the
    /// caller gives up.
    #[must_use]
    pub fn unary<Q, R, F, A>(self, path: &'static str, handler: F) -> Self
    where
        Q: DeserializeOwned,
        R: Serialize,
        F: Fn(Context, Q) -> A + Send + Sync + 'static,
        A: Future<Output = Result<R, Status>> + Send + 'static,
    {
        let route = move |context, body: Bytes| -> Boxed<Bytes> {
            match question(&body) {
                Ok(question) => {
                    let answer = handler(context, question);
                    Box::pin(async move { frame::answer(answer.await) })
                }
                Err(status) => Box::pin(async move { frame::refusal(&status) }),
            }
        };
        self.with(path, Route::Unary(Box::new(route)))
    }

    /// One question, many answers. The handler is dropped when the caller gives up.
    #[must_use]
    pub fn stream<Q, R, F, A>(self, path: &'static str, handler: F) -> Self
    where
        Q: DeserializeOwned,
        R: Serialize,
        F: Fn(Context, Q, Sending<R>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let route = move |context, body: Bytes, items| -> Boxed<Result<(), Status>> {
            match question(&body) {
                Ok(question) => Box::pin(handler(context, question, Sending::new(items))),
                Err(status) => Box::pin(async move { Err(status) }),
            }
        };
        self.with(path, Route::Stream(Box::new(route)))
    }

    /// Raw bytes both ways, once the handler has accepted the [`Offer`]. The handler is dropped
    /// when the caller gives up before that; later the tunnel's reads and writes fail.
    #[must_use]
    pub fn tunnel<Q, F, A>(self, path: &'static str, handler: F) -> Self
    where
        Q: DeserializeOwned,
        F: Fn(Context, Q, Offer) -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), Status>> + Send + 'static,
    {
        let route = move |context, body: Bytes, offer| -> Boxed<Result<(), Status>> {
            match question(&body) {
                Ok(question) => Box::pin(handler(context, question, offer)),
                Err(status) => Box::pin(async move { Err(status) }),
            }
        };
        self.with(path, Route::Tunnel(Box::new(route)))
    }

    pub(super) fn find(&self, path: &str) -> Option<&Route> {
        self.routes.get(path)
    }

    fn with(mut self, path: &'static str, route: Route) -> Self {
        let before = self.routes.insert(path, route);
        debug_assert!(before.is_none(), "{path} has two handlers");
        self
    }
}

fn question<Q: DeserializeOwned>(body: &[u8]) -> Result<Q, Status> {
    frame::read_question(body).map_err(|error| Status::invalid(error.to_string()))
}
