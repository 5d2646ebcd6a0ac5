//! A pipe whose bytes are sealed records: `u16 length, ciphertext`.
//!
//! Bytes are collected into records of up to 64 KiB and records into writes of up to 128 KiB, so a
//! write is sent only by a flush or a full record. An empty record is the end: it is sealed like
//! any other, so a pipe that was cut reads as an error, never as an end. The number of a record is
//! its nonce; a changed, lost, repeated or moved record fails to open and ends the stream.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use snow::StatelessTransportState;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

use crate::Peer;

const LENGTH_BYTES: usize = 2;
const TAG_BYTES: usize = 16;

/// Plain bytes of the largest record, which is 64 KiB on the wire.
const PLAIN_BYTES_MAX: usize = (64 << 10) - LENGTH_BYTES - TAG_BYTES;

/// Sealed bytes that wait for the pipe: two of the largest records. Larger writes measured no
/// faster on loopback.
const SEALED_BYTES_MAX: usize = 128 << 10;

/// The first read: enough for a heartbeat. Later reads grow with what arrives.
const READ_BYTES_MIN: usize = 4 << 10;

/// Buffers above this are given back when idle: a leader has hundreds of quiet connections.
const KEEP_BYTES: usize = 16 << 10;

/// When a new connection is due: fresh keys, and a fresh look at the peer's certificate.
const AGE_MAX: Duration = Duration::from_secs(3600);

/// Records under one key before a new connection is due; far below where AES-GCM weakens.
const RECORDS_MAX: u64 = 1 << 32;

/// Records under one key before the stream refuses to go on.
const RECORDS_LIMIT: u64 = 1 << 33;

/// How old a stream is, for whoever keeps it running.
#[derive(Debug)]
pub(super) struct Age {
    since: Instant,
    records: AtomicU64,
}

impl Age {
    fn new() -> Self {
        Self { since: Instant::now(), records: AtomicU64::new(0) }
    }

    pub(super) fn should_renew(&self) -> bool {
        AGE_MAX <= self.since.elapsed() || RECORDS_MAX <= self.records.load(Ordering::Relaxed)
    }

    pub(super) fn renew_at(&self) -> Instant {
        self.since + AGE_MAX
    }
}

/// A pipe to a peer whose identity is known.
pub struct NoiseStream<IO> {
    io: IO,
    peer: Peer,
    peer_hello: Vec<u8>,
    remote: Option<SocketAddr>,
    transport: Box<StatelessTransportState>,
    sealer: Sealer,
    opener: Opener,
    age: Arc<Age>,
    /// A record failed to open or a key is used up: nothing more goes in or out.
    broken: bool,
}

impl<IO> fmt::Debug for NoiseStream<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoiseStream").field("peer", &self.peer.id).finish_non_exhaustive()
    }
}

impl<IO> NoiseStream<IO> {
    pub(super) fn new(
        io: IO,
        peer: Peer,
        peer_hello: Vec<u8>,
        transport: StatelessTransportState,
    ) -> Self {
        Self {
            io,
            peer,
            peer_hello,
            remote: None,
            transport: Box::new(transport),
            sealer: Sealer::default(),
            opener: Opener::default(),
            age: Arc::new(Age::new()),
            broken: false,
        }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// What it said in the handshake.
    #[must_use]
    pub fn peer_hello(&self) -> &[u8] {
        &self.peer_hello
    }

    /// Where the bytes come from, if somebody said so.
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    /// Says where the bytes come from: a pipe does not know.
    #[must_use]
    pub fn with_remote(mut self, remote: SocketAddr) -> Self {
        self.remote = Some(remote);
        self
    }

    /// Whether it is time for a new connection: an hour, or 2^32 records.
    #[must_use]
    pub fn should_renew(&self) -> bool {
        self.age.should_renew()
    }

    pub(super) fn age(&self) -> Arc<Age> {
        Arc::clone(&self.age)
    }
}

/// Our half: bytes, then sealed records, then the pipe.
#[derive(Default)]
struct Sealer {
    plain: Vec<u8>,
    sealed: BytesMut,
    n_records: u64,
    ended: bool,
    /// A large record went through since the last rest.
    busy: bool,
}

impl Sealer {
    /// Whether one more record fits.
    fn has_room(&self) -> bool {
        self.sealed.len() + LENGTH_BYTES + self.plain.len() + TAG_BYTES <= SEALED_BYTES_MAX
    }

