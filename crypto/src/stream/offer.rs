//! A tunnel that somebody asks for, before it is granted.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use thiserror::Error;

use super::frame::{self, FrameReader};
use super::server;
use super::status::Status;
use super::tunnel::Tunnel;

/// The caller does not want it any more.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("the caller is gone")]
pub struct Gone;

impl From<Gone> for Status {
    fn from(_: Gone) -> Self {
        Self::unavailable("the caller is gone")
    }
}

/// A tunnel that was asked for. Do first what may fail, then [`accept`](Offer::accept); a handler
/// that returns a status before that has refused, and the caller reads why.
#[derive(Debug)]
pub struct Offer {
    seat: Seat,
}

impl Offer {
    pub(super) fn new(seat: Seat) -> Self {
        Self { seat }
    }

    /// Grants the tunnel.
    ///
    /// # Errors
    ///
    /// [`Gone`] if the caller has given up.
    pub fn accept(self) -> Result<Tunnel, Gone> {
        let (mut respond, frames) = self.seat.take().ok_or(Gone)?;
        let mut send = respond.send_response(server::head(), false).map_err(|_| Gone)?;
        // A few bytes, so they need not wait for the window.
        send.send_data(frame::answer(Ok(())), false).map_err(|_| Gone)?;
        Ok(Tunnel::new(send, frames))
    }
}

/// Both ends of the stream, until the offer is accepted: the handler may take them to accept, the
/// server to refuse. Never locked across an await.
#[derive(Clone, Debug)]
pub(super) struct Seat(Arc<Mutex<Option<Ends>>>);

/// How to answer, and what comes behind the question.
type Ends = (SendResponse<Bytes>, FrameReader);

impl Seat {
    pub(super) fn new(respond: SendResponse<Bytes>, frames: FrameReader) -> Self {
        Self(Arc::new(Mutex::new(Some((respond, frames)))))
    }

    pub(super) fn take(&self) -> Option<Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Resolves if the caller gives up while the offer is open; an accepted tunnel says so itself.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some((respond, _)) => respond.poll_reset(cx).map(|_reset| ()),
            None => Poll::Pending,
        }
    }
}
