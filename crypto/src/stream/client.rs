//! The calling side: one connection, many calls.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::{Method, Request, StatusCode, Version};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::debug;

use super::frame::{self, FrameError, FrameReader};
use super::keepalive::{Lost, keepalive};
use super::noise::{Age, NoiseStream};
use super::session::{Pipe, Session, Who};
use super::settings::{self, Options};
use super::status::RpcError;
use super::tunnel::Tunnel;
use crate::Peer;

/// Header of the time that is left for a call when it is sent. Remaining, not absolute: clocks
/// differ.
pub(super) const DEADLINE_HEADER: &str = "x-deadline-ms";

/// Until a server stream has to answer at all. Items may then take as long as they like.
const OPEN_DEADLINE: Duration = Duration::from_secs(10);

/// The connection could not be opened.
#[derive(Debug, Error)]
#[error("failed to open the multiplexer towards {peer}")]
pub struct OpenError {
    /// Who is at the other end.
    peer: crate::NodeId,
    source: h2::Error,
}

/// Puts a client on an authenticated stream.
///
/// The future drives the connection: run it as long as the client is used. It ends when the
/// connection does, when the peer answers no PING, or when the last clone of the client and its
/// last call are gone.
///
/// # Errors
///
/// [`OpenError`] if the stream breaks at once.
pub async fn client<IO: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: NoiseStream<IO>,
    options: Options,
) -> Result<(Client, impl Future<Output = ()> + Send + use<IO>), OpenError> {
    open(stream.into(), options).await
}

pub(super) async fn open(
    session: Session,
    options: Options,
) -> Result<(Client, impl Future<Output = ()> + Send), OpenError> {
    let Session { pipe, who, age } = session;
    let (send, connection) = h2::client::Builder::new()
        .initial_window_size(options.windows.stream_bytes)
        .initial_connection_window_size(options.windows.connection_bytes)
        .max_frame_size(settings::FRAME_BYTES_MAX)
        .max_header_list_size(settings::HEADER_LIST_BYTES_MAX)
        .max_concurrent_reset_streams(settings::CANCELLED_MAX)
        .reset_stream_duration(settings::CANCELLED_MEMORY)
        .max_local_error_reset_streams(Some(settings::LATE_FRAMES_MAX))
        .data_frame_budget(settings::SMALL_FRAMES_BUDGET_BYTES)
        .enable_push(false)
        .handshake(pipe)
        .await
        .map_err(|source| OpenError { peer: who.peer.id, source })?;
    let closed = CancellationToken::new();
    let driver = drive(connection, options, closed.clone().drop_guard(), Arc::clone(&who));
    Ok((Client { send, who, age, closed }, driver))
}

async fn drive(
    mut connection: Connection<Box<dyn Pipe>, Bytes>,
    options: Options,
    _closed: DropGuard,
    who: Arc<Who>,
) {
    let pulse = keepalive(connection.ping_pong(), options.pulse);
    tokio::pin!(pulse);
    let mut watching = true;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    let error: &(dyn Error + 'static) = &error;
                    debug!(peer.id = %who.peer.id, error, "connection broke");
                }
                return;
            }
            lost = &mut pulse, if watching => match lost {
                Lost::Ended => watching = false,
                Lost::Silent { waited } => {
                    debug!(peer.id = %who.peer.id, ?waited, "peer answered no ping");
                    return;
                }
            },
        }
    }
}

/// Makes calls on one connection. Clones share it.
///
/// Dropping the future of a call, a [`Receiving`] or a [`Tunnel`] cancels the handler.
#[derive(Clone)]
pub struct Client {
    send: SendRequest<Bytes>,
    who: Arc<Who>,
    age: Arc<Age>,
    closed: CancellationToken,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("peer", &self.who.peer.id)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Who answers.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.who.peer
    }

    /// What it said in the handshake.
    #[must_use]
    pub fn peer_hello(&self) -> &[u8] {
        &self.who.hello
    }

    /// Where it is, if the stream was told.
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddr> {
        self.who.remote
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Resolves once the connection has ended.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Whether the keys have done their work: open a new connection, and drop this one when its
    /// calls are over.
    #[must_use]
    pub fn should_renew(&self) -> bool {
        self.age.should_renew()
    }

    /// One question, one answer.
    ///
    /// # Errors
    ///
    /// [`RpcError`], at the latest after `deadline`.
    pub async fn unary<Q: Serialize, R: DeserializeOwned>(
        &self,
        path: &str,
        question: &Q,
        deadline: Duration,
    ) -> Result<R, RpcError> {
        let frame = frame::question(path, question)?;
        let answer = within(path, deadline, |until| self.exchange(path, frame, until)).await?;
        frame::read_answer(path, &answer)
    }

    /// One question, many answers.
    ///
    /// # Errors
    ///
    /// [`RpcError`] if the call cannot be sent or nobody takes it within 10 s. A refusal comes
    /// from [`Receiving::next`].
    pub async fn server_stream<Q: Serialize, R: DeserializeOwned>(
        &self,
        path: &str,
        question: &Q,
    ) -> Result<Receiving<R>, RpcError> {
        let frame = frame::question(path, question)?;
        let frames = within(path, OPEN_DEADLINE, |_until| self.listen(path, frame)).await?;
        Ok(Receiving { path: path.to_owned(), frames, ended: false, item: PhantomData })
    }

    /// Opens a tunnel; `deadline` is until the other side has accepted it.
    ///
    /// # Errors
    ///
    /// [`RpcError`], with the status of a handler that refused.
    pub async fn tunnel<Q: Serialize>(
        &self,
        path: &str,
        question: &Q,
        deadline: Duration,
    ) -> Result<Tunnel, RpcError> {
        let frame = frame::question(path, question)?;
        within(path, deadline, |until| self.dig(path, frame, until)).await
    }

    async fn exchange(&self, path: &str, frame: Bytes, until: Instant) -> Result<Bytes, RpcError> {
        let (mut send, response) = self.request(path, Some(until)).await?;
        let sent = frame::send_all(&mut send, frame, true).await;
        let mut frames = answered(path, response, sent).await?;
        first(path, &mut frames).await
    }

    async fn listen(&self, path: &str, frame: Bytes) -> Result<FrameReader, RpcError> {
        let (mut send, response) = self.request(path, None).await?;
        let sent = frame::send_all(&mut send, frame, true).await;
        answered(path, response, sent).await
    }

    async fn dig(&self, path: &str, frame: Bytes, until: Instant) -> Result<Tunnel, RpcError> {
        let (mut send, response) = self.request(path, Some(until)).await?;
        let sent = frame::send_all(&mut send, frame, false).await;
        let mut frames = answered(path, response, sent).await?;
        let accepted = first(path, &mut frames).await?;
        frame::read_answer::<()>(path, &accepted)?;
        Ok(Tunnel::new(send, frames))
    }

    async fn request(
        &self,
        path: &str,
        until: Option<Instant>,
    ) -> Result<(SendStream<Bytes>, ResponseFuture), RpcError> {
        let ready = self.send.clone().ready().await;
        let mut send = ready.map_err(|_| closed(path))?;
        let request = head(path, until).map_err(|error| RpcError::Unsendable {
            path: path.to_owned(),
            source: Box::new(error),
        })?;
        // Nothing has left this node yet, so whatever fails here did not happen.
        let (response, body) = send.send_request(request, false).map_err(|_| closed(path))?;
        Ok((body, response))
    }
}