    /// Seals what was collected, even if that is nothing: the end marker.
    fn seal(&mut self, transport: &StatelessTransportState) -> io::Result<()> {
        if RECORDS_LIMIT <= self.n_records {
            return Err(io::Error::other("the keys of this connection are used up"));
        }
        let start = self.sealed.len();
        let length = self.plain.len() + TAG_BYTES;
        self.sealed.resize(start + LENGTH_BYTES + length, 0);
        let record = &mut self.sealed[start..];
        let prefix = u16::try_from(length).map_err(io::Error::other)?;
        record[..LENGTH_BYTES].copy_from_slice(&prefix.to_be_bytes());
        transport
            .write_message(self.n_records, &self.plain, &mut record[LENGTH_BYTES..])
            .map_err(io::Error::other)?;
        self.n_records += 1;
        self.busy |= KEEP_BYTES < length;
        self.plain.clear();
        Ok(())
    }

    /// Gives large buffers back, once everything is out, if the last flush did not need them.
    fn rest(&mut self) {
        if std::mem::take(&mut self.busy) {
            return;
        }
        if KEEP_BYTES < self.sealed.capacity() && self.sealed.is_empty() {
            self.sealed = BytesMut::new();
        }
        if KEEP_BYTES < self.plain.capacity() && self.plain.is_empty() {
            self.plain = Vec::new();
        }
    }
}

/// Their half: the pipe, then sealed records, then bytes.
#[derive(Default)]
struct Opener {
    sealed: BytesMut,
    plain: Vec<u8>,
    /// The part of `plain` that is opened and not yet read.
    unread: std::ops::Range<usize>,
    n_records: u64,
    ended: bool,
    /// A large record went through since the last rest.
    busy: bool,
}

impl Opener {
    /// Length of the next record with its prefix, as far as it is known.
    fn wanted(&self) -> usize {
        match self.sealed.first_chunk::<LENGTH_BYTES>() {
            Some(prefix) => LENGTH_BYTES + usize::from(u16::from_be_bytes(*prefix)),
            None => LENGTH_BYTES,
        }
    }

    /// Opens the next record if it is here as a whole.
    fn open(&mut self, transport: &StatelessTransportState) -> io::Result<bool> {
        let wanted = self.wanted();
        if self.sealed.len() < wanted || wanted == LENGTH_BYTES {
            // No record is empty: even the end marker has its tag.
            let bad = wanted == LENGTH_BYTES && LENGTH_BYTES <= self.sealed.len();
            return if bad { Err(unsealed()) } else { Ok(false) };
        }
        if RECORDS_LIMIT <= self.n_records {
            return Err(io::Error::other("the keys of this connection are used up"));
        }
        // Room for the tag as well: with less, the cipher makes a buffer of its own.
        if self.plain.len() < wanted {
            self.plain.resize(wanted, 0);
        }
        let length = transport
            .read_message(self.n_records, &self.sealed[LENGTH_BYTES..wanted], &mut self.plain)
            .map_err(|_| unsealed())?;
        self.sealed.advance(wanted);
        self.n_records += 1;
        self.busy |= KEEP_BYTES < length;
        self.unread = 0..length;
        self.ended = length == 0;
        Ok(true)
    }

