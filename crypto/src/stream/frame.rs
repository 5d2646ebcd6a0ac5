//! Messages on an h2 stream: `u32 length, body`, sent as the window allows.

use std::task::{Context, Poll, ready};

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::poll_fn;
use h2::{Reason, RecvStream, SendStream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::status::{RpcError, Status};
use crate::wire::{self, WireError};

/// The largest message. What is larger belongs into a stream or a tunnel: a message is in memory
/// as a whole on both sides, and a Raft append is cut well below this.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// One piece of a message or tunnel: h2's frame size here, so that a piece is one DATA frame.
pub(super) const CHUNK_BYTES_MAX: usize = 64 << 10;

const LENGTH_BYTES: usize = 4;

/// Kind and version of the question of a call.
const QUESTION: (u16, u16) = (0x0101, 1);

/// Kind and version of every answer. They share one kind because a refusal must be readable
/// whatever the caller expects.
const ANSWER: (u16, u16) = (0x0102, 1);

/// A message did not arrive.
#[derive(Debug, Error)]
pub(super) enum FrameError {
    /// The stream ended inside a message, or before the one that had to come.
    #[error("the stream ended early")]
    Truncated,
    /// The announced length is over the limit.
    #[error("a message of {bytes} bytes is over the limit")]
    TooLarge {
        /// The announced length.
        bytes: usize,
    },
    /// The stream was reset or the connection ended.
    #[error("the stream was cut off")]
    Transport(#[source] h2::Error),
}

impl FrameError {
    pub(super) fn of_call(self, path: &str) -> RpcError {
        let path = path.to_owned();
        match self {
            Self::TooLarge { bytes } => {
                RpcError::TooLarge { path, bytes, limit: MESSAGE_BYTES_MAX }
            }
            Self::Transport(source) => RpcError::Transport { path, source: Box::new(source) },
            truncated @ Self::Truncated => {
                RpcError::Transport { path, source: Box::new(truncated) }
            }
        }
    }
}

/// The question of a call as a frame.
pub(super) fn question<Q: Serialize>(path: &str, question: &Q) -> Result<Bytes, RpcError> {
    let body = wire::encode(QUESTION.0, QUESTION.1, question)
        .map_err(|e| RpcError::Unsendable { path: path.to_owned(), source: Box::new(e) })?;
    framed(&body).map_err(|error| error.of_call(path))
}

/// Reads the body of a question.
pub(super) fn read_question<Q: DeserializeOwned>(body: &[u8]) -> Result<Q, WireError> {
    wire::decode(body, QUESTION.0, QUESTION.1, MESSAGE_BYTES_MAX)
}

/// An answer as a frame; one that cannot be sent becomes the status that says so.
pub(super) fn answer<R: Serialize>(answer: Result<R, Status>) -> Bytes {
    let status = match answer {
        Ok(value) => match try_answer(&value) {
            Ok(frame) => return frame,
            Err(status) => status,
        },
        Err(status) => status.cut(),
    };
    refusal(&status)
}

/// A successful answer as a frame, or why it cannot be one.
pub(super) fn try_answer<R: Serialize>(value: &R) -> Result<Bytes, Status> {
    let body = wire::encode(ANSWER.0, ANSWER.1, &Ok::<&R, Status>(value))
        .map_err(|error| Status::internal(error.to_string()))?;
    framed(&body).map_err(|error| Status::internal(error.to_string()))
}

/// A refusal as a frame. It reads the same whatever type the caller expects.
pub(super) fn refusal(status: &Status) -> Bytes {
    // Neither can fail: two plain fields, and the message was cut.
    wire::encode(ANSWER.0, ANSWER.1, &Err::<(), &Status>(status))
        .ok()
        .and_then(|body| framed(&body).ok())
        .unwrap_or_default()
}

/// Reads the body of an answer.
pub(super) fn read_answer<R: DeserializeOwned>(path: &str, body: &[u8]) -> Result<R, RpcError> {
    wire::decode::<Result<R, Status>>(body, ANSWER.0, ANSWER.1, MESSAGE_BYTES_MAX)
        .map_err(|source| RpcError::Malformed { path: path.to_owned(), source })?
        .map_err(RpcError::Status)
}

fn framed(body: &[u8]) -> Result<Bytes, FrameError> {
    let too_large = FrameError::TooLarge { bytes: body.len() };
    if MESSAGE_BYTES_MAX < body.len() {
        return Err(too_large);
    }
    let length = u32::try_from(body.len()).map_err(|_| too_large)?;
    let mut frame = BytesMut::with_capacity(LENGTH_BYTES + body.len());
    frame.put_u32(length);
    frame.put_slice(body);
    Ok(frame.freeze())
}

/// Sends all bytes, as fast as the other side reads. That is the back-pressure.
pub(super) async fn send_all(
    send: &mut SendStream<Bytes>,
    mut bytes: Bytes,
    end: bool,
) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        let room = poll_fn(|cx| poll_room(send, cx, bytes.len())).await?;
        let chunk = bytes.split_to(room.min(bytes.len()));
        send.send_data(chunk, end && bytes.is_empty())?;
    }
    Ok(())
}

