//! Two ends of a pipe meet: three packets, each behind a `u16` length.
//!
//! Who cannot show the gate's key gets no byte and is let go at once; who says nothing is let go
//! at the deadline.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::noise::NoiseStream;
use crate::credentials::{Credentials, Gate, GateKey};
use crate::handshake::{
    Carrier, Established, FIRST_BYTES, First, HANDSHAKE_LIMIT_BYTES, HandshakeError, Initiator,
    Local, Responder,
};
use crate::replay::SharedFirstMessages;

/// For a whole handshake: three packets and 0.3 ms of computing, so a peer that needs longer has
/// a line that no election would survive.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(3);

/// The length of a packet in front of it.
const LENGTH_BYTES: usize = 2;

/// No session came about on a pipe.
#[derive(Debug, Error)]
pub enum StreamError {
    /// The other end did not finish in time. A peer that does not know us says nothing, so this
    /// may be a wrong key.
    #[error("no handshake within {waited:?}")]
    Deadline {
        /// How long we waited.
        waited: Duration,
    },
    /// The other end closed the pipe without a word: as it does for a wrong key or a wrong clock.
    #[error("the other end closed the connection without a word")]
    Closed,
    /// The pipe broke.
    #[error("failed to {step}")]
    Pipe {
        /// What was to be done.
        step: &'static str,
        /// What the pipe said.
        source: io::Error,
    },
    /// A packet of a length that no handshake has.
    #[error("a handshake packet of {length} bytes")]
    Length {
        /// How long.
        length: usize,
    },
    /// The other end is not somebody we talk to, or not with what it showed.
    #[error("the handshake was refused")]
    Refused {
        /// Why.
        source: HandshakeError,
    },
}

impl StreamError {
    /// Whether the other end knew no key of ours: not worth more than a count.
    #[must_use]
    pub fn is_stranger(&self) -> bool {
        matches!(
            self,
            Self::Deadline { .. }
                | Self::Closed
                | Self::Length { .. }
                | Self::Refused { source: HandshakeError::Stranger }
        )
    }
}

/// Opens a session as the side that connected.
///
/// # Errors
///
/// [`StreamError`], at the latest after `deadline`; see [`HANDSHAKE_DEADLINE`].
pub async fn dial<IO: AsyncRead + AsyncWrite + Unpin + Send>(
    mut io: IO,
    credentials: &Credentials,
    gate: &GateKey,
    hello: &[u8],
    deadline: Duration,
) -> Result<NoiseStream<IO>, StreamError> {
    let met = timeout(deadline, knock(&mut io, credentials, gate, hello)).await;
    let met = met.map_err(|_| StreamError::Deadline { waited: deadline })??;
    Ok(NoiseStream::new(io, met.peer, met.peer_hello, met.transport))
}

/// What came of a pipe that somebody else opened.
#[derive(Debug)]
pub enum Met<IO> {
    /// A session.
    Session(Box<NoiseStream<IO>>),
    /// Somebody knocks with a token, at a node that does not know the secrets of tokens: a node
    /// with the cluster key could answer. Nothing about this pipe is known to be true.
    ForKeyHolders {
        /// The pipe.
        io: IO,
        /// What was read from it so far.
        read: Vec<u8>,
    },
}

/// Opens a session as the side that was connected to. A stranger is never answered.
///
/// # Errors
///
/// [`StreamError`], at the latest after `deadline`; see [`HANDSHAKE_DEADLINE`]. Drop the pipe.
pub async fn accept<IO: AsyncRead + AsyncWrite + Unpin + Send>(
    io: IO,
    credentials: &Credentials,
    memory: &SharedFirstMessages,
    hello: &[u8],
    deadline: Duration,
) -> Result<NoiseStream<IO>, StreamError> {
    match meet(io, credentials, memory, hello, deadline).await? {
        Met::Session(noise) => Ok(*noise),
        Met::ForKeyHolders { .. } => Err(refused(HandshakeError::Stranger)),
    }
}

/// The same as [`accept`], except that who knocks with a token at a node without the cluster key
/// is handed back, so that the bytes can be carried to a node that has it.
///
/// # Errors
///
/// As [`accept`].
pub async fn meet<IO: AsyncRead + AsyncWrite + Unpin + Send>(
    mut io: IO,
    credentials: &Credentials,
    memory: &SharedFirstMessages,
    hello: &[u8],
    deadline: Duration,
) -> Result<Met<IO>, StreamError> {
    let began = Instant::now();
    let first = timeout(deadline, read_first(&mut io)).await;
    let first = first.map_err(|_| StreamError::Deadline { waited: deadline })??;
    // A node that still has to join itself knows nobody to carry anything to.
    let is_member = !credentials.psks.is_empty();
    if is_member && credentials.authority.is_none() && knocks_with_token(&first) {
        return Ok(Met::ForKeyHolders { io, read: framed(&first)? });
    }
    let left = deadline.saturating_sub(began.elapsed());
    let met = timeout(left, answer(&mut io, first, credentials, memory, hello)).await;
    let met = met.map_err(|_| StreamError::Deadline { waited: deadline })??;
    let noise = NoiseStream::new(io, met.peer, met.peer_hello, met.transport);
    Ok(Met::Session(Box::new(noise)))
}