    /// Makes room for the next read: the rest of the record, more if the last read was full.
    fn reserve(&mut self) {
        let missing = self.wanted().saturating_sub(self.sealed.len());
        let grown = if self.sealed.len() == self.sealed.capacity() { self.sealed.len() } else { 0 };
        self.sealed.reserve(missing.max(grown).clamp(READ_BYTES_MIN, SEALED_BYTES_MAX));
    }

    /// Gives large buffers back, once everything is read, if the last wait did not need them.
    fn rest(&mut self) {
        if std::mem::take(&mut self.busy) {
            return;
        }
        if self.sealed.is_empty() && KEEP_BYTES < self.sealed.capacity() {
            self.sealed = BytesMut::new();
        }
        if KEEP_BYTES < self.plain.capacity() {
            self.plain = Vec::new();
        }
    }
}

fn unsealed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a record was changed on its way")
}

impl<IO: AsyncRead + AsyncWrite + Unpin> NoiseStream<IO> {
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.opener.unread.is_empty() && !self.opener.ended {
            if self.opener.open(&self.transport)? {
                self.count();
                continue;
            }
            self.opener.reserve();
            let Poll::Ready(read) =
                poll_read_buf(Pin::new(&mut self.io), cx, &mut self.opener.sealed)
            else {
                self.opener.rest();
                return Poll::Pending;
            };
            if read? == 0 {
                let cut = "the connection was cut off";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, cut)));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes sealed records until none is left.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.sealer.sealed.is_empty() {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.sealer.sealed))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sealer.sealed.advance(n);
        }
        Poll::Ready(Ok(()))
    }

    /// Seals what was collected, once there is room for it.
    fn poll_seal(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.sealer.has_room() {
            ready!(self.poll_drain(cx))?;
        }
        self.sealer.seal(&self.transport)?;
        self.count();
        Poll::Ready(Ok(()))
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.sealer.plain.is_empty() {
            ready!(self.poll_seal(cx))?;
        }
        ready!(self.poll_drain(cx))?;
        self.sealer.rest();
        Poll::Ready(Ok(()))
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        if !self.sealer.ended {
            ready!(self.poll_seal(cx))?;
            self.sealer.ended = true;
        }
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_collect(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.sealer.plain.len() == PLAIN_BYTES_MAX {
            ready!(self.poll_seal(cx))?;
        }
        let length = bytes.len().min(PLAIN_BYTES_MAX - self.sealer.plain.len());
        self.sealer.plain.extend_from_slice(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn count(&self) {
        let most = self.sealer.n_records.max(self.opener.n_records);
        self.age.records.store(most, Ordering::Relaxed);
    }

    /// Remembers that the stream is of no more use: no error is survived.
    fn checked<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.broken {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let done = work(self);
        self.broken = matches!(done, Poll::Ready(Err(_)));
        done
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for NoiseStream<IO> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.checked(|this| this.poll_open(cx)))?;
        let opener = &mut this.opener;
        let length = opener.unread.len().min(into.remaining());
        into.put_slice(&opener.plain[opener.unread.start..opener.unread.start + length]);
        opener.unread.start += length;
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for NoiseStream<IO> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.sealer.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        this.checked(|this| this.poll_collect(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.sealer.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut total = 0;
        for slice in slices.iter().filter(|slice| !slice.is_empty()) {
            let taken = this.checked(|this| this.poll_collect(cx, slice));
            match taken {
                Poll::Ready(Ok(n)) => total += n,
                Poll::Ready(Err(_)) | Poll::Pending if total == 0 => return taken,
                // What was taken was taken; the next call meets the same again.
                Poll::Ready(Err(_)) | Poll::Pending => break,
            }
            if this.sealer.plain.len() == PLAIN_BYTES_MAX {
                break;
            }
        }
        Poll::Ready(Ok(total))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.checked(|this| {
            ready!(this.poll_out(cx))?;
            Pin::new(&mut this.io).poll_flush(cx)
        })
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().checked(|this| this.poll_end(cx))
    }
}

#[cfg(test)]
mod tests;
