//! Two nodes prove to each other who they are: Noise XXpsk0 with certificates inside.
//!
//! `XX`, because a seed is an address and no key; `psk0`, because whoever does not know the
//! gate's key must cost one MAC and get no byte back. Certificates travel in messages two and
//! three, encrypted. Everything here is bytes to bytes; carriers own addresses and timers.
//!
//! What remains: the first message cannot name its responder, who is unknown. Somebody who
//! captured one can show it to a *third* node within its ten minutes and gets one message back,
//! no longer than what was sent, that nobody but the initiator can read.

mod packet;

use snow::params::NoiseParams;
use snow::resolvers::{DefaultResolver, FallbackResolver, RingResolver};
use snow::{Builder, HandshakeState, StatelessTransportState};
use thiserror::Error;

use serde::{Deserialize, Serialize};

use crate::certificate::{
    CLOCK_TOLERANCE_SECONDS, Certificate, CertificateError, Issuer, MAX_CERTIFICATE_BYTES, Peer,
};
use crate::credentials::{Credentials, Gate, GateKey};
use crate::id::NodeId;
use crate::random::{self, NoRandomness};
use crate::replay::{FIRST_MESSAGE_WINDOW_SECONDS, FirstMessages};
use crate::schedule::Psk;
use crate::token::{Grant, MAX_GRANT_BYTES};
use crate::wire::{self, WireError};

use self::packet::{ANSWER_NOISE_AT, FIRST_NOISE_AT, MacKey, kind, same};
pub use self::packet::{FIRST_BYTES, First, HANDSHAKE_LIMIT_BYTES, PROTOCOL};
pub(crate) use self::packet::{kind as packet_kind, read_index};

/// The oldest version of our messages that this program speaks.
pub const WIRE_OLDEST: u16 = 1;

/// The newest version of our messages that this program speaks.
pub const WIRE_NEWEST: u16 = 1;

/// What an application may say within the handshake; more would not fit the first message's
/// length, which bounds the answer.
pub const HELLO_LIMIT_BYTES: usize = 256;

const IDENTITY_KIND: u16 = 3;
const NOISE_TAG_BYTES: usize = 16;

/// Ephemeral key and tag around the payload.
const FIRST_PAYLOAD_BYTES: usize = FIRST_BYTES - FIRST_NOISE_AT - 32 - NOISE_TAG_BYTES;

/// What a handshake travels on, and for whom its cipher was chosen.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Carrier {
    /// UDP: ChaCha20-Poly1305, whose counters may run to 2^64.
    Datagram,
    /// TCP: AES-256-GCM, several times faster where the processor helps.
    Stream,
}

impl Carrier {
    const fn noise_name(self) -> &'static str {
        match self {
            Self::Datagram => "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s",
            Self::Stream => "Noise_XXpsk0_25519_AESGCM_BLAKE2s",
        }
    }
}

/// What our side brings into a handshake.
#[derive(Clone, Copy, Debug)]
pub struct Local<'a> {
    /// Who we are and whom we trust.
    pub credentials: &'a Credentials,
    /// What the handshake travels on.
    pub carrier: Carrier,
    /// What the application tells the peer, at most [`HELLO_LIMIT_BYTES`].
    pub hello: &'a [u8],
    /// Our name for the session; 0 where the carrier is the session.
    pub index: u32,
    /// Unix time in seconds.
    pub now: u64,
}

/// A finished handshake.
#[derive(Debug)]
pub struct Established {
    /// Who is at the other end.
    pub peer: Peer,
    /// What its application said.
    pub peer_hello: Vec<u8>,
    /// The newest version of our messages that both speak.
    pub wire_version: u16,
    /// Which gate was used.
    pub gate: Gate,
    /// The peer's name for the session.
    pub remote_index: u32,
    /// The hash of everything both sides said: equal on both, and in no other session.
    pub hash: [u8; 32],
    /// The session's keys; the caller owns the counters.
    pub transport: StatelessTransportState,
}

