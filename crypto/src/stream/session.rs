//! An authenticated pipe with its type erased, so that h2 and the handlers are compiled once.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::noise::{Age, NoiseStream};
use crate::Peer;

/// Any reliable pipe.
pub(super) trait Pipe: AsyncRead + AsyncWrite + Send + Unpin {}

impl<IO: AsyncRead + AsyncWrite + Send + Unpin> Pipe for IO {}

/// A pipe and who is at its other end.
pub(super) struct Session {
    pub(super) pipe: Box<dyn Pipe>,
    pub(super) who: Arc<Who>,
    pub(super) age: Arc<Age>,
}

/// What the handshake said about the other end.
#[derive(Debug)]
pub(super) struct Who {
    pub(super) peer: Peer,
    pub(super) hello: Arc<[u8]>,
    pub(super) remote: Option<SocketAddr>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("who", &self.who).finish_non_exhaustive()
    }
}

impl<IO: Pipe + 'static> From<NoiseStream<IO>> for Session {
    fn from(stream: NoiseStream<IO>) -> Self {
        let who = Who {
            peer: stream.peer().clone(),
            hello: stream.peer_hello().into(),
            remote: stream.remote(),
        };
        let age = stream.age();
        Self { pipe: Box::new(stream), who: Arc::new(who), age }
    }
}