/// Waits until at least one byte may be sent; fails once the other side has reset the stream.
pub(super) fn poll_room(
    send: &mut SendStream<Bytes>,
    cx: &mut Context<'_>,
    wanted: usize,
) -> Poll<Result<usize, h2::Error>> {
    send.reserve_capacity(wanted.min(CHUNK_BYTES_MAX));
    // Room that was left from before shows no reset, so ask for both.
    if let Poll::Ready(reset) = send.poll_reset(cx) {
        return Poll::Ready(Err(reset.map_or_else(|error| error, h2::Error::from)));
    }
    if 0 < send.capacity() {
        return Poll::Ready(Ok(send.capacity()));
    }
    match ready!(send.poll_capacity(cx)) {
        Some(room) => Poll::Ready(room),
        None => Poll::Ready(Err(Reason::STREAM_CLOSED.into())),
    }
}

/// Cuts the received bytes of a stream into messages. Safe to cancel: what has arrived stays.
#[derive(Debug)]
pub(super) struct FrameReader {
    recv: RecvStream,
    /// At most one message and one chunk.
    buffer: BytesMut,
}

impl FrameReader {
    pub(super) fn new(recv: RecvStream) -> Self {
        Self { recv, buffer: BytesMut::new() }
    }

    /// The next message, or `None` at a clean end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        match self.length().await? {
            Some(length) => self.body(length).await.map(Some),
            None => Ok(None),
        }
    }

    /// The length of the next message, which stays unread.
    pub(super) async fn length(&mut self) -> Result<Option<usize>, FrameError> {
        while self.buffer.len() < LENGTH_BYTES {
            if !self.fill().await? {
                let clean = self.buffer.is_empty();
                return if clean { Ok(None) } else { Err(FrameError::Truncated) };
            }
        }
        let mut length = [0; LENGTH_BYTES];
        length.copy_from_slice(&self.buffer[..LENGTH_BYTES]);
        let bytes = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if MESSAGE_BYTES_MAX < bytes {
            return Err(FrameError::TooLarge { bytes });
        }
        Ok(Some(bytes))
    }

    /// The next message, of the length that was just announced.
    pub(super) async fn body(&mut self, length: usize) -> Result<Bytes, FrameError> {
        while self.buffer.len() < LENGTH_BYTES + length {
            if !self.fill().await? {
                return Err(FrameError::Truncated);
            }
        }
        let mut frame = self.buffer.split_to(LENGTH_BYTES + length);
        Ok(frame.split_off(LENGTH_BYTES).freeze())
    }

    /// What arrived behind the last message, and where the rest will come from.
    pub(super) fn into_parts(self) -> (RecvStream, Bytes) {
        (self.recv, self.buffer.freeze())
    }

    async fn fill(&mut self) -> Result<bool, FrameError> {
        let chunk = poll_fn(|cx| poll_chunk(&mut self.recv, cx)).await;
        let Some(chunk) = chunk.map_err(FrameError::Transport)? else { return Ok(false) };
        self.buffer.extend_from_slice(&chunk);
        Ok(true)
    }
}

/// The next bytes of a stream, never empty; `None` at its end.
///
/// The window is opened again at once: a reader that stops asking holds one window and one chunk.
pub(super) fn poll_chunk(
    recv: &mut RecvStream,
    cx: &mut Context<'_>,
) -> Poll<Result<Option<Bytes>, h2::Error>> {
    loop {
        match ready!(recv.poll_data(cx)) {
            None => return Poll::Ready(Ok(None)),
            // The server may stop listening once it has said everything.
            Some(Err(error)) if error.is_reset() && error.reason() == Some(Reason::NO_ERROR) => {
                return Poll::Ready(Ok(None));
            }
            Some(Err(error)) => return Poll::Ready(Err(error)),
            Some(Ok(chunk)) if chunk.is_empty() => {}
            Some(Ok(chunk)) => {
                recv.flow_control().release_capacity(chunk.len())?;
                return Poll::Ready(Ok(Some(chunk)));
            }
        }
    }
}
