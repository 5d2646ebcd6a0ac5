//! Connections to other nodes, made when they are first wanted and shared after that.
//!
//! A node that cannot be dialled is reached through another one that relays the
//! bytes of an inner Noise session; the identity is always the handshake's.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crypto::stream::{self, Client, NoiseStream, Options, StreamError};
use crypto::{Credentials, GateKey, NodeId};
use futures::future::{BoxFuture, FutureExt, Shared};
use membership::{Liveness, View};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::messages::{RELAY, RelayRequest};
use crate::pool::Pool;

/// SYN and one retransmission (1 s); a node across the world answers in a third of it.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The deadline of a handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// A node that could not be reached is not dialled again for so long: Raft asks
/// every 60 ms, and a dead address costs a SYN each time.
const REDIAL: Duration = Duration::from_millis(500);

/// Relays that are tried for one dial.
const RELAYS_MAX: usize = 2;

/// Kind and version of [`Hello`].
const HELLO_KIND: (u16, u16) = (41, 1);

/// What a connection is for. Raft never queues behind bytes of a tunnel.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) enum Link {
    /// Small messages.
    Control,
    /// Connections to tasks, logs, relayed sessions.
    Bulk,
    /// Requests of the Engine API on their way to the leader.
    Api,
}

/// What both sides say within the handshake.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Hello {
    /// What the connection is for.
    pub(crate) link: Link,
    /// The cluster this node belongs to, once there is one.
    pub(crate) genesis: Option<[u8; 16]>,
}

impl Hello {
    /// As it travels; it is a few bytes and always fits.
    pub(crate) fn encode(self) -> Vec<u8> {
        crypto::wire::encode(HELLO_KIND.0, HELLO_KIND.1, &self).unwrap_or_default()
    }

    /// What a peer said; `None` if it is no hello of ours.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let limit = crypto::handshake::HELLO_LIMIT_BYTES;
        crypto::wire::decode(bytes, HELLO_KIND.0, HELLO_KIND.1, limit).ok()
    }
}

/// A node could not be reached.
#[derive(Clone, Debug, Error)]
pub(crate) enum DialError {
    /// Nobody knows its address.
    #[error("no address of node {node} is known")]
    Unknown {
        /// Which.
        node: NodeId,
    },
    /// It did not answer, directly or through others.
    #[error("no way to {what}: {why}")]
    NoWay {
        /// Node or address.
        what: String,
        /// What each way said.
        why: String,
    },
    /// Somebody is there and hung up, as everybody does who is not shown what he knows.
    #[error("{what} {why}")]
    HungUp {
        /// Node or address.
        what: String,
        /// Why that may be, with the time here.
        why: String,
    },
    /// Somebody else has its address now.
    #[error("{found} answered at the address of {wanted}")]
    SomebodyElse {
        /// Whom we dialled.
        wanted: NodeId,
        /// Who answered.
        found: NodeId,
    },
    /// The other node belongs to another cluster of the same key.
    #[error("{peer} belongs to another cluster with the same key: one of the two must go")]
    OtherGenesis {
        /// Who.
        peer: NodeId,
    },
    /// The node was removed.
    #[error("node {node} was removed from the cluster")]
    Removed {
        /// Which.
        node: NodeId,
    },
    /// We have no gate key yet.
    #[error("this node has not joined yet")]
    NoGate,
}

impl DialError {
    /// The reason alone, for a reader who sees whom we dialled.
    pub(crate) fn brief(&self) -> String {
        if let Self::NoWay { why, .. } | Self::HungUp { why, .. } = self {
            return why.clone();
        }
        self.to_string()
    }
}

type Dialling = Shared<BoxFuture<'static, Result<Client, DialError>>>;

enum Slot {
    Dialling(Dialling),
    Open(Client),
    Failed(Instant, DialError),
}

/// Handle of the connections.
#[derive(Clone)]
pub(crate) struct Peers {
    inner: Arc<Inner>,
}

struct Inner {
    me: NodeId,
    /// Where others reach us, and where we reach ourselves: the leader asks itself as any other.
    advertise: SocketAddr,
    credentials: watch::Receiver<Arc<Credentials>>,
    view: watch::Receiver<Arc<View>>,
    genesis: watch::Receiver<Option<[u8; 16]>>,
    pool: Pool,
    // A std mutex, never held across an await: a map look-up, shared by every caller.
    slots: Mutex<BTreeMap<(NodeId, Link), Slot>>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("me", &self.inner.me).finish_non_exhaustive()
    }
}

