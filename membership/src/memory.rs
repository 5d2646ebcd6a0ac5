//! A network inside one process, for tests: latency, loss and cuts, in the runtime's own time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use crypto::{Credentials, Peer};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::packet::{Kind, Packet, PacketTransport, Received, TransportBroke};

/// Packets that wait for one node; a real socket's buffer holds no more.
const INBOX: usize = 4096;

/// What eight fragments of a datagram session carry.
const PAYLOAD_BYTES_MAX: usize = 8 * 1_100;

/// The network itself. Clones are the same network.
#[derive(Clone, Debug)]
pub struct Network {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    random: StdRng,
    loss: f64,
    latency: (Duration, Duration),
    cut: BTreeSet<(SocketAddr, SocketAddr)>,
    inboxes: BTreeMap<SocketAddr, Inbox>,
    n_sent: u64,
    payload_bytes_max: usize,
}

#[derive(Debug, Default)]
struct Inbox {
    /// Ordered by arrival, then by number.
    waiting: BinaryHeap<Reverse<(Instant, u64)>>,
    packets: BTreeMap<u64, Packet>,
    arrived: Arc<Notify>,
}

impl Network {
    /// A network whose chance is decided by `seed`: 1-5 ms of latency, no loss.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: StdRng::seed_from_u64(seed),
            loss: 0.0,
            latency: (Duration::from_millis(1), Duration::from_millis(5)),
            cut: BTreeSet::new(),
            inboxes: BTreeMap::new(),
            n_sent: 0,
            payload_bytes_max: PAYLOAD_BYTES_MAX,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Puts a node on the network, as the peer that others will see. It leaves when the transport
    /// is dropped.
    #[must_use]
    pub fn join(&self, address: SocketAddr, peer: Peer) -> MemoryTransport {
        let inbox = Inbox::default();
        let arrived = Arc::clone(&inbox.arrived);
        self.lock().inboxes.insert(address, inbox);
        MemoryTransport { network: self.clone(), address, peer: Arc::new(peer), arrived }
    }

    /// Sets the share of packets that get lost, from 0 to 1.
    pub fn set_loss(&self, loss: f64) {
        self.lock().loss = loss;
    }

    /// Sets the longest payload that packets carry.
    pub fn set_payload_bytes_max(&self, limit: usize) {
        self.lock().payload_bytes_max = limit;
    }

    /// Cuts or mends one direction between two nodes.
    pub fn set_cut(&self, from: SocketAddr, to: SocketAddr, cut: bool) {
        let mut state = self.lock();
        if cut {
            state.cut.insert((from, to));
        } else {
            state.cut.remove(&(from, to));
        }
    }

    /// Packets sent so far, lost ones too.
    #[must_use]
    pub fn n_sent(&self) -> u64 {
        self.lock().n_sent
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn carry(&mut self, to: SocketAddr, packet: Packet) {
        self.n_sent += 1;
        let number = self.n_sent;
        let lost = self.random.random_bool(self.loss) || self.cut.contains(&(packet.from, to));
        let at = Instant::now() + self.random.random_range(self.latency.0..=self.latency.1);
        let Some(inbox) = self.inboxes.get_mut(&to) else { return };
        if lost || inbox.packets.len() >= INBOX {
            return;
        }
        inbox.waiting.push(Reverse((at, number)));
        inbox.packets.insert(number, packet);
        inbox.arrived.notify_one();
    }

    /// The next packet of a node that has arrived, or when the next one will.
    fn arrival(&mut self, at: SocketAddr, now: Instant) -> Result<Packet, Option<Instant>> {
        let Some(inbox) = self.inboxes.get_mut(&at) else { return Err(None) };
        while let Some(Reverse((due, number))) = inbox.waiting.peek().copied() {
            if now < due {
                return Err(Some(due));
            }
            inbox.waiting.pop();
            if let Some(packet) = inbox.packets.remove(&number) {
                return Ok(packet);
            }
        }
        Err(None)
    }
}

/// One node's access to a [`Network`].
#[derive(Debug)]
pub struct MemoryTransport {
    network: Network,
    address: SocketAddr,
    peer: Arc<Peer>,
    arrived: Arc<Notify>,
}

impl Drop for MemoryTransport {
    fn drop(&mut self) {
        let mut state = self.network.lock();
        let ours = |inbox: &Inbox| Arc::ptr_eq(&inbox.arrived, &self.arrived);
        // A successor at the same address may have joined already.
        if state.inboxes.get(&self.address).is_some_and(ours) {
            state.inboxes.remove(&self.address);
        }
    }
}

#[async_trait]
impl PacketTransport for MemoryTransport {
    fn send(&mut self, to: SocketAddr, kind: Kind, payload: Vec<u8>) {
        let packet = Packet { from: self.address, peer: Arc::clone(&self.peer), kind, payload };
        self.network.lock().carry(to, packet);
    }

    fn trust(&mut self, _credentials: Arc<Credentials>) {
        // Here a peer is whoever the test says.
    }

    async fn receive(&mut self) -> Result<Received, TransportBroke> {
        loop {
            let arrival = self.network.lock().arrival(self.address, Instant::now());
            match arrival {
                Ok(packet) => return Ok(Received::Packet(packet)),
                Err(Some(due)) => tokio::select! {
                    () = sleep_until(due) => {}
                    () = self.arrived.notified() => {}
                },
                Err(None) => self.arrived.notified().await,
            }
        }
    }

    fn payload_bytes_max(&self) -> usize {
        self.network.lock().payload_bytes_max
    }
}
