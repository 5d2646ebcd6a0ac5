//! Requests that a Docker Engine answers: carried there and back unchanged.
//!
//! A request that takes its connection over (`attach`, `exec`, `session`) gets the bytes of both
//! sides joined: [`Detached`] is where that goes on once the HTTP part is over.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tracing::debug;

use super::front::Spoken;
use crate::carry::{Carried, carry};
use crate::cluster::{Engine, Problem};

/// Largest answer that is read to be merged with ours: lists of networks, `/info`.
const MERGED_BYTES_MAX: usize = 64 << 20;

/// What goes on over a connection after its last HTTP answer.
#[derive(Clone, Default)]
pub(super) struct Detached(Arc<Mutex<Option<BoxFuture<'static, ()>>>>);

impl Detached {
    fn put(&self, rest: BoxFuture<'static, ()>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
    }

    /// What is left to do, once.
    pub(super) fn take(&self) -> Option<BoxFuture<'static, ()>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Carries a request to the engine, and its answer back.
pub(super) async fn forward(engine: &Engine, mut request: Request<Body>) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    let detached = request.extensions().get::<Detached>().cloned();
    let answer = match send(engine, request).await {
        Ok(answer) => answer,
        Err(problem) => return problem.into_response(),
    };
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        return answer.map(Body::new);
    }
    let Some(detached) = detached else {
        return Problem::new(500, "a connection that cannot be taken over").into_response();
    };
    let mut answer = answer;
    let theirs = hyper::upgrade::on(&mut answer);
    let (head, carried) = answer.into_parts();
    let driver = carried.into_driver();
    detached.put(Box::pin(async move {
        let driven = async {
            if let Some(driver) = driver {
                // It ends with the take-over, or the take-over fails and says why.
                let _ = driver.await;
            }
        };
        let (ours, theirs, ()) = tokio::join!(upgrade, theirs, driven);
        let (Ok(ours), Ok(theirs)) = (ours, theirs) else { return };
        let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
        if let Err(error) = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await {
            debug!(error = &error as &dyn std::error::Error, "a joined connection broke");
        }
    }));
    Response::from_parts(head, Body::empty())
}

/// JSON that the engine answers to a GET.
pub(super) async fn ask(engine: &Engine, path_and_query: &str) -> Result<Value, Problem> {
    let (major, minor) = engine.api_version.min(super::API_MAX);
    let request = Request::builder()
        .method(Method::GET)
        .uri(format!("/v{major}.{minor}{path_and_query}"))
        .header(header::HOST, "docker")
        .body(Body::empty());
    let request = request.map_err(|error| Problem::new(500, error.to_string()))?;
    let answer = carried(engine, request).await?;
    read(answer).await
}

/// JSON of an answer; an error keeps its status and text.
pub(super) async fn read<B>(answer: http::Response<B>) -> Result<Value, Problem>
where
    B: hyper::body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MERGED_BYTES_MAX).collect().await;
    let body = body.map_err(|error| Problem::unavailable(error.to_string()))?.to_bytes();
    let value: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    if status.is_success() {
        return Ok(value);
    }
    let message = value.get("message").and_then(Value::as_str).unwrap_or("no message").to_owned();
    Err(Problem::new(status.as_u16(), message))
}

/// The body of an engine's answer as it comes.
pub(super) async fn open(engine: &Engine, request: Request<Body>) -> Result<Body, Problem> {
    let answer = send(engine, request).await?;
    if answer.status().is_success() {
        return Ok(Body::new(answer.into_body()));
    }
    read(answer).await.map(|_| Body::empty())
}

/// With the version back in the path.
async fn send(
    engine: &Engine,
    mut request: Request<Body>,
) -> Result<http::Response<Carried>, Problem> {
    let spoken = request.extensions().get::<Spoken>().copied();
    let (major, minor) = spoken.map_or(engine.api_version, |Spoken(version)| version);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri = format!("/v{major}.{minor}{path}").parse();
    *request.uri_mut() = uri.map_err(|error: http::uri::InvalidUri| {
        Problem::bad_request(format!("bad path: {error}"))
    })?;
    if !request.headers().contains_key(header::HOST) {
        request.headers_mut().insert(header::HOST, HeaderValue::from_static("docker"));
    }
    carried(engine, request).await
}

async fn carried(
    engine: &Engine,
    request: Request<Body>,
) -> Result<http::Response<Carried>, Problem> {
    let away = |why: &dyn std::fmt::Display| {
        Problem::unavailable(format!(
            "Docker Engine at {} does not answer ({why}): is it running?",
            engine.socket.display()
        ))
    };
    let stream = UnixStream::connect(&engine.socket).await.map_err(|error| away(&error))?;
    carry(Box::new(stream), request).await.map_err(|error| away(&error))
}