/// A handshake did not come about.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// Not a packet of a handshake, or of another handshake, or not from a holder of the key.
    #[error("not a handshake packet for us")]
    Stranger,
    /// The same first message came before.
    #[error("the first message was seen before")]
    Replayed,
    /// The first message's time is too far from ours.
    #[error("the peer's clock says {theirs} and ours {ours}: more than 10 minutes apart")]
    Clock {
        /// Unix seconds in the message.
        theirs: u64,
        /// Unix seconds here.
        ours: u64,
    },
    /// The memory of first messages has forgotten some: the sender must show this first.
    #[error("the memory of first messages is full; a cookie is demanded")]
    Cookie {
        /// What to send back.
        reply: Vec<u8>,
    },
    /// No common version of our messages.
    #[error("the peer speaks versions {oldest} to {newest} and we {WIRE_OLDEST} to {WIRE_NEWEST}")]
    Versions {
        /// The oldest it speaks.
        oldest: u16,
        /// The newest it speaks.
        newest: u16,
    },
    /// Another cluster behind the same gate.
    #[error("the peer is of another cluster")]
    Cluster,
    /// Our own application said too much.
    #[error("a hello of {length} bytes is over the limit of {HELLO_LIMIT_BYTES}")]
    Hello {
        /// How much.
        length: usize,
    },
    /// The peer's description of itself cannot be read.
    #[error("cannot read the identity of the peer")]
    Identity {
        /// Why not.
        source: WireError,
    },
    /// The peer's certificate was refused.
    #[error("cannot accept the peer")]
    Certificate {
        /// Why not.
        source: CertificateError,
    },
    /// The certificate belongs to other keys than the peer has.
    #[error("the peer showed the certificate of {node} without its key")]
    Borrowed {
        /// Whose certificate it is.
        node: NodeId,
    },
    /// The peer is no longer trusted.
    #[error("node {node} was revoked")]
    Revoked {
        /// Who.
        node: NodeId,
    },
    /// Noise refused.
    #[error("the noise protocol failed")]
    Noise {
        /// Why.
        source: snow::Error,
    },
    /// No randomness for a cookie.
    #[error("cannot make a cookie")]
    Random {
        /// Why not.
        source: NoRandomness,
    },
}

/// What each side says about itself in messages two and three.
#[derive(Deserialize, Serialize)]
pub(crate) struct Identity {
    index: u32,
    wire_oldest: u16,
    wire_newest: u16,
    certificate: Vec<u8>,
    grant: Option<Vec<u8>>,
    hello: Vec<u8>,
}

/// Index and versions 11, lengths 7, envelope 4.
const IDENTITY_LIMIT_BYTES: usize =
    22 + MAX_CERTIFICATE_BYTES + MAX_GRANT_BYTES + HELLO_LIMIT_BYTES;

// The second message carries no grant, and must not be longer than the first.
const _: () = assert!(
    ANSWER_NOISE_AT + 32 + 48 + IDENTITY_LIMIT_BYTES - MAX_GRANT_BYTES + NOISE_TAG_BYTES
        <= FIRST_BYTES
);
const _: () =
    assert!(ANSWER_NOISE_AT + 48 + IDENTITY_LIMIT_BYTES + NOISE_TAG_BYTES <= HANDSHAKE_LIMIT_BYTES);

/// What both sides keep between messages.
#[derive(Debug)]
struct Half {
    noise: HandshakeState,
    mac_key: MacKey,
    first_mac: [u8; 16],
    gate: Gate,
    index: u32,
}

/// The side that knocks.
#[derive(Debug)]
pub struct Initiator {
    half: Half,
    first: Vec<u8>,
    hello: Vec<u8>,
}

impl Initiator {
    /// Begins a handshake; the bytes are the first message.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Hello`] for a long hello, [`HandshakeError::Noise`] without randomness.
    pub fn start(local: &Local<'_>, gate: &GateKey) -> Result<(Self, Vec<u8>), HandshakeError> {
        check_hello(local.hello)?;
        let header = packet::first_header(gate.gate, local.carrier, local.index);
        let mut noise = build(local, &gate.psk, &header, true)?;
        let payload = first_payload(local);
        let mut first = header.to_vec();
        first.resize(FIRST_BYTES, 0);
        noise
            .write_message(&payload, &mut first[FIRST_NOISE_AT..])
            .map_err(|source| HandshakeError::Noise { source })?;
        let mac_key = MacKey::new(&gate.psk);
        let first_mac = mac_key.of_first(&header, &first[FIRST_NOISE_AT..]);
        first[24..40].copy_from_slice(&first_mac);
        let half = Half { noise, mac_key, first_mac, gate: gate.gate, index: local.index };
        Ok((Self { half, first: first.clone(), hello: local.hello.to_vec() }, first))
    }

