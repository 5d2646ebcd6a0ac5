//! One pair of keys with one peer: sealing, opening, and when it is due for a successor.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use snow::StatelessTransportState;

use crate::certificate::Peer;
use crate::handshake::{Established, PROTOCOL, packet_kind};
use crate::replay::ReplayWindow;

use super::fragments::PACKET_BYTES;

const HEADER_BYTES: usize = 16;
const TAG_BYTES: usize = 16;

/// Far below what the cipher allows, far above what gossip ever sends.
const COUNTER_LIMIT: u64 = 1 << 40;

/// A session that could not be renewed for this long ends: its certificates are out of date.
const AGE_LIMIT: Duration = Duration::from_secs(4 * 60 * 60);

/// How often the third message is repeated: at 0.4, 1.2, 2.8, 6 and 12.4 seconds.
const THIRD_REPEATS: u32 = 5;

/// The first repetition of a handshake message; the next ones take twice as long each.
pub(super) const REPEAT_AFTER: Duration = Duration::from_millis(400);

#[derive(Debug)]
pub(super) struct Session {
    pub(super) peer: Arc<Peer>,
    pub(super) peer_hello: Arc<[u8]>,
    /// Where we send, and the name by which the application knows the peer.
    pub(super) remote: SocketAddr,
    /// Where its packets come from; another address on a host with several.
    pub(super) heard_from: SocketAddr,
    pub(super) hash: [u8; 32],
    pub(super) created_at: Duration,
    pub(super) rekey_at: Duration,
    pub(super) retire_at: Option<Duration>,
    /// The handshake was ours.
    pub(super) initiated: bool,
    /// The peer has the keys too: it used them, or sent the third message.
    pub(super) confirmed: bool,
    pub(super) last_received: Option<Duration>,
    /// When an answer is owed, if nothing else is sent before.
    pub(super) answer_at: Option<Duration>,
    /// The third message that was accepted, to know its repetitions.
    pub(super) third_hash: Option<blake3::Hash>,
    third: Option<Third>,
    remote_index: u32,
    transport: StatelessTransportState,
    next_counter: u64,
    next_message: u32,
    window: ReplayWindow,
}

#[derive(Debug)]
struct Third {
    packet: Vec<u8>,
    repeat_at: Duration,
    repeats: u32,
}

/// Where a session's packets go and come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) remote: SocketAddr,
    pub(super) heard_from: SocketAddr,
}

impl Session {
    /// `third` is the message to repeat, on the side that sent it.
    pub(super) fn new(
        established: Established,
        path: Path,
        now: Duration,
        rekey_at: Duration,
        third: Option<Vec<u8>>,
    ) -> Self {
        let third = third.map(|packet| Third { packet, repeat_at: now + REPEAT_AFTER, repeats: 0 });
        Self {
            peer: Arc::new(established.peer),
            peer_hello: established.peer_hello.into(),
            remote: path.remote,
            heard_from: path.heard_from,
            hash: established.hash,
            created_at: now,
            rekey_at,
            retire_at: None,
            initiated: third.is_some(),
            confirmed: third.is_none(),
            last_received: None,
            answer_at: None,
            third_hash: None,
            third,
            remote_index: established.remote_index,
            transport: established.transport,
            next_counter: 0,
            next_message: 0,
            window: ReplayWindow::default(),
        }
    }

    /// One packet; `None` only if the counters are used up.
    pub(super) fn seal(&mut self, plaintext: &[u8]) -> Option<Vec<u8>> {
        let counter = self.next_counter;
        let mut packet = vec![0; HEADER_BYTES + plaintext.len() + TAG_BYTES];
        packet[0] = packet_kind::DATA;
        packet[1] = PROTOCOL;
        packet[4..8].copy_from_slice(&self.remote_index.to_le_bytes());
        packet[8..16].copy_from_slice(&counter.to_le_bytes());
        self.transport.write_message(counter, plaintext, &mut packet[HEADER_BYTES..]).ok()?;
        self.next_counter += 1;
        self.answer_at = None;
        Some(packet)
    }

    /// The plaintext of a packet that nobody else can have made and that was not seen before.
    ///
    /// Nothing changes before the tag is verified.
    pub(super) fn open(&mut self, now: Duration, packet: &[u8]) -> Option<Vec<u8>> {
        if packet.len() > PACKET_BYTES || packet.get(..4)? != [packet_kind::DATA, PROTOCOL, 0, 0] {
            return None;
        }
        let counter = u64::from_le_bytes(packet.get(8..HEADER_BYTES)?.try_into().ok()?);
        if !self.window.would_accept(counter) {
            return None;
        }
        // The counter is the nonce and the index chose the key, so the header is authenticated.
        let mut plaintext = vec![0; packet.len() - HEADER_BYTES];
        let length =
            self.transport.read_message(counter, &packet[HEADER_BYTES..], &mut plaintext).ok()?;
        plaintext.truncate(length);
        self.window.accept(counter);
        self.last_received = Some(now);
        self.confirmed = true;
        self.third = None;
        Some(plaintext)
    }

    pub(super) fn next_message_id(&mut self) -> u32 {
        self.next_message = self.next_message.wrapping_add(1);
        self.next_message
    }

    pub(super) fn is_due(&self, now: Duration) -> bool {
        now >= self.rekey_at || self.next_counter >= COUNTER_LIMIT
    }

    pub(super) fn is_over(&self, now: Duration) -> bool {
        let never_confirmed = !self.confirmed
            && self
                .third
                .as_ref()
                .is_none_or(|third| third.repeats >= THIRD_REPEATS && now >= third.repeat_at);
        now.saturating_sub(self.created_at) >= AGE_LIMIT
            || never_confirmed
            || self.retire_at.is_some_and(|retire_at| now >= retire_at)
    }

    /// The third message, if it is time to repeat it.
    pub(super) fn third_to_repeat(&mut self, now: Duration) -> Option<Vec<u8>> {
        let third = self.third.as_mut()?;
        if now < third.repeat_at || third.repeats >= THIRD_REPEATS {
            return None;
        }
        third.repeats += 1;
        third.repeat_at = now + REPEAT_AFTER * (1 << third.repeats);
        Some(third.packet.clone())
    }
}
