//! Writing and reading while nodes come and go.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use model::{ClusterId, Command, ConfigId, RequestId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::harness::{Cluster, PATIENCE, SECONDS_2, charter, has_nodes};
use crate::backend::sled::SledBackend;
use crate::backend::{BackendError, Batch, Key, LogBackend};
use crate::store::{Ground, STUCK_AFTER};
use crate::testing::{CLUSTER, admission, node};
use crate::{Config, OpenError, ProposeError, RaftRole, ReadError, Store, StoreFailed};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_reaches_everybody_and_the_next_leader_has_it() {
    let mut cluster = Cluster::founded(3).await;
    cluster.admit(10..20).await;
    cluster.agreed().await;
    let old = cluster.leader().await;
    cluster.kill(old).await;
    let new = cluster.write(Command::Admit(admission(20))).await;
    assert_ne!(new, old);
    let state = cluster.store(new).read(PATIENCE).await.unwrap();
    assert!(has_nodes(&state, 10..21));
    // And back again, on its old disk.
    cluster.start(old).await;
    cluster.agreed().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_cluster_restarts_with_all_it_acknowledged() {
    let mut cluster = Cluster::founded(3).await;
    cluster.admit(10..60).await;
    for round in 0..2 {
        for number in 1..=3 {
            cluster.kill(number).await;
        }
        for number in 1..=3 {
            cluster.start(number).await;
        }
        let leader = cluster.leader().await;
        let state = cluster.store(leader).read(PATIENCE).await.unwrap();
        assert!(has_nodes(&state, 10..60), "round {round}");
        // The second round starts from a snapshot.
        let running = cluster.store(leader).running().unwrap();
        running.make_snapshot(30).await;
    }
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_founds_writes_and_reopens() {
    let mut cluster = Cluster::founded(1).await;
    cluster.admit(10..15).await;
    cluster.store(1).found(&charter(1)).await.unwrap();
    cluster.kill(1).await;
    cluster.start(1).await;
    cluster.leader().await;
    let state = cluster.store(1).read(PATIENCE).await.unwrap();
    assert!(has_nodes(&state, 10..15));
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_lead_names_who_does() {
    let cluster = Cluster::founded(3).await;
    let leader = cluster.leader().await;
    let follower = 1 + leader % 3;
    cluster.status_where(follower, |status| status.leader.is_some()).await;
    let store = cluster.store(follower);
    let leader = Some(node(leader));
    let proposed = store.propose(Command::RaisePskEpoch, None, SECONDS_2).await;
    assert_eq!(proposed.unwrap_err(), ProposeError::NotLeader { leader });
    assert_eq!(store.read(SECONDS_2).await.unwrap_err(), ReadError::NotLeader { leader });
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_a_write_is_answered_in_time_and_told_apart() {
    let cluster = Cluster::founded(3).await;
    let leader = cluster.leader().await;
    for number in (1..=3).filter(|number| *number != leader) {
        cluster.net.cut(number);
    }
    let store = cluster.store(leader);
    let request = Some(RequestId([9; 16]));
    let command = || Command::Admit(admission(50));
    let before = Instant::now();
    let first = store.propose(command(), request, SECONDS_2).await.unwrap_err();
    assert_eq!(first, ProposeError::Unconfirmed);
    // The lease is over: from here on nothing is proposed.
    let second = store.propose(Command::Admit(admission(51)), None, SECONDS_2).await.unwrap_err();
    assert_eq!(second, ProposeError::NoLeader);
    assert_eq!(store.read(SECONDS_2).await.unwrap_err(), ReadError::NoLeader);
    assert!(before.elapsed() < 4 * SECONDS_2, "answered late: {:?}", before.elapsed());
    for number in 1..=3 {
        cluster.net.heal(number);
    }
    // Repeated with its id it has effect once, whether the first try took effect or not.
    let leader = cluster.leader().await;
    let again = cluster.store(leader).propose(command(), request, PATIENCE).await.unwrap();
    let state = cluster.store(leader).read(PATIENCE).await.unwrap();
    assert_eq!(state.node(node(50)).unwrap().modified, again.index);
    assert!(state.node(node(51)).is_none());
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_configs_reach_who_was_away_and_survive_snapshots() {
    let mut cluster = Cluster::founded(3).await;
    let away = 1 + cluster.leader().await % 3;
    cluster.kill(away).await;
    // More together than one message or one chunk of a snapshot takes.
    for number in 1..=6 {
        let command = Command::CreateConfig {
            id: ConfigId::from_bytes([number; 16]),
            name: format!("c{number}"),
            labels: BTreeMap::from([("l".to_owned(), "v".repeat(100_000))]),
            sealed: vec![number; 1_023_999 + crypto::sealed::SEAL_BYTES],
        };
        cluster.write(command).await;
    }
    cluster.start(away).await;
    cluster.agreed().await;
    let leader = cluster.leader().await;
    cluster.store(leader).running().unwrap().make_snapshot(6).await;
    for number in 1..=3 {
        cluster.kill(number).await;
    }
    for number in 1..=3 {
        cluster.start(number).await;
    }
    let leader = cluster.leader().await;
    let state = cluster.store(leader).read(PATIENCE).await.unwrap();
    assert_eq!(state.configs().map(|config| config.sealed.len()).max(), Some(1_024_044));
    assert_eq!(state.configs().count(), 6);
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_cut_off_does_not_answer_reads() {
    let cluster = Cluster::founded(3).await;
    let old = cluster.leader().await;
    cluster.net.cut(old);
    let new = cluster.write(Command::Admit(admission(30))).await;
    assert_ne!(new, old);
    let read = cluster.store(old).read(Duration::from_millis(300)).await;
    assert!(matches!(read, Err(ReadError::NoLeader | ReadError::NotLeader { .. })), "{read:?}");
    cluster.net.heal(old);
    cluster.agreed().await;
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_sees_each_write_once_on_any_node() {
    let cluster = Cluster::founded(3).await;
    let mut watcher = cluster.store(2).subscribe(None);
    let from = watcher.seen();
    cluster.admit(10..40).await;
    let mut seen = Vec::new();
    while seen.len() < 30 {
        let entries = tokio::time::timeout(PATIENCE, watcher.next()).await.unwrap().unwrap();
        seen.extend(entries.iter().map(|entry| entry.index).filter(|index| *index > from));
    }
    assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
    let mut again = cluster.store(2).subscribe(Some(seen[9]));
    assert_eq!(again.next().await.unwrap()[0].index, seen[10]);
    cluster.close().await;
}

#[tokio::test]
async fn outside_of_raft_the_handle_says_so() {
    let mut cluster = Cluster::new();
    cluster.start(1).await;
    let store = cluster.store(1);
    assert_eq!(store.status().borrow().role, RaftRole::Outside);
    let proposed = store.propose(Command::RaisePskEpoch, None, SECONDS_2).await;
    assert_eq!(proposed.unwrap_err(), ProposeError::NotLeader { leader: None });
    let read = store.read(SECONDS_2).await;
    assert_eq!(read.unwrap_err(), ReadError::NotLeader { leader: None });
    assert!(matches!(store.found(&charter(0)).await, Err(OpenError::NoFounder { .. })));
    cluster.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_another_cluster_or_node_is_refused() {
    let mut cluster = Cluster::founded(1).await;
    let other = ClusterId::from_bytes([8; 16]);
    let store = cluster.store(1);
    let charter_of_other = crate::Charter { cluster: other, ..charter(1) };
    let refused = store.found(&charter_of_other).await;
    assert!(matches!(refused, Err(OpenError::OtherCluster { .. })), "{refused:?}");
    let refused = store.enlist(1007, CLUSTER, 0).await;
    assert!(matches!(refused, Err(OpenError::OtherRaftId { found: 1, .. })), "{refused:?}");
    cluster.kill(1).await;
    let config = Config::new(cluster.dirs[&1].path(), node(1), 9);
    let cases =
        [Config { cluster: Some(other), ..config.clone() }, Config { node: node(2), ..config }];
    for (config, expected) in cases.into_iter().zip(["cluster", "node"]) {
        let error = open(config).await.unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("data directory"), "{error}");
    }
    cluster.close().await;
}

async fn open(config: Config) -> Result<Store, OpenError> {
    struct Nowhere;

    #[async_trait::async_trait]
    impl crate::channel::Channel for Nowhere {
        async fn call(
            &self,
            node: crypto::NodeId,
            _: &'static str,
            _: Vec<u8>,
            _: Duration,
        ) -> Result<Vec<u8>, crate::channel::ChannelError> {
            Err(crate::channel::ChannelError::Timeout { node })
        }

        async fn send_file(
            &self,
            node: crypto::NodeId,
            _: Vec<u8>,
            _: &std::path::Path,
            _: Duration,
        ) -> Result<Vec<u8>, crate::channel::ChannelError> {
            Err(crate::channel::ChannelError::Timeout { node })
        }
    }

    let channel = Arc::new(Nowhere);
    let open_log = super::harness::sled();
    let ground = Ground { channel, open_log, stuck_after: STUCK_AFTER };
    Store::open_on(config, ground, CancellationToken::new()).await.map(|(store, _)| store)
}

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Error,
    /// As sled after some errors: the write never returns.
    Silence,
}

/// A log whose disk can be broken.
struct Breakable {
    inner: SledBackend,
    fault: Arc<OnceLock<Fault>>,
}

impl LogBackend for Breakable {
    fn load(&mut self) -> Result<BTreeMap<Key, Vec<u8>>, BackendError> {
        self.inner.load()
    }

    fn write(&mut self, batch: Batch, sync: bool) -> Result<(), BackendError> {
        match self.fault.get() {
            None => self.inner.write(batch, sync),
            Some(Fault::Error) => {
                let source = std::io::Error::other("the disk is broken");
                Err(BackendError::File { what: "sync", path: "db".into(), source })
            }
            Some(Fault::Silence) => loop {
                std::thread::park();
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_fails_acknowledges_nothing_and_ends_with_an_error() {
    for broken in [Fault::Error, Fault::Silence] {
        let mut cluster = Cluster::new();
        let fault = Arc::new(OnceLock::new());
        let shared = Arc::clone(&fault);
        cluster.stuck_after = SECONDS_2;
        cluster.open_log = Arc::new(move |dir| {
            let inner = SledBackend::open(dir)?;
            Ok(Box::new(Breakable { inner, fault: Arc::clone(&shared) }))
        });
        cluster.start(1).await;
        cluster.store(1).found(&charter(1)).await.unwrap();
        let founders = vec![(1, admission(1))];
        cluster.write(Command::Found { id: CLUSTER, founders }).await;
        fault.set(broken).unwrap();
        let proposed = cluster.store(1).propose(Command::Admit(admission(2)), None, SECONDS_2);
        let error = proposed.await.unwrap_err();
        let unknown =
            [ProposeError::Disk, ProposeError::Stopped, ProposeError::Unconfirmed].contains(&error);
        assert!(unknown, "{broken:?}: {error:?}");
        let ended = cluster.members.get_mut(&1).unwrap().ended().await;
        let ended = ended.expect_err("it ended as if all were well");
        match broken {
            Fault::Error => {
                assert!(matches!(ended, StoreFailed::Log(_) | StoreFailed::Raft(_)), "{ended:?}");
            }
            Fault::Silence => assert!(matches!(ended, StoreFailed::Stuck { .. }), "{ended:?}"),
        }
    }
}