/// Runs a call with its deadline.
async fn within<T, F: Future<Output = Result<T, RpcError>>>(
    path: &str,
    deadline: Duration,
    call: impl FnOnce(Instant) -> F,
) -> Result<T, RpcError> {
    let until = Instant::now() + deadline;
    match timeout_at(until, call(until)).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(RpcError::Deadline { path: path.to_owned(), waited: deadline }),
    }
}

fn head(path: &str, until: Option<Instant>) -> Result<Request<()>, http::Error> {
    // h2 wants a scheme and an authority; both ends know who they are without it.
    let uri = format!("http://skep{path}");
    let mut request = Request::builder().method(Method::POST).version(Version::HTTP_2).uri(uri);
    if let Some(until) = until {
        let left = until.saturating_duration_since(Instant::now());
        request = request.header(DEADLINE_HEADER, left.as_millis().to_string());
    }
    request.body(())
}

/// Waits for the answer. A peer may answer without having read the question, so a question that
/// was cut off is an error only if there is no answer either.
async fn answered(
    path: &str,
    response: ResponseFuture,
    sent: Result<(), h2::Error>,
) -> Result<FrameReader, RpcError> {
    let response = match (response.await, sent) {
        (Ok(response), _) => response,
        (Err(_), Err(error)) | (Err(error), Ok(())) => return Err(cut_off(path, error)),
    };
    if response.status() != StatusCode::OK {
        return Err(cut_off(path, Reason::PROTOCOL_ERROR.into()));
    }
    Ok(FrameReader::new(response.into_body()))
}

async fn first(path: &str, frames: &mut FrameReader) -> Result<Bytes, RpcError> {
    let frame = frames.next().await.map_err(|error| broken(path, error))?;
    frame.ok_or_else(|| FrameError::Truncated.of_call(path))
}

fn broken(path: &str, error: FrameError) -> RpcError {
    match error {
        FrameError::Transport(error) => cut_off(path, error),
        other @ (FrameError::Truncated | FrameError::TooLarge { .. }) => other.of_call(path),
    }
}

fn cut_off(path: &str, error: h2::Error) -> RpcError {
    // The one reset that promises that nobody has looked at the call.
    if error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM) {
        return closed(path);
    }
    RpcError::Transport { path: path.to_owned(), source: Box::new(error) }
}

fn closed(path: &str) -> RpcError {
    RpcError::Closed { path: path.to_owned() }
}

/// The answers of a server stream. Not reading stalls the handler once the window is full.
pub struct Receiving<R> {
    path: String,
    frames: FrameReader,
    ended: bool,
    item: PhantomData<fn() -> R>,
}

impl<R> fmt::Debug for Receiving<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiving")
            .field("path", &self.path)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

impl<R: DeserializeOwned> Receiving<R> {
    /// The next item, or `None` once the handler has ended well. Safe to cancel.
    ///
    /// # Errors
    ///
    /// [`RpcError::Status`] if the handler ended with one; any other if the way to it broke: a
    /// stream that was cut off never looks like one that ended.
    pub async fn next(&mut self) -> Result<Option<R>, RpcError> {
        if self.ended {
            return Ok(None);
        }
        let item = self.item().await;
        self.ended = !matches!(item, Ok(Some(_)));
        item
    }

    async fn item(&mut self) -> Result<Option<R>, RpcError> {
        let frame = first(&self.path, &mut self.frames).await?;
        frame::read_answer(&self.path, &frame)
    }
}
