//! The sending end of a server stream.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use serde::Serialize;
use thiserror::Error;
use tokio::sync::mpsc;

use super::frame;
use super::status::Status;

/// Items between a handler and its stream: the window is the buffer, this is only a handing over.
pub(super) const ITEMS: usize = 1;

/// An item was not sent.
#[derive(Debug, Error)]
pub enum SendError {
    /// The caller does not listen any more.
    #[error("the caller is gone")]
    Gone,
    /// The item is too large or cannot be written.
    #[error("the item cannot be sent")]
    Unsendable(#[source] Status),
}

impl From<SendError> for Status {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Gone => Self::unavailable("the caller is gone"),
            SendError::Unsendable(status) => status,
        }
    }
}

/// Sends items to the caller of a server stream, as fast as it reads.
pub struct Sending<R> {
    items: mpsc::Sender<Bytes>,
    item: PhantomData<fn(R)>,
}

impl<R> fmt::Debug for Sending<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}

impl<R: Serialize> Sending<R> {
    pub(super) fn new(items: mpsc::Sender<Bytes>) -> Self {
        Self { items, item: PhantomData }
    }

    /// Sends one item; waits while the caller's window is full.
    ///
    /// # Errors
    ///
    /// [`SendError`] if the caller is gone or the item is over the limit of a message.
    pub async fn send(&mut self, item: &R) -> Result<(), SendError> {
        let frame = frame::try_answer(&Some(item)).map_err(SendError::Unsendable)?;
        self.items.send(frame).await.map_err(|_| SendError::Gone)
    }

    /// Resolves once the caller does not listen any more.
    pub async fn closed(&self) {
        self.items.closed().await;
    }
}
