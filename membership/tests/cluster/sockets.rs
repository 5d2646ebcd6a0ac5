//! The same over real sockets and real handshakes, on loopback.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crypto::replay::{FirstMessages, SharedFirstMessages};
use crypto::{Authority, ClusterKey, Credentials, NodeKeys, Role};
use membership::udp::{UdpConfig, UdpTransport};
use membership::{
    BigMessage, Config, Me, Membership, MembershipError, PacketTransport, ProbeOutcome,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::sim::payload;

/// What a starved machine may take; a healthy one needs a second.
const PATIENCE: Duration = Duration::from_secs(30);

struct Node {
    membership: Membership,
    _renew: watch::Sender<Arc<Credentials>>,
    _big: mpsc::Receiver<BigMessage>,
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn start(
    authority: &Arc<Authority>,
    seeds: &[String],
    running: &mut JoinSet<Result<(), MembershipError>>,
) -> (Node, String) {
    let keys = Arc::new(NodeKeys::generate().unwrap());
    let credentials =
        Arc::new(Credentials::for_key_holder(keys, Arc::clone(authority), unix_now(), &[1]));
    start_as(Arc::clone(&credentials), credentials, seeds, running)
}

/// A node whose socket was bound with credentials that it has replaced since.
fn start_as(
    bound_with: Arc<Credentials>,
    credentials: Arc<Credentials>,
    seeds: &[String],
    running: &mut JoinSet<Result<(), MembershipError>>,
) -> (Node, String) {
    let first_messages = SharedFirstMessages::new(FirstMessages::new().unwrap());
    let transport = UdpTransport::bind(UdpConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        credentials: bound_with,
        hello: Vec::new(),
        first_messages,
        unix_now,
    })
    .unwrap();
    let address = transport.local_addr().unwrap();
    let mut seeds = seeds.to_vec();
    // Its own entry, under a name.
    seeds.push(format!("LOCALHOST:{}", address.port()));
    let config = Config::new(address, address, seeds);
    let (renew, credentials) = watch::channel(credentials);
    let me = Me { credentials, payload: payload(), incarnation: 1 };
    let (big, big_messages) = mpsc::channel(64);
    let transport: Box<dyn PacketTransport> = Box::new(transport);
    let (membership, future) =
        Membership::new(config, me, transport, big, CancellationToken::new());
    running.spawn(future);
    (Node { membership, _renew: renew, _big: big_messages }, address.to_string())
}

async fn sees(node: &Node, n_nodes: usize) {
    let mut view = node.membership.view();
    let all = view.wait_for(|view| view.alive().count() == n_nodes);
    timeout(PATIENCE, all).await.unwrap().unwrap();
}

#[tokio::test]
async fn nodes_find_each_other_by_handshake_and_strangers_do_not() {
    let authority = Arc::new(Authority::from_key(&ClusterKey::generate().unwrap()));
    let stranger = Arc::new(Authority::from_key(&ClusterKey::generate().unwrap()));
    let mut running = JoinSet::new();
    let (first, address) = start(&authority, &[], &mut running);
    let seeds = [address];
    let (second, _) = start(&authority, &seeds, &mut running);
    let (third, _) = start(&authority, &seeds, &mut running);
    let (alone, _) = start(&stranger, &seeds, &mut running);
    for node in [&first, &second, &third] {
        sees(node, 3).await;
    }
    let target = first.membership.view().borrow().me;
    assert_eq!(second.membership.probe(target).await.unwrap(), ProbeOutcome::Alive);
    let view = Arc::clone(&third.membership.view().borrow());
    let own = view.seeds.iter().find(|seed| seed.entry.starts_with("localhost:")).unwrap();
    assert!(own.is_me, "{own:?}");
    assert_eq!(alone.membership.view().borrow().members.len(), 1);
    assert!(running.try_join_next().is_none(), "nobody ended");
}

#[tokio::test]
async fn who_joined_with_a_token_gossips_as_what_it_became() {
    let authority = Arc::new(Authority::from_key(&ClusterKey::generate().unwrap()));
    let mut running = JoinSet::new();
    let (first, address) = start(&authority, &[], &mut running);
    let token = authority.grant(Role::Worker, [1; 16], unix_now() + 60, 0);
    let keys = Arc::new(NodeKeys::generate().unwrap());
    let candidate = Credentials::candidate(Arc::clone(&keys), &token);
    let issued = authority.issue(&keys.public(), Role::Worker, 1, unix_now(), Some([1; 16]));
    let psks = vec![(1, authority.gossip_psk(1))];
    let member = Credentials::for_member(keys, issued, authority.ca(), psks);
    let (joined, _) = start_as(Arc::new(candidate), Arc::new(member), &[address], &mut running);
    for node in [&first, &joined] {
        sees(node, 2).await;
    }
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let authority = Arc::new(Authority::from_key(&ClusterKey::generate().unwrap()));
    let keys = Arc::new(NodeKeys::generate().unwrap());
    let credentials = Arc::new(Credentials::for_key_holder(keys, authority, unix_now(), &[1]));
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap();
    let first_messages = SharedFirstMessages::new(FirstMessages::new().unwrap());
    let config = UdpConfig { listen, credentials, hello: Vec::new(), first_messages, unix_now };
    let error = UdpTransport::bind(config).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {listen}/udp"));
}
