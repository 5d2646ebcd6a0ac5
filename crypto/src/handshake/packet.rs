//! Layout of handshake packets and the MAC in front of them.
//!
//! ```text
//! first   01 ver gate carrier | sender u32 | gate id 16 | mac 16 | cookie 16 | noise, padded
//! second  02 ver 0 0          | receiver u32            | mac 16 | noise
//! third   03 ver 0 0          | receiver u32            | mac 16 | noise
//! cookie  05 ver 0 0          | receiver u32            | mac 16 | nonce 16 | sealed 16
//! ```
//!
//! The MAC is keyed by the gate's key and covers everything but itself and the cookie; those
//! behind the first cover the first's MAC too. It costs less than a microsecond, so whoever does
//! not know the gate's key costs us nothing else.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Carrier;
use crate::credentials::Gate;
use crate::schedule::Psk;

/// The packet format; another one is not even looked at.
pub const PROTOCOL: u8 = 1;

/// First messages have one length: that of the longest second message, so that we never answer
/// with more bytes than we were sent.
pub const FIRST_BYTES: usize = 640;

/// Below the smallest MTU that IPv6 allows, with room for headers.
pub const HANDSHAKE_LIMIT_BYTES: usize = 1200;

/// Kinds of packets, the first byte of each.
pub(crate) mod kind {
    pub(crate) const FIRST: u8 = 1;
    pub(crate) const SECOND: u8 = 2;
    pub(crate) const THIRD: u8 = 3;
    pub(crate) const DATA: u8 = 4;
    pub(crate) const COOKIE: u8 = 5;
}

pub(crate) const FIRST_HEADER_BYTES: usize = 24;
pub(crate) const FIRST_NOISE_AT: usize = 56;
pub(crate) const ANSWER_NOISE_AT: usize = 24;
const MAC_BYTES: usize = 16;
const COOKIE_PACKET_BYTES: usize = 56;

/// The readable part of a first message; nothing in it is true before the MAC was checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct First<'a> {
    /// Which key its MAC must be of.
    pub gate: Gate,
    /// What it travels on.
    pub carrier: Carrier,
    /// The sender's name for the session.
    pub index: u32,
    /// The MAC, which is also the message's name in the memory.
    pub mac: [u8; 16],
    pub(crate) cookie: [u8; 16],
    pub(crate) header: &'a [u8],
    pub(crate) noise: &'a [u8],
}

impl<'a> First<'a> {
    /// Reads the layout of a first message.
    #[must_use]
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        if packet.len() != FIRST_BYTES || packet[..2] != [kind::FIRST, PROTOCOL] {
            return None;
        }
        let id: [u8; 16] = packet[8..24].try_into().ok()?;
        let gate = match packet[2] {
            0 => {
                let (epoch, rest) = id.split_first_chunk::<4>()?;
                if rest != [0; 12] {
                    return None;
                }
                Gate::Psk { epoch: u32::from_le_bytes(*epoch) }
            }
            1 => Gate::Token { id },
            _ => return None,
        };
        let carrier = match packet[3] {
            0 => Carrier::Datagram,
            1 => Carrier::Stream,
            _ => return None,
        };
        Some(Self {
            gate,
            carrier,
            index: read_index(packet)?,
            mac: packet[24..40].try_into().ok()?,
            cookie: packet[40..56].try_into().ok()?,
            header: &packet[..FIRST_HEADER_BYTES],
            noise: &packet[FIRST_NOISE_AT..],
        })
    }
}

/// The header of a first message.
pub(crate) fn first_header(gate: Gate, carrier: Carrier, index: u32) -> [u8; FIRST_HEADER_BYTES] {
    let mut header = [0; FIRST_HEADER_BYTES];
    header[0] = kind::FIRST;
    header[1] = PROTOCOL;
    match gate {
        Gate::Psk { epoch } => header[8..12].copy_from_slice(&epoch.to_le_bytes()),
        Gate::Token { id } => {
            header[2] = 1;
            header[8..24].copy_from_slice(&id);
        }
    }
    header[3] = match carrier {
        Carrier::Datagram => 0,
        Carrier::Stream => 1,
    };
    header[4..8].copy_from_slice(&index.to_le_bytes());
    header
}