impl Peers {
    /// Builds the handle; `pool` drives the connections.
    pub(crate) fn new(
        advertise: SocketAddr,
        credentials: watch::Receiver<Arc<Credentials>>,
        view: watch::Receiver<Arc<View>>,
        genesis: watch::Receiver<Option<[u8; 16]>>,
        pool: Pool,
    ) -> Self {
        let me = credentials.borrow().node();
        let slots = Mutex::default();
        let inner = Arc::new(Inner { me, advertise, credentials, view, genesis, pool, slots });
        Self { inner }
    }

    /// A connection to a node: the open one, or a new one.
    pub(crate) async fn client(&self, node: NodeId, link: Link) -> Result<Client, DialError> {
        let dialling = {
            let mut slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
            if self.inner.credentials.borrow().revoked.contains(&node) {
                slots.remove(&(node, link));
                return Err(DialError::Removed { node });
            }
            match slots.get(&(node, link)) {
                Some(Slot::Open(client)) if !client.is_closed() && !client.should_renew() => {
                    return Ok(client.clone());
                }
                Some(Slot::Failed(at, error)) if at.elapsed() < REDIAL => return Err(error.clone()),
                Some(Slot::Dialling(dialling)) => dialling.clone(),
                Some(Slot::Open(_) | Slot::Failed(..)) | None => {
                    let peers = self.clone();
                    let dialling = async move { peers.dial(node, link).await }.boxed().shared();
                    slots.insert((node, link), Slot::Dialling(dialling.clone()));
                    dialling
                }
            }
        };
        dialling.await
    }

    /// The dial that all who want this connection wait for. It runs even if one of them
    /// gives up, because the others poll it.
    async fn dial(&self, node: NodeId, link: Link) -> Result<Client, DialError> {
        let outcome = self.dial_somehow(node, link).await;
        let slot = match &outcome {
            Ok(client) => Slot::Open(client.clone()),
            Err(error) => Slot::Failed(Instant::now(), error.clone()),
        };
        let mut slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.insert((node, link), slot);
        outcome
    }

    async fn dial_somehow(&self, node: NodeId, link: Link) -> Result<Client, DialError> {
        let address = self.address(node).ok_or(DialError::Unknown { node })?;
        let direct = match self.dial_address(address, link).await {
            Ok(client) if client.peer().id == node => return Ok(client),
            Ok(client) => DialError::SomebodyElse { wanted: node, found: client.peer().id },
            Err(error) => error,
        };
        if link == Link::Bulk {
            // Bytes of users' connections through a third node would hide a broken network.
            return Err(direct);
        }
        for relay in self.relays(node) {
            if let Ok(client) = self.dial_through(relay, node, link).await {
                return Ok(client);
            }
        }
        Err(direct)
    }

    fn address(&self, node: NodeId) -> Option<SocketAddr> {
        if node == self.inner.me {
            return Some(self.inner.advertise);
        }
        self.inner.view.borrow().members.get(&node).map(|member| member.address)
    }

    /// A connection that is open now.
    fn open(&self, node: NodeId) -> Option<Client> {
        let slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
        [Link::Bulk, Link::Api, Link::Control].into_iter().find_map(|link| {
            match slots.get(&(node, link)) {
                Some(Slot::Open(client)) if !client.is_closed() => Some(client.clone()),
                Some(Slot::Open(_) | Slot::Dialling(_) | Slot::Failed(..)) | None => None,
            }
        })
    }

    /// Nodes that might know another way: those we are connected to.
    fn relays(&self, node: NodeId) -> Vec<NodeId> {
        let view = self.inner.view.borrow();
        let usable = |id: &NodeId| *id != node && *id != self.inner.me && self.open(*id).is_some();
        let alive =
            view.members.values().filter(|member| matches!(member.liveness, Liveness::Alive));
        alive.map(|member| member.id).filter(usable).take(RELAYS_MAX).collect()
    }

    /// A connection to whoever answers at an address.
    pub(crate) async fn dial_address(
        &self,
        address: SocketAddr,
        link: Link,
    ) -> Result<Client, DialError> {
        let gate = self.inner.credentials.borrow().gate_key().ok_or(DialError::NoGate)?;
        self.dial_gate(address, link, gate).await
    }

