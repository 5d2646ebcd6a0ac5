//! The shell around datagram sessions: one UDP socket, never waited for.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket as StdUdpSocket};
use std::sync::Arc;

use async_trait::async_trait;
use crypto::Credentials;
use crypto::datagram::{Endpoint, Event, MESSAGE_LIMIT_BYTES, Now, SendError, TICK};
use crypto::replay::SharedFirstMessages;
use rand::RngCore;
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use tracing::debug;

use crate::packet::{Kind, Packet, PacketTransport, Received, TransportBroke};

/// What the kernel keeps while we are busy. At the default of 208 KiB, 200 nodes that start
/// together took twice as long to find each other.
const RECEIVE_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Our datagrams have at most 1,200 bytes; longer ones are cut and then fail their tag.
const DATAGRAM_BYTES_MAX: usize = 2048;

/// Datagrams that are read in one go, before the owner gets its turn.
const READ_AT_ONCE: usize = 64;

/// Datagrams that wait for a full socket; the oldest is lost first.
const UNSENT_MAX: usize = 256;

/// A socket that fails so often in a row will not recover.
const ERRORS_MAX: u32 = 100;

/// The socket could not be opened.
#[derive(Debug, Error)]
#[error("cannot listen on {address}/udp")]
pub struct BindError {
    /// Where.
    pub address: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

/// What a UDP transport needs.
#[derive(Debug)]
pub struct UdpConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// What we show and whom we trust at first.
    pub credentials: Arc<Credentials>,
    /// What our application tells peers in handshakes.
    pub hello: Vec<u8>,
    /// The memory of first messages, one for UDP and TCP.
    pub first_messages: SharedFirstMessages,
    /// Seconds since 1970.
    pub unix_now: fn() -> u64,
}

/// Authenticated packets over a UDP socket.
#[derive(Debug)]
pub struct UdpTransport {
    socket: UdpSocket,
    is_v6: bool,
    endpoint: Endpoint,
    started: Instant,
    unix_now: fn() -> u64,
    ticks: Interval,
    unsent: VecDeque<(SocketAddr, Vec<u8>)>,
    buffer: Vec<u8>,
    n_errors: u32,
}

impl UdpTransport {
    /// Opens the socket. Must be called within a runtime.
    ///
    /// # Errors
    ///
    /// [`BindError`] if the address cannot be had.
    pub fn bind(config: UdpConfig) -> Result<Self, BindError> {
        let UdpConfig { listen, credentials, hello, first_messages, unix_now } = config;
        let socket = open(listen)
            .and_then(UdpSocket::from_std)
            .map_err(|source| BindError { address: listen, source })?;
        let mut seed = [0; 32];
        rand::rng().fill_bytes(&mut seed);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            socket,
            is_v6: listen.is_ipv6(),
            endpoint: Endpoint::new(credentials, hello, first_messages, &seed),
            started: Instant::now(),
            unix_now,
            ticks,
            unsent: VecDeque::new(),
            buffer: vec![0; DATAGRAM_BYTES_MAX],
            n_errors: 0,
        })
    }

    /// Where the socket listens.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn now(&self) -> Now {
        Now { monotonic: self.started.elapsed(), unix: (self.unix_now)() }
    }

    /// Gives the socket what it takes at once.
    fn flush(&mut self) {
        while let Some((to, datagram)) = self.endpoint.poll_transmit() {
            if self.unsent.len() >= UNSENT_MAX {
                self.unsent.pop_front();
            }
            self.unsent.push_back((to, datagram));
        }
        while let Some((to, datagram)) = self.unsent.front() {
            match self.socket.try_send_to(datagram, self.outer(*to)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // No route, no such host now: datagrams may be lost, and peers come back.
                Err(error) => debug!(peer.addr = %to, error = %error, "Datagram was not sent"),
                Ok(_) => {}
            }
            self.unsent.pop_front();
        }
    }

    /// Reads what has arrived.
    fn read(&mut self) -> Result<(), TransportBroke> {
        for _ in 0..READ_AT_ONCE {
            match self.socket.try_recv_from(&mut self.buffer) {
                Ok((length, from)) => {
                    self.n_errors = 0;
                    let now = self.now();
                    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                    if let Some(datagram) = self.buffer.get(..length) {
                        self.endpoint.receive(now, from, datagram);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(source) => {
                    // Some are echoes of what we sent to somebody who is gone.
                    self.n_errors += 1;
                    if self.n_errors > ERRORS_MAX {
                        return Err(TransportBroke { source });
                    }
                }
            }
        }
        Ok(())
    }

    fn next_event(&mut self) -> Option<Received> {
        loop {
            match self.endpoint.poll_event()? {
                Event::Message { from, peer, kind, payload, .. } => {
                    let Ok(kind) = Kind::try_from(kind) else { continue };
                    return Some(Received::Packet(Packet { from, peer, kind, payload }));
                }
                Event::Ourselves { from } => return Some(Received::Ourselves { from }),
                Event::Refused { from, reason } => {
                    return Some(Received::Refused { from, reason: reason.to_string() });
                }
                Event::Connected { .. } | Event::Unanswered { .. } => {}
            }
        }
    }

    /// A socket of IPv6 sends to IPv4 by mapped addresses.
    fn outer(&self, to: SocketAddr) -> SocketAddr {
        match to {
            SocketAddr::V4(v4) if self.is_v6 => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            SocketAddr::V4(_) | SocketAddr::V6(_) => to,
        }
    }
}

#[async_trait]
impl PacketTransport for UdpTransport {
    fn send(&mut self, to: SocketAddr, kind: Kind, payload: Vec<u8>) {
        let now = self.now();
        match self.endpoint.send(now, to, kind as u8, &payload) {
            Ok(()) => self.flush(),
            Err(error @ (SendError::TooBig { .. } | SendError::NoGate)) => {
                debug!(peer.addr = %to, error = %error, "Packet was not sent");
            }
        }
    }

    fn trust(&mut self, credentials: Arc<Credentials>) {
        let now = self.now();
        self.endpoint.set_credentials(now, credentials);
    }

    async fn receive(&mut self) -> Result<Received, TransportBroke> {
        loop {
            self.flush();
            if let Some(received) = self.next_event() {
                return Ok(received);
            }
            let is_stuck = !self.unsent.is_empty();
            tokio::select! {
                _ = self.ticks.tick() => {
                    let now = self.now();
                    self.endpoint.tick(now);
                }
                ready = self.socket.readable() => {
                    ready?;
                    self.read()?;
                }
                ready = self.socket.writable(), if is_stuck => ready?,
            }
        }
    }

    fn payload_bytes_max(&self) -> usize {
        MESSAGE_LIMIT_BYTES
    }
}

fn open(listen: SocketAddr) -> io::Result<StdUdpSocket> {
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, Some(Protocol::UDP))?;
    if listen.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // Only root may exceed the system's limit; a smaller buffer is slower and not wrong.
    if set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES).is_err() {
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
    }
    socket.set_nonblocking(true)?;
    socket.bind(&listen.into())?;
    Ok(socket.into())
}