fn knocks_with_token(first: &[u8]) -> bool {
    First::parse(first).is_some_and(|first| matches!(first.gate, Gate::Token { .. }))
}

async fn knock<IO: AsyncRead + AsyncWrite + Unpin + Send>(
    io: &mut IO,
    credentials: &Credentials,
    gate: &GateKey,
    hello: &[u8],
) -> Result<Established, StreamError> {
    let (mut initiator, first) =
        Initiator::start(&local(credentials, hello), gate).map_err(refused)?;
    write_packet(io, &first).await?;
    let mut second = read_packet(io).await?;
    // A peer whose memory is full sees the first message twice, the second time with its cookie.
    if initiator.take_cookie(&second) {
        write_packet(io, initiator.first()).await?;
        second = read_packet(io).await?;
    }
    let (established, third) =
        initiator.finish(credentials, &second, unix_seconds()).map_err(refused)?;
    write_packet(io, &third).await?;
    Ok(established)
}

async fn answer<IO: AsyncRead + AsyncWrite + Unpin + Send>(
    io: &mut IO,
    first: Vec<u8>,
    credentials: &Credentials,
    memory: &SharedFirstMessages,
    hello: &[u8],
) -> Result<Established, StreamError> {
    let judged =
        |first: &[u8]| Responder::accept(&local(credentials, hello), first, &mut memory.lock());
    let (responder, second) = match judged(&first) {
        Err(HandshakeError::Cookie { reply }) => {
            write_packet(io, &reply).await?;
            let first = read_first(io).await?;
            judged(&first)
        }
        judged => judged,
    }
    .map_err(refused)?;
    write_packet(io, &second).await?;
    let third = read_packet(io).await?;
    responder.finish(credentials, &third, unix_seconds()).map_err(refused)
}

fn local<'a>(credentials: &'a Credentials, hello: &'a [u8]) -> Local<'a> {
    // The pipe is the session, so it needs no index.
    Local { credentials, carrier: Carrier::Stream, hello, index: 0, now: unix_seconds() }
}

fn refused(source: HandshakeError) -> StreamError {
    StreamError::Refused { source }
}

/// A clock before 1970 is as wrong as any other and fails in the handshake, by name.
fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

async fn write_packet<IO: AsyncWrite + Unpin>(
    io: &mut IO,
    packet: &[u8],
) -> Result<(), StreamError> {
    // One write: two would be two TCP segments.
    let bytes = framed(packet)?;
    let written = async {
        io.write_all(&bytes).await?;
        io.flush().await
    };
    written.await.map_err(|source| cut(source, "write a handshake packet"))
}

/// A packet behind its length.
fn framed(packet: &[u8]) -> Result<Vec<u8>, StreamError> {
    let length =
        u16::try_from(packet.len()).map_err(|_| StreamError::Length { length: packet.len() })?;
    let mut bytes = Vec::with_capacity(LENGTH_BYTES + packet.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(packet);
    Ok(bytes)
}

/// A first message has one length only, so junk is known by its first two bytes.
async fn read_first<IO: AsyncRead + Unpin>(io: &mut IO) -> Result<Vec<u8>, StreamError> {
    let length = read_length(io).await?;
    if length != FIRST_BYTES {
        return Err(StreamError::Length { length });
    }
    read_body(io, length).await
}

async fn read_packet<IO: AsyncRead + Unpin>(io: &mut IO) -> Result<Vec<u8>, StreamError> {
    let length = read_length(io).await?;
    if HANDSHAKE_LIMIT_BYTES < length {
        return Err(StreamError::Length { length });
    }
    read_body(io, length).await
}

async fn read_length<IO: AsyncRead + Unpin>(io: &mut IO) -> Result<usize, StreamError> {
    let length = io.read_u16().await;
    length.map(usize::from).map_err(|source| cut(source, "read a handshake packet"))
}

async fn read_body<IO: AsyncRead + Unpin>(
    io: &mut IO,
    length: usize,
) -> Result<Vec<u8>, StreamError> {
    let mut packet = vec![0; length];
    match io.read_exact(&mut packet).await {
        Ok(_) => Ok(packet),
        Err(source) => Err(cut(source, "read a handshake packet")),
    }
}

fn cut(source: io::Error, step: &'static str) -> StreamError {
    // What a wrong key looks like on TCP: an end, or a reset because we had more to say.
    let wordless =
        [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
    if wordless.contains(&source.kind()) {
        return StreamError::Closed;
    }
    StreamError::Pipe { step, source }
}