    /// A connection to whoever answers at an address: the open one of a node that is known to be
    /// there, or a new one.
    pub(crate) async fn client_at(&self, address: SocketAddr) -> Result<Client, DialError> {
        let known = {
            let slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.values().find_map(|slot| match slot {
                Slot::Open(client) if client.remote() == Some(address) && !client.is_closed() => {
                    Some(client.clone())
                }
                Slot::Open(_) | Slot::Dialling(_) | Slot::Failed(..) => None,
            })
        };
        if let Some(client) = known {
            return Ok(client);
        }
        let client = self.dial_address(address, Link::Control).await?;
        let mut slots = self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry((client.peer().id, Link::Control));
        if let std::collections::btree_map::Entry::Vacant(slot) = slot {
            slot.insert(Slot::Open(client.clone()));
        }
        Ok(client)
    }

    /// The same through a gate of the caller's choice: a token's, before joining.
    pub(crate) async fn dial_gate(
        &self,
        address: SocketAddr,
        link: Link,
        gate: GateKey,
    ) -> Result<Client, DialError> {
        let no_way = |why: String| DialError::NoWay { what: address.to_string(), why };
        let socket = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return Err(no_way(error.to_string())),
            Err(_) => return Err(no_way("no answer".to_owned())),
        };
        let _ = socket.set_nodelay(true); // Slower without, not wrong.
        self.shake(socket, Some(address), (link, gate), no_way).await
    }

    async fn dial_through(
        &self,
        relay: NodeId,
        node: NodeId,
        link: Link,
    ) -> Result<Client, DialError> {
        let no_way =
            |why: String| DialError::NoWay { what: format!("{node} through {relay}"), why };
        let via = self.open(relay).ok_or_else(|| no_way("the relay is gone".to_owned()))?;
        let tunnel = via.tunnel(RELAY, &RelayRequest { to: node }, HANDSHAKE_TIMEOUT).await;
        let tunnel = tunnel.map_err(|error| no_way(error.to_string()))?;
        let gate = self.inner.credentials.borrow().gate_key().ok_or(DialError::NoGate)?;
        let client = self.shake(tunnel, None, (link, gate), no_way).await?;
        let found = client.peer().id;
        if found == node {
            Ok(client)
        } else {
            Err(DialError::SomebodyElse { wanted: node, found })
        }
    }

    async fn shake<IO: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &self,
        io: IO,
        remote: Option<SocketAddr>,
        (link, gate): (Link, GateKey),
        no_way: impl Fn(String) -> DialError,
    ) -> Result<Client, DialError> {
        let credentials = Arc::clone(&self.inner.credentials.borrow());
        let genesis = *self.inner.genesis.borrow();
        let hello = Hello { link, genesis }.encode();
        let noise: NoiseStream<IO> =
            stream::dial(io, &credentials, &gate, &hello, HANDSHAKE_TIMEOUT).await.map_err(
                |error| match (no_way(error.to_string()), error) {
                    (DialError::NoWay { what, .. }, StreamError::Closed) => {
                        DialError::HungUp { what, why: hung_up() }
                    }
                    (no_way, _) => no_way,
                },
            )?;
        let noise = match remote {
            Some(remote) => noise.with_remote(remote),
            None => noise,
        };
        let theirs = Hello::decode(noise.peer_hello()).and_then(|hello| hello.genesis);
        if genesis.zip(theirs).is_some_and(|(ours, theirs)| ours != theirs) {
            return Err(DialError::OtherGenesis { peer: noise.peer().id });
        }
        let options = match link {
            Link::Control => Options::control(),
            Link::Bulk | Link::Api => Options::bulk(),
        };
        let (client, driver) =
            stream::client(noise, options).await.map_err(|error| no_way(error.to_string()))?;
        self.inner.pool.run(driver).await.map_err(|error| no_way(error.to_string()))?;
        Ok(client)
    }
}

/// What may be wrong with a node that hangs up, or here.
fn hung_up() -> String {
    let clock = api::wire::time::format(crate::unix_seconds().saturating_mul(1_000_000_000));
    format!(
        "hung up: another cluster key, or only a token there, or one of the two clocks is wrong \
         (here it is {clock})"
    )
}

#[async_trait::async_trait]
impl store::Dial for Peers {
    async fn dial(&self, node: NodeId) -> Result<Client, store::DialError> {
        let client = self.client(node, Link::Control).await;
        client.map_err(|error| store::DialError::new(node, error.to_string()))
    }
}
