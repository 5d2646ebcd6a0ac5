//! Takes connections of other nodes: a stranger gets no byte, a peer gets its answers.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::stream::{self, Doorkeeper, HANDSHAKE_DEADLINE, Limits, Met, NoiseStream, Router};
use crypto::{Credentials, SharedFirstMessages};
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::peers::{Hello, Link};
use crate::relays::JoinRelay;

/// Connections waiting in the kernel.
const BACKLOG: i32 = 1024;

/// Peers with a session: three links each to a thousand nodes, and then some.
const SESSIONS_MAX: usize = 4096;

/// A removed node may ask once why nobody talks to it.
const FAREWELL: Duration = Duration::from_secs(3);

/// Without file descriptors there is nothing to do but wait for some.
const EXHAUSTED: Duration = Duration::from_millis(50);

/// What the listener works with.
pub(crate) struct Listener {
    pub(crate) credentials: watch::Receiver<Arc<Credentials>>,
    pub(crate) genesis: watch::Receiver<Option<[u8; 16]>>,
    pub(crate) first_messages: SharedFirstMessages,
    pub(crate) router: Arc<Router>,
    /// All that a removed node gets to hear.
    pub(crate) farewell: Arc<Router>,
    pub(crate) relay: JoinRelay,
}

/// Binds the control port.
pub(crate) fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl Listener {
    /// Takes connections until told to stop.
    pub(crate) async fn run(self, socket: TcpListener, stop: CancellationToken) {
        let shared = Arc::new(self);
        let mut door = Doorkeeper::new();
        let mut handshakes = JoinSet::new();
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(met) = handshakes.join_next() => {
                    let Ok((admission, met)) = met else { continue };
                    door.done(admission);
                    let Some(met) = met else { continue };
                    if SESSIONS_MAX <= sessions.len() {
                        warn!(left = SESSIONS_MAX, "too many sessions, one refused");
                        continue;
                    }
                    sessions.spawn(Arc::clone(&shared).met(met, stop.clone()));
                }
                Some(_) = sessions.join_next() => {}
                accepted = socket.accept() => match accepted {
                    Ok((connection, from)) => match door.admit(from.ip(), std::time::Instant::now()) {
                        Ok(admission) => {
                            let shared = Arc::clone(&shared);
                            handshakes.spawn(async move {
                                let met = shared.handshake(connection, from).await;
                                (admission, met)
                            });
                        }
                        Err(refusal) => debug!(peer.addr = %from, %refusal, "connection closed"),
                    },
                    Err(error) => {
                        debug!(%error, "accept failed");
                        sleep(EXHAUSTED).await;
                    }
                },
            }
        }
        // Sessions drain by themselves once told to stop; the supervisor's grace bounds it.
        handshakes.shutdown().await;
        while sessions.join_next().await.is_some() {}
    }

    async fn handshake(&self, connection: TcpStream, from: SocketAddr) -> Option<Met<TcpStream>> {
        let _ = connection.set_nodelay(true); // Slower without, not wrong.
        // Whom we do not trust any more may still hear that, and nothing else: see `session`.
        let credentials = self.credentials.borrow().with_revoked(BTreeSet::new());
        let hello = Hello { link: Link::Control, genesis: *self.genesis.borrow() }.encode();
        let memory = &self.first_messages;
        match stream::meet(connection, &credentials, memory, &hello, HANDSHAKE_DEADLINE).await {
            Ok(Met::Session(noise)) => Some(Met::Session(Box::new(noise.with_remote(from)))),
            Ok(knock @ Met::ForKeyHolders { .. }) => Some(knock),
            Err(error) => {
                if !error.is_stranger() {
                    debug!(peer.addr = %from, error = &error as &dyn std::error::Error, "handshake failed");
                }
                None
            }
        }
    }

    async fn met(self: Arc<Self>, met: Met<TcpStream>, stop: CancellationToken) {
        match met {
            Met::Session(noise) => self.session(*noise, stop).await,
            Met::ForKeyHolders { io, read } => tokio::select! {
                () = self.relay.carry(io, read) => {}
                () = stop.cancelled() => {}
            },
        }
    }

    async fn session(self: Arc<Self>, noise: NoiseStream<TcpStream>, stop: CancellationToken) {
        let peer = noise.peer().id;
        if self.credentials.borrow().revoked.contains(&peer) {
            debug!(peer.id = %peer.short(), "removed node refused");
            let farewell =
                stream::serve(noise, Arc::clone(&self.farewell), Limits::control(), stop);
            let _ = timeout(FAREWELL, farewell).await; // It was told, or did not ask.
            return;
        }
        let hello = Hello::decode(noise.peer_hello());
        let other = hello.and_then(|hello| hello.genesis).zip(*self.genesis.borrow());
        if other.is_some_and(|(theirs, ours)| theirs != ours) {
            warn!(peer.id = %peer.short(), "a node of another cluster with the same key was refused");
            return;
        }
        let limits = match hello.map(|hello| hello.link) {
            Some(Link::Bulk | Link::Api) => Limits::bulk(),
            Some(Link::Control) | None => Limits::control(),
        };
        let mut credentials = self.credentials.clone();
        let revoked = credentials.wait_for(|credentials| credentials.revoked.contains(&peer));
        tokio::select! {
            () = stream::serve(noise, Arc::clone(&self.router), limits, stop) => {}
            _ = revoked => debug!(peer.id = %peer.short(), "session of a removed node cut"),
        }
    }
}
