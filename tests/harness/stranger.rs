//! Whoever has no key, and what it may try: first packets that are random, mutated or replayed.
#![expect(clippy::expect_used, reason = "only tests link this, and they end so")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crypto::datagram::{Endpoint, Now};
use crypto::{Authority, ClusterKey, Credentials, FirstMessages, NodeKeys, SharedFirstMessages};
use rand::{Rng, RngCore};
use tokio::io::AsyncReadExt;

use crate::live::pause;

/// An honest answer comes long before this.
const ANSWER: Duration = Duration::from_secs(3);
/// Bytes of a datagram that fits everywhere.
const DATAGRAM_MAX: usize = 1_200;

/// What a stranger can have recorded of a member.
#[derive(Debug)]
pub struct Recorded {
    to: SocketAddr,
    datagram: Vec<u8>,
    knock: Vec<u8>,
}

impl Recorded {
    /// What a member with this key would send first to a node.
    #[must_use]
    pub fn of_member(key_file: &Path, to: SocketAddr) -> Self {
        let key = ClusterKey::read_file(key_file).expect("the key of the cluster");
        Self { to, datagram: first_datagram(&key, to), knock: first_knock(&key) }
    }

    /// Sends both once, as the member: without answers to these the rest would prove nothing.
    ///
    /// # Panics
    ///
    /// If one is not answered.
    pub fn check(&self) {
        let mut byte = [0];
        let member = UdpSocket::bind("0.0.0.0:0").unwrap();
        member.set_read_timeout(Some(ANSWER)).unwrap();
        member.send_to(&self.datagram, self.to).unwrap();
        member.recv_from(&mut byte).expect("a member's first datagram is answered");

        let mut member = TcpStream::connect_timeout(&self.to, ANSWER).unwrap();
        member.set_read_timeout(Some(ANSWER)).unwrap();
        member.write_all(&self.knock).unwrap();
        member.read_exact(&mut byte).expect("a member's first message is answered");
    }

    /// Sends so many first datagrams; how many bytes were answered.
    #[must_use]
    pub fn udp(&self, n_packets: usize) -> usize {
        let strangers: Vec<_> = (0..8).map(|_| UdpSocket::bind("0.0.0.0:0").unwrap()).collect();
        for nth in 0..n_packets {
            let stranger = &strangers[nth / 4 % strangers.len()];
            stranger.send_to(&packet(nth, &self.datagram), self.to).unwrap();
            // As fast as a daemon can look at them, or the kernel would drop most.
            pause(Duration::from_millis(1));
        }
        pause(ANSWER);
        strangers.iter().map(heard).sum()
    }

    /// Opens so many connections with a first message each; how many bytes were answered.
    ///
    /// # Panics
    ///
    /// If one is held open.
    #[must_use]
    pub fn tcp(&self, n_packets: usize) -> usize {
        let mut n_bytes = 0;
        for nth in 0..n_packets {
            let mut stranger = TcpStream::connect_timeout(&self.to, ANSWER).unwrap();
            stranger.set_read_timeout(Some(2 * ANSWER)).unwrap();
            // The daemon may have hung up before it was all sent.
            let _ = stranger.write_all(&packet(nth, &self.knock));
            let _ = stranger.shutdown(Shutdown::Write);
            let mut answer = Vec::new();
            let end = stranger.read_to_end(&mut answer);
            // A reset is as silent as an end.
            let held = end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
            assert!(!held, "a stranger's connection is held open over TCP");
            n_bytes += answer.len();
        }
        n_bytes
    }
}

/// Bytes that have come by now.
fn heard(stranger: &UdpSocket) -> usize {
    let mut answer = [0; 65_536];
    stranger.set_nonblocking(true).unwrap();
    std::iter::from_fn(|| stranger.recv_from(&mut answer).ok()).map(|(n_bytes, _)| n_bytes).sum()
}

fn credentials(key: &ClusterKey) -> Credentials {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let authority = Arc::new(Authority::from_key(key));
    let keys = Arc::new(NodeKeys::generate().unwrap());
    Credentials::for_key_holder(keys, authority, now, &[1])
}

/// What a member would send first over UDP.
fn first_datagram(key: &ClusterKey, to: SocketAddr) -> Vec<u8> {
    let memory = SharedFirstMessages::new(FirstMessages::new().unwrap());
    let mut endpoint = Endpoint::new(Arc::new(credentials(key)), Vec::new(), memory, &[7; 32]);
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let now = Now { monotonic: Duration::from_secs(1), unix };
    endpoint.send(now, to, 0, b"hello").unwrap();
    endpoint.tick(now);
    endpoint.poll_transmit().unwrap().1
}

/// What a member would send first over TCP.
fn first_knock(key: &ClusterKey) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (near, mut far) = tokio::io::duplex(4096);
        let credentials = credentials(key);
        let gate = credentials.gate_key().unwrap();
        let wait = Duration::from_millis(200);
        let dialled = crypto::stream::dial(near, &credentials, &gate, b"", wait).await;
        assert!(dialled.is_err(), "nobody answers at the other end");
        let mut sent = Vec::new();
        far.read_to_end(&mut sent).await.unwrap();
        sent
    })
}

/// Random, replayed or mutated, in turns.
fn packet(nth: usize, real: &[u8]) -> Vec<u8> {
    let mut rng = rand::rng();
    let mut packet = real.to_vec();
    match nth % 4 {
        0 => {
            packet.resize(rng.random_range(1..=DATAGRAM_MAX), 0);
            rng.fill_bytes(&mut packet);
        }
        // The length of a real one.
        1 => rng.fill_bytes(&mut packet),
        2 => {}
        _ => {
            let bit = rng.random_range(0..packet.len() * 8);
            packet[bit / 8] ^= 1 << (bit % 8);
        }
    }
    packet
}
