//! Two stores over real sessions: every path, and who may use it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use crypto::stream::testing::{TestCluster, connect_as};
use crypto::stream::{Client, Router, RpcError};
use crypto::{Credentials, NodeId};
use model::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::harness::{PATIENCE, SECONDS_2, has_nodes};
use crate::records::Blob;
use crate::testing::{CLUSTER, admission};
use crate::{Charter, Config, Dial, DialError, Store};

/// Every node's credentials and store.
struct Known {
    credentials: Credentials,
    store: Option<Store>,
}

#[derive(Clone)]
struct World {
    cluster: TestCluster,
    known: Arc<Mutex<BTreeMap<NodeId, Known>>>,
    drivers: Arc<Mutex<JoinSet<()>>>,
}

impl World {
    fn new() -> Self {
        let cluster = TestCluster::new().unwrap();
        Self { cluster, known: Arc::default(), drivers: Arc::default() }
    }

    fn add(&self, credentials: Credentials) -> NodeId {
        let id = credentials.keys.public().id();
        self.known.lock().unwrap().insert(id, Known { credentials, store: None });
        id
    }

    async fn connect(&self, from: NodeId, to: NodeId) -> Client {
        let (near, far, store) = {
            let known = self.known.lock().unwrap();
            let far = &known[&to];
            (known[&from].credentials.clone(), far.credentials.clone(), far.store.clone().unwrap())
        };
        let router = store.router(Router::new());
        let gate = self.cluster.gate();
        let (client, driver) = connect_as(router, &gate, (&near, &far)).await.unwrap();
        self.drivers.lock().unwrap().spawn(driver);
        client
    }
}

struct Dialler {
    world: World,
    me: NodeId,
    open: Mutex<BTreeMap<NodeId, Client>>,
}

#[async_trait]
impl Dial for Dialler {
    async fn dial(&self, node: NodeId) -> Result<Client, DialError> {
        if let Some(client) = self.open.lock().unwrap().get(&node) {
            return Ok(client.clone());
        }
        if self.world.known.lock().unwrap().get(&node).is_none_or(|known| known.store.is_none()) {
            return Err(DialError::new(node, "it is not known"));
        }
        let client = self.world.connect(self.me, node).await;
        self.open.lock().unwrap().insert(node, client.clone());
        Ok(client)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_speak_raft_over_sessions_and_a_worker_may_not() {
    let world = World::new();
    let stop = CancellationToken::new();
    let mut drivers = JoinSet::new();
    let mut stores = Vec::new();
    let mut dirs = Vec::new();
    for _ in 0..2 {
        let me = world.add(world.cluster.eligible().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let dial = Dialler { world: world.clone(), me, open: Mutex::default() };
        let config = Config::new(dir.path(), me, 1);
        let (store, driver) = Store::open(config, Arc::new(dial), stop.clone()).await.unwrap();
        drivers.spawn(driver);
        world.known.lock().unwrap().get_mut(&me).unwrap().store = Some(store.clone());
        stores.push((me, store));
        dirs.push(dir);
    }
    let [(first, one), (second, two)] = <[_; 2]>::try_from(stores).unwrap();
    let voters = BTreeMap::from([(1, first)]);
    one.found(&Charter { cluster: CLUSTER, voters }).await.unwrap();
    let founders = vec![(1, admission(1))];
    one.propose(Command::Found { id: CLUSTER, founders }, None, PATIENCE).await.unwrap();
    for number in 10..40 {
        let command = Command::Admit(admission(number));
        one.propose(command, None, PATIENCE).await.unwrap();
    }
    one.running().unwrap().make_snapshot(30).await;

    // A snapshot through the tunnel, then entries.
    two.enlist(1002, CLUSTER, 0).await.unwrap();
    one.add_learner(1002, second).await.unwrap();
    let mut state = two.state();
    let filled = state.wait_for(|state| has_nodes(state, 10..40));
    timeout(PATIENCE, filled).await.unwrap().unwrap();
    // A vote, and the lead.
    let mut status = one.status();
    let learned = status
        .wait_for(|status| status.learners.contains_key(&1002) && status.membership_committed);
    let based_on = timeout(PATIENCE, learned).await.unwrap().unwrap().membership.unwrap();
    one.change_voters(BTreeSet::from([1, 1002]), based_on).await.unwrap();
    one.transfer_leader(1002).await.unwrap();
    two.propose(Command::Admit(admission(50)), None, PATIENCE).await.unwrap();

    let worker = world.add(world.cluster.worker().unwrap());
    let client = world.connect(worker, first).await;
    let refused = client.unary::<_, Blob>("/raft/vote", &Blob::default(), SECONDS_2).await;
    let Err(RpcError::Status(status)) = refused else { panic!("{refused:?}") };
    assert!(status.message.contains("cluster key"), "{status}");

    stop.cancel();
    let ended = timeout(PATIENCE, drivers.join_all()).await.unwrap();
    assert!(ended.iter().all(Result::is_ok), "{ended:?}");
    tokio::time::sleep(Duration::from_millis(1)).await;
}