    /// The first message, to repeat it.
    #[must_use]
    pub fn first(&self) -> &[u8] {
        &self.first
    }

    /// The MAC of the first message, by which memories know it.
    #[must_use]
    pub const fn mac(&self) -> [u8; 16] {
        self.half.first_mac
    }

    /// The gate that was knocked at.
    #[must_use]
    pub const fn gate(&self) -> Gate {
        self.half.gate
    }

    /// Whether a packet is the answer to this very handshake, from a holder of the gate's key.
    ///
    /// [`Self::finish`] consumes the handshake, so a carrier that anybody can write to asks first.
    #[must_use]
    pub fn is_answer(&self, packet: &[u8]) -> bool {
        self.half.unframe(kind::SECOND, packet).is_some()
    }

    /// Takes a cookie that the responder demands; true if the first message, which now carries
    /// it, is to be sent again.
    pub fn take_cookie(&mut self, packet: &[u8]) -> bool {
        let Half { mac_key, first_mac, index, .. } = &self.half;
        let Some(cookie) = mac_key.unframe_cookie(*index, first_mac, packet) else {
            return false;
        };
        let changed = self.first[40..56] != cookie;
        self.first[40..56].copy_from_slice(&cookie);
        changed
    }

    /// Reads the second message; the bytes are the third, after which the session stands here.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`] if the peer is not who it must be.
    pub fn finish(
        mut self,
        credentials: &Credentials,
        second: &[u8],
        now: u64,
    ) -> Result<(Established, Vec<u8>), HandshakeError> {
        let (identity, versions) = self.half.read_identity(kind::SECOND, second)?;
        let peer = self.half.judge(credentials, &identity, false, now)?;
        let third =
            self.half.write_identity(kind::THIRD, identity.index, credentials, &self.hello)?;
        let established = self.half.established(peer, identity, versions)?;
        Ok((established, third))
    }
}

/// The side that is knocked at.
#[derive(Debug)]
pub struct Responder {
    half: Half,
}

impl Responder {
    /// Judges a first message; the bytes are the second message.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Stranger`] after one MAC for junk. No error is to be answered, except
    /// [`HandshakeError::Cookie`] by its own reply: its sender knows the gate's key.
    pub fn accept(
        local: &Local<'_>,
        packet: &[u8],
        memory: &mut FirstMessages,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        check_hello(local.hello)?;
        let (first, psk, mac_key) = pass_gate(local, packet)?;
        if memory.contains(&first.mac) {
            return Err(HandshakeError::Replayed);
        }
        let cookie = memory.cookie(&first.mac);
        if memory.is_crowded(local.now) && !same(&cookie, &first.cookie) {
            let nonce = random::bytes().map_err(|source| HandshakeError::Random { source })?;
            return Err(HandshakeError::Cookie {
                reply: mac_key.frame_cookie(&first, nonce, cookie),
            });
        }
        let mut noise = build(local, &psk, first.header, false)?;
        let mut payload = [0; FIRST_PAYLOAD_BYTES + NOISE_TAG_BYTES];
        let length = noise
            .read_message(first.noise, &mut payload)
            .map_err(|source| HandshakeError::Noise { source })?;
        let time = check_first_payload(local, &payload[..length])?;
        let expires_at = time.saturating_add(FIRST_MESSAGE_WINDOW_SECONDS);
        memory.remember(first.mac, expires_at, local.now);
        let mut half =
            Half { noise, mac_key, first_mac: first.mac, gate: first.gate, index: local.index };
        let second =
            half.write_identity(kind::SECOND, first.index, local.credentials, local.hello)?;
        Ok((Self { half }, second))
    }

    /// Whether a packet is the third message of this very handshake, from a holder of the key.
    #[must_use]
    pub fn is_answer(&self, packet: &[u8]) -> bool {
        self.half.unframe(kind::THIRD, packet).is_some()
    }

