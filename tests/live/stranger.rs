//! Who has no key gets no byte.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crypto::datagram::{Endpoint, Now};
use crypto::{Authority, ClusterKey, Credentials, FirstMessages, NodeKeys, SharedFirstMessages};
use rand::{Rng, RngCore};
use tests::live::{CONTROL_PORT, Kind, Lab, pause, possible};
use tests::live_net::address;
use tokio::io::AsyncReadExt;

/// First packets on each carrier.
const N_PACKETS: usize = 1_000;
/// An honest answer comes long before this.
const ANSWER: Duration = Duration::from_secs(3);
/// Bytes of a datagram that fits everywhere.
const DATAGRAM_MAX: usize = 1_200;

#[test]
fn a_stranger_gets_no_byte() {
    if !possible() {
        return;
    }
    let mut lab = Lab::new(3, Kind::Seeded);
    lab.form(3);
    let key = ClusterKey::read_file(&lab.key_file()).unwrap();
    let to = SocketAddr::from((address(1), CONTROL_PORT));
    let (datagram, knock) = (first_datagram(&key, to), first_knock(&key));
    lab.network.outside(|| {
        udp(to, &datagram);
        tcp(to, &knock);
    });
    let report = lab.status(1).unwrap();
    assert_eq!(report["Members"].as_array().unwrap().len(), 3, "a stranger became a member");
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

fn udp(to: SocketAddr, real: &[u8]) {
    let mut answer = [0; 65_536];
    let member = UdpSocket::bind("0.0.0.0:0").unwrap();
    member.set_read_timeout(Some(ANSWER)).unwrap();
    member.send_to(real, to).unwrap();
    // Without this the rest would prove nothing.
    member.recv_from(&mut answer).expect("a member's first datagram is answered");

    let strangers: Vec<_> = (0..8).map(|_| UdpSocket::bind("0.0.0.0:0").unwrap()).collect();
    for nth in 0..N_PACKETS {
        strangers[nth / 4 % strangers.len()].send_to(&packet(nth, real), to).unwrap();
        pause(Duration::from_millis(1));
    }
    pause(ANSWER);
    for stranger in &strangers {
        stranger.set_nonblocking(true).unwrap();
        let got = stranger.recv_from(&mut answer);
        assert!(got.is_err(), "a stranger got {got:?} over UDP");
    }
}

fn tcp(to: SocketAddr, real: &[u8]) {
    let mut member = TcpStream::connect_timeout(&to, ANSWER).unwrap();
    member.set_read_timeout(Some(ANSWER)).unwrap();
    member.write_all(real).unwrap();
    let mut byte = [0];
    let n_read = member.read(&mut byte).expect("a member's first message is answered");
    assert_eq!(n_read, 1, "a member's first message is answered");
    drop(member);

    for nth in 0..N_PACKETS {
        let mut stranger = TcpStream::connect_timeout(&to, ANSWER).unwrap();
        stranger.set_read_timeout(Some(2 * ANSWER)).unwrap();
        // The daemon may have hung up before it was all sent.
        let _ = stranger.write_all(&packet(nth, real));
        let _ = stranger.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        match stranger.read_to_end(&mut answer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("a stranger's connection is held open over TCP")
            }
            // A reset is as silent as an end.
            Ok(_) | Err(_) => {}
        }
        assert!(answer.is_empty(), "a stranger got {} bytes over TCP", answer.len());
    }
}
