//! A cluster on an in-memory network.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::{Authority, ClusterKey, Credentials, NodeId, NodeKeys, Peer};
use membership::memory::Network;
use membership::{
    BigMessage, Config, Liveness, Me, Membership, MembershipError, Payload, Presence, View,
};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

const UNIX: u64 = 1_800_000_000;

/// A quarter of an hour would take too long even in virtual time.
pub(crate) const GRACE: Duration = Duration::from_secs(30);

/// How often the tests look.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

pub(crate) struct Sim {
    pub(crate) network: Network,
    pub(crate) authority: Arc<Authority>,
    pub(crate) nodes: Vec<Node>,
    seeds: Vec<String>,
    running: JoinSet<Result<(), MembershipError>>,
}

pub(crate) struct Node {
    pub(crate) membership: Membership,
    pub(crate) address: SocketAddr,
    pub(crate) credentials: Arc<Credentials>,
    pub(crate) big: Option<mpsc::Receiver<BigMessage>>,
    pub(crate) renew: watch::Sender<Arc<Credentials>>,
    incarnation: u64,
    abort: AbortHandle,
}

impl Sim {
    /// Nodes that all have the first one as their seed, started within a second.
    pub(crate) async fn new(n_nodes: usize, chance: u64) -> Self {
        let authority = Arc::new(Authority::from_key(&ClusterKey::generate().unwrap()));
        let mut sim = Self {
            network: Network::new(chance),
            authority,
            nodes: Vec::new(),
            seeds: vec![address(0).to_string()],
            running: JoinSet::new(),
        };
        for _ in 0..n_nodes {
            sim.add();
            sleep(Duration::from_secs(1) / u32::try_from(n_nodes).unwrap()).await;
        }
        sim
    }

    /// A cluster in which everybody sees everybody.
    pub(crate) async fn settled(n_nodes: usize, chance: u64) -> Self {
        let mut sim = Self::new(n_nodes, chance).await;
        sim.settle().await;
        sim
    }

    /// Starts one more node and returns its place.
    pub(crate) fn add(&mut self) -> usize {
        let place = self.nodes.len();
        let credentials = self.credentials();
        let node = self.start(address(place), credentials, 1);
        self.nodes.push(node);
        place
    }

    pub(crate) fn credentials(&self) -> Arc<Credentials> {
        let keys = Arc::new(NodeKeys::generate().unwrap());
        let authority = Arc::clone(&self.authority);
        Arc::new(Credentials::for_key_holder(keys, authority, UNIX, &[1]))
    }

    fn start(
        &mut self,
        address: SocketAddr,
        credentials: Arc<Credentials>,
        incarnation: u64,
    ) -> Node {
        let transport = self.network.join(address, peer(&credentials));
        let (renew, watched) = watch::channel(Arc::clone(&credentials));
        let me = Me { credentials: watched, payload: payload(), incarnation };
        let config = Config::new(address, address, self.seeds.clone());
        let config = Config { unix_now: || UNIX, grace: GRACE, ..config };
        let (big, big_messages) = mpsc::channel(64);
        let stop = CancellationToken::new();
        let (membership, future) = Membership::new(config, me, Box::new(transport), big, stop);
        let abort = self.running.spawn(future);
        let big = Some(big_messages);
        Node { membership, address, credentials, big, renew, incarnation, abort }
    }

    /// As `kill -9`: nothing is said.
    pub(crate) async fn kill(&self, place: usize) {
        self.nodes[place].abort.abort();
        tokio::task::yield_now().await;
    }

    pub(crate) fn restart(&mut self, place: usize) {
        let old = &self.nodes[place];
        let (address, credentials) = (old.address, Arc::clone(&old.credentials));
        let incarnation = old.incarnation + 1;
        self.nodes[place] = self.start(address, credentials, incarnation);
    }

    pub(crate) fn id(&self, place: usize) -> NodeId {
        self.nodes[place].credentials.node()
    }

    pub(crate) fn view(&self, place: usize) -> Arc<View> {
        Arc::clone(&self.nodes[place].membership.view().borrow())
    }

    /// What one sees of another.
    pub(crate) fn sees(&self, observer: usize, subject: usize) -> Option<Liveness> {
        let view = self.view(observer);
        view.members.get(&self.id(subject)).map(|member| member.liveness)
    }

    pub(crate) fn n_alive(&self, observer: usize) -> usize {
        self.view(observer).alive().count()
    }

    /// Waits until everybody sees everybody; how long that took.
    pub(crate) async fn settle(&mut self) -> Duration {
        let n_nodes = self.nodes.len();
        self.until("everybody sees everybody", 30, |sim| {
            (0..n_nodes).all(|observer| sim.n_alive(observer) == n_nodes)
        })
        .await
    }

    /// Waits until something holds; how long that took.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        seconds: u64,
        holds: impl Fn(&Self) -> bool,
    ) -> Duration {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < Duration::from_secs(seconds), "not in {seconds} s: {what}");
            self.pass(LOOK).await;
        }
        start.elapsed()
    }

    /// Lets time pass; nobody may end by itself meanwhile.
    pub(crate) async fn pass(&mut self, time: Duration) {
        sleep(time).await;
        while let Some(ended) = self.running.try_join_next() {
            if let Ok(Err(error)) = ended {
                panic!("a node ended: {error:?}");
            }
        }
    }

    /// Counts how often somebody who is up was newly suspected.
    pub(crate) async fn false_suspicions(&mut self, time: Duration) -> usize {
        let end = Instant::now() + time;
        let mut suspected = BTreeMap::new();
        let mut count = 0;
        while Instant::now() < end {
            self.pass(LOOK).await;
            for observer in 0..self.nodes.len() {
                for member in self.view(observer).members.values() {
                    let is = matches!(member.liveness, Liveness::Suspect { .. });
                    let was = suspected.insert((observer, member.id), is).unwrap_or(false);
                    count += usize::from(is && !was);
                }
            }
        }
        count
    }
}

pub(crate) fn address(place: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(place).unwrap() + 1], 7964))
}

pub(crate) fn peer(credentials: &Credentials) -> Peer {
    credentials.certificate.verify(&credentials.ca, UNIX, 0).unwrap()
}

pub(crate) fn payload() -> Payload {
    Payload {
        eligible: true,
        hostname: "host".to_owned(),
        zone: "z".to_owned(),
        genesis: None,
        state: Presence::Alive,
        version: "0.1.0".to_owned(),
        raft_id: 0,
        draining: false,
    }
}

pub(crate) fn is_suspect(liveness: Option<Liveness>) -> bool {
    matches!(liveness, Some(Liveness::Suspect { .. }))
}
