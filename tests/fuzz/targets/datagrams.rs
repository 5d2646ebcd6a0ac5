//! Two endpoints and a network that a stranger owns: what arrives was sent, and arrives once.
//!
//! The input is a script: each step takes one byte that chooses and one or two that say which.
#![no_main]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::datagram::{Endpoint, Event, Now, TICK};
use crypto::{Authority, ClusterKey, Credentials, FirstMessages, NodeKeys, SharedFirstMessages};
use libfuzzer_sys::fuzz_target;

const NOW: u64 = 1_790_000_000;
/// Steps of one script, so that one input stays fast.
const STEPS_MAX: usize = 200;
/// Packets that the stranger keeps.
const KEPT_MAX: usize = 256;

struct Network {
    ends: [Endpoint; 2],
    now: Now,
    /// Every packet ever seen, with its direction.
    kept: Vec<(usize, Vec<u8>)>,
    /// Messages sent and not yet delivered, by receiver and content.
    owed: BTreeSet<(usize, Vec<u8>)>,
    n_sent: u64,
}

fn address(end: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, if end == 0 { 1 } else { 2 }], 7964))
}

fn endpoint(authority: &Arc<Authority>, seed: u8) -> Endpoint {
    let keys = Arc::new(NodeKeys::generate().expect("randomness"));
    let credentials = Credentials::for_key_holder(keys, Arc::clone(authority), NOW, &[1]);
    let memory = SharedFirstMessages::new(FirstMessages::with_capacity(64).expect("randomness"));
    Endpoint::new(Arc::new(credentials), b"hello".to_vec(), memory, &[seed; 32])
}

impl Network {
    fn new() -> Self {
        let authority = Arc::new(Authority::from_key(&ClusterKey::from_bytes([7; 32])));
        let ends = [endpoint(&authority, 1), endpoint(&authority, 2)];
        let now = Now { monotonic: Duration::ZERO, unix: NOW };
        Self { ends, now, kept: Vec::new(), owed: BTreeSet::new(), n_sent: 0 }
    }

    /// Takes what the endpoints say and wrote, and judges what was delivered.
    fn collect(&mut self) {
        for end in 0..2 {
            while let Some((to, packet)) = self.ends[end].poll_transmit() {
                if to == address(1 - end) && self.kept.len() < KEPT_MAX {
                    self.kept.push((1 - end, packet));
                }
            }
            while let Some(event) = self.ends[end].poll_event() {
                if let Event::Message { kind, payload, .. } = event {
                    assert_eq!(kind, 9);
                    let owed = self.owed.remove(&(end, payload));
                    assert!(owed, "a message arrived that nobody sent, or twice");
                }
            }
        }
    }

    fn send(&mut self, from: usize, length: usize) {
        self.n_sent += 1;
        let mut payload = self.n_sent.to_be_bytes().to_vec();
        payload.resize(8 + length, 0xAB);
        let sent = self.ends[from].send(self.now, address(1 - from), 9, &payload);
        if sent.is_ok() {
            self.owed.insert((1 - from, payload));
        }
    }

    fn deliver(&mut self, place: u8, change: Option<(u8, u8)>) {
        let Some(place) = usize::from(place).checked_rem(self.kept.len()) else { return };
        let (to, mut packet) = self.kept[place].clone();
        if let Some((at, with)) = change
            && let Some(at) = usize::from(at).checked_rem(packet.len())
        {
            packet[at] ^= with;
        }
        self.ends[to].receive(self.now, address(1 - to), &packet);
    }

    fn pass_all(&mut self) {
        for (to, packet) in std::mem::take(&mut self.kept) {
            self.ends[to].receive(self.now, address(1 - to), &packet);
        }
    }

    fn tick(&mut self, count: u8) {
        for _ in 0..=count {
            self.now.monotonic += TICK;
            self.ends[0].tick(self.now);
            self.ends[1].tick(self.now);
        }
    }
}

fuzz_target!(|script: &[u8]| {
    let mut network = Network::new();
    let mut bytes = script.iter().copied();
    for _ in 0..STEPS_MAX {
        let Some(step) = bytes.next() else { break };
        let mut next = || bytes.next().unwrap_or(0);
        match step % 8 {
            0 => network.send(0, usize::from(next()) * 40),
            1 => network.send(1, usize::from(next()) * 40),
            2 => network.deliver(next(), None),
            3 => network.deliver(next(), Some((next(), next()))),
            4 => network.pass_all(),
            5 => network.tick(next() % 64),
            // The rest of the script, as it is, from an address that talks to us.
            6 => {
                let packet: Vec<u8> = bytes.by_ref().collect();
                network.ends[0].receive(network.now, address(1), &packet);
            }
            // The machine behind an address starts anew under another identity. What was not
            // delivered may be lost, or reach the new one; nothing is delivered to both.
            _ => {
                let authority = Arc::new(Authority::from_key(&ClusterKey::from_bytes([7; 32])));
                network.ends[1] = endpoint(&authority, next());
            }
        }
        network.collect();
        assert!(network.ends.iter().all(|end| end.session_count() < 64), "sessions pile up");
    }
});
