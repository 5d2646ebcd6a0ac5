//! Who is here: gossip between nodes, checked before it is believed, as one immutable [`View`].
//!
//! Reading order: [`record`] (what a node says about itself, signed), [`guard`] (what is believed),
//! [`probe`] (asking a silent node), `lifeguard` (doubting ourselves first), `seeds` (whom to call),
//! `task` (the one owner of all that), [`view`] (what comes out).
//!
//! ```text
//!   datagrams ─▶ PacketTransport ─▶ guard ─▶ chitchat ─▶ who is live ─┐
//!                      ▲              └──▶ verified records ──────────┼─▶ watch<Arc<View>>
//!                      └── PING, PING-REQ ◀── probes ─────────────────┘
//! ```
//!
//! # Invariants
//!
//! * chitchat never sees a byte that was not parsed and judged here.
//! * Nobody is down by gossip's word: a suspect is a hint, and down is the leader's to write.
//! * A forged message may make somebody look alive, never dead, and crashes nothing.
//! * If the gossip engine ends, the future that [`Membership::new`] returned ends with an error.
#![deny(missing_docs)]

pub mod guard;
pub mod memory;
pub mod packet;
pub mod probe;
pub mod record;
pub mod udp;
pub mod view;

mod bridge;
mod lifeguard;
mod queue;
mod seeds;
mod task;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crypto::{Credentials, NodeId, Peer};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use bridge::GossipDied;
pub use guard::Admission;
pub use packet::{Kind, Packet, PacketTransport, Received, TransportBroke};
pub use probe::ProbeOutcome;
pub use record::{Payload, Presence, Record, SignError};
pub use seeds::PORT_DEFAULT;
pub use view::{Liveness, Member, SeedState, View};

use task::{Command, Task};

/// Commands that wait for the task. It answers within a message's time, so a full queue means that
/// it is stuck, and callers shall wait with it.
const COMMANDS: usize = 64;

/// How membership is to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Time between gossip rounds.
    pub gossip_interval: Duration,
    /// Silence that makes a suspect, in mean heartbeat intervals.
    pub phi: f64,
    /// How long dead nodes and old incarnations are remembered: long enough for a reboot, short
    /// enough that a crash loop does not fill the digest.
    pub grace: Duration,
    /// First contacts, `host` or `host:port`.
    pub seeds: Vec<String>,
    /// Where the transport is bound; to recognise ourselves.
    pub listen: SocketAddr,
    /// Where others reach us.
    pub advertise: SocketAddr,
    /// Seconds since 1970, for certificates.
    pub unix_now: fn() -> u64,
}

impl Config {
    /// The measured defaults: 500 ms and phi 8. In virtual time a dead node is suspected by all
    /// after 3.4 s (10 nodes) to 3.8 s (60 nodes); 10 nodes made no false suspicion in 200 s at
    /// 10, 30 and 50 % loss.
    #[must_use]
    pub fn new(listen: SocketAddr, advertise: SocketAddr, seeds: Vec<String>) -> Self {
        let gossip_interval = Duration::from_millis(500);
        let grace = Duration::from_secs(15 * 60);
        Self { gossip_interval, phi: 8.0, grace, seeds, listen, advertise, unix_now }
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Who we are.
#[derive(Clone, Debug)]
pub struct Me {
    /// What we show and whom we trust; may be renewed while we run.
    pub credentials: watch::Receiver<Arc<Credentials>>,
    /// What we say about ourselves.
    pub payload: Payload,
    /// How many times this node started. Must rise with every start.
    pub incarnation: u64,
}

/// A message that is too long for datagrams and shall go over a stream.
#[derive(Clone, Debug)]
pub struct BigMessage {
    /// To whom, if we know who is there.
    pub node: Option<NodeId>,
    /// Where that is.
    pub address: SocketAddr,
    /// For [`Membership::deliver_big`] at the other end.
    pub bytes: Vec<u8>,
}

/// Membership ended and answers nothing more.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[error("membership has stopped")]
pub struct Stopped;

/// An update was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// It says too much.
    #[error("the record cannot be published")]
    Payload {
        /// Why not.
        source: SignError,
    },
    /// Membership ended.
    #[error("membership has stopped")]
    Stopped,
}

/// Why membership ended by itself.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// Our own record could not be signed.
    #[error("failed to sign this node's record")]
    Record {
        /// Why not.
        source: SignError,
    },
    /// The gossip engine could not start or ended.
    #[error("the gossip engine ended")]
    Gossip {
        /// What it said.
        source: GossipDied,
    },
    /// The network is gone.
    #[error("gossip lost its network")]
    Transport {
        /// Why.
        source: TransportBroke,
    },
}

/// A handle to membership. Clones are the same membership.
#[derive(Clone, Debug)]
pub struct Membership {
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<Arc<View>>,
    me: NodeId,
}

impl Membership {
    /// Builds the handle and the future that must be run for it to work. The future ends with an
    /// error if gossip dies, which should end the process: a node without it would for ever
    /// believe what it saw last.
    pub fn new(
        config: Config,
        me: Me,
        transport: Box<dyn PacketTransport>,
        big: mpsc::Sender<BigMessage>,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = Result<(), MembershipError>> + Send) {
        let (commands, inbox) = mpsc::channel(COMMANDS);
        let id = me.credentials.borrow().node();
        let (task, view) = Task::new(config, me, transport, big);
        (Self { commands, view, me: id }, task.run(inbox, stop))
    }

    /// Who is here, always the newest picture.
    #[must_use]
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Says something else about ourselves from now on.
    ///
    /// # Errors
    ///
    /// [`UpdateError`] if it is too long or membership ended.
    pub async fn update(&self, payload: Payload) -> Result<(), UpdateError> {
        payload.check_length().map_err(|source| UpdateError::Payload { source })?;
        self.tell(Command::Update(payload)).await.map_err(|Stopped| UpdateError::Stopped)
    }

    /// Says good-bye and returns when others had the time to hear it. Does not stop the task.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if membership ended.
    pub async fn leave(&self) -> Result<(), Stopped> {
        let (reply, said) = oneshot::channel();
        self.tell(Command::Leave(reply)).await?;
        said.await.map_err(|_| Stopped)
    }

    /// Sets who may be a member.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if membership ended.
    pub async fn admit(&self, admission: Admission) -> Result<(), Stopped> {
        self.tell(Command::Admit(admission)).await
    }

    /// Asks a node whether it is there, directly and through three others, within a second.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if membership ended.
    pub async fn probe(&self, node: NodeId) -> Result<ProbeOutcome, Stopped> {
        if node == self.me {
            return Ok(ProbeOutcome::Alive);
        }
        let (reply, outcome) = oneshot::channel();
        self.tell(Command::Probe(node, reply)).await?;
        outcome.await.map_err(|_| Stopped)
    }

    /// Adds an address to call when nobody is there, beside the seeds.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if membership ended.
    pub async fn add_contact(&self, address: SocketAddr) -> Result<(), Stopped> {
        self.tell(Command::Contact(address)).await
    }

    /// Takes the bytes of a [`BigMessage`] that came over an authenticated stream.
    ///
    /// # Errors
    ///
    /// [`Stopped`] if membership ended.
    pub async fn deliver_big(
        &self,
        peer: Peer,
        from: SocketAddr,
        bytes: Vec<u8>,
    ) -> Result<(), Stopped> {
        let peer = Arc::new(peer);
        self.tell(Command::Big(Packet { from, peer, kind: Kind::Gossip, payload: bytes })).await
    }

    async fn tell(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }
}