    /// Reads the third message, after which the session stands on both sides.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`] if the peer is not who it must be.
    pub fn finish(
        mut self,
        credentials: &Credentials,
        third: &[u8],
        now: u64,
    ) -> Result<Established, HandshakeError> {
        let (identity, versions) = self.half.read_identity(kind::THIRD, third)?;
        let peer = self.half.judge(credentials, &identity, true, now)?;
        self.half.established(peer, identity, versions)
    }
}

/// Whether a first message was made by somebody who knows the key of one of our gates.
///
/// One keyed hash; everything behind it costs Diffie-Hellman.
#[must_use]
pub fn is_first_for_us(local: &Local<'_>, packet: &[u8]) -> bool {
    pass_gate(local, packet).is_ok()
}

fn pass_gate<'a>(
    local: &Local<'_>,
    packet: &'a [u8],
) -> Result<(First<'a>, Psk, MacKey), HandshakeError> {
    let first = First::parse(packet).ok_or(HandshakeError::Stranger)?;
    if first.carrier != local.carrier {
        return Err(HandshakeError::Stranger);
    }
    let psk = local.credentials.psk_of(first.gate).ok_or(HandshakeError::Stranger)?;
    let mac_key = MacKey::new(&psk);
    if !mac_key.opens(&first) {
        return Err(HandshakeError::Stranger);
    }
    Ok((first, psk, mac_key))
}

impl Half {
    fn unframe<'a>(&self, kind: u8, packet: &'a [u8]) -> Option<&'a [u8]> {
        self.mac_key.unframe(kind, self.index, &self.first_mac, packet)
    }

    fn write_identity(
        &mut self,
        kind: u8,
        remote_index: u32,
        credentials: &Credentials,
        hello: &[u8],
    ) -> Result<Vec<u8>, HandshakeError> {
        // Only the side that knocks may have a grant; see the length of the second message.
        let grant = if kind == kind::THIRD { credentials.grant.as_ref() } else { None };
        let identity = Identity {
            index: self.index,
            wire_oldest: WIRE_OLDEST,
            wire_newest: WIRE_NEWEST,
            certificate: credentials.certificate.encode().to_vec(),
            grant: grant.map(|grant| grant.encode().to_vec()),
            hello: hello.to_vec(),
        };
        let payload = wire::encode(IDENTITY_KIND, 1, &identity)
            .map_err(|source| HandshakeError::Identity { source })?;
        let mut body = [0; HANDSHAKE_LIMIT_BYTES];
        let length = self
            .noise
            .write_message(&payload, &mut body)
            .map_err(|source| HandshakeError::Noise { source })?;
        Ok(self.mac_key.frame(kind, remote_index, &self.first_mac, &body[..length]))
    }

    fn read_identity(
        &mut self,
        kind: u8,
        packet: &[u8],
    ) -> Result<(Identity, u16), HandshakeError> {
        let body = self
            .mac_key
            .unframe(kind, self.index, &self.first_mac, packet)
            .ok_or(HandshakeError::Stranger)?;
        let mut payload = [0; HANDSHAKE_LIMIT_BYTES];
        let length = self
            .noise
            .read_message(body, &mut payload)
            .map_err(|source| HandshakeError::Noise { source })?;
        let identity = decode_identity(&payload[..length])
            .map_err(|source| HandshakeError::Identity { source })?;
        let version = common_version(identity.wire_oldest, identity.wire_newest)?;
        check_hello(&identity.hello)?;
        Ok((identity, version))
    }

    fn judge(
        &self,
        credentials: &Credentials,
        identity: &Identity,
        peer_knocked: bool,
        now: u64,
    ) -> Result<Peer, HandshakeError> {
        let refused = |source| HandshakeError::Certificate { source };
        let certificate = Certificate::decode(&identity.certificate).map_err(refused)?;
        let knocks_by_token = match self.gate {
            Gate::Token { id } if peer_knocked => Some(id),
            Gate::Token { .. } | Gate::Psk { .. } => None,
        };
        let peer = match (certificate.claims().issuer, knocks_by_token) {
            (Issuer::Candidate, Some(token_id)) => {
                let grant = identity.grant.as_deref().and_then(Grant::decode);
                certificate.verify_candidate(&credentials.ca, grant.as_ref(), token_id, now)
            }
            (Issuer::Candidate | Issuer::Authority, _) => {
                certificate.verify(&credentials.ca, now, CLOCK_TOLERANCE_SECONDS)
            }
        };
        let peer = peer.map_err(refused)?;
        let node = peer.id;
        if self.noise.get_remote_static() != Some(&peer.public.x25519[..]) {
            return Err(HandshakeError::Borrowed { node });
        }
        if credentials.revoked.contains(&node) {
            return Err(HandshakeError::Revoked { node });
        }
        Ok(peer)
    }

    fn established(
        self,
        peer: Peer,
        identity: Identity,
        wire_version: u16,
    ) -> Result<Established, HandshakeError> {
        let mut hash = [0; 32];
        hash.copy_from_slice(self.noise.get_handshake_hash());
        let transport = self
            .noise
            .into_stateless_transport_mode()
            .map_err(|source| HandshakeError::Noise { source })?;
        Ok(Established {
            peer,
            peer_hello: identity.hello,
            wire_version,
            gate: self.gate,
            remote_index: identity.index,
            hash,
            transport,
        })
    }
}

