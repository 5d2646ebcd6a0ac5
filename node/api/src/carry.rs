//! One request over one connection, whose driver lives inside the answer's body.
//!
//! No task is spawned: whoever waits for the answer, and then whoever reads its body, also moves
//! the connection. Dropping either closes it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;

use crate::cluster::Io;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum CarryError {
    /// Nothing was sent.
    #[error("the connection could not be used")]
    Handshake(#[source] hyper::Error),
    /// It is not known how far the request came.
    #[error("the connection broke before the answer")]
    Broken(#[source] hyper::Error),
}

/// Moves a connection until it ends, or is taken over.
pub(crate) type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// Sends a request and waits for the head of the answer.
pub(crate) async fn carry(
    io: Box<dyn Io>,
    request: Request<Body>,
) -> Result<Response<Carried>, CarryError> {
    let handshake = http1::Builder::new().handshake(TokioIo::new(io)).await;
    let (mut sender, connection) = handshake.map_err(CarryError::Handshake)?;
    let mut driver: Option<Driver> = Some(Box::pin(connection.with_upgrades()));
    let mut answer = Box::pin(sender.send_request(request));
    let answer = poll_fn(|context| {
        drive(&mut driver, context);
        answer.as_mut().poll(context)
    });
    let answer = answer.await.map_err(CarryError::Broken)?;
    // The driver ends the connection when the last sender is gone.
    drop(sender);
    Ok(answer.map(|body| Carried { driver, body }))
}

/// Moves the connection on; how it ends shows in the body.
fn drive(driver: &mut Option<Driver>, context: &mut Context<'_>) {
    if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(context).is_ready()) {
        *driver = None;
    }
}

/// The body of an answer, with the connection it comes over.
pub(crate) struct Carried {
    driver: Option<Driver>,
    body: Incoming,
}

impl Carried {
    /// What moves the connection, for one that is taken over.
    pub(crate) fn into_driver(self) -> Option<Driver> {
        self.driver
    }
}

impl hyper::body::Body for Carried {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        drive(&mut this.driver, context);
        Pin::new(&mut this.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
