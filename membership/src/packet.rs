//! What membership needs of the network: authenticated packets of a few kinds, unreliable.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use crypto::{Credentials, Peer};
use thiserror::Error;

/// What a packet is about. The numbers are on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Kind {
    /// A gossip message.
    Gossip = 1,
    /// "Are you there?"
    Ping = 2,
    /// "Is somebody else there?"
    PingReq = 3,
    /// "Yes."
    PingAck = 4,
}

impl TryFrom<u8> for Kind {
    type Error = u8;

    fn try_from(number: u8) -> Result<Self, u8> {
        match number {
            1 => Ok(Self::Gossip),
            2 => Ok(Self::Ping),
            3 => Ok(Self::PingReq),
            4 => Ok(Self::PingAck),
            other => Err(other),
        }
    }
}

/// A packet whose sender is proven.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Where it came from.
    pub from: SocketAddr,
    /// Who sent it.
    pub peer: Arc<Peer>,
    /// What it is about.
    pub kind: Kind,
    /// Its content, still unchecked.
    pub payload: Vec<u8>,
}

/// What came of waiting for the network.
#[derive(Clone, Debug)]
pub enum Received {
    /// A packet.
    Packet(Packet),
    /// The address turned out to be our own.
    Ourselves {
        /// The address.
        from: SocketAddr,
    },
    /// Somebody is there but no session came about.
    Refused {
        /// The address.
        from: SocketAddr,
        /// Why, in a few words.
        reason: String,
    },
}

/// The transport is broken and will carry nothing more.
#[derive(Debug, Error)]
#[error("the packet transport broke")]
pub struct TransportBroke {
    /// Why.
    #[from]
    pub source: std::io::Error,
}

/// Carries packets between nodes that proved who they are; may lose, repeat and reorder them.
#[async_trait]
pub trait PacketTransport: fmt::Debug + Send {
    /// Queues a packet. Never waits; loses it if it must.
    fn send(&mut self, to: SocketAddr, kind: Kind, payload: Vec<u8>);

    /// Shows and trusts other credentials from now on.
    fn trust(&mut self, credentials: Arc<Credentials>);

    /// Waits for the next packet, and does the transport's own work meanwhile. Nothing is lost if
    /// the wait is given up.
    ///
    /// # Errors
    ///
    /// [`TransportBroke`] if there will be no more.
    async fn receive(&mut self) -> Result<Received, TransportBroke>;

    /// The longest payload that it carries; longer ones go another way.
    fn payload_bytes_max(&self) -> usize;
}