/// The index in bytes 4 to 8 of any packet.
pub(crate) fn read_index(packet: &[u8]) -> Option<u32> {
    packet.get(4..8)?.try_into().ok().map(u32::from_le_bytes)
}

/// The gate's key as a key of MACs.
#[derive(Clone)]
pub(crate) struct MacKey(Zeroizing<[u8; 32]>);

impl MacKey {
    pub(crate) fn new(psk: &Psk) -> Self {
        Self(Zeroizing::new(blake3::derive_key("skep 2026 gate mac v1", psk.as_bytes())))
    }

    pub(crate) fn of_first(&self, header: &[u8], noise: &[u8]) -> [u8; 16] {
        self.mac(&[header, noise])
    }

    pub(crate) fn opens(&self, first: &First<'_>) -> bool {
        same(&self.of_first(first.header, first.noise), &first.mac)
    }

    /// Frames a second, third or cookie packet in the handshake that `first_mac` names.
    pub(crate) fn frame(&self, kind: u8, index: u32, first_mac: &[u8; 16], body: &[u8]) -> Vec<u8> {
        let mut packet = Vec::with_capacity(ANSWER_NOISE_AT + body.len());
        packet.extend_from_slice(&[kind, PROTOCOL, 0, 0]);
        packet.extend_from_slice(&index.to_le_bytes());
        let mac = self.mac(&[first_mac, &packet, body]);
        packet.extend_from_slice(&mac);
        packet.extend_from_slice(body);
        packet
    }

    /// The body of a packet that [`Self::frame`] made for the same handshake.
    pub(crate) fn unframe<'a>(
        &self,
        kind: u8,
        index: u32,
        first_mac: &[u8; 16],
        packet: &'a [u8],
    ) -> Option<&'a [u8]> {
        let (header, rest) = packet.split_at_checked(8)?;
        let (mac, body) = rest.split_first_chunk::<MAC_BYTES>()?;
        let expected = packet.len() <= HANDSHAKE_LIMIT_BYTES
            && header[..4] == [kind, PROTOCOL, 0, 0]
            && read_index(packet) == Some(index);
        (expected && same(&self.mac(&[first_mac, header, body]), mac)).then_some(body)
    }

    /// A cookie, readable only to who knows the gate's key: a replayer must not be able to use it.
    pub(crate) fn frame_cookie(
        &self,
        first: &First<'_>,
        nonce: [u8; 16],
        cookie: [u8; 16],
    ) -> Vec<u8> {
        let mut body = [0; 32];
        body[..16].copy_from_slice(&nonce);
        body[16..].copy_from_slice(&self.seal(&first.mac, &nonce, cookie));
        self.frame(kind::COOKIE, first.index, &first.mac, &body)
    }

    pub(crate) fn unframe_cookie(
        &self,
        index: u32,
        first_mac: &[u8; 16],
        packet: &[u8],
    ) -> Option<[u8; 16]> {
        if packet.len() != COOKIE_PACKET_BYTES {
            return None;
        }
        let body = self.unframe(kind::COOKIE, index, first_mac, packet)?;
        let nonce: [u8; 16] = body[..16].try_into().ok()?;
        Some(self.seal(first_mac, &nonce, body[16..].try_into().ok()?))
    }

    fn seal(&self, first_mac: &[u8; 16], nonce: &[u8; 16], cookie: [u8; 16]) -> [u8; 16] {
        let pad = self.mac(&[b"cookie", first_mac, nonce]);
        std::array::from_fn(|place| cookie[place] ^ pad[place])
    }

    fn mac(&self, parts: &[&[u8]]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in parts {
            hasher.update(part);
        }
        let mut mac = [0; MAC_BYTES];
        mac.copy_from_slice(&hasher.finalize().as_bytes()[..MAC_BYTES]);
        mac
    }
}

impl std::fmt::Debug for MacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MacKey(secret)")
    }
}

pub(crate) fn same(left: &[u8; 16], right: &[u8; 16]) -> bool {
    left.ct_eq(right).into()
}