pub(crate) fn decode_identity(payload: &[u8]) -> Result<Identity, WireError> {
    wire::decode(payload, IDENTITY_KIND, 1, IDENTITY_LIMIT_BYTES)
}

fn build(
    local: &Local<'_>,
    psk: &Psk,
    header: &[u8],
    initiator: bool,
) -> Result<HandshakeState, HandshakeError> {
    let noise_error = |source| HandshakeError::Noise { source };
    let params: NoiseParams = local.carrier.noise_name().parse().map_err(noise_error)?;
    let resolver = FallbackResolver::new(Box::new(RingResolver), Box::new(DefaultResolver));
    let builder = Builder::with_resolver(params, Box::new(resolver))
        .local_private_key(local.credentials.keys.agreement_secret())
        .and_then(|builder| builder.psk(0, psk.as_bytes()))
        .and_then(|builder| builder.prologue(header))
        .map_err(noise_error)?;
    let state = if initiator { builder.build_initiator() } else { builder.build_responder() };
    state.map_err(noise_error)
}

/// Versions, time and cluster; zeros up to the fixed length.
fn first_payload(local: &Local<'_>) -> [u8; FIRST_PAYLOAD_BYTES] {
    let mut payload = [0; FIRST_PAYLOAD_BYTES];
    payload[..2].copy_from_slice(&WIRE_OLDEST.to_le_bytes());
    payload[2..4].copy_from_slice(&WIRE_NEWEST.to_le_bytes());
    payload[4..12].copy_from_slice(&local.now.to_le_bytes());
    payload[12..28].copy_from_slice(&local.credentials.cluster_tag.0);
    payload
}

/// The sender's time, if that and the rest can be accepted.
fn check_first_payload(local: &Local<'_>, payload: &[u8]) -> Result<u64, HandshakeError> {
    let (Some([a, b, c, d]), Some(time), Some(tag)) = (
        payload.first_chunk::<4>(),
        payload.get(4..12).and_then(|time| time.try_into().ok()).map(u64::from_le_bytes),
        payload.get(12..28),
    ) else {
        return Err(HandshakeError::Stranger);
    };
    if local.credentials.cluster_tag.0 != tag {
        return Err(HandshakeError::Cluster);
    }
    if time.abs_diff(local.now) > FIRST_MESSAGE_WINDOW_SECONDS {
        return Err(HandshakeError::Clock { theirs: time, ours: local.now });
    }
    common_version(u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]))?;
    Ok(time)
}

fn common_version(oldest: u16, newest: u16) -> Result<u16, HandshakeError> {
    let common = newest.min(WIRE_NEWEST);
    if common < oldest.max(WIRE_OLDEST) {
        return Err(HandshakeError::Versions { oldest, newest });
    }
    Ok(common)
}

const fn check_hello(hello: &[u8]) -> Result<(), HandshakeError> {
    if hello.len() > HELLO_LIMIT_BYTES {
        return Err(HandshakeError::Hello { length: hello.len() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
