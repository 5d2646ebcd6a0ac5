//! Entry points for fuzzing: whatever the bytes, no panic, no answer, bounded memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::certificate::Certificate;
use crate::credentials::Credentials;
use crate::datagram::{Endpoint, Now};
use crate::handshake::{self, First};
use crate::identity::NodeKeys;
use crate::key::ClusterKey;
use crate::replay::{FirstMessages, SharedFirstMessages};
use crate::schedule::Authority;
use crate::token::{Grant, Token};
use crate::wire;

/// Any text as a key and as a token.
pub fn texts(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = ClusterKey::from_text(text);
        let _ = Token::from_text(text);
    }
}

/// Any bytes as everything that is decoded before or behind a signature.
pub fn decoding(bytes: &[u8]) {
    let _ = First::parse(bytes);
    let _ = Certificate::decode(bytes);
    let _ = Grant::decode(bytes);
    let _ = handshake::decode_identity(bytes);
    let _ = wire::decode::<(String, Vec<u64>, Option<[u8; 16]>)>(bytes, 1, 1, 1 << 20);
    let _ = FirstMessages::restore(bytes, 0);
}

/// An endpoint that anybody may send to; it must stay silent.
#[derive(Debug)]
pub struct Target {
    endpoint: Endpoint,
    now: Now,
}

impl Target {
    /// A member of a cluster with a random key; `None` without randomness.
    #[must_use]
    pub fn new() -> Option<Self> {
        let authority = Arc::new(Authority::from_key(&ClusterKey::generate().ok()?));
        let keys = Arc::new(NodeKeys::generate().ok()?);
        let credentials = Credentials::for_key_holder(keys, authority, 1_790_000_000, &[1]);
        let memory = SharedFirstMessages::new(FirstMessages::new().ok()?);
        let endpoint = Endpoint::new(Arc::new(credentials), Vec::new(), memory, &[1; 32]);
        let now = Now { monotonic: Duration::ZERO, unix: 1_790_000_000 };
        Some(Self { endpoint, now })
    }

    /// Any datagram; true if it was answered, which is a bug.
    #[must_use]
    pub fn is_answered(&mut self, packet: &[u8]) -> bool {
        let stranger = SocketAddr::from(([192, 0, 2, 1], 7964));
        self.now.monotonic += Duration::from_millis(100);
        self.endpoint.receive(self.now, stranger, packet);
        self.endpoint.tick(self.now);
        self.endpoint.poll_transmit().is_some()
    }
}
