//! Raw bytes both ways inside a connection, each way with its own end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame::{self, FrameReader};

/// A pipe to the other side. `shutdown` ends our half; the other half goes on.
///
/// Dropped without `shutdown`, it is reset: the other side reads an error, never a clean end.
/// Dropped after `shutdown`, what was written still arrives; read to the end before dropping if
/// the other side is to finish as well.
#[derive(Debug)]
pub struct Tunnel {
    send: SendStream<Bytes>,
    recv: RecvStream,
    /// Received and not yet read: at most one chunk.
    chunk: Bytes,
    our_half: Half,
    their_half: Half,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Half {
    Open,
    Ended,
}

impl Tunnel {
    pub(super) fn new(send: SendStream<Bytes>, frames: FrameReader) -> Self {
        let (recv, chunk) = frames.into_parts();
        Self { send, recv, chunk, our_half: Half::Open, their_half: Half::Open }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.chunk.is_empty() {
            if self.their_half == Half::Ended {
                return Poll::Ready(Ok(()));
            }
            match ready!(frame::poll_chunk(&mut self.recv, cx)).map_err(to_io)? {
                Some(chunk) => self.chunk = chunk,
                None => {
                    self.their_half = Half::Ended;
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let length = self.chunk.len().min(into.remaining());
        into.put_slice(&self.chunk[..length]);
        self.chunk.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.our_half == Half::Ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        // h2 ends a connection after a hundred empty DATA frames.
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(frame::poll_room(&mut self.send, cx, bytes.len())).map_err(to_io)?;
        let length = room.min(bytes.len());
        let chunk = Bytes::copy_from_slice(&bytes[..length]);
        self.send.send_data(chunk, false).map_err(to_io)?;
        Poll::Ready(Ok(length))
    }

    /// What was written is on its way already: the connection's own task flushes.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.our_half == Half::Open {
            self.our_half = Half::Ended;
            self.send.send_data(Bytes::new(), true).map_err(to_io)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        // After `shutdown` h2 still sends what is queued, then resets what is left by itself; an
        // explicit reset would throw the queue away.
        if self.our_half == Half::Open {
            self.send.send_reset(Reason::CANCEL);
        }
    }
}

fn to_io(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| io::ErrorKind::ConnectionReset.into());
    }
    let kind = if error.is_reset() || error.is_go_away() {
        io::ErrorKind::ConnectionReset
    } else {
        io::ErrorKind::Other
    };
    io::Error::new(kind, error)
}
